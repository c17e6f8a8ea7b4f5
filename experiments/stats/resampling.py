"""Paired comparisons whose unit is the product: sign flips for a p-value, a bootstrap for an interval.

Photographs of one product succeed and fail together, so the product, not the photograph, is drawn again or
flipped. Both functions see only each product's sum and size, and many products look alike (most differences
are zero): products that look alike are counted once, which changes no result and makes both fast.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

_LARGEST_GRID_STEP = 64
_MOST_EXACT_WORK = 200_000_000
_CELLS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it.

    `level` is the confidence level, for instance 0.95.
    """

    estimate: float
    low: float
    high: float
    level: float


@dataclass(frozen=True, eq=False)
class ProductSums:
    """Per product the sum of its images' values and the number of its images, both of shape (n_products,)."""

    sums: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean over images: all sums over all sizes."""
        return float(self.sums.sum() / self.sizes.sum())


def product_sums(values: npt.ArrayLike, products: npt.ArrayLike | None = None) -> ProductSums:
    """Add up the values of each product's images.

    Parameters
    ----------
    values : array-like of shape (n_images,)
        One number per image, for instance a difference in correctness.
    products : array-like of shape (n_images,), optional
        The product of each image. Without it every image is its own product.

    Returns
    -------
    ProductSums
        Products in sorted order.

    Raises
    ------
    ValueError
        If there is no image, a value is not finite, or the lengths differ.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0:
        raise ValueError(
            f"`values` must have shape (n_images,), at least one image. Received: {numbers.shape}."
        )
    if not np.isfinite(numbers).all():
        raise ValueError("`values` must be finite numbers. Look for images without an answer.")
    if products is None:
        return ProductSums(numbers, np.ones(len(numbers)))
    names = np.asarray(products)
    if names.shape != numbers.shape:
        raise ValueError(
            "`products` must name one product per image. "
            f"Received: {names.shape} products for {numbers.shape} images."
        )
    _, owner, sizes = np.unique(names, return_inverse=True, return_counts=True)
    sums = np.bincount(owner, weights=numbers).astype(np.float64)
    return ProductSums(sums, sizes.astype(np.float64))


def cluster_sign_flip(
    differences: npt.ArrayLike,
    products: npt.ArrayLike | None = None,
    *,
    n_flips: int = 20_000,
    seed: int = 0,
) -> float:
    """Return the two-sided p-value of the mean paired difference by flipping the signs of whole products.

    If the two systems are exchangeable, each product's sum D_g is as likely to be +D_g as -D_g. The p-value
    is P(|sum s_g D_g| >= |sum D_g|) over all signs s_g in {-1, +1}. It is exact, by convolution, where the
    sums lie on a grid of step 1/k with k <= 64 (correctness averaged over k seeds does); with one seed and
    every image its own product it is the exact McNemar test. Otherwise it is a Monte Carlo estimate (1 +
    hits) / (1 + n_flips).

    Parameters
    ----------
    differences : array-like of shape (n_images,)
        Correctness of b minus correctness of a, averaged over seeds; in [-1, 1].
    products : array-like of shape (n_images,), optional
        The product of each image. Without it every image is its own product.
    n_flips : int
        Monte Carlo flips, where the exact answer is out of reach; at least 1.
    seed : int
        Seed of the Monte Carlo flips. The exact answer does not use it.

    Returns
    -------
    float
        In (0, 1]. 1.0 if no product differs.

    Notes
    -----
    Fisher, The Design of Experiments (1935), section 21; Winkler et al., Permutation inference for the
    general linear model, NeuroImage 92 (2014), for whole-block sign flips; Phipson and Smyth (2010) for
    adding one.
    """
    if n_flips < 1:
        raise ValueError(f"`n_flips` must be at least 1. Received: n_flips={n_flips}.")
    sums = product_sums(differences, products).sums
    sums = sums[np.abs(sums) > 1e-9]
    if sums.size == 0:
        return 1.0
    whole = _on_grid(sums)
    if whole is not None and _exact_work(whole) <= _MOST_EXACT_WORK:
        return _exact_sign_flip(whole)
    return _monte_carlo_sign_flip(sums, n_flips, np.random.default_rng(seed))


def _on_grid(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.int64] | None:
    """Return the sums as whole multiples of 1/k for the smallest k that fits, or None."""
    for step in range(1, _LARGEST_GRID_STEP + 1):
        whole = np.rint(sums * step)
        if np.abs(sums * step - whole).max() < 1e-6:
            return whole.astype(np.int64)
    return None


def _exact_work(sums: npt.NDArray[np.int64]) -> int:
    """Count the additions of `_exact_sign_flip`."""
    magnitudes, counts = np.unique(np.abs(sums), return_counts=True)
    lengths = 1 + np.concatenate([[0], np.cumsum(magnitudes * counts)[:-1]])
    return int(((counts + 1) * lengths).sum())


def _exact_sign_flip(sums: npt.NDArray[np.int64]) -> float:
    """Convolve, magnitude by magnitude, the distribution of the sum that keeps a plus sign."""
    magnitudes, counts = np.unique(np.abs(sums), return_counts=True)
    chances = np.ones(1)
    for magnitude, count in zip(magnitudes.tolist(), counts.tolist(), strict=True):
        grown = np.zeros(len(chances) + magnitude * count)
        for kept, chance in enumerate(stats.binom.pmf(np.arange(count + 1), count, 0.5)):
            grown[magnitude * kept : magnitude * kept + len(chances)] += chance * chances
        chances = grown
    signed_totals = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return float(min(1.0, chances[np.abs(signed_totals) >= abs(int(sums.sum()))].sum()))


def _monte_carlo_sign_flip(sums: npt.NDArray[np.float64], n_flips: int, rng: np.random.Generator) -> float:
    """Draw, magnitude by magnitude, how many products keep a plus sign: a binomial number of them."""
    observed = abs(float(sums.sum())) * (1 - 1e-9)
    magnitudes, counts = np.unique(np.abs(sums).round(9), return_counts=True)
    hits = 0
    for rows in _row_blocks(n_flips, len(magnitudes)):
        kept = rng.binomial(counts, 0.5, size=(rows, len(counts)))
        hits += int((np.abs((2 * kept - counts) @ magnitudes) >= observed).sum())
    return (1 + hits) / (1 + n_flips)


def product_bootstrap(
    values: npt.ArrayLike,
    products: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 5_000,
    seed: int = 0,
) -> Interval:
    """Return the mean of `values` over images with a percentile bootstrap interval that resamples products.

    Each resample draws n_products products with replacement and takes the ratio (sum of the drawn products'
    sums) / (sum of their sizes). The interval runs between the (1 - level) / 2 and (1 + level) / 2
    quantiles of the resamples (percentile method, not BCa).

    Parameters
    ----------
    values : array-like of shape (n_images,)
        One number per image: correctness, or correctness averaged over seeds, or a difference of the two.
    products : array-like of shape (n_images,), optional
        The product of each image. Without it every image is its own product.
    level : float
        Between 0 and 1, exclusive.
    n_resamples : int
        At least 1.
    seed : int
        Seed of the draws.

    Returns
    -------
    Interval
        Of width 0 if all products agree: the resamples then say nothing about the images not seen.

    Notes
    -----
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13; Field and Welsh,
    Bootstrapping clustered data, JRSS B 69 (2007), for drawing whole clusters. Products with the same sum
    and size are interchangeable, so the number of times that each kind is drawn is multinomial.
    """
    check_share("level", level)
    if n_resamples < 1:
        raise ValueError(f"`n_resamples` must be at least 1. Received: n_resamples={n_resamples}.")
    totals = product_sums(values, products)
    draws = _resampled_means(totals, n_resamples, np.random.default_rng(seed))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(totals.mean, float(low), float(high), level)


def paired_bootstrap(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    products: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 5_000,
    seed: int = 0,
) -> Interval:
    """Return accuracy of b minus accuracy of a with a product bootstrap interval (see `product_bootstrap`).

    Parameters
    ----------
    correct_a, correct_b : array-like of shape (n_images,)
        Correctness of the same images in the same order, boolean or averaged over seeds; in [0, 1].
    products : array-like of shape (n_images,), optional
        The product of each image. Without it every image is its own product.
    level, n_resamples, seed
        As in `product_bootstrap`.

    Returns
    -------
    Interval
        Percentile interval.
    """
    a, b = np.asarray(correct_a, dtype=np.float64), np.asarray(correct_b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"Both systems must answer the same images. Received: {a.shape} and {b.shape}.")
    return product_bootstrap(b - a, products, level=level, n_resamples=n_resamples, seed=seed)


def _resampled_means(
    totals: ProductSums, n_resamples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw the ratio estimate `n_resamples` times, a bounded number of cells at once."""
    _, sum_kind = np.unique(totals.sums.round(9), return_inverse=True)
    keys = sum_kind * (totals.sizes.max() + 1) + totals.sizes  # one number per pair of sum and size
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    kinds = np.column_stack([totals.sums[first], totals.sizes[first]])
    n_products = len(totals.sums)
    drawn = [
        rng.multinomial(n_products, counts / n_products, size=rows) @ kinds
        for rows in _row_blocks(n_resamples, len(kinds))
    ]
    sums, sizes = np.concatenate(drawn).T
    return sums / sizes


def _row_blocks(n_rows: int, n_columns: int) -> list[int]:
    """Cut `n_rows` into blocks of at most _CELLS_AT_ONCE cells (at least one row each)."""
    most = max(1, _CELLS_AT_ONCE // n_columns)
    return [min(most, n_rows - start) for start in range(0, n_rows, most)]


def check_share(name: str, value: float) -> None:
    """Refuse a share, level or power outside (0, 1).

    Raises
    ------
    ValueError
        If `value` is not strictly between 0 and 1.
    """
    if not 0 < value < 1:
        raise ValueError(f"`{name}` must be between 0 and 1, exclusive. Received: {name}={value}.")
