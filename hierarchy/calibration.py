"""Temperatures: making probabilities mean what they say.

Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017) divides logits by T,
which on probabilities is p^(1/T), rescaled to sum to 1. T > 1 softens, T < 1 sharpens. The order of the
classes inside a distribution stays, so it never changes which macro or which class inside a macro is most
probable: hard answers the same before and after. (Only probabilities closer than about 1e-14 of their size
could become ties; softmax outputs in float32 never are, unless equal.)

When fitting, probabilities below 1e-12 of the row's largest count as that, so that one confident mistake
can't be infinitely wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

from .distributions import check_distributions, sum_columns
from .hierarchy import Hierarchy

BOUNDS = (0.25, 20.0)  # images that are all right would ask for ever more certainty
"""The lowest and the highest temperature that is fitted."""
LOWEST, HIGHEST = 0.01, 1000.0
"""The lowest and the highest temperature that is applied; beyond them probabilities are rounded away."""
CELLS, FEWEST_ROWS = 10_000_000, 1000
"""Of a larger table so many numbers in evenly spaced rows, or 1,000 rows, are enough for one temperature."""
AT_ONCE = 2**22
"""Numbers that are scaled at once: none depends on it."""
_LOG_FLOOR = float(np.log(1e-12))


@dataclass(frozen=True)
class Temperatures:
    """Temperatures of a two-stage classifier.

    Attributes
    ----------
    router
        Of the router.
    submodels
        Of each macro's sub-model, in macro order; 1 for a constant one.
    """

    router: float
    submodels: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "submodels", tuple(float(value) for value in self.submodels))
        for value in (self.router, *self.submodels):
            check_temperature(value)

    def apply_router(self, macro_probs: ArrayLike) -> np.ndarray:
        """Scale the router's distribution, of shape (n, n_macros)."""
        return apply_temperature(macro_probs, self.router)

    def apply_submodels(self, within_probs: ArrayLike, hierarchy: Hierarchy) -> np.ndarray:
        """Scale each sub-model's distribution, of shape (n, n_slots), in the order of `hierarchy.slots`.

        Raises
        ------
        ValueError
            If there is not one temperature a macro.
        """
        if len(self.submodels) != hierarchy.n_macros:
            raise ValueError(
                f"There must be one temperature for each of the {hierarchy.n_macros} macros. "
                f"Received: {len(self.submodels)}. Fit the temperatures on this hierarchy."
            )
        block = hierarchy.slot_macro
        within_probs = check_distributions(within_probs, "within_probs", hierarchy.n_slots, block)
        return _scaled(within_probs, np.array(self.submodels)[block], block)


def apply_temperature(probs: ArrayLike, temperature: float) -> np.ndarray:
    """Scale distributions: p^(1/T), rescaled to sum to 1; T = 1 gives them back as they are.

    Parameters
    ----------
    probs
        Of shape (n, n_columns), rows sum to 1.
    temperature
        From 0.01 to 1000.

    Returns
    -------
    numpy.ndarray
        Of the same shape, float64; each row independent of the others.
    """
    check_temperature(temperature)
    probs = check_distributions(probs, "probs", None)
    if temperature == 1:
        return probs.copy()
    return _scaled(probs, np.full(probs.shape[1], temperature), np.zeros(probs.shape[1], dtype=np.intp))


def fit_temperature(log_probs: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature under which the labels are most likely.

    The negative log-likelihood is convex in 1/T, so there is one minimum; it is sought inside `BOUNDS`.

    Parameters
    ----------
    log_probs
        Log probabilities (or logits), of shape (n, n_columns), of validation images.
    labels
        Index of the true column of each row.

    Returns
    -------
    float
        The temperature, of large tables (`CELLS`) from evenly spaced rows; 1 where it makes no difference (a single
        column, or uniform rows).

    Raises
    ------
    ValueError
        If there are no rows, or shapes or labels don't fit.
    """
    log_probs, labels = _enough(log_probs, labels)
    if np.ptp(log_probs, axis=1).max() == 0:
        return 1.0

    return _minimum(lambda log_t: float(_losses(log_probs / np.exp(log_t), labels).mean()))


def held_temperature(log_probs: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature as `fit_temperature` does, and keep it only if it holds on images that it wasn't fitted on.

    The rows are cut into even and odd ones. A temperature fitted on each half is tried on the other; if the mean gain
    in log-likelihood over T = 1 exceeds its standard error, the temperature of all rows is returned, else 1. So noise
    of few images doesn't spoil probabilities that were right already. More certainty (T < 1) takes a wrong answer in
    either half, too, and a minimum inside the bounds: where every answer is right, nothing says how sure is too sure.

    Parameters
    ----------
    log_probs, labels
        As in `fit_temperature`.

    Returns
    -------
    float

    Notes
    -----
    The one-standard-error rule: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984),
    section 3.4.3.
    """
    log_probs, labels = _enough(log_probs, labels)

    def gains(log_t: float, rows: np.ndarray) -> np.ndarray:
        return _losses(log_probs[rows], labels[rows]) - _losses(log_probs[rows] / np.exp(log_t), labels[rows])

    def fit(rows: np.ndarray) -> float:
        return float(np.log(fit_temperature(log_probs[rows], labels[rows])))

    if not _holds(len(labels), fit, gains):
        return 1.0
    found = fit_temperature(log_probs, labels)
    wrong = log_probs.argmax(axis=1) != labels
    checked = wrong[::2].any() and wrong[1::2].any() and found > BOUNDS[0]
    return found if found >= 1 or checked else 1.0


def enough_rows(n_rows: int, n_columns: int) -> slice | np.ndarray:
    """Return which rows of a table are enough for a temperature: all, or evenly spaced ones of a large table."""
    enough = max(CELLS // max(n_columns, 1), FEWEST_ROWS)
    return slice(None) if n_rows <= enough else np.linspace(0, n_rows - 1, enough).astype(int)


def _enough(log_probs: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Check log probabilities and labels; of large tables give evenly spaced rows, as many as one number needs."""
    log_probs, labels = np.asarray(log_probs), np.asarray(labels)
    if log_probs.ndim == 2 and labels.shape == log_probs.shape[:1]:
        some = enough_rows(*log_probs.shape)
        log_probs, labels = log_probs[some], labels[some]
    log_probs = _log_table(log_probs, "log_probs", None)
    _check_labels(labels, len(log_probs), log_probs.shape[1])
    return log_probs, labels


def _holds(
    n_images: int, fit: Callable[[np.ndarray], Any], gains: Callable[[Any, np.ndarray], np.ndarray]
) -> bool:
    """Return whether what is fitted on either half of the images gains more on the other than its standard error."""
    halves = np.arange(0, n_images, 2), np.arange(1, n_images, 2)
    if len(halves[1]) == 0:
        return False
    found = np.concatenate([gains(fit(halves[i]), halves[1 - i]) for i in range(2)])
    return bool(found.mean() > found.std(ddof=1) / np.sqrt(n_images))


def _losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each row's negative log-likelihood; the largest logit of a row is 0, so that no sum is."""
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]


def fit_composed_temperatures(
    macro_logprobs: ArrayLike,
    within_logprobs: ArrayLike,
    hierarchy: Hierarchy,
    labels: ArrayLike,
    min_images: int = 10,
    *,
    held: bool = False,
) -> Temperatures:
    """Find the temperatures under which soft's distribution makes the labels most likely.

    With one macro a class, log P(y) = log P(m(y)) + log P(y | m(y)): the router is fitted to the true
    macros, and each sub-model to the images that belong to its macro, which together is the exact maximum.
    With overlapping macros all temperatures are fitted jointly (L-BFGS-B on the log temperatures, from 1).

    Parameters
    ----------
    macro_logprobs
        Of shape (n, n_macros), of validation images.
    within_logprobs
        Of shape (n, n_slots), columns in the order of `hierarchy.slots`.
    hierarchy
        Of both stages.
    labels
        True classes as indices into `hierarchy.classes`.
    min_images
        A sub-model with fewer validation images in its macro keeps T = 1.
    held
        Keep only what holds on images that it wasn't fitted on (`held_temperature`): each temperature for itself, or,
        with overlapping macros, all of them or none.

    Raises
    ------
    ValueError
        If there are no rows, or shapes or labels don't fit.
    """
    macro = _log_table(macro_logprobs, "macro_logprobs", hierarchy.n_macros)
    within = _log_table(within_logprobs, "within_logprobs", hierarchy.n_slots)
    labels = np.asarray(labels)
    _check_labels(labels, len(macro), hierarchy.n_classes)
    if len(within) != len(macro):
        raise ValueError(
            f"Both stages must be of the same images. Received: {len(macro)} and {len(within)} rows."
        )
    fitted = _fitted_submodels(hierarchy, labels, min_images)
    if hierarchy.overlapping:
        return _fit_jointly(macro, within, hierarchy, labels, fitted, held)
    return _fit_apart(macro, within, hierarchy, labels, fitted, held_temperature if held else fit_temperature)


def _fitted_submodels(hierarchy: Hierarchy, labels: np.ndarray, min_images: int) -> list[int]:
    """List the macros whose sub-model is no constant and has enough images."""
    counts = np.bincount(labels, minlength=hierarchy.n_classes)[hierarchy.slot_class]
    return [
        macro
        for macro, block in enumerate(hierarchy.blocks)
        if hierarchy.sizes[macro] > 1 and counts[block].sum() >= max(min_images, 1)
    ]


def _fit_apart(
    macro: np.ndarray,
    within: np.ndarray,
    hierarchy: Hierarchy,
    labels: np.ndarray,
    fitted: list[int],
    fit: Callable[..., float],
) -> Temperatures:
    """Fit router and sub-models one by one, each to its own labels."""
    macro_labels = hierarchy.macro_of[labels]
    column = np.argsort(hierarchy.slot_class)[labels]
    temperatures = [1.0] * hierarchy.n_macros
    for index in fitted:
        inside, block = macro_labels == index, hierarchy.blocks[index]
        temperatures[index] = fit(within[inside, block], column[inside] - block.start)
    return Temperatures(fit(macro, macro_labels), tuple(temperatures))


def _fit_jointly(
    macro: np.ndarray,
    within: np.ndarray,
    hierarchy: Hierarchy,
    labels: np.ndarray,
    fitted: list[int],
    held: bool = False,
) -> Temperatures:
    """Fit all temperatures at once to the likelihood of the mixture."""
    elsewhere = hierarchy.slot_class[None, :] != labels[:, None]
    everyone = np.arange(len(labels))

    def unpack(log_ts: np.ndarray) -> Temperatures:
        submodels = np.ones(hierarchy.n_macros)
        submodels[fitted] = np.exp(log_ts[1:])
        return Temperatures(float(np.exp(log_ts[0])), tuple(submodels))

    def losses(log_ts: np.ndarray, rows: np.ndarray) -> np.ndarray:
        temperatures = unpack(log_ts)
        joint = _log_softmax(macro[rows] / temperatures.router)[:, hierarchy.slot_macro]
        for index, block in enumerate(hierarchy.blocks):
            joint[:, block] += _log_softmax(within[rows, block] / temperatures.submodels[index])
        return -np.asarray(logsumexp(np.where(elsewhere[rows], -np.inf, joint), axis=1))

    ones = np.zeros(1 + len(fitted))

    def fit(rows: np.ndarray) -> np.ndarray:
        bounds = [tuple(np.log(BOUNDS))] * len(ones)
        return minimize(
            lambda log_ts: float(losses(log_ts, rows).mean()), ones, method="L-BFGS-B", bounds=bounds
        ).x

    if held and not _holds(len(labels), fit, lambda found, rows: losses(ones, rows) - losses(found, rows)):
        return unpack(ones)
    found = fit(everyone)
    return unpack(ones if held and (found <= np.log(BOUNDS[0])).any() else found)


def _minimum(loss: Callable[[float], float]) -> float:
    """Minimize over the log temperature; a bound itself counts, since the search stays strictly inside."""
    low, high = (float(value) for value in np.log(BOUNDS))
    inner = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    best = min((float(inner.x), low, high), key=loss)  # type: ignore[attr-defined]
    return float(np.clip(np.exp(best), *BOUNDS))


def _scaled(probs: np.ndarray, temperatures: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Scale each column by its temperature, and each block to sum to 1; blocks at T = 1 stay as they are."""
    size, scaled = max(AT_ONCE // probs.shape[1], 1), np.empty(probs.shape)
    for start in range(0, len(probs), size):
        part = np.ascontiguousarray(probs[start : start + size])
        scaled[start : start + size] = _scaled_part(part, temperatures, block)
    return scaled


def _scaled_part(probs: np.ndarray, temperatures: np.ndarray, block: np.ndarray) -> np.ndarray:
    starts = np.flatnonzero(np.diff(block, prepend=-1))  # columns of a block stand together
    highest = np.maximum.reduceat(probs, starts, axis=1)
    with np.errstate(divide="ignore"):
        # Relative to the block's largest, so that the sum is never 0.
        powers = np.exp((np.log(probs) - np.log(highest)[:, block]) / temperatures)
    totals = sum_columns(powers, block, int(block.max()) + 1)[:, block]
    return np.where(temperatures == 1, probs, powers / totals)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - logsumexp(logits, axis=1, keepdims=True)


def _log_table(logs: ArrayLike, name: str, n_columns: int | None) -> np.ndarray:
    """Check log probabilities, and lift those below the floor (minus infinity among them)."""
    table = np.asarray(logs, dtype=np.float64)
    if table.ndim != 2 or len(table) == 0 or table.shape[1] == 0 or n_columns not in (None, table.shape[1]):
        columns = "n_columns" if n_columns is None else n_columns
        raise ValueError(
            f"`{name}` must be of shape (n_images, {columns}) with at least one image. "
            f"Received: shape {table.shape}."
        )
    if np.isnan(table).any() or np.isposinf(table).any():
        raise ValueError(f"`{name}` must hold log probabilities. Received: nan or infinity.")
    peak = table.max(axis=1, keepdims=True)
    if np.isneginf(peak).any():
        raise ValueError(f"`{name}` must give some column of each row a probability above 0.")
    return np.maximum(table - peak, _LOG_FLOOR)


def _check_labels(labels: np.ndarray, n_images: int, n_columns: int) -> None:
    """Refuse labels that are no column indices."""
    if labels.shape != (n_images,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"`labels` must hold one column index for each of the {n_images} images. "
            f"Received: shape {labels.shape}, {labels.dtype}."
        )
    if n_images and not 0 <= labels.min() <= labels.max() < n_columns:
        raise ValueError(
            f"`labels` must be between 0 and {n_columns - 1}. Received: {labels.min()} to {labels.max()}."
        )


def check_temperature(value: float) -> None:
    """Refuse a temperature that is no number from 0.01 to 1000.

    Raises
    ------
    ValueError
        Naming it.
    """
    if not (isinstance(value, int | float | np.number) and LOWEST <= value <= HIGHEST):
        raise ValueError(
            f"A temperature must be a number from {LOWEST:g} to {HIGHEST:g}. Received: {value}. "
            f"Fit it on validation images; {BOUNDS[0]:g} to {BOUNDS[1]:g} is what fitting gives."
        )
