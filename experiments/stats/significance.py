"""Tests and intervals for paired answers, each with its formula and source. Pure functions of arrays."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from .levels import ALPHA, MARGIN
from .resampling import Interval, check_share, product_sums
from .training_noise import Noise


@dataclass(frozen=True)
class McNemar:
    """Images that only b (`corrected`) or only a (`broken`) gets right, and the exact two-sided p-value."""

    corrected: int
    broken: int
    p_value: float


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests: the interval of level 1 - 2 alpha, and the larger of the two p-values."""

    interval: Interval
    standard_error: float
    margin: float
    p_value: float


def mcnemar_exact(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> McNemar:
    """Test whether corrected and broken images are equally likely: two-sided binomial(corrected + broken, 1/2).

    Parameters
    ----------
    correct_a, correct_b : array-like of bool of shape (n_images,)
        Correctness of the same images in the same order.

    Returns
    -------
    McNemar
        p-value 1.0 if the systems never disagree.

    Raises
    ------
    ValueError
        If the shapes differ or a value is neither 0 nor 1.

    Notes
    -----
    p = min(1, 2 P(X <= min(corrected, broken))). McNemar, Psychometrika 12 (1947); Dietterich, Neural
    Computation 10 (1998). It takes images as independent; where products have several, read
    `cluster_sign_flip`.
    """
    a, b = correctness_table("correct_a", correct_a), correctness_table("correct_b", correct_b)
    if a.shape != b.shape or len(a) != 1:
        raise ValueError(
            f"Both systems must have shape (n_images,). Received: {a.shape[1:]} and {b.shape[1:]}."
        )
    corrected, broken = int((b & ~a).sum()), int((a & ~b).sum())
    n = corrected + broken
    p_value = float(stats.binomtest(corrected, n, 0.5).pvalue) if n else 1.0
    return McNemar(corrected, broken, p_value)


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Correct p-values so that the chance of any false claim among them stays below alpha (Holm's step-down).

    Parameters
    ----------
    p_values : array-like of shape (n_tests,)
        In [0, 1], any order; may be empty.

    Returns
    -------
    ndarray of shape (n_tests,)
        In the order given: the running maximum, from the smallest p up, of (n_tests - rank) p, at most 1.

    Raises
    ------
    ValueError
        If a p-value is outside [0, 1].

    Notes
    -----
    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6
    (1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"`p_values` must be a list of numbers between 0 and 1. Received: {p_values}.")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(corrected, 1.0)


def tost(
    differences: npt.ArrayLike,
    products: npt.ArrayLike | None = None,
    *,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    more: float = 0.0,
    df: int = 0,
) -> Equivalence:
    """Test whether the mean paired difference lies within +-margin (two one-sided tests).

    Paired, from the products' sums D_g and sizes n_g, after adding one pseudo-product of average size that
    only b gets right and one that only a does: d = sum D_g / N with N = sum n_g, standard error sqrt(sum
    (D_g - d n_g)^2) / N, and Student's t with n_products + 1 degrees of freedom. The pseudo-products keep a
    few images without any disagreement from passing for proof that there is none.

    Parameters
    ----------
    differences : array-like of shape (n_images,)
        Correctness of b minus correctness of a, averaged over seeds; in [-1, 1].
    products : array-like of shape (n_images,), optional
        The product of each image. Without it every image is its own product.
    margin : float
        Largest difference that does not matter, pre-specified; positive.
    alpha : float
        Level of each one-sided test; the interval has level 1 - 2 alpha.
    more : float
        Further variance of the mean, over training seeds, with `df` degrees of freedom; the quantile then is Cochran's
        weighted one, as in the test of a difference (`training_noise`).
    df : int

    Returns
    -------
    Equivalence
        `p_value` < alpha exactly when the interval lies inside (-margin, margin).

    Notes
    -----
    Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987). With every image its own
    product, estimate and standard error are those of Bonett and Price, Adjusted Wald confidence interval
    for a difference of binomial proportions based on paired data, J. Educational and Behavioral Statistics
    37 (2012).
    """
    if not 0 < margin <= 1:
        raise ValueError(f"`margin` must be above 0 and at most 1. Received: margin={margin}.")
    if not 0 < alpha < 0.5:
        raise ValueError(f"`alpha` must be between 0 and 0.5, exclusive. Received: alpha={alpha}.")
    totals = product_sums(differences, products)
    usual = totals.sizes.mean()
    sums, sizes = np.append(totals.sums, [usual, -usual]), np.append(totals.sizes, [usual, usual])
    estimate = float(sums.sum() / sizes.sum())
    images, n_images = float(((sums - estimate * sizes) ** 2).sum()) / sizes.sum() ** 2, len(totals.sums) + 1
    noise = Noise(images, 2 * more, n_images + 1, 2, max(df, 1))  # `seeds` is `more` then
    error, room = noise.standard_error, margin - abs(estimate)
    half = noise.critical(2 * alpha) * error
    tail = noise.p_value(room) / 2
    p_value = tail if room > 0 else 1 - tail
    return Equivalence(
        Interval(estimate, estimate - half, estimate + half, 1 - 2 * alpha), error, margin, p_value
    )


def wilson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Return Wilson's score interval for a proportion of independent images, as `scipy.stats.binomtest` does.

    Parameters
    ----------
    successes, n : int
        0 <= successes <= n, n > 0.
    level : float
        Between 0 and 1, exclusive.

    Raises
    ------
    ValueError
        If the counts do not fit.

    Notes
    -----
    Wilson, Journal of the American Statistical Association 22 (1927).
    """
    check_share("level", level)
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"`successes` must be between 0 and `n`, n > 0. Received: {successes} of {n}.")
    found = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    share = successes / n  # which rounding may put outside
    return Interval(share, min(share, float(found.low)), max(share, float(found.high)), level)


def minimum_detectable_difference(
    n: float, discordant_share: float, *, alpha: float = ALPHA, power: float = 0.8
) -> float:
    """Return the smallest difference in accuracy that n paired images show with the given power.

    Solves n d^2 = (z_{1 - alpha/2} sqrt(s) + z_power sqrt(s - d^2))^2 for d, s the share of images on which
    the two systems disagree in correctness. A difference cannot exceed s, so where the solution would, s
    grows with d.

    Parameters
    ----------
    n : float
        Number of independent images (or their effective number), positive.
    discordant_share : float
        In [0, 1].
    alpha, power : float
        Two-sided level, and chance to show the difference; alpha < power.

    Returns
    -------
    float
        In (0, 1]; 1.0 if so few images could show nothing.

    Notes
    -----
    Miettinen, Biometrics 24 (1968); Connor, Sample size for testing differences in proportions for the
    paired-sample design, Biometrics 43 (1987).
    """
    check_share("alpha", alpha)
    check_share("power", power)
    if n <= 0 or not 0 <= discordant_share <= 1 or alpha >= power:
        raise ValueError(
            "`n` must be positive, `discordant_share` between 0 and 1, and `power` above `alpha`. "
            f"Received: n={n}, discordant_share={discordant_share}, alpha={alpha}, power={power}."
        )
    z_alpha, z_power = stats.norm.ppf([1 - alpha / 2, power])

    def shortfall(d: float) -> float:
        share = max(discordant_share, d)
        return z_alpha * np.sqrt(share) + z_power * np.sqrt(share - d**2) - d * np.sqrt(n)

    if shortfall(1.0) >= 0:
        return 1.0
    return float(optimize.brentq(shortfall, 1e-12, 1.0))  # pyright: ignore[reportArgumentType]


def correctness_table(name: str, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return correctness as booleans of shape (n_seeds, n_images).

    Parameters
    ----------
    name : str
        What the error shall call the values.
    values : array-like of shape (n_seeds, n_images) or (n_images,)
        True and false, or 1 and 0.

    Returns
    -------
    ndarray of bool of shape (n_seeds, n_images)
        One row per seed; a single row if one dimension was given.

    Raises
    ------
    ValueError
        If the shape is another, or a value is neither 0 nor 1.
    """
    given = np.asarray(values)
    if given.ndim not in (1, 2) or given.size == 0:
        raise ValueError(f"`{name}` must have shape (n_seeds, n_images), not empty. Received: {given.shape}.")
    if given.dtype != np.bool_ and not np.isin(given, (0, 1)).all():
        raise ValueError(
            f"`{name}` must hold true and false (or 1 and 0) only. Compare answers with the truth."
        )
    return np.atleast_2d(given.astype(np.bool_))
