"""Every test image's answers and probabilities, from which anyone can recompute accuracies and verdicts."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.escaping import file_name_safe, formula_safe
from aisles.data_prep.io.files import whole_file, write_whole
from aisles.data_prep.io.tables import quoting_for
from aisles.experiments.methods.registry import MethodResult
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.heads.predicted_rows import LARGE

DIGITS = 9
TABLE, ARCHIVES = "predictions.csv", "probabilities"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the methods of a run say of its validation and test images.

    Attributes
    ----------
    file_names, products, labels : ndarray of str, of shape (n_test,)
        Of the test images.
    hierarchy : Hierarchy
        The run's. Its `classes` are the columns of every class distribution.
    seeds : tuple of int
    methods : mapping of str to MethodResult
    val_labels : ndarray of str, of shape (n_val,)
    router, val_router : ndarray of shape (n_seeds, n_images, n_macros)
        What the run's router says of test and validation images.
    within, val_within : ndarray of shape (n_seeds, n_images, n_slots)
        What the run's sub-models say of them, in the order of `hierarchy.slots`.
    independent : tuple of str and Hierarchy, or None
        The name of a grouping that nobody learned from these images, and the grouping.
    """

    file_names: np.ndarray
    products: np.ndarray
    labels: np.ndarray
    hierarchy: Hierarchy
    seeds: tuple[int, ...]
    methods: Mapping[str, MethodResult]
    val_labels: np.ndarray
    router: np.ndarray
    val_router: np.ndarray
    within: np.ndarray
    val_within: np.ndarray
    independent: tuple[str, Hierarchy] | None = None
    _answers: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def truth(self) -> np.ndarray:
        """The true class of each test image as index into `hierarchy.classes`."""
        return np.searchsorted(np.array(self.hierarchy.classes), self.labels.astype(str))

    @cached_property
    def val_truth(self) -> np.ndarray:
        """The same of the validation images."""
        return np.searchsorted(np.array(self.hierarchy.classes), self.val_labels.astype(str))

    def probs(self, method: str) -> np.ndarray:
        """Return a method's class distributions, of shape (n_seeds, n_test, n_classes)."""
        return self.methods[method].probs

    def answers(self, method: str) -> np.ndarray:
        """Return the answered classes as indices, of shape (n_seeds, n_test); ties go to the first class."""
        if method not in self._answers:
            self._answers[method] = self.probs(method).argmax(2)
        return self._answers[method]

    def correct(self, method: str) -> np.ndarray:
        """Return which answers are right, of shape (n_seeds, n_test)."""
        return self.answers(method) == self.truth

    def write(self, folder: str | Path) -> None:
        """Write `predictions.csv` and `probabilities/<method>.npz` into a run folder.

        The table has one row per method, seed and test image: file_name, product, label, macro, seed, method,
        answer, probability (of the answer; empty for bare answers) and router_macro; texts that a spreadsheet would
        compute are marked (`escaping.formula_safe`). The archives alone hold
        probabilities, and are predictions tables as well: file_name, product, truth, classes, seeds; every method's
        `probs` and `val_probs` (float32, to the last bit), its `macro_probs` and `val_macro_probs` if it has a router,
        what it says `inside` macros before routing if `probs` doesn't tell, and `val_truth`.
        """
        folder = Path(folder)
        write_whole(folder / TABLE, self._table())
        (folder / ARCHIVES).mkdir(exist_ok=True)
        for name, method in self.methods.items():
            with whole_file(folder / ARCHIVES / archive_name(name)) as part:
                self._write_archive(method, part)

    def _write_archive(self, method: MethodResult, path: Path) -> None:
        arrays: dict[str, Any] = {
            "file_name": self.file_names.astype(str), "product": self.products.astype(str),
            "probs": method.probs, "val_probs": method.val_probs, "truth": self.truth,
            "val_truth": self.val_truth, "seeds": np.array(self.seeds), "classes": np.array(self.hierarchy.classes),
        }  # fmt: skip
        if method.macro_probs is not None:
            arrays["macro_probs"] = method.macro_probs
        if method.val_macro_probs is not None:
            arrays["val_macro_probs"] = method.val_macro_probs
        if method.inside is not None:
            arrays["inside"] = method.inside
        if method.hierarchy is not None:
            arrays["macro_of"] = method.hierarchy.macro_of
        large = sum(array.nbytes for array in arrays.values()) > LARGE
        with path.open("wb") as file:  # packing takes minutes where there is much of it, and gains little
            (np.savez if large else np.savez_compressed)(file, **arrays)

    def _table(self) -> str:
        buffer = io.StringIO()
        quoting = quoting_for([*self.file_names, *self.products, *self.hierarchy.classes])
        writer = csv.writer(buffer, lineterminator="\n", quoting=quoting)
        writer.writerow(
            [
                "file_name",
                "product",
                "label",
                "macro",
                "seed",
                "method",
                "answer",
                "probability",
                "router_macro",
            ]
        )
        for name in self.methods:
            for row in range(len(self.seeds)):
                writer.writerows(self._facts(name, row))
        return buffer.getvalue()

    def _facts(self, name: str, row: int) -> Iterable[tuple]:
        classes, macros = np.array(self.hierarchy.classes), np.array(self.hierarchy.macros)
        method = self.methods[name]
        router = method.macro_probs if method.role == "two-stage" else None
        router_macro = repeat("") if router is None else macros[router[row].argmax(1)].tolist()
        true_macro = macros[self.hierarchy.macro_of[self.truth]].tolist()
        answers = classes[self.answers(name)[row]].tolist()
        surest = self.probs(name)[row].max(axis=1).tolist()
        shown = repeat("") if method.answers_only else [f"%.{DIGITS}g" % value for value in surest]
        columns = (
            map(file_name_safe, self.file_names.astype(str)),
            map(formula_safe, self.products.astype(str)),
            map(formula_safe, self.labels.astype(str)),
            map(formula_safe, true_macro),
            repeat(self.seeds[row]),
            repeat(formula_safe(name)),
        )
        return zip(*columns, map(formula_safe, answers), shown, map(formula_safe, router_macro))  # noqa: B905 - some columns repeat for ever


def file_name_of(method: str) -> str:
    """Return a method's name as a file name: `beam:2` is `beam-2`."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in method)


def archive_name(method: str) -> str:
    """Return what the file with a method's probabilities is called."""
    return f"{file_name_of(method)}.npz"
