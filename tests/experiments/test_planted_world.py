"""Worlds whose truth is known by construction: the verdict must find it, and the metrics must be it."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm

from aisles.experiments.metrics.answers import accuracy, confusion, corrected_and_broken, top_k_accuracy
from aisles.experiments.metrics.confusion_forecast import forecast
from aisles.experiments.metrics.hierarchical import (
    ceilings,
    error_budget,
    mistake_distance,
    partition_distance,
)
from aisles.experiments.metrics.probabilistic import aurc, brier, ece, nll
from aisles.experiments.stats.verdict import compare

N_IMAGES = 5_000
RIGHT = {
    0.02: {"better"},
    0.0: {"equivalent", "no difference shown"},
    -0.02: {"worse"},
}


def single_images(gain, rng):
    """One seed, every image its own product, 10 % of images on which exactly one system is right."""
    chances = [0.8 - (0.1 - gain) / 2, (0.1 - gain) / 2, (0.1 + gain) / 2]
    kind = np.searchsorted(np.cumsum(chances), rng.random(N_IMAGES), side="right")
    return kind < 2, (kind == 0) | (kind == 2), None


def photographed_products(gain, rng):
    """Five seeds; a product's one to five images are hard together, and hard for one system together."""
    sizes = rng.integers(1, 6, N_IMAGES)
    products = np.repeat(np.arange(N_IMAGES), sizes)[:N_IMAGES]

    def noise(variance, shape: int | tuple[int, int] = N_IMAGES):
        return variance**0.5 * rng.normal(size=shape)

    shared = noise(0.45)[products] + noise(0.40)
    correct = [
        shared + noise(0.03)[products] + noise(0.06) + noise(0.06, (5, N_IMAGES)) < norm.ppf(0.8 + extra)
        for extra in (0.0, gain)
    ]
    return *correct, products


def verdicts_of(world, gain, n_draws):
    return Counter(
        compare(*world(gain, np.random.default_rng([2026, draw])), n_resamples=1_000, seed=draw).verdict
        for draw in range(n_draws)
    )


@pytest.mark.parametrize("world", [single_images, photographed_products])
@pytest.mark.parametrize("gain", RIGHT)
def test_the_verdict_is_right_in_95_of_100_draws(world, gain):
    verdicts = verdicts_of(world, gain, 100)
    assert sum(verdicts[verdict] for verdict in RIGHT[gain]) >= 95
    if gain:
        assert verdicts["worse" if gain > 0 else "better"] == 0


@pytest.mark.parametrize(
    ("world", "n_draws"),
    [
        pytest.param(single_images, 1_000, id="single images"),
        pytest.param(photographed_products, 4_000, marks=pytest.mark.slow, id="photographed products"),
    ],
)
def test_false_claims_stay_under_5_in_100_where_the_systems_are_equal(world, n_draws):
    # a test at the level 0.05 keeps its guarantee narrowly, so 100 draws would pass or fail by luck
    verdicts = verdicts_of(world, 0.0, n_draws)
    assert (verdicts["better"] + verdicts["worse"]) / n_draws < 0.05


MACRO_OF = np.repeat(np.arange(4), 5)


def answers_to_order(truth, kinds):
    """Answer right ("="), another class of the macro ("m") or a class of the next macro (">")."""
    inside = MACRO_OF[truth] * 5 + (truth + 1) % 5
    return np.select([kinds == "=", kinds == "m"], [truth, inside], (truth + 5) % 20)


def probabilities_to_order(truth, answers):
    """Return the answer 0.8; a truth that is not the answer 0.1; the rest to the others in equal parts."""
    wrong = truth != answers
    rows = np.arange(len(truth))
    probs = np.where(wrong, 0.1 / 18, 0.2 / 19)[:, None].repeat(20, axis=1)
    probs[rows, truth] = 0.1
    probs[rows, answers] = 0.8
    return probs


@pytest.fixture(scope="module")
def ordered():
    """Flat: 4,000 right, 600 astray inside, 400 across. Two-stage: 300 corrected, 200 lost."""
    truth = np.random.default_rng(0).permutation(np.arange(N_IMAGES) % 20)
    flat = np.array(["="] * 4000 + ["m"] * 600 + [">"] * 400)
    staged = flat.copy()
    staged[:200] = "m"
    staged[4000:4250] = "="
    staged[4950:] = "="
    return truth, answers_to_order(truth, flat), answers_to_order(truth, staged)


def test_every_metric_of_a_world_to_order_is_known(ordered):
    truth, flat, _ = ordered
    probs = probabilities_to_order(truth, flat)
    assert accuracy(truth, probs.argmax(axis=1)) == 0.8
    assert top_k_accuracy(truth, probs, 2) == 1.0
    budget = error_budget(truth, flat, MACRO_OF)
    assert (budget.router_wrong, budget.within_wrong, budget.right) == (400, 600, 4000)
    assert (budget.router_accuracy, budget.within_accuracy) == (0.92, 4000 / 4600)
    ceiling = ceilings(truth, probs, MACRO_OF)
    assert (ceiling.oracle_router, ceiling.oracle_submodels) == (0.88, 0.92)
    assert mistake_distance(truth, flat, partition_distance(MACRO_OF)).per_mistake == pytest.approx(1.4)
    assert ece(probs, truth) == pytest.approx(0, abs=1e-12)
    assert nll(probs, truth) == pytest.approx(-0.8 * np.log(0.8) - 0.2 * np.log(0.1))
    right, wrong = 0.04 + 0.04 / 19, 0.64 + 0.81 + 0.01 / 18
    assert brier(probs, truth) == pytest.approx(0.8 * right + 0.2 * wrong)
    assert aurc(probs.max(axis=1), truth == flat) == pytest.approx(0.2)
    guarantee = forecast(confusion(truth, flat, 20), MACRO_OF)
    assert (guarantee.right, guarantee.inside, guarantee.between) == (0.8, 0.12, 0.08)


def test_the_comparison_of_a_world_to_order_is_known(ordered):
    truth, flat, staged = ordered
    changes = corrected_and_broken(truth, flat, staged, 20)
    assert (changes.corrected, changes.broken, changes.difference) == (300, 200, 0.02)
    comparison = compare(truth == flat, truth == staged)
    assert (comparison.corrected, comparison.broken, comparison.difference) == ((300,), (200,), 0.02)
    assert comparison.verdict == "better"
    half = 1.96 * np.sqrt((0.1 - 0.02**2) / N_IMAGES)
    assert comparison.interval == pytest.approx((0.02 - half, 0.02 + half), abs=5e-4)
