"""Several comparisons at once: the step-down max-T procedure, whose resamples know how they hang together.

Romano and Wolf, Exact and approximate stepdown methods for multiple hypothesis testing, JASA 100 (2005). Every
comparison's difference is resampled over the same products and the same training seeds, centered, and divided by its
standard error; a comparison's corrected p-value is the share of resamples whose largest statistic among those not yet
rejected reaches its own. It is never below the p-value alone, and the running maximum keeps the order.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .levels import ALPHA
from .resampling import product_sums
from .training_noise import Noise

BLOCK = 500
MANY_PRODUCTS = 20_000
"""From here on products with equal residuals are drawn together: how many keep a plus sign is binomial."""


def max_t(
    gains: Sequence[npt.NDArray[np.float64]],
    noises: Sequence[Noise],
    products: npt.ArrayLike | None = None,
    *,
    alpha: float = ALPHA,
    n_resamples: int = 2_000,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float64], float]:
    """Correct a family's p-values, and find the critical value of simultaneous intervals.

    Parameters
    ----------
    gains : sequence of ndarray of shape (n_seeds, n_images)
        One per comparison, over the same images in the same order.
    noises : sequence of Noise
        Of each.
    products : array-like of shape (n_images,), optional
    alpha : float
        Family-wise level.
    n_resamples, seed : int

    Returns
    -------
    tuple of ndarray of shape (n_comparisons,) and float
        Corrected p-values, and the number of standard errors that all intervals together need.
    """
    if not gains:
        return np.empty(0), 0.0
    rng = np.random.default_rng(seed)
    errors = np.array([noise.standard_error for noise in noises])
    means = np.array([float(table.mean()) for table in gains])
    moving = errors > 0
    statistics = np.where(moving, np.abs(means) / np.where(moving, errors, 1.0), 0.0)
    totals = [product_sums(table.mean(axis=0), products) for table in gains]
    residuals = np.stack([t.sums - t.mean * t.sizes for t in totals])  # (n_comparisons, n_products)
    n_images, n_products = gains[0].shape[1], residuals.shape[1]
    largest_seeds = max(table.shape[0] for table in gains)
    draws = np.empty((n_resamples, len(gains)))
    kinds = np.unique(residuals.T, axis=0, return_counts=True) if n_products > MANY_PRODUCTS else None
    block = BLOCK if kinds is None else max(1, min(BLOCK, BLOCK * MANY_PRODUCTS // len(kinds[1])))
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        if kinds is None:
            signs = rng.choice(np.array([-1.0, 1.0]), size=(rows, n_products))
            images = signs @ residuals.T / n_images
        else:
            values, counts = kinds
            plus = rng.binomial(counts, 0.5, size=(rows, len(counts)))
            images = (2.0 * plus - counts) @ values / n_images
        z = rng.normal(size=(rows, largest_seeds))
        seeds = np.stack(
            [_seed_part(table, noise, z) for table, noise in zip(gains, noises, strict=True)], axis=1
        )
        draws[start : start + rows] = np.abs(images + seeds) / np.where(moving, errors, np.inf)
    order = np.argsort(-statistics, kind="stable")
    corrected = np.empty(len(gains))
    for place, index in enumerate(order):
        left = order[place:]
        hits = int((draws[:, left].max(axis=1) >= statistics[index] * (1 - 1e-12)).sum())
        corrected[index] = (1 + hits) / (1 + n_resamples) if statistics[index] else 1.0
    alone = np.array([noise.p_value(mean) for noise, mean in zip(noises, means, strict=True)])
    corrected[order] = np.maximum.accumulate(np.maximum(corrected, alone)[order])
    return np.minimum(corrected, 1.0), float(np.quantile(draws.max(axis=1), 1 - alpha))


def _seed_part(
    table: npt.NDArray[np.float64], noise: Noise, z: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Draw what other training seeds would add; comparisons over the same seeds move together."""
    n_seeds = table.shape[0]
    if not noise.seeds:
        return np.zeros(len(z))
    deviations = table.mean(axis=1) - table.mean()
    length = float(np.sqrt((deviations**2).sum()))
    drawn = z[:, :n_seeds] @ deviations / length if length > 0 else z[:, 0]
    return np.sqrt(noise.seeds) * drawn
