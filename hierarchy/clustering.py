"""Clusterings by name: how classes become a tree or a partition, and how many macros to make of it.

One table, `CLUSTERINGS`, that settings, commands and estimators read; `register_clustering` adds to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from scipy.cluster import hierarchy as scipy_hierarchy
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score

from .class_tree import ClassTree, named_hierarchy
from .embeddings import ClassEmbeddings
from .hierarchy import Hierarchy
from .registry import Registry

Distance = Literal["euclidean", "cosine"]
MOST_MACROS = 12
MOST_ALONE = 1 / 3
"""The share of macros that may hold a single class in a cut that `choose_n_macros` likes to take."""


@dataclass(frozen=True, eq=False)
class ClusteringContext:
    """What a clustering may look at; nothing in it comes from test images.

    Attributes
    ----------
    embeddings
        One unit vector per class, of training images.
    counts
        Training images per class, of shape (n_classes,); None where nobody counted.
    confusion
        Gives `validation_confusion`; None where no flat model is trained.
    """

    embeddings: ClassEmbeddings
    counts: np.ndarray | None = None
    confusion: Callable[[], np.ndarray] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Sorted names: the order of everything here."""
        return self.embeddings.classes

    @cached_property
    def validation_confusion(self) -> np.ndarray:
        """Flat's probability mass on validation images: row true class, column class said, (n_classes, n_classes).

        The flat models are trained when this is first asked for.

        Raises
        ------
        ValueError
            Where there is no flat model to ask, as in `aisles train`.
        """
        if self.confusion is None:
            raise ValueError(
                "This clustering reads the flat model's validation confusions, and only a benchmark has them. Run "
                "aisles benchmark, and give its hierarchy.json (--hierarchy)."
            )
        return self.confusion()


@dataclass(frozen=True)
class ClusteringDefinition:
    """A registered clustering; see `register_clustering`."""

    name: str
    build: Callable[..., np.ndarray]
    description: str
    makes: Literal["tree", "partition"] = "tree"
    distance: Distance | Callable[[ClusteringContext], np.ndarray] = "cosine"

    @property
    def metric(self) -> str:
        """Name of the distance, "own" where a function gives it."""
        return self.distance if isinstance(self.distance, str) else "own"

    def distances(self, context: ClusteringContext) -> np.ndarray:
        """Compute the distances between classes, condensed as `scipy.spatial.distance.pdist` gives them."""
        vectors = context.embeddings.vectors
        if self.distance == "euclidean":
            return pdist(vectors, metric="euclidean")
        if self.distance == "cosine":
            return np.maximum(pdist(vectors, metric="cosine"), 0)
        assert callable(self.distance)
        n, found = len(context.classes), np.asarray(self.distance(context), dtype=np.float64)
        if found.shape != (n * (n - 1) // 2,) or not np.isfinite(found).all() or (found < 0).any():
            raise ValueError(
                f"The distance of the clustering {self.name!r} must give {n * (n - 1) // 2} finite numbers of 0 or "
                f"more, condensed as scipy's pdist does. Received: shape {found.shape}."
            )
        return found


CLUSTERINGS: Registry[ClusteringDefinition] = Registry("clustering", "clusterings")
"""The clusterings by name."""


def register_clustering(
    name: str,
    *,
    description: str,
    makes: Literal["tree", "partition"] = "tree",
    distance: Distance | Callable[[ClusteringContext], np.ndarray] = "cosine",
) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Make a function a clustering that its name selects everywhere: `--linkage NAME`, settings, estimators.

    Parameters
    ----------
    name : str
    description : str
        In half a sentence; stands in help texts.
    makes : {'tree', 'partition'}
        tree: the function maps (distances, context) to merges as `scipy.cluster.hierarchy.linkage` gives them.
        partition: it maps (context, n_macros) to the number of each class's group, of shape (n_classes,), 0 to
        n_macros - 1, none empty.
    distance : {'euclidean', 'cosine'} or callable
        Between class embeddings; or a function of the context that gives condensed distances. Silhouettes and the
        names of macros rest on it, too.

    Returns
    -------
    callable
        Decorator that returns the function unchanged.

    Raises
    ------
    ValueError
        If the name is taken, or `makes` or `distance` is something else.
    """
    if makes not in ("tree", "partition"):
        raise ValueError(f"`makes` is tree or partition. Received for {name!r}: {makes!r}.")
    if not callable(distance) and distance not in ("euclidean", "cosine"):
        raise ValueError(
            f"`distance` is euclidean, cosine or a function of the context. Received for {name!r}: {distance!r}."
        )

    def register(build: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        CLUSTERINGS.add(name, ClusteringDefinition(name, build, description, makes, distance))
        return build

    return register


class Clustered(Protocol):
    """Clustered classes, a `ClassTree` or `ClassPartitions`: what macros are made of."""

    @property
    def metric(self) -> str:
        """Name of the distance."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Sorted names."""
        ...

    @property
    def distances(self) -> np.ndarray:
        """Between classes, condensed."""
        ...

    def labels(self, n_macros: int) -> np.ndarray:
        """Return the number of each class's group, of shape (n_classes,)."""
        ...

    def cut(self, n_macros: int) -> Hierarchy:
        """Return the hierarchy of that many macros."""
        ...


@dataclass(frozen=True, eq=False)
class ClassPartitions:
    """Classes that a clustering divides anew for each number of macros.

    Attributes
    ----------
    classes
        Sorted names.
    distances
        Condensed.
    definition
        Of the clustering.
    context
        What it looks at.
    """

    classes: tuple[str, ...]
    distances: np.ndarray
    definition: ClusteringDefinition
    context: ClusteringContext

    @property
    def metric(self) -> str:
        """Name of the distance."""
        return self.definition.metric

    def labels(self, n_macros: int) -> np.ndarray:
        """Return the number of each class's group, of shape (n_classes,); each number of macros is made once.

        Raises
        ------
        ValueError
            If `n_macros` is not between 2 and the number of classes, or the clustering gives no such partition.
        """
        if n_macros not in self._made:
            self._made[n_macros] = self._labels(n_macros)
        return self._made[n_macros]

    @cached_property
    def _made(self) -> dict[int, np.ndarray]:
        return {}

    def _labels(self, n_macros: int) -> np.ndarray:
        n = len(self.classes)
        if isinstance(n_macros, bool) or int(n_macros) != n_macros or not 2 <= n_macros <= n:
            raise ValueError(
                f"`n_macros` must be between 2 and the number of classes ({n}). Received: n_macros={n_macros}."
            )
        found = np.asarray(self.definition.build(self.context, int(n_macros)))
        if found.shape != (n,) or sorted(set(found.tolist())) != list(range(int(n_macros))):
            raise ValueError(
                f"The clustering {self.definition.name!r} must number the groups of {n} classes from 0 to "
                f"{n_macros - 1}, none empty. Received: shape {found.shape}, {len(set(found.ravel().tolist()))} "
                "different numbers. Repair it, or ask for fewer macros."
            )
        return found.astype(np.intp)

    def cut(self, n_macros: int) -> Hierarchy:
        """Divide the classes into `n_macros` macros, ordered by the first class of each, named as a tree's are."""
        return cut_by_class(self, n_macros)


def cut_by_class(clustered: Clustered, n_macros: int) -> Hierarchy:
    """Make macros in the order of their first class.

    A tree's own `cut` puts similar macros side by side, for which it orders all leaves: a minute for 3,000 classes.
    """
    labels = clustered.labels(n_macros)
    groups = [np.flatnonzero(labels == number).tolist() for number in range(int(n_macros))]
    return named_hierarchy(clustered.classes, sorted(groups), clustered.distances, clustered.metric)


def cluster(context: ClusteringContext, method: str = "ward") -> ClassTree | ClassPartitions:
    """Cluster classes by a registered clustering.

    Raises
    ------
    ValueError
        If there are fewer than 2 classes, the method is unknown, or it gives no tree or partition of the classes.
    """
    definition = CLUSTERINGS[method]
    if len(context.classes) < 2:
        raise ValueError(
            f"Clustering needs at least 2 classes. Received: {context.classes}. Add images of others."
        )
    distances = definition.distances(context)
    if definition.makes == "partition":
        return ClassPartitions(context.classes, distances, definition, context)
    merges = np.asarray(definition.build(distances, context), dtype=np.float64)
    return ClassTree(context.classes, merges, distances, method, definition.metric)


def cluster_classes(embeddings: ClassEmbeddings, method: str = "ward") -> ClassTree:
    """Cluster class embeddings bottom-up into a tree.

    Parameters
    ----------
    embeddings
        One unit vector per class.
    method
        A registered clustering that makes trees: "ward" on Euclidean distances, "average" or "complete" on cosine
        distances. Where two merges are equally near, scipy's order of classes decides, which is fixed because classes
        are sorted.

    Raises
    ------
    ValueError
        If there are fewer than 2 classes, or the method is unknown or makes no tree.
    """
    tree = cluster(ClusteringContext(embeddings), check_clustering(method, tree=True))
    assert isinstance(tree, ClassTree)
    return tree


def check_clustering(name: str, tree: bool = False) -> str:
    """Return the name of a registered clustering.

    Raises
    ------
    ValueError
        If there is none of this name, or it must make a `tree` and makes partitions.
    """
    if CLUSTERINGS[name].makes != "tree" and tree:
        trees = [other for other, definition in CLUSTERINGS.items() if definition.makes == "tree"]
        raise ValueError(f"The clustering {name!r} makes no tree. Choose one of: {', '.join(trees)}.")
    return name


@dataclass(frozen=True)
class MacroCount:
    """A number of macros and why it was chosen.

    Attributes
    ----------
    n_macros
        The chosen number.
    candidates
        The numbers tried.
    silhouettes
        The mean silhouette of each.
    alone
        How many macros of each hold a single class.
    reason
        For people, in half a sentence.
    """

    n_macros: int
    candidates: tuple[int, ...]
    silhouettes: tuple[float, ...]
    alone: tuple[int, ...]
    reason: str


def choose_n_macros(clustered: Clustered) -> MacroCount:
    """Choose the number of macros: the one rule of benchmarks, forecasts and estimators.

    Tried are 2 to 12 macros, but no more than half as many as classes. Left out are those of which more than a third
    are single classes, since a macro of one class has nothing to tell apart, and so are two macros; where nothing
    would be left, the numbers with the smallest share of single classes stay. Of the rest the highest mean silhouette
    of the classes wins (Rousseeuw 1987), at the clustering's own distances, the smallest number on ties. All of it
    comes from training images.
    """
    alone, kept = _alone(clustered), allowed_numbers(clustered)
    square = squareform(clustered.distances)
    scores = {k: _silhouette(square, clustered.labels(k)) for k in alone}
    best = max(kept, key=lambda k: (scores[k], -k))
    reason = _reason(best, kept, scores, len(clustered.classes))
    return MacroCount(best, tuple(alone), tuple(scores.values()), tuple(alone.values()), reason)


def allowed_numbers(clustered: Clustered) -> list[int]:
    """Return the numbers of macros among which `choose_n_macros` chooses."""
    alone = _alone(clustered)
    kept = [k for k, single in alone.items() if k > 2 and single <= k * MOST_ALONE]
    least = min(single / k for k, single in alone.items())
    return kept or [k for k, single in alone.items() if single / k == least]


def _alone(clustered: Clustered) -> dict[int, int]:
    """Count for each number of macros to try the macros of a single class."""
    most = max(2, min(MOST_MACROS, len(clustered.classes) // 2))
    return {k: int((np.bincount(clustered.labels(k)) == 1).sum()) for k in range(2, most + 1)}


def _reason(best: int, kept: list[int], scores: dict[int, float], n: int) -> str:
    if len(scores) == 1:
        return f"{best} macros, as {n} classes make no more that tell classes apart inside"
    left_out = [k for k in scores if k not in kept and k > 2]
    crumbs = f", without {_listed(left_out)} for their many single classes" if left_out else ""
    if len(kept) == 1:
        return (
            f"{best} macros{crumbs}" if crumbs else f"{best} macros, at most half as many as the {n} classes"
        )
    return f"{best} macros: highest silhouette ({scores[best]:.3f}) of {_listed(kept)}{crumbs}"


def _listed(numbers: list[int]) -> str:
    whole = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if whole else ", ".join(map(str, numbers))


def _silhouette(square: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean silhouette of a partition, rounded so that ties are ties; 0 where all classes are alone."""
    if len(set(labels.tolist())) == len(labels):
        return 0.0
    return round(float(silhouette_score(square, labels, metric="precomputed")), 12)


def _scipy(name: str, description: str, distance: Distance) -> None:
    def build(distances: np.ndarray, context: ClusteringContext) -> np.ndarray:
        return scipy_hierarchy.linkage(distances, method=name)

    register_clustering(name, description=description, distance=distance)(build)


_scipy("ward", "least growth of the variance inside groups, on Euclidean distances", "euclidean")
_scipy("average", "mean cosine distance between the classes of two groups", "cosine")
_scipy("complete", "largest cosine distance between the classes of two groups", "cosine")
