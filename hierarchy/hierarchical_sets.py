"""Prediction sets along the hierarchy: a macro stands for its classes where that names fewer, with the same guarantee.

A flat set that holds two or more classes of a macro names each. The hierarchical set names the macro instead, and so
stands for all its classes: at most one name per macro. These sets grow with their threshold as flat ones do, so split
conformal prediction applies to them directly (nested sets: Gupta, Kuchibhotla and Ramdas, Pattern Recognition 2022),
and since a macro brings further classes along, the threshold that covers the stated share is never above the flat one.
A set of a few nodes of a class hierarchy is the constrained representation of Mortier et al. (UAI 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .distributions import check_distributions
from .guarantees import SET_METHODS, SetRule, _checked_labels, _scores, conformal_quantile
from .hierarchy import Hierarchy


@dataclass(frozen=True, eq=False)
class HierarchicalSets:
    """What the sets of some images name.

    Attributes
    ----------
    classes : ndarray of bool of shape (n, n_classes)
        Classes named one by one; none of a macro that is named.
    macros : ndarray of bool of shape (n, n_macros)
        Macros named, each for all its classes.
    members : ndarray of bool of shape (n, n_classes)
        Every class that a set holds, by itself or in its macro.
    """

    classes: np.ndarray
    macros: np.ndarray
    members: np.ndarray

    @property
    def n_names(self) -> np.ndarray:
        """How many names each set has, of shape (n,)."""
        return self.classes.sum(axis=1) + self.macros.sum(axis=1)


@dataclass(frozen=True)
class HierarchicalSetRule:
    """Which names go into a set; apply it to new images with `sets`.

    Attributes
    ----------
    coverage
        The guaranteed share of images whose set holds the true class, by itself or in its macro.
    method
        "lac" or "aps": the score of a class, as in `fit_prediction_sets`.
    quantile
        Classes whose score is at most this are in; two of one macro are its macro.
    n_images
        Calibration images.
    """

    coverage: float
    method: str
    quantile: float
    n_images: int

    def sets(self, probs: ArrayLike, hierarchy: Hierarchy) -> HierarchicalSets:
        """Return what each image's set names.

        Parameters
        ----------
        probs
            Of shape (n, n_classes), rows sum to 1, columns in the order of `hierarchy.classes`.
        hierarchy
            Each class in one macro.
        """
        flat = SetRule(self.coverage, self.method, self.quantile, self.n_images).sets(
            check_distributions(probs, "probs", hierarchy.n_classes)
        )
        of = np.eye(hierarchy.n_macros, dtype=bool)[hierarchy.macro_of]
        macros = flat.astype(np.intp) @ of.astype(np.intp) >= 2
        inside = macros[:, hierarchy.macro_of]
        return HierarchicalSets(flat & ~inside, macros, flat | inside)


def fit_hierarchical_sets(
    calibration_probs: ArrayLike,
    labels: ArrayLike,
    coverage: float,
    hierarchy: Hierarchy,
    method: str = "lac",
) -> HierarchicalSetRule:
    """Find the rule whose hierarchical sets hold a new image's true class with at least the stated probability.

    A class is in from the threshold on at which it is in itself or two classes of its macro are, so its score is the
    smaller of its own flat score and the second smallest in its macro. The quantile is that of the true classes'
    scores, as in `fit_prediction_sets`.

    Parameters
    ----------
    calibration_probs
        Of shape (n, n_classes), of images that the models have not learned from.
    labels
        True classes as column indices.
    coverage
        Between 0 and 1, as 0.95.
    hierarchy
        Each class in one macro.
    method
        "lac" or "aps", as in `fit_prediction_sets`.

    Raises
    ------
    ValueError
        If there are too few images for the coverage, or inputs don't fit.
    """
    if method not in SET_METHODS:
        raise ValueError(f"`method` must be one of {list(SET_METHODS)}. Received: method={method!r}.")
    probs = check_distributions(calibration_probs, "calibration_probs", hierarchy.n_classes)
    labels = _checked_labels(labels, *probs.shape)
    scores = hierarchical_scores(_scores(probs, method), hierarchy)[np.arange(len(labels)), labels]
    return HierarchicalSetRule(coverage, method, conformal_quantile(scores, coverage), len(probs))


def hierarchical_scores(scores: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """Return the smaller of each class's score and the second smallest in its macro, of shape (n, n_classes)."""
    found = scores.copy()
    for macro in range(hierarchy.n_macros):
        columns = np.flatnonzero(hierarchy.macro_of == macro)
        if len(columns) > 1:
            second = np.partition(scores[:, columns], 1, axis=1)[:, 1:2]
            found[:, columns] = np.minimum(scores[:, columns], second)
    return found
