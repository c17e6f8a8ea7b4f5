"""Judge systems trained anywhere: from predictions to metrics, comparisons and a verdict in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.tables import columns as table_columns
from aisles.data_prep.io.tables import restored_table, rows
from aisles.experiments.runs.schema import COMPARE, SCHEMA
from aisles.experiments.stats.levels import ALPHA, MARGIN
from aisles.experiments.stats.points import change_in_points, interval_in_points
from aisles.experiments.stats.verdict import FEW_PRODUCTS, Comparison, as_json, compare_family
from aisles.experiments.stats.verdict import compare as judge_pair
from aisles.hierarchy.hierarchy import Hierarchy

from .measures import system_metrics
from .methods_table import methods_table
from .systems import Systems, join
from .tables import (
    TRUTHS,
    ColumnNames,
    PredictionsTable,
    array_table,
    coded,
    frame_tables,
    read_predictions,
    separator,
)


@dataclass(frozen=True, eq=False)
class Judgement:
    """Systems judged against a baseline on the same images.

    Attributes
    ----------
    systems : Systems
    baseline : str
    comparisons : tuple of Comparison
        Of each other system with the baseline, in the order given; several are corrected together (step-down max-T).
    metrics : dict
        In the shape of a benchmark's `metrics.json`, as far as the tables allow.
    """

    systems: Systems
    baseline: str
    comparisons: tuple[Comparison, ...]
    metrics: dict[str, Any]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per system: accuracy and the like, the difference from the baseline with interval, p and verdict."""
        return methods_table(self.metrics, "system")

    @property
    def verdict(self) -> str:
        """The comparisons' sentences."""
        return self.metrics["verdict"]

    def summary(self) -> str:
        """Write the table, McNemar's tests, the verdict and notes as text."""
        return "\n".join(_summary(self))

    def __repr__(self) -> str:
        counts = f"{len(self.systems.answers)} systems on {len(self.systems.truth):,} images"
        return f"<Judgement of {counts}: {self.verdict}>"

    def _repr_html_(self) -> str:
        from html import escape

        return f"{self.table.to_html(float_format='{:.3f}'.format, na_rep='')}<p>{escape(self.verdict)}</p>"

    def discordant(self) -> pd.DataFrame:
        """List the images that only one of two compared systems gets right.

        Returns
        -------
        DataFrame
            file_name, truth, baseline, system, change (corrected or broken), n_seeds in which it changes hands,
            and both answers in the first of these.
        """
        parts = [_changes(self.systems, c.a, c.b) for c in self.comparisons]
        return pd.concat(parts, ignore_index=True)


def compare(
    *systems: Any,
    names: Sequence[str | None] | None = None,
    baseline: str | None = None,
    truth: Any = None,
    classes: Sequence[Any] | None = None,
    product: Any = "product",
    seed: str = "seed",
    hierarchy: Hierarchy | Mapping[str, Sequence[str]] | str | Path | None = None,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    output: str | Path | None = None,
    images: str | Path | None = None,
) -> Judgement:
    """Judge systems that were trained anywhere, by their predictions on the same images.

    Parameters
    ----------
    *systems : path, DataFrame or array
        Predictions tables with a column file_name (or id), joined by it; or arrays alone, joined by position: answers,
        or probabilities with `classes`. One mapping of names to these does as well.
    names : sequence of str, optional
        What to call the systems; None stands for the file's name, which is the default.
    baseline : str, optional
        The system that the others are judged against; the first by default.
    truth : path, DataFrame or array, optional
        The true classes, where the tables don't hold them. Of a manifest with splits the test images count.
    classes : sequence, optional
        Of the columns of probabilities in arrays.
    product : str or array
        The column that names each image's product, or beside arrays the products themselves.
    seed : str
        The column with the training seed, where a system was trained several times.
    hierarchy : Hierarchy, mapping, path or str, optional
        Macros and their classes, a JSON file of them, or a column that names each image's macro.
    margin, alpha : float
        Largest difference that doesn't matter, and level of the tests, both set beforehand.
    output : path, optional
        Folder for the report, the metrics and the list of discordant images.
    images : path, optional
        Folder that file names are seen from, for the report's photographs.

    Returns
    -------
    Judgement

    Raises
    ------
    DataError
        If tables can't be read or don't fit each other; missing, doubled and unknown images are counted.
    ValueError
        If there are fewer than two systems, or an option is out of range.
    """
    brought, column = _hierarchy(hierarchy)
    columns = ColumnNames(product if isinstance(product, str) else "product", seed, column)
    tables = _tables(systems, names, columns, classes)
    told = None if truth is None else truth_table(truth, columns, classes)
    _check_columns([*tables.values(), *([told] if told else [])], columns)
    if not isinstance(product, str):
        tables = _with_products(tables, product)
    options: dict[str, Any] = {"baseline": baseline, "margin": margin, "alpha": alpha}
    if output is None:
        return judge(join(tables, told, brought, by_column=column is not None), **options)
    from .writing import judgement_folder, write_judgement

    with judgement_folder(Path(output)):  # what can't be written is said before anything is judged
        judged = judge(join(tables, told, brought, by_column=column is not None), **options)
        write_judgement(judged, Path(output), images=None if images is None else Path(images))
    return judged


def judge(
    systems: Systems, *, baseline: str | None = None, margin: float = MARGIN, alpha: float = ALPHA
) -> Judgement:
    """Judge joined systems against one of them; see `compare`."""
    given = list(systems.answers)
    baseline = given[0] if baseline is None else baseline
    if baseline not in given:
        raise ValueError(
            f"The baseline must be one of the systems: {', '.join(given)}. Received: {baseline!r}."
        )
    units = len(systems.truth) if systems.products is None else len(np.unique(systems.products))
    if units < 2:
        what = "image" if systems.products is None else "product"
        raise DataError(
            f"There is one {what}, and one says nothing about others. Bring images of at least two {what}s"
            f"{'' if systems.products is None else ', or leave the column of products out'}."
        )
    right = {name: systems.correct(name) for name in given}
    pairs = [(baseline, name) for name in given if name != baseline]
    options: dict[str, Any] = {"margin": margin, "alpha": alpha}
    if len(pairs) > 1:
        comparisons = compare_family(pairs, right, systems.products, **options)
    else:
        (a, b) = pair = pairs[0]
        comparisons = (judge_pair(right[a], right[b], systems.products, names=pair, **options),)
    first = comparisons[0]
    notes = list(systems.notes)
    if first.n_products < FEW_PRODUCTS:
        notes.append(
            f"Only {first.n_products} {'products' if systems.products is not None else 'images'}: intervals are "
            "Student's t, and so few say little about others."
        )
    hierarchy = systems.hierarchy
    metrics = {
        "schema": SCHEMA,
        "kind": COMPARE,
        "n_test": len(systems.truth),
        "n_products": first.n_products,
        "seeds": list(systems.seeds),
        "classes": list(systems.classes),
        "macros": None
        if hierarchy is None
        else {macro: list(held) for macro, held in zip(hierarchy.macros, hierarchy.members, strict=True)},
        "methods": {
            name: system_metrics(systems, name, "baseline" if name == baseline else "system", alpha)
            for name in given
        },
        "comparisons": [as_json(comparison) for comparison in comparisons],
        "verdict": " ".join(comparison.sentence() for comparison in comparisons),
        "notes": notes,
    }
    return Judgement(systems, baseline, comparisons, metrics)


def truth_table(truth: Any, columns: ColumnNames, classes: Sequence[Any] | None = None) -> PredictionsTable:
    """Read the truth from a file, a data frame or an array.

    Raises
    ------
    DataError
        If it can't be read or holds no truth.
    """
    if isinstance(truth, str | Path):
        truth_file = Path(truth)
        if truth_file.suffix.lower() not in (".csv", ".tsv"):
            (table,) = read_predictions(truth_file, replace(columns, product="product")).values()
            return table
        try:
            frame = pd.read_csv(
                truth_file,
                dtype="str",
                keep_default_na=False,
                sep=separator(truth_file),
                encoding="utf-8-sig",
            )
        except (OSError, ValueError) as error:
            raise DataError(f"The truth {truth_file} can't be read: {error}") from error
        return _truth_frame(restored_table(frame), str(truth_file), columns)
    if isinstance(truth, pd.DataFrame):
        return _truth_frame(truth, "truth", columns)
    table = array_table(truth, "truth", classes)
    return replace(table, columns={"truth": table.columns["answer"]})


def _truth_frame(frame: pd.DataFrame, source: str, columns: ColumnNames) -> PredictionsTable:
    if not set(TRUTHS) & set(frame.columns):
        raise DataError(
            f"{source} has no column truth or label. Columns: {shortened(list(frame.columns), 12)}."
        )
    if "split" in frame and "test" in set(frame["split"]):
        frame = rows(frame, frame["split"] == "test")
    kept = [name for name in columns.text if name in frame and name not in ("answer", "seed", "method")]
    (table,) = frame_tables(table_columns(frame, kept), source, columns).values()
    return table


def _hierarchy(given: Any) -> tuple[Hierarchy | None, str | None]:
    """Return a hierarchy, or the column that it is read off."""
    if given is None:
        return None, None
    if isinstance(given, Hierarchy | Mapping):
        return Hierarchy.of(given), None
    if Path(given).suffix.lower() == ".json" or Path(given).is_file():
        try:
            return Hierarchy.read(given), None
        except (OSError, ValueError) as error:
            raise DataError(f"The hierarchy can't be used: {error}") from error
    return None, str(given)


def _tables(
    systems: Sequence[Any],
    names: Sequence[str | None] | None,
    columns: ColumnNames,
    classes: Sequence[Any] | None,
) -> dict[str, PredictionsTable]:
    if len(systems) == 1 and isinstance(systems[0], Mapping):
        names, systems = list(systems[0]), list(systems[0].values())
    if names is not None and len(names) != len(systems):
        raise ValueError(
            f"`names` must name each system. Received: {len(names)} names of {len(systems)} systems."
        )
    found: dict[str, PredictionsTable] = {}
    for number, system in enumerate(systems):
        name = None if names is None else names[number]
        for given, table in _read(system, name or f"system {number + 1}", columns, classes).items():
            own = name or (Path(system).stem if isinstance(system, str | Path) else f"system {number + 1}")
            label = own if not given else given if name is None else f"{name} {given}"
            if label in found and name is None and isinstance(system, str | Path):
                label = f"{Path(system).resolve().parent.name}/{label}"
            if label in found:
                raise ValueError(f"Two systems are called {label!r}. Name them: NAME=FILE, or names=[...].")
            found[label] = table
    if len(found) < 2:
        raise ValueError(f"There must be at least two systems to compare. Received: {len(found)}.")
    return found


def _read(
    system: Any, source: str, columns: ColumnNames, classes: Sequence[Any] | None
) -> dict[str, PredictionsTable]:
    if isinstance(system, str | Path):
        return read_predictions(system, columns)
    if isinstance(system, pd.DataFrame):
        return frame_tables(system, source, columns)
    return {"": array_table(system, source, classes)}


def _check_columns(tables: Sequence[PredictionsTable], columns: ColumnNames) -> None:
    """Refuse a column that was asked for by name and that no table has."""
    for what, name, usual in (("product", columns.product, "product"), ("seed", columns.seed, "seed")):
        if name != usual and not any(what in table.columns for table in tables):
            raise DataError(f"No table has a column {name!r}. Name the column of each image's {what}.")


def _with_products(tables: Mapping[str, PredictionsTable], products: Any) -> dict[str, PredictionsTable]:
    """Add to arrays the products that stand beside them."""
    found = {}
    for name, table in tables.items():
        n_seeds = len(table.columns["seed"].categories) if "seed" in table.columns else 1
        given = np.asarray(products)
        if table.names is not None or given.shape != (table.n_rows // n_seeds,):
            raise DataError(
                "`product` must name a column of the tables or, beside arrays, hold one product per image. "
                f"Received: shape {given.shape}."
            )
        codes = coded(np.tile(given, n_seeds), "product", table.source)
        found[name] = replace(table, columns={**table.columns, "product": codes})
    return found


def _summary(judged: Judgement) -> list[str]:
    metrics = judged.metrics
    level = 100 * (1 - judged.comparisons[0].alpha)
    width = 2 + max(8, *(len(name) for name in metrics["methods"]))
    n_seeds = len(metrics["seeds"])
    of_products = "" if judged.systems.products is None else f" of {metrics['n_products']:,} products"
    room = max(15, 10 + len(judged.baseline))
    lines = [
        f"{metrics['n_test']:,} images{of_products}, {len(metrics['classes'])} classes, "
        f"{n_seeds} seed{'s' if n_seeds > 1 else ''}",
        "",
        f"{'':<{width}}{'accuracy':>16}{'macro-F1':>10}{f'against {judged.baseline}':>{room}}"
        f"{f'{level:g} % interval':>18}{'p':>9}  verdict",
    ]
    for name, each in judged.table.iterrows():
        row: dict[str, Any] = each.to_dict()
        spread = "" if pd.isna(row["sd over seeds"]) else f" ± {row['sd over seeds']:.3f}"
        line = f"{name!s:<{width}}{row['accuracy']:>8.3f}{spread:<8}{row['macro-F1']:>10.3f}"
        if name != judged.baseline:
            change = change_in_points(row["difference"])
            span = interval_in_points((row["low"], row["high"]))
            line += f"{change:>{room}}{span:>18}{row['p']:>9.2g}  {row['verdict']}"
        lines.append(line)
    lines.append("")
    for comparison in judged.comparisons:
        tests = ", ".join(f"p = {test.p_value:.2g}" for test in comparison.mcnemar)
        counts = [f"{sum(side) / len(side):,.4g}" for side in (comparison.corrected, comparison.broken)]
        lines.append(
            f"McNemar, {comparison.b} against {comparison.a}: {tests} (corrected {counts[0]}, broken {counts[1]}"
            f"{', means over seeds' if n_seeds > 1 else ''})"
        )
    if len(judged.comparisons) > 1:
        lines.append(f"p-values are corrected for {len(judged.comparisons)} comparisons (step-down max-T).")
    lines += ["", *(f"Verdict: {comparison.sentence()}" for comparison in judged.comparisons)]
    return lines + [f"Note: {note}" for note in metrics["notes"]]


def _changes(systems: Systems, a: str, b: str) -> pd.DataFrame:
    first, second = systems.correct(a), systems.correct(b)
    parts = []
    classes = np.array(systems.classes, dtype=object)
    for change, changed in (("corrected", second & ~first), ("broken", first & ~second)):
        rows = np.flatnonzero(changed.any(axis=0))
        seed = changed[:, rows].argmax(axis=0)
        parts.append(
            pd.DataFrame(
                {
                    "file_name": systems.names[rows],
                    "truth": classes[systems.truth[rows]],
                    "baseline": a,
                    "system": b,
                    "change": change,
                    "n_seeds": changed[:, rows].sum(axis=0),
                    "baseline_answer": classes[systems.answers[a][seed, rows]],
                    "system_answer": classes[systems.answers[b][seed, rows]],
                }
            ).sort_values("n_seeds", ascending=False, kind="stable")
        )
    return pd.concat(parts, ignore_index=True)
