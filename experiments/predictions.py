"""Every test image's probabilities, and the table from which anyone can recompute every figure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..data_prep.files import whole_file
from ..hierarchy.taxonomy import Hierarchy

DIGITS = 7


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the contestants of a study say of its test images.

    Attributes
    ----------
    file_names, products, labels : ndarray of str, of shape (n_test,)
    hierarchy : Hierarchy
        Its `classes` are the columns of every class distribution.
    seeds : tuple of int
    classes_by : mapping of str to ndarray of shape (n_seeds, n_test, n_classes)
        Each contestant's class distributions; rows sum to 1.
    router : ndarray of shape (n_seeds, n_test, n_macros)
    """

    file_names: np.ndarray
    products: np.ndarray
    labels: np.ndarray
    hierarchy: Hierarchy
    seeds: tuple[int, ...]
    classes_by: Mapping[str, np.ndarray] = field(default_factory=dict)
    router: np.ndarray | None = None

    @property
    def truth(self) -> np.ndarray:
        """The true class of each image as index into `hierarchy.classes`."""
        return np.searchsorted(np.array(self.hierarchy.classes), self.labels.astype(str))

    def answers(self, contestant: str) -> np.ndarray:
        """Give the answered classes as indices, of shape (n_seeds, n_test); ties go to the first class."""
        return self.classes_by[contestant].argmax(2)

    def correct(self, contestant: str) -> np.ndarray:
        """Say which answers are right, of shape (n_seeds, n_test)."""
        return self.answers(contestant) == self.truth

    def table(self) -> pd.DataFrame:
        """Give one row per image, seed and contestant.

        Columns: file_name, product, label, macro, seed, contestant, answer, router_macro, then `p:<class>` for each
        class and `m:<macro>` for each of the router's macros (empty for contestants without a router).
        """
        return pd.concat([self._rows(name, i) for name in self.classes_by for i in range(len(self.seeds))])

    def write(self, path: str | Path) -> None:
        """Write `table` as CSV; probabilities have seven significant digits, which keeps float32's order."""
        with whole_file(path) as part:
            self.table().to_csv(part, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")

    def _rows(self, contestant: str, i: int) -> pd.DataFrame:
        classes, macros = np.array(self.hierarchy.classes), np.array(self.hierarchy.macros)
        facts = pd.DataFrame(
            {
                "file_name": self.file_names,
                "product": self.products,
                "label": self.labels,
                "macro": macros[self.hierarchy.macro_of[self.truth]],
                "seed": self.seeds[i],
                "contestant": contestant,
                "answer": classes[self.answers(contestant)[i]],
                "router_macro": "" if contestant == "flat" else macros[self.router[i].argmax(1)],
            }
        )
        probs = pd.DataFrame(self.classes_by[contestant][i], columns=[f"p:{name}" for name in classes])
        routed = self.router[i] if contestant != "flat" else np.full(self.router[i].shape, np.nan)
        return pd.concat(
            [facts, probs, pd.DataFrame(routed, columns=[f"m:{name}" for name in macros])], axis=1
        )
