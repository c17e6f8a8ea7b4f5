"""How far probabilities can be believed, and what answering fewer images buys. Pure functions of arrays."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Risk among the most confident images, for every number of images answered.

    Attributes
    ----------
    coverage : ndarray of shape (n_images,)
        1/n, 2/n, ..., 1.
    risk : ndarray of shape (n_images,)
        Share of wrong answers among that many most confident images.
    aurc : float
        Mean of `risk`: the area under the curve; lower is better.
    """

    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]
    aurc: float


@dataclass(frozen=True, eq=False)
class ClimbCurve:
    """What climb answers and how well, for every threshold; all arrays of shape (n_thresholds,).

    Attributes
    ----------
    thresholds : ndarray
        As given.
    class_share, macro_share : ndarray
        Share of images answered with a class, and with a macro only; the rest get no answer.
    class_accuracy, accuracy : ndarray
        Share of right answers among the images answered with a class, and among all images answered at either
        level; NaN where none is answered.
    """

    thresholds: npt.NDArray[np.float64]
    class_share: npt.NDArray[np.float64]
    macro_share: npt.NDArray[np.float64]
    class_accuracy: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]


def ece(probs: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error of the most probable class.

    Images are put into `bins` equal-width bins ((i - 1) / bins, i / bins] by the probability of their most
    probable class; ECE = sum over bins of (images in bin / n) |accuracy in bin - mean probability in bin|.

    Parameters
    ----------
    probs : array-like of shape (n_images, n_classes)
        Rows sum to 1.
    labels : array-like of int of shape (n_images,)
        Column of the true class.
    bins : int
        At least 1.

    Returns
    -------
    float
        In [0, 1]. On equal probabilities the first class is the answer.

    Raises
    ------
    ValueError
        If the arrays do not fit, rows do not sum to 1, or `bins` is below 1.

    Notes
    -----
    Naeini, Cooper and Hauskrecht (AAAI 2015); Guo et al., On calibration of modern neural networks (ICML
    2017).
    """
    p, truth = _checked(probs, labels)
    return answers_ece(p.max(axis=1), p.argmax(axis=1) == truth, bins)


def answers_ece(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error (see `ece`) from each answer's probability and whether it is right.

    Parameters
    ----------
    confidence : array-like of shape (n_images,)
        Probability of each answer.
    correct : array-like of bool of shape (n_images,)
    bins : int
        At least 1.
    """
    if bins < 1:
        raise ValueError(f"`bins` must be at least 1. Received: bins={bins}.")
    sure, right = _confidence("confidence", confidence, correct)
    edges = np.arange(1, bins) / bins
    place = np.searchsorted(edges, sure, side="left")
    gaps = np.bincount(place, weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(sure))


def nll(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean negative natural logarithm of the true class's probability.

    Parameters
    ----------
    probs, labels
        As in `ece`.

    Returns
    -------
    float
        Nats, at least 0; probabilities below 2.2e-16 count as that (as in scikit-learn's `log_loss`), so
        that one image cannot make it infinite.
    """
    p, truth = _checked(probs, labels)
    chosen = p[np.arange(len(truth)), truth]
    return float(np.abs(np.log(np.clip(chosen, np.finfo(np.float64).eps, 1.0))).mean())


def brier(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the Brier score over all classes: mean over images of sum_c (p_c - [c is true])^2.

    Parameters
    ----------
    probs, labels
        As in `ece`.

    Returns
    -------
    float
        In [0, 2]; Brier, Monthly Weather Review 78 (1950). Some libraries halve it.
    """
    p, truth = _checked(probs, labels)
    chosen = p[np.arange(len(truth)), truth]
    return float(((p**2).sum(axis=1) - 2 * chosen + 1).mean())


def risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """Return the risk among the k most confident images, for k = 1 ... n.

    Parameters
    ----------
    confidence : array-like of shape (n_images,)
        The higher, the sooner answered; any scale, finite.
    correct : array-like of bool of shape (n_images,)
        Whether the answer is right.

    Returns
    -------
    RiskCoverage
        Images of equal confidence enter in random order and count with their mean risk, so the order of the
        images changes nothing.

    Raises
    ------
    ValueError
        If the arrays do not fit.

    Notes
    -----
    El-Yaniv and Wiener, JMLR 11 (2010); area as in Geifman, Uziel and El-Yaniv (ICLR 2019).
    """
    sure, right = _confidence("confidence", confidence, correct)
    n = len(sure)
    _, place, size = np.unique(-sure, return_inverse=True, return_counts=True)
    wrong = np.bincount(place, weights=~right)
    expected_errors = np.cumsum(np.repeat(wrong / size, size))
    counts = np.arange(1, n + 1)
    risk = expected_errors / counts
    return RiskCoverage(counts / n, risk, float(risk.mean()))


def aurc(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Return the area under the risk-coverage curve (see `risk_coverage`); lower is better.

    Parameters
    ----------
    confidence, correct
        As in `risk_coverage`.

    Returns
    -------
    float
        In [0, 1].
    """
    return risk_coverage(confidence, correct).aurc


def climb_curve(
    class_confidence: npt.ArrayLike,
    class_correct: npt.ArrayLike,
    macro_confidence: npt.ArrayLike,
    macro_correct: npt.ArrayLike,
    thresholds: npt.ArrayLike | None = None,
) -> ClimbCurve:
    """Return climb's accuracy against the share of images answered at class level, threshold by threshold.

    The class is answered if its probability is >= t, else its macro if that's probability is >= t, else nothing.

    Parameters
    ----------
    class_confidence, macro_confidence : array-like of shape (n_images,)
        Probability of the most probable class, and of the macro that holds it.
    class_correct, macro_correct : array-like of bool of shape (n_images,)
        Whether that class, and that macro, is the true one.
    thresholds : array-like of shape (n_thresholds,), optional
        Default 0, 0.01, ..., 1.

    Returns
    -------
    ClimbCurve
        One entry per threshold, in the order given.

    Raises
    ------
    ValueError
        If the arrays do not fit.

    Notes
    -----
    After Deng et al., Hedging your bets: optimizing accuracy-specificity trade-offs (CVPR 2012).
    """
    sure, right = _confidence("class_confidence", class_confidence, class_correct)
    macro_sure, macro_right = _confidence("macro_confidence", macro_confidence, macro_correct)
    if len(sure) != len(macro_sure):
        raise ValueError(
            f"Classes and macros must answer the same images. Received: {len(sure)}, {len(macro_sure)}."
        )
    t = np.arange(101) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    at_class = sure >= t[:, None]
    at_macro = ~at_class & (macro_sure >= t[:, None])
    n_class, n_macro = at_class.sum(axis=1), at_macro.sum(axis=1)
    right_class, right_macro = (at_class & right).sum(axis=1), (at_macro & macro_right).sum(axis=1)
    return ClimbCurve(
        thresholds=t,
        class_share=n_class / len(sure),
        macro_share=n_macro / len(sure),
        class_accuracy=_share(right_class, n_class),
        accuracy=_share(right_class + right_macro, n_class + n_macro),
    )


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _checked(
    probs: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    p, truth = np.asarray(probs, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or truth.shape != p.shape[:1] or p.size == 0:
        raise ValueError(
            "`probs` must have shape (n_images, n_classes) and `labels` (n_images,), at least one image. "
            f"Received: {p.shape} and {truth.shape}."
        )
    if not (np.isfinite(p).all() and (p >= -1e-6).all() and np.allclose(p.sum(axis=1), 1.0, atol=1e-3)):
        raise ValueError(
            "Each row of `probs` must be a distribution: no negative number, sum 1. Pass no logits."
        )
    if not np.issubdtype(truth.dtype, np.integer) or truth.min() < 0 or truth.max() >= p.shape[1]:
        raise ValueError(f"`labels` must be whole numbers from 0 to {p.shape[1] - 1}, columns of `probs`.")
    return p, truth.astype(np.int64)


def _confidence(
    name: str, confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if sure.ndim != 1 or sure.shape != right.shape or sure.size == 0 or not np.isfinite(sure).all():
        raise ValueError(
            f"`{name}` must have one finite number for each answer, at least one. "
            f"Received: {sure.shape} numbers for {right.shape} answers."
        )
    if not np.isin(right, (0, 1)).all():
        raise ValueError(f"What goes with `{name}` must be true or false. Compare answers with the truth.")
    return sure, right.astype(np.bool_)
