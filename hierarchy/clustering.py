"""The tree of classes, and cutting it into macros."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.cluster import hierarchy as scipy_hierarchy
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score

from .embeddings import ClassEmbeddings
from .hierarchy import Hierarchy

METRICS: dict[str, Literal["euclidean", "cosine"]] = {
    "ward": "euclidean",
    "average": "cosine",
    "complete": "cosine",
}
"""Linkage methods, and the distance between class embeddings that each works on."""
_NAMED = 2


@dataclass(frozen=True, eq=False)
class ClassTree:
    """Classes joined pair by pair, nearest first.

    Attributes
    ----------
    classes
        Sorted names, the tree's leaves.
    linkage
        The n_classes - 1 merges as `scipy.cluster.hierarchy.linkage` gives them, of shape (n_classes - 1, 4),
        in optimal leaf order (Bar-Joseph et al., Bioinformatics 2001).
    distances
        Between class embeddings, condensed as `scipy.spatial.distance.pdist` gives them, of shape
        (n_classes * (n_classes - 1) / 2,).
    method
        A key of `METRICS`.
    """

    classes: tuple[str, ...]
    linkage: np.ndarray
    distances: np.ndarray
    method: str = "ward"

    def __post_init__(self) -> None:
        n = len(self.classes)
        if self.method not in METRICS:
            raise ValueError(f"`method` must be one of {sorted(METRICS)}. Received: {self.method!r}.")
        if n < 2 or list(self.classes) != sorted(set(self.classes)):
            raise ValueError(f"A tree needs at least 2 classes, sorted and unique. Received: {self.classes}.")
        if self.linkage.shape != (n - 1, 4) or not scipy_hierarchy.is_valid_linkage(self.linkage):
            raise ValueError(f"`linkage` must hold the {n - 1} merges of {n} classes as scipy writes them.")
        if self.distances.shape != (n * (n - 1) // 2,) or not np.isfinite(self.distances).all():
            raise ValueError(f"`distances` must hold one number for each pair of the {n} classes.")

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """Classes from left to right in the tree, as indices into `classes`."""
        return tuple(scipy_hierarchy.leaves_list(self.linkage).tolist())

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
        groups = self.groups(n_macros)
        names: list[str] = []
        for group in groups:
            names.append(_unique("+".join(self._central(group)), names))
        return Hierarchy(
            tuple(names), tuple(tuple(sorted(self.classes[leaf] for leaf in group)) for group in groups)
        )

    def groups(self, n_macros: int) -> list[list[int]]:
        """Cut as `cut` does, into lists of indices into `classes`, all in leaf order."""
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
        place = {leaf: position for position, leaf in enumerate(self.leaves)}
        groups = [sorted(group, key=place.__getitem__) for group in nodes.values()]
        return sorted(groups, key=lambda group: place[group[0]])

    def cut_height(self, n_macros: int) -> float:
        """Return a height at which a line crosses exactly the branches of `cut(n_macros)`."""
        self.groups(n_macros)
        heights = np.concatenate([[0.0], self.linkage[:, 2], [self.linkage[-1, 2] * 1.1]])
        merges = len(self.classes) - int(n_macros)
        return float((heights[merges] + heights[merges + 1]) / 2)

    def _central(self, group: list[int]) -> list[str]:
        """Name the classes nearest the group's centre, the nearest first, sorted on ties.

        Between unit vectors the sum of squared distances to all members is the squared distance to their
        mean, times a constant, plus another. The squared distance is twice the cosine distance.
        """
        distances = squareform(self.distances)[np.ix_(group, group)]
        squared = distances**2 if METRICS[self.method] == "euclidean" else 2 * distances
        order = sorted(range(len(group)), key=lambda i: (round(squared[i].sum(), 12), self.classes[group[i]]))
        return [self.classes[group[i]] for i in order[:_NAMED]]

    def to_json(self) -> str:
        """Write as JSON text that `from_json` reads back to the last bit."""
        return json.dumps(
            {
                "method": self.method,
                "classes": self.classes,
                "linkage": self.linkage.tolist(),
                "distances": self.distances.tolist(),
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> ClassTree:
        """Read the text that `to_json` writes.

        Raises
        ------
        ValueError
            If the text is no such JSON, or the numbers are no tree of these classes.
        """
        try:
            content = json.loads(text)
            linkage, distances = (np.array(content[key], dtype=float) for key in ("linkage", "distances"))
            return cls(tuple(map(str, content["classes"])), linkage, distances, str(content["method"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"This is no tree of classes ({error}). Cluster the classes again.") from error


def cluster_classes(embeddings: ClassEmbeddings, method: str = "ward") -> ClassTree:
    """Cluster class embeddings bottom-up.

    Parameters
    ----------
    embeddings
        One unit vector a class.
    method
        "ward" on Euclidean distances, "average" or "complete" on cosine distances. Where two merges are
        equally near, scipy's order of classes decides, which is fixed because classes are sorted.

    Raises
    ------
    ValueError
        If there are fewer than 2 classes, or the method is unknown.
    """
    if method not in METRICS:
        raise ValueError(f"`method` must be one of {sorted(METRICS)}. Received: method={method!r}.")
    if len(embeddings.classes) < 2:
        raise ValueError(
            f"Clustering needs at least 2 classes. Received: {embeddings.classes}. Add images of others."
        )
    distances = np.maximum(pdist(embeddings.vectors, metric=METRICS[method]), 0)
    merges = scipy_hierarchy.linkage(distances, method=method)
    ordered = scipy_hierarchy.optimal_leaf_ordering(merges, distances)
    return ClassTree(embeddings.classes, ordered, distances, method)


@dataclass(frozen=True)
class MacroCount:
    """A number of macros and why it was chosen.

    Attributes
    ----------
    n_macros
        The number with the highest silhouette, the smallest on ties.
    candidates
        The numbers tried.
    silhouettes
        The mean silhouette of each.
    """

    n_macros: int
    candidates: tuple[int, ...]
    silhouettes: tuple[float, ...]


def choose_n_macros(tree: ClassTree, low: int = 3, high: int = 12) -> MacroCount:
    """Choose the number of macros by the mean silhouette of the class embeddings (Rousseeuw 1987).

    The points are the class embeddings, which come from training images alone, at the tree's own distances
    (Euclidean under ward, else cosine). `high` is lowered to one less than the number of classes, since a cut
    into single classes has no silhouette.

    Raises
    ------
    ValueError
        If `low` is under 2 or over `high`, or there are not more than `low` classes.
    """
    if not 2 <= low <= high:
        raise ValueError(f"`low` must be at least 2 and at most `high`. Received: low={low}, high={high}.")
    n = len(tree.classes)
    if n <= low:
        raise ValueError(
            f"Choosing the number of macros needs more than low={low} classes. Received: {n}. "
            "Name the number of macros yourself."
        )
    candidates = tuple(range(low, min(high, n - 1) + 1))
    square = squareform(tree.distances)
    scores = tuple(_silhouette(square, tree.groups(k)) for k in candidates)
    return MacroCount(candidates[int(np.argmax(scores))], candidates, scores)


def _silhouette(square: np.ndarray, groups: list[list[int]]) -> float:
    """Compute the mean silhouette of a partition, rounded so that ties are ties."""
    labels = np.empty(len(square), dtype=np.intp)
    for index, group in enumerate(groups):
        labels[group] = index
    return round(float(silhouette_score(square, labels, metric="precomputed")), 12)


def _unique(name: str, taken: list[str]) -> str:
    """Append a number to a name that is taken."""
    number, candidate = 2, name
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
