"""Guarantees: thresholds and sets that keep a stated guarantee, whatever the model.

Both need calibration images from which neither models nor temperatures were learned, exchangeable with those
to come: drawn in the same way. Several images of one product are not independent; calibrate on one image a
product if the new images are of new products.

`climb_guarantee` guarantees that among *given* answers a stated share is right. That is a ratio whose two
parts both move with the threshold, so it isn't monotone and neither conformal risk control (Angelopoulos et
al., ICLR 2024) nor a conformal quantile applies. It uses Learn then Test (Angelopoulos, Bates, Candès,
Jordan and Lei, Annals of Applied Statistics 2025): each threshold of a grid fixed beforehand is tested with
an exact binomial p-value, all together at level `delta`. `fit_prediction_sets` is split conformal prediction.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from .distributions import check_distributions, check_same_images
from .hierarchy import Hierarchy
from .rule_functions import NEVER, macros_holding

logger = logging.getLogger(__name__)

GRID = (0.999, 0.995, *(hundredths / 100 for hundredths in range(99, -1, -1)))
"""Thresholds that are tested, strictest first; fixed before any data is seen."""
STARTS = (0.99, 0.9, 0.8, 0.7, 0.5)
"""Thresholds that each bring an equal share of `delta`."""
SET_METHODS = ("lac", "aps")


@dataclass(frozen=True)
class ClimbGuarantee:
    """A threshold for climb and the guarantee it keeps.

    Attributes
    ----------
    target
        The guaranteed share of right answers among those given, class and macro answers together.
    delta
        The chance, over draws of calibration images, that the guarantee is not kept.
    threshold
        For both levels of climb; `routing.NEVER` if no threshold keeps the guarantee.
    n_images, n_given, n_right
        Calibration images, those given an answer at this threshold, and those whose answer was right.
    """

    target: float
    delta: float
    threshold: float
    n_images: int
    n_given: int
    n_right: int


def climb_guarantee(
    probs: ArrayLike,
    macro_probs: ArrayLike,
    hierarchy: Hierarchy,
    labels: ArrayLike,
    target: float,
    delta: float = 0.1,
) -> ClimbGuarantee:
    """Find the lowest threshold t of climb-t under which given answers are right often enough.

    With probability at least 1 - `delta` over the draw of independent calibration images, P(right | given)
    >= `target` for new images of the same distribution. A class answer is right if it is the true class, a
    macro answer if the macro holds the true class. The guarantee is about all given answers together, not
    about each level, class, or image.

    For each t of `GRID`, the hypothesis "P(wrong | given) > 1 - target" has the exact p-value
    P(Binomial(n_given, 1 - target) <= n_wrong), since given n_given the wrong answers are binomial. The
    hypotheses are tested strictest first by the fallback procedure (Wiens and Dmitrienko, Journal of
    Biopharmaceutical Statistics 2005), which keeps the chance of any false rejection below `delta` under
    any dependence: each threshold of `STARTS` brings delta / 5, and a rejection hands its level on to the
    next threshold.

    Parameters
    ----------
    probs
        Class distribution that climb will use, of shape (n, n_classes), of the calibration images.
    macro_probs
        Macro distribution, of shape (n, n_macros).
    hierarchy
        Of both.
    labels
        True classes as indices into `hierarchy.classes`.
    target
        Between 0 and 1, as 0.95.
    delta
        Between 0 and 1.

    Raises
    ------
    ValueError
        If there are too few images for the guarantee even if all answers were right, or inputs don't fit.
    """
    check_share(target, "target")
    check_share(delta, "delta")
    probs = check_distributions(probs, "probs", hierarchy.n_classes)
    macro_probs = check_distributions(macro_probs, "macro_probs", hierarchy.n_macros)
    check_same_images(probs=probs, macro_probs=macro_probs)
    labels = _checked_labels(labels, len(probs), hierarchy.n_classes)
    needed = climb_images_needed(target, delta)
    if len(probs) < needed:
        raise ValueError(
            f"A share of {target} with delta={delta} needs at least {needed} calibration images. "
            f"Received: {len(probs)}. Bring more, or lower the share."
        )
    given, right = _counts(probs, macro_probs, hierarchy, labels)
    passed = _fallback(binom.cdf(given - right, given, 1 - target), delta)
    if not passed.any():
        logger.warning("No threshold gives answers of which %s are right; climb will answer nothing.", target)
        return ClimbGuarantee(target, delta, NEVER, len(probs), 0, 0)
    lowest = int(np.flatnonzero(passed)[-1])
    return ClimbGuarantee(target, delta, GRID[lowest], len(probs), int(given[lowest]), int(right[lowest]))


def climb_images_needed(target: float, delta: float = 0.1) -> int:
    """Return how many calibration images `climb_guarantee` needs at least, all answers being right."""
    return int(np.ceil(np.log(delta / len(STARTS)) / np.log(target)))


def _counts(
    probs: np.ndarray, macro_probs: np.ndarray, hierarchy: Hierarchy, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count given and right answers at each threshold of the grid."""
    holds = np.zeros((hierarchy.n_macros, hierarchy.n_classes), dtype=bool)
    holds[hierarchy.slot_macro, hierarchy.slot_class] = True
    grid = np.array(GRID)
    by_class = probs.max(axis=1)[:, None] >= grid
    best = np.argmax(probs, axis=1)
    macro = macros_holding(hierarchy, best, macro_probs)
    by_macro = ~by_class & (macro_probs[np.arange(len(macro)), macro][:, None] >= grid)
    class_right, macro_right = best == labels, holds[macro, labels]
    right = (by_class & class_right[:, None]) | (by_macro & macro_right[:, None])
    return (by_class | by_macro).sum(axis=0), right.sum(axis=0)


def _fallback(p_values: np.ndarray, delta: float) -> np.ndarray:
    """Test in order; a rejection hands its level on, anything else loses it."""
    passed = np.zeros(len(p_values), dtype=bool)
    level = 0.0
    for index, t in enumerate(GRID):
        level += delta / len(STARTS) if t in STARTS else 0.0
        passed[index] = level > 0 and p_values[index] <= level
        level = level if passed[index] else 0.0
    return passed


@dataclass(frozen=True)
class SetRule:
    """Which classes go into a prediction set; apply it to new images with `sets`.

    Attributes
    ----------
    coverage
        The guaranteed share of images whose set holds the true class.
    method
        "lac" or "aps".
    quantile
        Classes whose score is at most this go in.
    n_images
        Calibration images.
    """

    coverage: float
    method: str
    quantile: float
    n_images: int

    def sets(self, probs: ArrayLike) -> np.ndarray:
        """Return which classes are in each image's set.

        Parameters
        ----------
        probs
            Of shape (n, n_classes), rows sum to 1.

        Returns
        -------
        numpy.ndarray
            bool, of shape (n, n_classes). A set may be empty under "lac": nothing is probable enough.
        """
        return _scores(check_distributions(probs, "probs", None), self.method) <= self.quantile


def fit_prediction_sets(
    calibration_probs: ArrayLike, labels: ArrayLike, coverage: float, method: str = "lac"
) -> SetRule:
    """Find the rule whose sets hold a new image's true class with at least the stated probability.

    Split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates, "A Gentle Introduction to
    Conformal Prediction", 2021): the rule's quantile is the ceil((n + 1) coverage)-th smallest score of the
    true classes. The probability is over calibration and new image together, under exchangeability alone.

    Parameters
    ----------
    calibration_probs
        Of shape (n, n_classes), of images that the models have not learned from.
    labels
        True classes as column indices.
    coverage
        Between 0 and 1, as 0.95.
    method
        "lac": score 1 - P(c), the smallest sets on average (Sadinle, Lei and Wasserman, JASA 2019).
        "aps": score = sum of the probabilities above P(c), so that sets grow on hard images and are never
        empty (Romano, Sesia and Candès, NeurIPS 2020, without randomization: they cover more than guaranteed).

    Raises
    ------
    ValueError
        If there are too few images for the coverage, or inputs don't fit.
    """
    if method not in SET_METHODS:
        raise ValueError(f"`method` must be one of {list(SET_METHODS)}. Received: method={method!r}.")
    check_share(coverage, "coverage")
    probs = check_distributions(calibration_probs, "calibration_probs", None)
    labels = _checked_labels(labels, *probs.shape)
    true_scores = _scores(probs, method)[np.arange(len(labels)), labels]
    return SetRule(coverage, method, conformal_quantile(true_scores, coverage), len(probs))


def conformal_quantile(true_scores: np.ndarray, coverage: float) -> float:
    """Return the ceil((n + 1) coverage)-th smallest of the true classes' scores, of shape (n,).

    Raises
    ------
    ValueError
        If `coverage` is no share, or there are too few scores for it.
    """
    check_share(coverage, "coverage")
    n = len(true_scores)
    rank = int(np.ceil((n + 1) * coverage - 1e-9))
    if rank > n:
        needed = int(np.ceil(coverage / (1 - coverage) - 1e-9))
        raise ValueError(
            f"Sets with a coverage of {coverage} need at least {needed} calibration images. "
            f"Received: {n}. Bring more, or lower the coverage."
        )
    return float(np.sort(true_scores)[rank - 1])


def _scores(probs: np.ndarray, method: str) -> np.ndarray:
    """Score every class, low for the probable; equally probable ones in column order."""
    if method == "lac":
        return 1 - probs
    order = np.argsort(-probs, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(probs, order, axis=1), axis=1)
    above = np.hstack([np.zeros((len(probs), 1)), sums[:, :-1]])
    scores = np.empty_like(above)
    np.put_along_axis(scores, order, above, axis=1)
    return scores


def _checked_labels(labels: ArrayLike, n_images: int, n_columns: int) -> np.ndarray:
    """Refuse labels that are no column indices."""
    array = np.asarray(labels)
    fits = array.shape == (n_images,) and np.issubdtype(array.dtype, np.integer)
    if not fits or (n_images and not 0 <= array.min() <= array.max() < n_columns):
        raise ValueError(
            f"`labels` must hold one class index from 0 to {n_columns - 1} for each of {n_images} images. "
            f"Received: shape {array.shape}, {array.dtype}."
        )
    return array


def check_share(value: float, name: str) -> None:
    """Refuse what is no share, naming the parameter."""
    if not 0 < value < 1:
        raise ValueError(
            f"`{name}` must be between 0 and 1, both excluded, as 0.95. Received: {name}={value}."
        )
