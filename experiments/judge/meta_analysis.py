"""Several data sets, one answer: a random-effects mean of paired differences. Pure functions of arrays."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats


@dataclass(frozen=True)
class RandomEffects:
    """The mean effect over a population of data sets, of which some were seen.

    Attributes
    ----------
    mean, standard_error : float
    low, high : float
        Hartung-Knapp interval of the mean, Student's t with k - 1 degrees of freedom.
    p_value : float
        Of a mean of 0, by the same t.
    tau : float
        Standard deviation of the true effects between sets.
    q, q_p_value : float
        Cochran's Q and the p-value of equal effects (chi-squared, k - 1 degrees of freedom).
    i_squared : float
        Share of the spread that chance within sets does not explain: max(0, 1 - (k - 1) / Q).
    prediction : tuple of float, or None
        Where the effect on another set would lie; None with fewer than 3 sets.
    weights : tuple of float
        Of each set, summing to 1.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    p_value: float
    tau: float
    q: float
    q_p_value: float
    i_squared: float
    prediction: tuple[float, float] | None
    weights: tuple[float, ...]


def random_effects(
    effects: npt.ArrayLike, standard_errors: npt.ArrayLike, *, method: str = "reml", alpha: float = 0.05
) -> RandomEffects:
    """Combine one effect per data set.

    Parameters
    ----------
    effects, standard_errors : array-like of shape (k,)
        One independent estimate per set, k >= 2, and its standard error, above 0.
    method : {'reml', 'dl'}
        How the variance between sets is estimated: restricted maximum likelihood, or DerSimonian and Laird.
    alpha : float
        1 - level of the intervals.

    Returns
    -------
    RandomEffects

    Raises
    ------
    ValueError
        If there are fewer than 2 sets, a number is not finite, or a standard error is not above 0.

    Notes
    -----
    DerSimonian and Laird, Controlled Clinical Trials 7 (1986); REML and I2 as in Viechtbauer, J. Educational and
    Behavioral Statistics 30 (2005), and Higgins and Thompson, Statistics in Medicine 21 (2002). Interval: Hartung and
    Knapp, Statistics in Medicine 20 (2001), its variance never below that of the usual random-effects mean, as Roever,
    Knapp and Friede, BMC Medical Research Methodology 15 (2015), discuss. Prediction interval: Higgins, Thompson and
    Spiegelhalter, JRSS A 172 (2009).
    """
    y, errors = np.asarray(effects, dtype=np.float64), np.asarray(standard_errors, dtype=np.float64)
    if y.ndim != 1 or y.shape != errors.shape or len(y) < 2:
        raise ValueError(
            f"There must be at least 2 effects, with one standard error each. Received: {y.shape}."
        )
    if not (np.isfinite(y).all() and np.isfinite(errors).all() and (errors > 0).all()):
        raise ValueError("Effects must be finite and standard errors above 0.")
    if method not in _ESTIMATORS:
        raise ValueError(f"`method` must be one of {', '.join(_ESTIMATORS)}. Received: {method!r}.")
    variances, df = errors**2, len(y) - 1
    fixed = 1 / variances
    q = float((fixed * (y - np.average(y, weights=fixed)) ** 2).sum())
    tau2 = _ESTIMATORS[method](y, variances)
    weights = 1 / (variances + tau2)
    mean = float(np.average(y, weights=weights))
    scale = float((weights * (y - mean) ** 2).sum() / df)
    error = float(np.sqrt(max(1.0, scale) / weights.sum()))
    half = float(stats.t.ppf(1 - alpha / 2, df)) * error
    prediction = None
    if df > 1:
        reach = float(stats.t.ppf(1 - alpha / 2, df - 1)) * float(np.sqrt(tau2 + error**2))
        prediction = (mean - reach, mean + reach)
    return RandomEffects(
        mean=mean,
        standard_error=error,
        low=mean - half,
        high=mean + half,
        p_value=float(2 * stats.t.sf(abs(mean) / error, df)),
        tau=float(np.sqrt(tau2)),
        q=q,
        q_p_value=float(stats.chi2.sf(q, df)),
        i_squared=max(0.0, 1 - df / q) if q else 0.0,
        prediction=prediction,
        weights=tuple((weights / weights.sum()).tolist()),
    )


def _dersimonian_laird(y: np.ndarray, variances: np.ndarray) -> float:
    w = 1 / variances
    q = (w * (y - np.average(y, weights=w)) ** 2).sum()
    return max(0.0, float((q - (len(y) - 1)) / (w.sum() - (w**2).sum() / w.sum())))


def _reml(y: np.ndarray, variances: np.ndarray) -> float:
    """Return the variance at which the restricted likelihood is greatest."""

    def minus_log_likelihood(tau2: float) -> float:
        w = 1 / (variances + tau2)
        mean = np.average(y, weights=w)
        return float(0.5 * (-np.log(w).sum() + np.log(w.sum()) + (w * (y - mean) ** 2).sum()))

    most = 10 * float(np.var(y, ddof=1) + variances.max())
    grid = np.concatenate([[0.0], np.geomspace(most * 1e-8, most, 200)])
    at = int(np.argmin([minus_log_likelihood(tau2) for tau2 in grid]))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": most * 1e-12}
    )
    best = float(found.x)  # pyright: ignore[reportAttributeAccessIssue]
    return best if minus_log_likelihood(best) < minus_log_likelihood(0.0) else 0.0


_ESTIMATORS = {"reml": _reml, "dl": _dersimonian_laird}
