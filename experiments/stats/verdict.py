"""Is b better than a, worse, equal for practical purposes, or is nothing shown? Arrays in, a verdict out.

Everything that a verdict rests on can be imported from here; the tests live in `significance`, what draws
products in `resampling`, the metrics on probabilities in `calibration_metrics`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from aisles.experiments.metrics.probabilistic import (
    RiskCoverage,
    aurc,
    brier,
    ece,
    nll,
    risk_coverage,
)

from .families import max_t
from .levels import ALPHA, MARGIN
from .points import change_in_points, interval_in_points, size_in_points
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
from .training_noise import Noise, noise_of

__all__ = [
    "Comparison",
    "Equivalence",
    "Interval",
    "McNemar",
    "RiskCoverage",
    "accuracy_interval",
    "apply_holm",
    "as_json",
    "aurc",
    "brier",
    "cluster_sign_flip",
    "compare",
    "compare_family",
    "ece",
    "holm",
    "mcnemar_exact",
    "minimum_detectable_difference",
    "nll",
    "paired_bootstrap",
    "product_bootstrap",
    "risk_coverage",
    "tost",
    "verdict_of",
    "wilson",
]

FEW_PRODUCTS = 20
"""Below so many, percentile intervals of resampled products are too short."""
Verdict = Literal["better", "worse", "equivalent", "no difference shown"]


@dataclass(frozen=True)
class Comparison:
    """System b judged against system a on the same images.

    Attributes
    ----------
    a, b : str
        Names of the two systems.
    n_images, n_products, n_seeds : int
        What the comparison rests on. Seeds that gave the same answers again are no replications and count once.
    accuracy_a, accuracy_b : float
        Shares of correct answers, over images and seeds.
    difference : float
        Accuracy of b minus accuracy of a, over images and seeds; in [-1, 1].
    difference_per_seed : tuple of float
        The same for each seed.
    seed_sd : float
        Standard deviation of the difference over seeds (n - 1), or of the family where that is larger; 0 with one.
    interval : tuple of float
        Of level 1 - alpha, low and high: with several seeds over images and seeds (`training_noise`); with one a
        product bootstrap (percentile), or Student's t with fewer than 20 products.
    simultaneous : tuple of float or None
        The interval that holds for all comparisons of the family together; None without a family.
    p_value : float
        The larger one of the product sign-flip test and, with several seeds, the test over images and seeds.
    p_corrected, p_holm : float
        After step-down max-T over the family, and after Holm's correction; equal to `p_value` without a family.
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
    unit : str
        What `n_seeds` counts: training seeds, or random partitions.
    n_shared : int
        Trainings of the one system that all partitions meet; 0 where `n_seeds` counts training seeds.
    """

    a: str
    b: str
    n_images: int
    n_products: int
    n_seeds: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    difference_per_seed: tuple[float, ...]
    seed_sd: float
    interval: tuple[float, float]
    p_value: float
    p_corrected: float
    p_holm: float
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
    simultaneous: tuple[float, float] | None = None
    unit: str = "seeds"
    n_shared: int = 0

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

    @property
    def about(self) -> str:
        """What the verdict speaks of: these trained models, or the methods over training seeds."""
        if self.n_shared and self.n_seeds > 1:
            again = f" and other training seeds ({self.n_shared})"
            trained = again if self.n_shared > 1 else ", these models trained once"
            return f"the methods, over other images, other {self.unit} ({self.n_seeds} were tried){trained}"
        if self.n_seeds > 1:
            return f"the methods, over other images and other training seeds ({self.n_seeds} were tried)"
        if self.unit != "seeds":
            return "these trained models and this one of the random partitions; others may change it"
        return "these trained models on other images; training them again may change it"

    def sentence(self) -> str:
        """Return the verdict in words, with the numbers that carry it."""
        words = {
            "better": f"{self.b} is better than {self.a}",
            "worse": f"{self.b} is worse than {self.a}",
            "equivalent": f"{self.b} and {self.a} are equivalent within {size_in_points(self.margin)}",
            "no difference shown": f"No difference shown between {self.b} and {self.a}",
        }[self.verdict]
        same = self.verdict == "equivalent"
        value = self.equivalence_p_corrected if same else self.p_corrected
        p = ("p of equivalence" if same else "p") + (" < 0.0001" if value < 1e-4 else f" = {value:.2g}")
        corrected = f", corrected for {self.family} comparisons" if self.family > 1 else ""
        uncorrected = f" at alpha {self.alpha:g} uncorrected" if self.family > 1 else ""
        seeds = (
            f", {self.n_seeds} {self.unit}" if self.n_seeds > 1 else ", one training: these trained models"
        )
        return (
            f"{words}: {100 * self.accuracy_b:.1f} % against {100 * self.accuracy_a:.1f} % correct, "
            f"{change_in_points(self.difference)} ({100 * (1 - self.alpha):g} % interval "
            f"{interval_in_points(self.interval)}, {p}{corrected}, {self.n_images} images{seeds}; "
            f"{100 * self.power:g} % power to detect {100 * self.smallest_detectable:.1f} points{uncorrected})."
        )


def compare(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    products: npt.ArrayLike | None = None,
    *,
    names: tuple[str, str] = ("a", "b"),
    margin: float = MARGIN,
    alpha: float = ALPHA,
    power: float = 0.8,
    n_resamples: int = 5_000,
    seed: int = 0,
    replications: npt.ArrayLike | None = None,
    shared: npt.ArrayLike | None = None,
    unit: str = "seeds",
) -> Comparison:
    """Judge system b against system a.

    "better" or "worse" requires both a p-value below `alpha` and an interval that excludes 0; otherwise "equivalent"
    requires a `tost` interval inside the margin; otherwise no difference is shown. With several seeds p-value and
    interval take images and training seeds as two sources of variance (`training_noise`), so the verdict speaks of the
    methods; with one it speaks of these trained models.

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
    replications : array-like of shape (n_seeds,), optional
        Which rows belong to one replication (say, to one random partition); their means count as one each.
    shared : array-like of shape (n_trainings,), optional
        Accuracies of the trainings of a system that every replication holds (say, of the one that meets all random
        partitions): their variance joins the replications'.
    unit : str
        What a replication is.

    Returns
    -------
    Comparison
        The smallest detectable difference counts images of one product as their design effect says, and the spread
        over seeds.

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
    gains = _gains(a, b, replications)
    noise = noise_of(gains, products, shared)
    mean = gains.mean(axis=0)
    sums = product_sums(mean, products).sums
    interval = _interval(mean, noise, products, alpha, n_resamples, seed)
    equivalence = tost(
        mean, products, margin=margin, alpha=alpha, more=noise.trainings, df=noise.trainings_df
    )
    p_value = cluster_sign_flip(mean, products, seed=seed)
    if noise.n_seeds > 1:
        p_value = max(p_value, noise.p_value(float(mean.mean())))
    tests = tuple(mcnemar_exact(*pair) for pair in zip(a, b, strict=True))
    return _judged(
        Comparison(
            a=names[0],
            b=names[1],
            n_images=a.shape[1],
            n_products=len(sums),
            n_seeds=noise.n_seeds,
            accuracy_a=float(a.mean()),
            accuracy_b=float(b.mean()),
            difference=(int(b.sum()) - int(a.sum())) / b.size,
            difference_per_seed=tuple((test.corrected - test.broken) / a.shape[1] for test in tests),
            seed_sd=float(np.sqrt(noise.seed_variance)),
            interval=interval,
            p_value=p_value,
            p_corrected=p_value,
            p_holm=p_value,
            mcnemar=tests,
            equivalence_interval=(equivalence.interval.low, equivalence.interval.high),
            equivalence_p=equivalence.p_value,
            equivalence_p_corrected=equivalence.p_value,
            smallest_detectable=_detectable(mean, sums, noise, alpha, power),
            margin=margin,
            alpha=alpha,
            power=power,
            verdict="no difference shown",
            unit=unit,
            n_shared=0 if shared is None else len(np.atleast_1d(shared)),
        )
    )


def compare_family(
    pairs: Sequence[tuple[str, str]],
    correct: Mapping[str, npt.ArrayLike],
    products: npt.ArrayLike | None = None,
    *,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    power: float = 0.8,
    n_resamples: int = 5_000,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Judge several pairs together, so that the chance of any false claim among them stays near alpha.

    The spread over seeds of a pair that happens to be below the family's mean is raised to it: with 3 seeds a small
    spread is more often luck than steadiness. p-values are corrected by step-down max-T (`families.max_t`), tests of
    equivalence by Holm.

    Parameters
    ----------
    pairs : sequence of (a, b)
        Names in `correct`; b is judged against a.
    correct : mapping of str to array-like of bool of shape (n_seeds, n_images)
    products, margin, alpha, power, n_resamples, seed
        As in `compare`.

    Returns
    -------
    tuple of Comparison
        In the order of `pairs`.
    """
    if not pairs:
        return ()
    tables = {name: correctness_table(name, correct[name]) for pair in pairs for name in pair}
    gains = [_gains(tables[a], tables[b], None) for a, b in pairs]
    noises = _with_floor([noise_of(table, products) for table in gains])
    corrected, critical = max_t(gains, noises, products, alpha=alpha, seed=seed)
    alone = [
        compare(
            tables[a], tables[b], products, names=(a, b), margin=margin, alpha=alpha, power=power,
            n_resamples=n_resamples, seed=seed,
        )
        for a, b in pairs
    ]  # fmt: skip
    p_values = [
        max(found.p_value, noise.p_value(found.difference) if noise.n_seeds > 1 else 0.0)
        for found, noise in zip(alone, noises, strict=True)
    ]
    holms = holm(p_values)
    equivalences = [
        _equivalence(table, noise, products, margin, alpha)
        for table, noise in zip(gains, noises, strict=True)
    ]
    equivalence_p = holm([found.p_value for found in equivalences])
    judged = []
    for place, (found, noise, same) in enumerate(zip(alone, noises, equivalences, strict=True)):
        wide = noise.critical(alpha) * noise.standard_error
        wider = max(critical * noise.standard_error, wide)
        d = found.difference
        interval = (d - wide, d + wide) if noise.n_seeds > 1 else found.interval
        together = (min(d - wider, interval[0]), max(d + wider, interval[1]))
        judged.append(
            _judged(
                replace(
                    found,
                    seed_sd=float(np.sqrt(noise.seed_variance)),
                    interval=interval,
                    p_value=p_values[place],
                    p_corrected=max(float(corrected[place]), p_values[place]),
                    p_holm=float(holms[place]),
                    equivalence_interval=(same.interval.low, same.interval.high),
                    equivalence_p=same.p_value,
                    equivalence_p_corrected=float(equivalence_p[place]),
                    family=len(pairs),
                    simultaneous=together,
                )
            )
        )
    return tuple(judged)


def accuracy_interval(
    correct: npt.ArrayLike, products: npt.ArrayLike | None = None, *, alpha: float = ALPHA
) -> Interval:
    """Return the mean over images with an interval of level 1 - alpha that counts products.

    A percentile bootstrap, or Student's t with fewer than 20 products, where that one is too short.

    Parameters
    ----------
    correct : array-like of shape (n_images,)
        Correctness, or correctness averaged over seeds; in [0, 1].
    products : array-like of shape (n_images,), optional
        The product of each image. Without it every image is its own product.
    alpha : float

    Returns
    -------
    Interval
        Inside [0, 1].
    """
    mean = np.asarray(correct, dtype=np.float64)
    low, high = _interval(mean, noise_of(mean, products), products, alpha, 5_000, 0)
    return Interval(float(mean.mean()), max(low, 0.0), min(high, 1.0), 1 - alpha)


def apply_holm(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Judge comparisons of different images again, with p-values corrected for their number by Holm.

    Comparisons on the same images are better judged together, by `compare_family`.

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
        corrected(comparison, float(p), float(q), len(comparisons))
        for comparison, p, q in zip(comparisons, differences, equivalences, strict=True)
    )


def corrected(comparison: Comparison, p_value: float, equivalence_p: float, family: int) -> Comparison:
    """Judge a comparison again by p-values that Holm's correction over its family gave."""
    return _judged(
        replace(
            comparison,
            p_corrected=p_value,
            p_holm=p_value,
            equivalence_p_corrected=equivalence_p,
            family=family,
        )
    )


def _gains(
    a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], replications: npt.ArrayLike | None
) -> npt.NDArray[np.float64]:
    """Return b less a per replication and image; pairs that repeat each other image by image count once."""
    gains = b.astype(np.float64) - a
    if replications is not None:
        names = np.asarray(replications)
        gains = np.stack([gains[names == name].mean(axis=0) for name in dict.fromkeys(names.tolist())])
    repeated = (a == a[:1]).all() and (b == b[:1]).all()
    return gains[:1] if repeated else gains


def _with_floor(noises: Sequence[Noise]) -> list[Noise]:
    """Raise each spread over seeds to the family's mean."""
    replicated = [noise for noise in noises if noise.n_seeds > 1]
    if len(replicated) < 2:
        return list(noises)
    usual = float(np.mean([noise.seed_variance for noise in replicated]))
    return [noise.at_least(usual, 2 * (noise.n_seeds - 1)) for noise in noises]


def _equivalence(
    gains: npt.NDArray[np.float64], noise: Noise, products: npt.ArrayLike | None, margin: float, alpha: float
) -> Equivalence:
    return tost(
        gains.mean(axis=0), products, margin=margin, alpha=alpha, more=noise.seeds, df=noise.pooled_df
    )


def _interval(
    mean: npt.NDArray[np.float64],
    noise: Noise,
    products: npt.ArrayLike | None,
    alpha: float,
    n_resamples: int,
    seed: int,
) -> tuple[float, float]:
    if noise.n_seeds == 1 and noise.n_products >= FEW_PRODUCTS:
        found = product_bootstrap(mean, products, level=1 - alpha, n_resamples=n_resamples, seed=seed)
        return found.low, found.high
    middle, half = float(mean.mean()), noise.critical(alpha) * noise.standard_error
    return middle - half, middle + half


def _detectable(
    mean: npt.NDArray[np.float64], sums: npt.NDArray[np.float64], noise: Noise, alpha: float, power: float
) -> float:
    squares = float((mean**2).sum())
    design_effect = float((sums**2).sum()) / squares if squares else 1.0
    n = len(mean) / design_effect if design_effect else float(len(mean))
    # the exact test counts whole images: half a pair more on either side
    shown = minimum_detectable_difference(n, squares / len(mean), alpha=alpha, power=power) + 1 / n
    if not noise.trainings:
        return min(shown, 1.0)
    factor = float(stats.t.isf(alpha / 2, noise.trainings_df) + stats.t.isf(1 - power, noise.trainings_df))
    return float(min(np.hypot(shown, factor * np.sqrt(noise.trainings)), 1.0))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as `metrics.json` holds it: its attributes, its counts, and its sentence."""
    return {
        "a": comparison.a,
        "b": comparison.b,
        "accuracy_a": comparison.accuracy_a,
        "accuracy_b": comparison.accuracy_b,
        "n_seeds": comparison.n_seeds,
        "about": comparison.about,
        "difference": comparison.difference,
        "difference_per_seed": list(comparison.difference_per_seed),
        "difference_sd": comparison.difference_sd,
        "seed_sd": comparison.seed_sd,
        "interval": list(comparison.interval),
        "simultaneous": None if comparison.simultaneous is None else list(comparison.simultaneous),
        "family": comparison.family,
        "p_value": comparison.p_value,
        "p_corrected": comparison.p_corrected,
        "p_holm": comparison.p_holm,
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


def verdict_of(interval: Sequence[float], p_value: float, equivalence_p: float, alpha: float) -> Verdict:
    """Return the verdict: better or worse takes both a p-value below `alpha` and an interval that excludes 0.

    Parameters
    ----------
    interval : (low, high)
        Of the difference.
    p_value, equivalence_p : float
        Of difference and of equivalence, corrected where the comparison is one of a family.
    alpha : float
    """
    low, high = interval
    if p_value < alpha and low > 0:
        return "better"
    if p_value < alpha and high < 0:
        return "worse"
    return "equivalent" if equivalence_p < alpha else "no difference shown"


def _judged(comparison: Comparison) -> Comparison:
    verdict = verdict_of(
        comparison.interval, comparison.p_corrected, comparison.equivalence_p_corrected, comparison.alpha
    )
    return replace(comparison, verdict=verdict)
