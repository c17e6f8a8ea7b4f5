"""The one reader of run folders: settings, metrics, and every test image's answers and probabilities."""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.io.archive import split_tar_path
from aisles.data_prep.io.arrays import mapped_array, read_arrays
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.tables import restored_table
from aisles.data_prep.io.tables import rows as table_rows
from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.heads.predicted_rows import LARGE

from .predictions import ARCHIVES, TABLE, archive_name
from .schema import (
    BENCHMARK,
    BenchmarkMetrics,
    Costs,
    Environment,
    Metrics,
    check_costs,
    check_environment,
    check_metrics,
)

FLAT = "flat"
Checked = TypeVar("Checked")


@dataclass(frozen=True, eq=False)
class Run:
    """What a run left in its folder.

    Attributes
    ----------
    folder : Path
    metrics : BenchmarkMetrics
        As `metrics.json` holds it; see `schema`.
    settings : dict
        Empty if there is no settings.toml.
    environment, costs : dict or None
        As their files hold them; None if there is no such file.
    hierarchy : Hierarchy
        Its `classes` are the columns of every class distribution.
    tree : ClassTree or None
    file_names, labels, products : ndarray of str of shape (n_test,)
        Of the test images, as `predictions.csv` lists them.
    paths : tuple of (Path or None)
        Where their files are; None if `manifest.csv` does not tell.
    seeds : mapping of str to tuple of int
        Of each method.
    answers_by : mapping of str to ndarray of int of shape (n_seeds, n_test)
        Each method's answers as indices into `classes`.
    classes_by : mapping of str to ndarray of shape (n_seeds, n_test, n_classes)
        Every method's class distributions; large ones are read as parts of them are looked at.
    router_by : mapping of str to ndarray of shape (n_seeds, n_test, n_macros)
        Of the methods that have a router over the run's macros.
    """

    folder: Path
    metrics: BenchmarkMetrics
    settings: dict[str, Any]
    environment: Environment | None
    costs: Costs | None
    hierarchy: Hierarchy
    tree: ClassTree | None
    file_names: np.ndarray
    labels: np.ndarray
    products: np.ndarray
    paths: tuple[Path | None, ...]
    seeds: Mapping[str, tuple[int, ...]]
    answers_by: Mapping[str, np.ndarray]
    classes_by: Mapping[str, np.ndarray]
    router_by: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def primary(self) -> str:
        """The method whose comparison with flat was pre-specified."""
        return self.metrics["comparisons"][0]["b"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in column order."""
        return self.hierarchy.classes

    @cached_property
    def truth(self) -> np.ndarray:
        """The true class of each test image as index into `classes`."""
        return np.searchsorted(np.array(self.classes), self.labels.astype(str))

    @property
    def macro_of(self) -> np.ndarray:
        """Macro index of each class; of a class in several macros the first."""
        first = np.unique(self.hierarchy.slot_class, return_index=True)[1]
        return self.hierarchy.slot_macro[first]

    @property
    def order(self) -> np.ndarray:
        """Classes macro by macro, inside each as the tree has them, as indices into `classes`."""
        place = np.arange(len(self.classes))
        if self.tree is not None:
            place = np.argsort(self.tree.leaves)
        return np.lexsort((place, self.macro_of))

    def answers(self, method: str) -> np.ndarray:
        """Return the answered classes as indices, of shape (n_seeds, n_test)."""
        return self.answers_by[method]

    def correct(self, method: str) -> np.ndarray:
        """Return which answers are right, of shape (n_seeds, n_test)."""
        return self.answers(method) == self.truth


def read_metrics(folder: str | Path) -> Metrics:
    """Read the `metrics.json` of a benchmark or of `aisles compare`.

    Raises
    ------
    DataError
        If it isn't there or can't be read, is of another schema, or lacks something.
    """
    folder = Path(folder)
    found = _json(folder, "metrics.json", check_metrics)
    if found is None:
        raise DataError(
            f"{folder} is no finished run: it has no metrics.json. "
            f"Make one with: aisles benchmark DATA -o {folder}"
        )
    if not found["comparisons"]:
        raise DataError(f"{folder} holds no comparison. Make one: aisles benchmark or aisles compare.")
    return found


def read_run(folder: str | Path) -> Run:
    """Read a benchmark's run folder.

    Raises
    ------
    DataError
        If it is no folder of a finished run, or its files do not fit each other.
    """
    folder = Path(folder)
    metrics = read_metrics(folder)
    if metrics["kind"] != BENCHMARK:
        raise DataError(
            f"{folder} holds a comparison of predictions, whose report `aisles compare` has written. Choose a run of "
            "aisles benchmark."
        )
    hierarchy = _hierarchy(folder)
    table = _predictions(folder)
    groups = {str(name): _by_seed(rows) for name, rows in table.groupby("method", sort=False)}
    if FLAT not in groups:
        raise DataError(
            f"{folder} holds no comparison with {FLAT!r}. Run the benchmark again: aisles benchmark."
        )
    first = next(iter(groups[FLAT].values()))
    unknown = (set(table["label"]) | set(table["answer"])) - set(hierarchy.classes)
    if unknown:
        raise DataError(
            f"predictions.csv and hierarchy.json of {folder} name different classes. Only in one: "
            f"{shortened(sorted(unknown))}. Run the benchmark again."
        )
    for name, parts in groups.items():
        _check_images(folder, name, first, parts)
    classes_by, router_by = _distributions(folder, groups, hierarchy)
    names, labels, products = (
        first[column].to_numpy(dtype=object) for column in ("file_name", "label", "product")
    )
    return Run(
        folder=folder,
        metrics=metrics,
        settings=_settings(folder),
        environment=_json(folder, "environment.json", check_environment),
        costs=_json(folder, "costs.json", check_costs),
        hierarchy=hierarchy,
        tree=_tree(folder, hierarchy),
        file_names=names,
        labels=labels,
        products=products,
        paths=_paths(folder, names, labels),
        seeds={name: tuple(parts) for name, parts in groups.items()},
        answers_by={name: _answers(parts, hierarchy) for name, parts in groups.items()},
        classes_by=classes_by,
        router_by=router_by,
    )


def _answers(parts: dict[int, pd.DataFrame], hierarchy: Hierarchy) -> np.ndarray:
    classes = np.array(hierarchy.classes)
    return np.stack([np.searchsorted(classes, part["answer"].to_numpy(dtype=str)) for part in parts.values()])


def _distributions(
    folder: Path, groups: dict[str, dict[int, pd.DataFrame]], hierarchy: Hierarchy
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return every method's class distributions, and the macro distributions of routers of the run's hierarchy."""
    classes_by, router_by = {}, {}
    for name, parts in groups.items():
        path = folder / ARCHIVES / archive_name(name)
        try:
            large = mapped_array(path, "probs") if path.stat().st_size > LARGE else None
            arrays = read_arrays(path, ("macro_probs",) if large is not None else ("probs", "macro_probs"))
        except OSError as error:
            raise DataError(
                f"{folder} lacks the probabilities of {name!r}: {error}. Run the benchmark again."
            ) from error
        shape = (len(parts), len(next(iter(parts.values()))))
        probs = large if large is not None else arrays.get("probs")
        macro_probs = arrays.get("macro_probs")
        if probs is None or probs.shape != (*shape, hierarchy.n_classes) or not np.isfinite(probs).all():
            found = None if probs is None else probs.shape
            raise DataError(
                f"{path} must hold `probs` of shape {(*shape, hierarchy.n_classes)}, as predictions.csv has images and "
                f"seeds. Received: {found}. Run the benchmark again."
            )
        classes_by[name] = probs if isinstance(probs, np.memmap) else probs.astype(np.float64)
        if macro_probs is not None and macro_probs.shape == (*shape, hierarchy.n_macros):
            router_by[name] = macro_probs.astype(np.float64)
    return classes_by, router_by


def _json(folder: Path, name: str, check: Callable[[Any], Checked]) -> Checked | None:
    """Read a file of the schema; None if it isn't there."""
    try:
        return check(json.loads((folder / name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{folder} is no finished run: {name} can't be read ({error}). Run the benchmark again."
        ) from error
    except ValueError as error:
        raise DataError(f"{folder} can't be read. {error} Run the benchmark again.") from error


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "settings.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{folder / 'settings.toml'} is not TOML: {error}. Run the benchmark again."
        ) from error


def _hierarchy(folder: Path) -> Hierarchy:
    try:
        return Hierarchy.read(folder / "hierarchy.json")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no finished run: {error}") from error


def _tree(folder: Path, hierarchy: Hierarchy) -> ClassTree | None:
    try:
        tree = ClassTree.from_json((folder / "tree.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return tree if tree.classes == hierarchy.classes else None


def _predictions(folder: Path) -> pd.DataFrame:
    text = {"file_name", "product", "label", "macro", "method", "answer", "router_macro"}
    types: Any = dict.fromkeys(text, str) | {"seed": np.int64, "probability": np.float64}
    try:
        return restored_table(
            pd.read_csv(
                folder / TABLE,
                dtype=types,
                keep_default_na=False,
                na_values={"probability": [""], "router_macro": [""]},
            )
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no finished run: predictions.csv can't be read ({error}).") from error


def _by_seed(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    seeds = rows["seed"].to_numpy()
    return {seed: table_rows(rows, seeds == seed) for seed in np.unique(seeds).tolist()}


def _check_images(folder: Path, name: str, first: pd.DataFrame, parts: dict[int, pd.DataFrame]) -> None:
    expected = list(zip(first["file_name"], first["label"], strict=True))
    for seed, part in parts.items():
        if list(zip(part["file_name"], part["label"], strict=True)) != expected:
            raise DataError(
                f"predictions.csv of {folder} lists other images for {name!r}, seed {seed}, than for {FLAT!r}. "
                "Run the benchmark again."
            )


def _paths(folder: Path, names: np.ndarray, labels: np.ndarray) -> tuple[Path | None, ...]:
    """Find the test images' files: the manifest lists the same images in the same order, seen from the run.

    Where no file is there, as of a features table, no image has a path.
    """
    nowhere = (None,) * len(names)
    try:
        table = restored_table(pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False))
        test = table[table["split"] == "test"]
    except (OSError, ValueError, KeyError):
        return nowhere
    if list(test["label"]) != list(labels):
        return nowhere
    paths = tuple(folder / name for name in test["file_name"])
    return paths if any(map(is_at_hand, paths)) else nowhere


def is_at_hand(path: Path | None) -> bool:
    """Return whether an image's file is there, loose or (as far as its archive goes) inside a tar."""
    return path is not None and (path.exists() or split_tar_path(path) is not None)
