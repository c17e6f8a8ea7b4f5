"""Is b better than a, worse, equal for practical purposes, or is nothing shown? Arrays in, a verdict out.

Everything that a verdict rests on can be imported from here; the tests live in `significance`, what draws
products in `resampling`, the metrics on probabilities in `calibration_metrics`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from aisles.experiments.metrics.probabilistic import (
    RiskCoverage,
    aurc,
    brier,
    ece,
    nll,
    risk_coverage,
)

from .resampling import Interval, cluster_sign_flip, paired_bootstrap, product_bootstrap, product_sums
from .significance import (
    Equivalence,
    McNemar,
    correctness_table,
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    tost,
    wilson,
)

__all__ = [
    "Comparison",
    "Equivalence",
    "Interval",
    "McNemar",
    "RiskCoverage",
    "apply_holm",
    "as_json",
    "aurc",
    "brier",
    "cluster_sign_flip",
    "compare",
    "ece",
    "holm",
    "mcnemar_exact",
    "minimum_detectable_difference",
    "nll",
    "paired_bootstrap",
    "product_bootstrap",
    "risk_coverage",
    "tost",
    "wilson",
]

Verdict = Literal["better", "worse", "equivalent", "no difference shown"]


@dataclass(frozen=True)
class Comparison:
    """System b judged against system a on the same images.

    Attributes
    ----------
    a, b : str
        Names of the two systems.
    n_images, n_products, n_seeds : int
        What the comparison rests on.
    difference : float
        Accuracy of b minus accuracy of a, over images and seeds; in [-1, 1].
    difference_per_seed : tuple of float
        The same for each seed.
    interval : tuple of float
        Product bootstrap (percentile) of level 1 - alpha, low and high.
    p_value, p_corrected : float
        Product sign-flip test, as computed and after Holm's correction (equal if none was made).
    mcnemar : tuple of McNemar
        One per seed.
    equivalence_interval : tuple of float
        Of level 1 - 2 alpha, from `tost`.
    equivalence_p, equivalence_p_corrected : float
        P-value of `tost`, as computed and after Holm's correction.
    smallest_detectable : float
        Difference that so many images with such discordance would show with the given power.
    margin, alpha, power : float
        What was set beforehand.
    verdict : str
        "better", "worse", "equivalent" or "no difference shown".
    family : int
        How many comparisons were corrected together, 1 without correction; `smallest_detectable` is never corrected.
    """

    a: str
    b: str
    n_images: int
    n_products: int
    n_seeds: int
    difference: float
    difference_per_seed: tuple[float, ...]
    interval: tuple[float, float]
    p_value: float
    p_corrected: float
    mcnemar: tuple[McNemar, ...]
    equivalence_interval: tuple[float, float]
    equivalence_p: float
    equivalence_p_corrected: float
    smallest_detectable: float
    margin: float
    alpha: float
    power: float
    verdict: Verdict
    family: int = 1

    @property
    def corrected(self) -> tuple[int, ...]:
        """Images that only b gets right, per seed."""
        return tuple(test.corrected for test in self.mcnemar)

    @property
    def broken(self) -> tuple[int, ...]:
        """Images that only a gets right, per seed."""
        return tuple(test.broken for test in self.mcnemar)

    @property
    def difference_sd(self) -> float | None:
        """Standard deviation of the difference over seeds (n - 1), or None with one seed."""
        return float(np.std(self.difference_per_seed, ddof=1)) if self.n_seeds > 1 else None

    def sentence(self) -> str:
        """Say the verdict in words, with the numbers that carry it."""
        low, high = (100 * bound for bound in self.interval)
        words = {
            "better": f"{self.b} is better than {self.a}",
            "worse": f"{self.b} is worse than {self.a}",
            "equivalent": f"{self.b} and {self.a} are equivalent within {100 * self.margin:g} points",
            "no difference shown": f"No difference shown between {self.b} and {self.a}",
        }[self.verdict]
        same = self.verdict == "equivalent"
        value = self.equivalence_p_corrected if same else self.p_corrected
        p = ("p of equivalence" if same else "p") + (" < 0.0001" if value < 1e-4 else f" = {value:.2g}")
        level = f" at alpha {self.alpha:g} uncorrected" if self.family > 1 else ""
        return (
            f"{words}: {100 * self.difference:+.1f} points "
            f"({100 * (1 - self.alpha):g} % interval {low:+.1f} to {high:+.1f}, {p}, {self.n_images} images; "
            f"a difference of {100 * self.smallest_detectable:.1f} points would be shown "
            f"{100 * self.power:g} times in 100{level})."
        )


def compare(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    products: npt.ArrayLike | None = None,
    *,
    names: tuple[str, str] = ("a", "b"),
    margin: float = 0.01,
    alpha: float = 0.05,
    power: float = 0.8,
    n_resamples: int = 5_000,
    seed: int = 0,
) -> Comparison:
    """Judge system b against system a.

    "better" or "worse" takes both a sign-flip p-value below `alpha` and a bootstrap interval without 0;
    otherwise "equivalent" takes a `tost` interval inside the margin; otherwise no difference is shown.
    Interval and p-value speak of other images for these trained models, their correctness averaged over
    seeds; the spread over seeds is `difference_sd`. At the default level, systems that are truly equal are
    called better or worse about 4.7 times in 100 (measured on simulated answers to 5,000 images).

    Parameters
    ----------
    correct_a, correct_b : array-like of bool of shape (n_seeds, n_images) or (n_images,)
        Correctness of the same images in the same order; row s of both comes from seed s.
    products : array-like of shape (n_images,), optional
        The product of each image. Without it every image is its own product.
    names : tuple of str
        What to call a and b.
    margin : float
        Largest difference in accuracy that does not matter, pre-specified.
    alpha, power : float
        Level of the tests (the interval has level 1 - alpha), and power of `smallest_detectable`.
    n_resamples, seed : int
        Bootstrap resamples and their seed.

    Returns
    -------
    Comparison
        The smallest detectable difference counts images of one product as their design effect says.

    Raises
    ------
    ValueError
        If shapes differ, or a value is neither 0 nor 1.
    """
    a, b = correctness_table("correct_a", correct_a), correctness_table("correct_b", correct_b)
    if a.shape != b.shape:
        raise ValueError(
            f"Both systems must answer the same images and seeds. Received: {a.shape}, {b.shape}."
        )
    n_seeds, n_images = a.shape
    gains = (b.sum(axis=0) - a.sum(axis=0)) / n_seeds
    sums = product_sums(gains, products).sums
    interval = product_bootstrap(gains, products, level=1 - alpha, n_resamples=n_resamples, seed=seed)
    equivalence = tost(gains, products, margin=margin, alpha=alpha)
    p_value = cluster_sign_flip(gains, products, seed=seed)
    tests = tuple(mcnemar_exact(*pair) for pair in zip(a, b, strict=True))
    squares = float((gains**2).sum())
    design_effect = float((sums**2).sum()) / squares if squares else 1.0
    effective = n_images / design_effect if design_effect else float(n_images)
    return _judged(
        Comparison(
            a=names[0],
            b=names[1],
            n_images=n_images,
            n_products=len(sums),
            n_seeds=n_seeds,
            difference=(int(b.sum()) - int(a.sum())) / b.size,
            difference_per_seed=tuple((test.corrected - test.broken) / n_images for test in tests),
            interval=(interval.low, interval.high),
            p_value=p_value,
            p_corrected=p_value,
            mcnemar=tests,
            equivalence_interval=(equivalence.interval.low, equivalence.interval.high),
            equivalence_p=equivalence.p_value,
            equivalence_p_corrected=equivalence.p_value,
            smallest_detectable=minimum_detectable_difference(
                effective, squares / n_images, alpha=alpha, power=power
            ),
            margin=margin,
            alpha=alpha,
            power=power,
            verdict="no difference shown",
        )
    )


def apply_holm(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Judge secondary comparisons again, with p-values corrected for their number.

    Parameters
    ----------
    comparisons : sequence of Comparison
        One family; leave the primary comparison out.

    Returns
    -------
    tuple of Comparison
        In the order given. Tests of difference and tests of equivalence are each corrected as a family.
    """
    differences = holm([comparison.p_value for comparison in comparisons])
    equivalences = holm([comparison.equivalence_p for comparison in comparisons])
    return tuple(
        _judged(
            replace(
                comparison, p_corrected=float(p), equivalence_p_corrected=float(q), family=len(comparisons)
            )
        )
        for comparison, p, q in zip(comparisons, differences, equivalences, strict=True)
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as `metrics.json` holds it: its attributes, its counts, and its sentence."""
    return {
        "a": comparison.a,
        "b": comparison.b,
        "difference": comparison.difference,
        "difference_per_seed": list(comparison.difference_per_seed),
        "difference_sd": comparison.difference_sd,
        "interval": list(comparison.interval),
        "p_value": comparison.p_value,
        "p_corrected": comparison.p_corrected,
        "mcnemar": [asdict(test) for test in comparison.mcnemar],
        "corrected": list(comparison.corrected),
        "broken": list(comparison.broken),
        "equivalence_interval": list(comparison.equivalence_interval),
        "equivalence_p": comparison.equivalence_p,
        "equivalence_p_corrected": comparison.equivalence_p_corrected,
        "smallest_detectable": comparison.smallest_detectable,
        "margin": comparison.margin,
        "alpha": comparison.alpha,
        "power": comparison.power,
        "verdict": comparison.verdict,
        "sentence": comparison.sentence(),
    }


def _judged(comparison: Comparison) -> Comparison:
    low, high = comparison.interval
    shown = comparison.p_corrected < comparison.alpha
    if shown and low > 0:
        verdict: Verdict = "better"
    elif shown and high < 0:
        verdict = "worse"
    elif comparison.equivalence_p_corrected < comparison.alpha:
        verdict = "equivalent"
    else:
        verdict = "no difference shown"
    return replace(comparison, verdict=verdict)
