"""Two sources of variance: which images were tested, and which seeds the models were trained with.

A difference between two methods varies with both. The variance of the mean difference over K trained pairs is

    V = A + B,   A = sum (D_g - d n_g)^2 / N^2 * G / (G - 1),   B = s^2 / K,

with D_g the sum of a product's differences (averaged over seeds), n_g its images, G products, N images, and s^2 the
variance of the difference over seeds. s^2 holds some image noise, too, so B is a little too large: measured on planted
worlds, taking it whole keeps false claims near the stated level with 3 seeds, where its corrected value doesn't.

With one pair of models B is unknown. What is claimed then is about these trained models on other images.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from .resampling import product_sums


@dataclass(frozen=True)
class Noise:
    """What a mean difference varies by.

    Attributes
    ----------
    images : float
        A: variance of the mean difference over other images.
    seed_variance : float
        s^2 of the difference over training seeds; 0 with one.
    n_products, n_seeds : int
        What they rest on.
    pooled_df : int
        Degrees of freedom of `seed_variance` where it was raised to the mean of a family, else n_seeds - 1.
    shared, shared_df : float and int
        Variance of the mean difference over trainings of a method that all replications share, such as the one that
        meets several random partitions; and its degrees of freedom.
    """

    images: float
    seed_variance: float
    n_products: int
    n_seeds: int
    pooled_df: int
    shared: float = 0.0
    shared_df: int = 1

    @property
    def seeds(self) -> float:
        """B: variance of the mean difference over other training seeds."""
        return self.seed_variance / self.n_seeds if self.n_seeds > 1 else 0.0

    @property
    def trainings(self) -> float:
        """Variance of the mean difference over all that was trained: `seeds` and `shared`."""
        return self.seeds + self.shared

    @property
    def trainings_df(self) -> int:
        """Degrees of freedom of `trainings`: the fewer ones where it has two parts."""
        return min(self.pooled_df, self.shared_df) if self.shared else self.pooled_df

    @property
    def standard_error(self) -> float:
        """Of the mean difference, over images and trainings."""
        return float(np.sqrt(self.images + self.trainings))

    def critical(self, alpha: float) -> float:
        """Return how many standard errors a difference must exceed at a two-sided level.

        Cochran's weighted quantile, (A t_A + B t_B) / (A + B), which keeps the level where s^2 rests on few seeds
        (Cochran, Approximate significance levels of the Behrens-Fisher test, Biometrics 20, 1964).
        """
        t_images = float(stats.t.isf(alpha / 2, max(self.n_products - 1, 1)))
        if not self.trainings:
            return t_images
        t_seeds = float(stats.t.isf(alpha / 2, self.pooled_df))
        t_shared = float(stats.t.isf(alpha / 2, self.shared_df))
        total = self.images + self.trainings
        return (self.images * t_images + self.seeds * t_seeds + self.shared * t_shared) / total

    def p_value(self, difference: float) -> float:
        """Return the two-sided level at which the difference would just be shown; 1 if nothing varies."""
        error = self.standard_error
        if error == 0:
            return 1.0
        size = float(abs(difference) / error)
        lowest, highest = float(np.log(1e-15)), float(np.log(1 - 1e-9))

        def gap(log_alpha: float) -> float:
            return self.critical(float(np.exp(log_alpha))) - size

        if gap(lowest) <= 0:
            return 1e-15
        if gap(highest) >= 0:
            return 1.0
        root: Any = optimize.brentq(gap, lowest, highest)
        return float(np.exp(root))

    def at_least(self, seed_variance: float, pooled_df: int) -> "Noise":
        """Return the noise with its seed variance raised to that of a family, if it is below."""
        if self.n_seeds < 2 or self.seed_variance >= seed_variance:
            return self
        return replace(self, seed_variance=seed_variance, pooled_df=pooled_df)


def noise_of(
    gains: npt.ArrayLike, products: npt.ArrayLike | None = None, shared: npt.ArrayLike | None = None
) -> Noise:
    """Estimate the variances.

    Parameters
    ----------
    gains : array-like of shape (n_seeds, n_images)
        Correctness of b minus correctness of a, one row per pair of trained models.
    products : array-like of shape (n_images,), optional
        The product of each image. Without it every image is its own product.
    shared : array-like of shape (n_trainings,), optional
        Accuracies of a method's trainings, all of which every row of `gains` holds.
    """
    table = np.atleast_2d(np.asarray(gains, dtype=np.float64))
    n_seeds, n_images = table.shape
    totals = product_sums(table.mean(axis=0), products)
    n_products = len(totals.sums)
    residuals = totals.sums - totals.mean * totals.sizes
    images = float((residuals**2).sum()) / n_images**2 * n_products / max(n_products - 1, 1)
    variance = float(np.var(table.mean(axis=1), ddof=1)) if n_seeds > 1 else 0.0
    found = Noise(images, variance, n_products, n_seeds, max(n_seeds - 1, 1))
    accuracies = np.asarray([] if shared is None else shared, dtype=np.float64)
    if len(accuracies) < 2:
        return found
    return replace(
        found, shared=float(np.var(accuracies, ddof=1)) / len(accuracies), shared_df=len(accuracies) - 1
    )
