"""The tree of classes, its cuts, and what macros are called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.cluster import hierarchy as scipy_hierarchy
from scipy.spatial.distance import squareform

from .hierarchy import Hierarchy

_NAMED = 2
MANY = 2000
"""Classes above which leaves are not put in order, and distances not kept in files: both grow too fast."""


@dataclass(frozen=True, eq=False)
class ClassTree:
    """Classes joined pair by pair, nearest first.

    Attributes
    ----------
    classes
        Sorted names, the tree's leaves.
    linkage
        The n_classes - 1 merges as `scipy.cluster.hierarchy.linkage` gives them, of shape (n_classes - 1, 4).
    distances
        Between classes, condensed as `scipy.spatial.distance.pdist` gives them, of shape
        (n_classes * (n_classes - 1) / 2,).
    method
        The clustering's registered name.
    metric
        Of `distances`: "euclidean" or "cosine" between class embeddings, or "own" where the clustering brings others.
    """

    classes: tuple[str, ...]
    linkage: np.ndarray
    distances: np.ndarray
    method: str = "ward"
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        n = len(self.classes)
        if n < 2 or list(self.classes) != sorted(set(self.classes)):
            raise ValueError(f"A tree needs at least 2 classes, sorted and unique. Received: {self.classes}.")
        if self.linkage.shape != (n - 1, 4) or not scipy_hierarchy.is_valid_linkage(self.linkage):
            raise ValueError(f"`linkage` must hold the {n - 1} merges of {n} classes as scipy writes them.")
        if self.distances.shape != (n * (n - 1) // 2,) or not np.isfinite(self.distances).all():
            raise ValueError(f"`distances` must hold one number for each pair of the {n} classes.")

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """Classes from left to right in the tree, as indices into `classes`: similar ones side by side.

        Optimal leaf ordering (Bar-Joseph et al., Bioinformatics 2001), which takes seconds for a thousand classes, so
        only those who draw the tree or name its macros ask for it; of more than `MANY` classes as the merges have them.
        """
        ordered = self.linkage
        if len(self.classes) <= MANY:
            ordered = scipy_hierarchy.optimal_leaf_ordering(self.linkage, self.distances)
        return tuple(scipy_hierarchy.leaves_list(ordered).tolist())

    @property
    def cophenetic_correlation(self) -> float:
        """How well heights in the tree follow the distances, at most 1; nan where either does not vary.

        Pearson correlation of cophenetic and original distances (Sokal and Rohlf, Taxon 1962).
        """
        heights = scipy_hierarchy.cophenet(self.linkage)
        if np.ptp(heights) == 0 or np.ptp(self.distances) == 0:
            return float("nan")
        return float(np.corrcoef(heights, self.distances)[0, 1])

    def cut(self, n_macros: int) -> Hierarchy:
        """Undo the last merges until `n_macros` groups are left.

        Macros come in leaf order, the classes inside each sorted. A macro is called by the (up to) two of its
        classes nearest its centre, joined with "+"; a macro of one class is called as the class.

        Raises
        ------
        ValueError
            If `n_macros` is not between 2 and the number of classes.
        """
        return named_hierarchy(self.classes, self.groups(n_macros), self.distances, self.metric)

    def groups(self, n_macros: int) -> list[list[int]]:
        """Cut as `cut` does, into lists of indices into `classes`, all in leaf order."""
        place = {leaf: position for position, leaf in enumerate(self.leaves)}
        groups = [sorted(group, key=place.__getitem__) for group in self._nodes(n_macros)]
        return sorted(groups, key=lambda group: place[group[0]])

    def labels(self, n_macros: int) -> np.ndarray:
        """Return the number of each class's group, of shape (n_classes,); the groups of `cut` in any order."""
        found = np.empty(len(self.classes), dtype=np.intp)
        for number, group in enumerate(self._nodes(n_macros)):
            found[group] = number
        return found

    def _nodes(self, n_macros: int) -> list[list[int]]:
        n = len(self.classes)
        if isinstance(n_macros, bool) or int(n_macros) != n_macros or not 2 <= n_macros <= n:
            raise ValueError(
                f"`n_macros` must be between 2 and the number of classes ({n}). "
                f"Received: n_macros={n_macros}."
            )
        nodes: dict[int, list[int]] = {leaf: [leaf] for leaf in range(n)}
        for merge in range(n - int(n_macros)):
            left, right = (int(node) for node in self.linkage[merge, :2])
            nodes[n + merge] = nodes.pop(left) + nodes.pop(right)
        return list(nodes.values())

    def cut_height(self, n_macros: int) -> float:
        """Return a height at which a line crosses exactly the branches of `cut(n_macros)`."""
        self._nodes(n_macros)
        heights = np.concatenate([[0.0], self.linkage[:, 2], [self.linkage[-1, 2] * 1.1]])
        merges = len(self.classes) - int(n_macros)
        return float((heights[merges] + heights[merges + 1]) / 2)

    def renamed(self, names: Mapping[str, str]) -> ClassTree:
        """Return the same tree with some classes called otherwise; they are sorted anew.

        Raises
        ------
        ValueError
            If two classes would have one name.
        """
        called = [names.get(name, name) for name in self.classes]
        order = sorted(range(len(called)), key=called.__getitem__)
        place = np.concatenate([np.argsort(order), np.arange(len(called), 2 * len(called) - 1)])
        linkage = self.linkage.copy()
        linkage[:, :2] = place[linkage[:, :2].astype(int)]
        square = squareform(self.distances)[np.ix_(order, order)]
        distances = squareform(square, checks=False)
        return ClassTree(tuple(called[i] for i in order), linkage, distances, self.method, self.metric)

    def to_json(self) -> str:
        """Write as JSON text that `from_json` reads back to the last bit; distances of at most `MANY` classes."""
        return json.dumps(
            {
                "method": self.method,
                "metric": self.metric,
                "classes": self.classes,
                "linkage": self.linkage.tolist(),
                "distances": self.distances.tolist() if len(self.classes) <= MANY else None,
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> ClassTree:
        """Read the text that `to_json` writes; where it has no distances, those in the tree stand in their place.

        Raises
        ------
        ValueError
            If the text is no such JSON, or the numbers are no tree of these classes.
        """
        try:
            content = json.loads(text)
            linkage, written = np.array(content["linkage"], dtype=float), content["distances"]
            missing = written is None and len(content["classes"]) > MANY
            distances = np.array(scipy_hierarchy.cophenet(linkage) if missing else written, dtype=float)
            names = (str(content[key]) for key in ("method", "metric"))
            return cls(tuple(map(str, content["classes"])), linkage, distances, *names)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"This is no tree of classes ({error}). Cluster the classes again.") from error


def named_hierarchy(
    classes: Sequence[str], groups: Sequence[Sequence[int]], distances: np.ndarray, metric: str
) -> Hierarchy:
    """Make a hierarchy of groups of classes, and call each macro by the classes nearest its centre.

    Parameters
    ----------
    classes
        Sorted names.
    groups
        Indices into `classes`, one list a macro; the macros keep this order.
    distances
        Condensed, between classes.
    metric
        As `ClassTree.metric`.
    """
    square, names = squareform(distances), []
    for group in groups:
        names.append(_unique("+".join(_central(classes, group, square, metric)), names))
    members = tuple(tuple(sorted(classes[leaf] for leaf in group)) for group in groups)
    return Hierarchy(tuple(names), members)


def _central(classes: Sequence[str], group: Sequence[int], square: np.ndarray, metric: str) -> list[str]:
    """Name the classes nearest the group's centre, the nearest first, sorted on ties.

    Between unit vectors the sum of squared distances to all members is the squared distance to their mean, times a
    constant, plus another. The squared distance is twice the cosine distance.
    """
    distances = square[np.ix_(group, group)]
    squared = distances**2 if metric == "euclidean" else 2 * distances
    order = sorted(range(len(group)), key=lambda i: (round(squared[i].sum(), 12), classes[group[i]]))
    return [classes[group[i]] for i in order[:_NAMED]]


def _unique(name: str, taken: list[str]) -> str:
    """Append a number to a name that is taken."""
    number, candidate = 2, name
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
