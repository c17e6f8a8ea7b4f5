"""How far the macros depend on which images happened to be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .clustering import cluster_classes
from .embeddings import class_embeddings, class_rows, embeddings_from_sums, unit_rows
from .hierarchy import Hierarchy


@dataclass(frozen=True)
class Stability:
    """Agreement of macros found on resampled images with those found on all.

    Attributes
    ----------
    scores
        Adjusted Rand index of each bootstrap: 1 is the same macros, 0 what chance gives.
    """

    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the bootstraps."""
        return float(np.mean(self.scores))

    @property
    def sd(self) -> float:
        """Standard deviation over the bootstraps (divisor n - 1; 0 for a single one)."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0


def stability(
    features: np.ndarray,
    labels: Sequence[str],
    n_macros: int,
    method: str = "ward",
    n_bootstraps: int = 20,
    seed: int = 0,
) -> Stability:
    """Resample the images inside each class, find the macros again, and compare.

    Parameters
    ----------
    features, labels
        As for `class_embeddings`; training images only.
    n_macros, method
        As for `cluster_classes` and `ClassTree.cut`.
    n_bootstraps
        How often to resample.
    seed
        Of the resampling; the same seed gives the same scores.

    Raises
    ------
    ValueError
        If `n_bootstraps` is under 1, or as the functions used.
    """
    if n_bootstraps < 1:
        raise ValueError(f"`n_bootstraps` must be 1 or more. Received: n_bootstraps={n_bootstraps}.")
    reference = cluster_classes(class_embeddings(features, labels), method).labels(n_macros)
    rows = class_rows(features, labels)
    rng = np.random.default_rng(seed)
    sums = np.empty((n_bootstraps, len(rows), features.shape[1]))
    for position, index in enumerate(rows.values()):
        times_drawn = rng.multinomial(len(index), np.full(len(index), 1 / len(index)), size=n_bootstraps)
        sums[:, position] = times_drawn @ unit_rows(features[index])
    found = (embeddings_from_sums(tuple(rows), drawn) for drawn in sums)
    return Stability(tuple(_rand(reference, cluster_classes(e, method).labels(n_macros)) for e in found))


def adjusted_rand(one: Hierarchy, other: Hierarchy) -> float:
    """Compare two hierarchies of the same classes: 1 for the same partition, 0 on average for random ones.

    Adjusted Rand index (Hubert and Arabie, Journal of Classification 1985) over pairs of classes; names of
    macros don't count.

    Raises
    ------
    ValueError
        If the classes differ, or a class stands in several macros.
    """
    if one.classes != other.classes:
        differing = sorted(set(one.classes) ^ set(other.classes))
        raise ValueError(f"Both hierarchies must have the same classes. Only in one of them: {differing}.")
    return _rand(one.macro_of, other.macro_of)


def _rand(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the adjusted Rand index of two numberings of the same classes' groups."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    together = _pairs(table).sum()
    first, second = _pairs(table.sum(axis=1)).sum(), _pairs(table.sum(axis=0)).sum()
    by_chance = first * second / max(_pairs(np.array(len(one))), 1)
    most = (first + second) / 2
    return 1.0 if most == by_chance else float((together - by_chance) / (most - by_chance))


def _pairs(count: np.ndarray) -> np.ndarray:
    return count * (count - 1) / 2
