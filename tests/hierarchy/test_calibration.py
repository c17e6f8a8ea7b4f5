"""Temperatures: found again where we put them, and harmless to hard's answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from aisles.hierarchy import calibration
from aisles.hierarchy import rule_functions as routing
from aisles.hierarchy.calibration import (
    BOUNDS,
    Temperatures,
    apply_temperature,
    fit_composed_temperatures,
    fit_temperature,
    held_temperature,
)
from aisles.hierarchy.hierarchy import Hierarchy

patient = settings(max_examples=50, deadline=None)

SHOP = Hierarchy(("A", "B", "C"), (("a", "c", "b"), ("e", "d"), ("f",)))
OVERLAP = Hierarchy(("A", "B"), (("a", "b", "c"), ("c", "d")))


def block_softmax(logits, hierarchy, scale):
    return np.hstack(
        [softmax(logits[:, b] * s, axis=1) for b, s in zip(hierarchy.blocks, scale, strict=True)]
    )


def simulated(hierarchy, n, router_scale, scales, seed=0):
    """Draw labels from a two-stage distribution, and give models that are off by known temperatures."""
    rng = np.random.default_rng(seed)
    macro, within = (2 * rng.normal(size=(n, width)) for width in (hierarchy.n_macros, hierarchy.n_slots))
    ones = [1] * hierarchy.n_macros
    true = routing.soft(softmax(macro, axis=1), block_softmax(within, hierarchy, ones), hierarchy)
    labels = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=hierarchy.n_classes - 1)
    return softmax(macro * router_scale, axis=1), block_softmax(within, hierarchy, scales), labels


def loss(temperatures, macro, within, hierarchy, labels):
    probs = routing.soft(
        temperatures.apply_router(macro), temperatures.apply_submodels(within, hierarchy), hierarchy
    )
    return -np.log(probs[np.arange(len(labels)), labels]).mean()


def test_a_power_worked_out_by_hand():
    np.testing.assert_allclose(apply_temperature([[0.8, 0.2]], 2), [[2 / 3, 1 / 3]])
    np.testing.assert_allclose(apply_temperature([[0.8, 0.2]], 0.5), [[16 / 17, 1 / 17]])
    np.testing.assert_array_equal(apply_temperature([[1.0, 0.0]], 3), [[1, 0]])
    given_back = np.array([[0.1, 0.2, 0.7]])
    np.testing.assert_array_equal(apply_temperature(given_back, 1), given_back)


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_a_single_temperature_is_found_again(scale):
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(5000, 5))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((5000, 1))).sum(axis=1)
    assert fit_temperature(scale * logits, labels) == pytest.approx(scale, rel=0.08)


def test_the_minimum_is_a_minimum():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(300, 4)), rng.integers(0, 4, 300)
    logits[np.arange(300), labels] += 1

    def nll(t):
        return -np.log(softmax(logits / t, axis=1)[np.arange(300), labels]).mean()

    best = fit_temperature(logits, labels)
    assert all(nll(best) <= nll(t) for t in (*np.geomspace(*BOUNDS, 200), best * 1.001, best / 1.001))


def test_temperatures_stay_inside_their_bounds():
    sure, unsure = np.array([[9.0, 0], [0, 9]]), np.array([[9.0, 0], [0, 9]])
    assert fit_temperature(sure, [0, 1]) == pytest.approx(BOUNDS[0])
    assert fit_temperature(unsure, [1, 0]) == pytest.approx(BOUNDS[1])
    assert fit_temperature(np.zeros((3, 1)), [0, 0, 0]) == 1
    assert np.isfinite(fit_temperature([[0.0, -np.inf], [0, -np.inf], [0, -np.inf]], [0, 0, 1]))


def drawn(n, scale, rng):
    """Draw n images of five classes and their labels from logits, and return scale times those logits."""
    logits = 2 * rng.normal(size=(n, 5))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=4)
    return scale * logits, labels


def test_few_images_leave_probabilities_alone_that_were_right_and_mend_those_that_were_not():
    rng = np.random.default_rng(7)
    kept, fitted_loss, held_loss = 0, 0.0, 0.0
    many, truth = drawn(20_000, 1.0, rng)

    def nll(t):
        return -np.log(softmax(many / t, axis=1)[np.arange(len(truth)), truth]).mean()

    for _ in range(200):
        logs, labels = drawn(60, 1.0, rng)
        found = held_temperature(logs, labels)
        assert found in (1.0, fit_temperature(logs, labels))
        kept += found == 1
        fitted_loss, held_loss = fitted_loss + nll(fit_temperature(logs, labels)), held_loss + nll(found)
    assert kept >= 180  # of 200; the others are noise that both halves shared
    assert (held_loss / 200 - nll(1)) < 0.5 * (fitted_loss / 200 - nll(1))
    wrong = [held_temperature(*drawn(300, scale, rng)) for scale in (2.0, 0.5) for _ in range(50)]
    assert sum(t != 1 for t in wrong) >= 98
    assert np.median(wrong[:50]) == pytest.approx(2, rel=0.05)
    assert np.median(wrong[50:]) == pytest.approx(0.5, rel=0.05)


def test_two_halves_that_disagree_hold_no_temperature():
    logits = np.array([[3.0, 0.0]] * 4)
    assert fit_temperature(logits, [0, 1, 0, 1]) == pytest.approx(BOUNDS[1])
    assert held_temperature(logits, [0, 1, 0, 1]) == 1  # even rows ask for more certainty, odd ones for less
    assert held_temperature(logits[:1], [1]) == 1  # one image can't be checked
    assert held_temperature(np.tile(logits, (10, 1)), [0, 0, 1, 1] * 10) == pytest.approx(BOUNDS[1])


@pytest.mark.parametrize("hierarchy", [SHOP, OVERLAP])
def test_stages_keep_only_temperatures_that_hold(hierarchy):
    scales = (2, 2, 1)[: hierarchy.n_macros]
    macro, within, labels = simulated(hierarchy, 3000, 3, scales)
    logs = np.log(macro), np.log(within)
    free = fit_composed_temperatures(*logs, hierarchy, labels)
    assert fit_composed_temperatures(*logs, hierarchy, labels, held=True) == free
    macro, within, labels = simulated(hierarchy, 40, 1, (1,) * hierarchy.n_macros, seed=3)
    found = fit_composed_temperatures(np.log(macro), np.log(within), hierarchy, labels, held=True)
    assert (found.router, *found.submodels) == (1,) * (1 + hierarchy.n_macros)


def test_router_and_submodels_are_found_again_and_constants_stay_one():
    macro, within, labels = simulated(SHOP, 6000, 3, (0.5, 2, 1))
    found = fit_composed_temperatures(np.log(macro), np.log(within), SHOP, labels)
    np.testing.assert_allclose([found.router, *found.submodels], [3, 0.5, 2, 1], rtol=0.1)
    assert found.submodels[2] == 1
    assert loss(found, macro, within, SHOP, labels) < loss(
        Temperatures(1, (1, 1, 1)), macro, within, SHOP, labels
    )


def test_fitting_apart_is_the_joint_maximum():
    macro, within, labels = simulated(SHOP, 500, 3, (0.5, 2, 1))
    apart = fit_composed_temperatures(np.log(macro), np.log(within), SHOP, labels)
    joint = calibration._fit_jointly(np.log(macro), np.log(within), SHOP, labels, [0, 1])
    np.testing.assert_allclose([apart.router, *apart.submodels], [joint.router, *joint.submodels], rtol=1e-2)
    assert loss(apart, macro, within, SHOP, labels) <= loss(joint, macro, within, SHOP, labels) + 1e-9


def test_overlapping_macros_are_fitted_to_the_mixture():
    macro, within, labels = simulated(OVERLAP, 4000, 2, (2, 0.5))
    found = fit_composed_temperatures(np.log(macro), np.log(within), OVERLAP, labels)
    np.testing.assert_allclose([found.router, *found.submodels], [2, 2, 0.5], rtol=0.25)


def test_a_submodel_with_few_images_keeps_its_probabilities():
    macro, within, labels = simulated(SHOP, 400, 3, (3, 3, 1))
    few = np.flatnonzero(SHOP.macro_of[labels] == 1)[5:]
    keep = np.setdiff1d(np.arange(400), few)
    found = fit_composed_temperatures(np.log(macro[keep]), np.log(within[keep]), SHOP, labels[keep])
    assert found.submodels[1] == 1 != found.submodels[0]


@patient
@given(st.integers(0, 10_000), st.lists(st.floats(*BOUNDS), min_size=4, max_size=4))
def test_no_temperature_changes_hards_answers_and_each_image_stands_alone(seed, values):
    rng = np.random.default_rng(seed)
    macro = softmax(6 * rng.normal(size=(5, 3)), axis=1).astype(np.float32)
    within = block_softmax(6 * rng.normal(size=(5, 6)), SHOP, (1, 1, 1)).astype(np.float32)
    temperatures = Temperatures(values[0], tuple(values[1:]))
    macro_t, within_t = temperatures.apply_router(macro), temperatures.apply_submodels(within, SHOP)
    before, after = (routing.hard(*p, SHOP).argmax(axis=1) for p in ((macro, within), (macro_t, within_t)))
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(routing.soft(macro_t, within_t, SHOP).sum(axis=1), 1, rtol=1e-6)
    for i in range(5):
        np.testing.assert_array_equal(temperatures.apply_submodels(within[i : i + 1], SHOP)[0], within_t[i])
        np.testing.assert_array_equal(temperatures.apply_router(macro[i : i + 1])[0], macro_t[i])


@pytest.mark.parametrize("temperature", [0.01, 0.25, 20, 1000])
def test_the_sharpest_and_the_softest_temperature_give_distributions_of_the_smallest_probabilities(
    temperature,
):
    tiny = np.array([[1 - 1e-12, 1e-12, 0, 0], [0.25, 0.25, 0.25, 0.25], [1, 5e-324, 5e-324, 0]])
    many = np.full((1, 5000), 1 / 5000)
    for probs in (tiny, many):
        scaled = apply_temperature(probs, temperature)
        assert np.isfinite(scaled).all() and (scaled >= 0).all()
        np.testing.assert_allclose(scaled.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_array_equal(scaled.argmax(axis=1), probs.argmax(axis=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Temperatures(0, (1,)), "from 0.01 to 1000. Received: 0"),
        (lambda: Temperatures(1, (np.nan,)), "from 0.01 to 1000. Received: nan"),
        (lambda: apply_temperature([[1.0]], -1), "from 0.01 to 1000. Received: -1"),
        (lambda: apply_temperature([[1.0]], 1e-300), "from 0.01 to 1000. Received: 1e-300"),
        (lambda: Temperatures(1e300, (1,)), "from 0.01 to 1000. Received: 1e\\+300"),
        (lambda: apply_temperature([[2.0, 3.0]], 2), "must sum to 1"),
        (
            lambda: Temperatures(1, (1, 1)).apply_submodels(np.ones((1, 6)), SHOP),
            "each of the 3 macros. Received: 2",
        ),
        (lambda: fit_temperature(np.zeros((0, 3)), []), "at least one image"),
        (lambda: fit_temperature([[0.0, np.nan]], [0]), "nan"),
        (lambda: fit_temperature([[-np.inf, -np.inf]], [0]), "above 0"),
        (lambda: fit_temperature([[0.0, 1.0]], [2]), "between 0 and 1. Received: 2 to 2"),
        (lambda: fit_temperature([[0.0, 1.0]], ["a"]), "one column index for each"),
        (
            lambda: fit_composed_temperatures(np.zeros((2, 3)), np.zeros((3, 6)), SHOP, [0, 1]),
            "same images. Received: 2 and 3",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_right_answers_alone_are_no_reason_for_more_certainty():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 40)
    sure = np.log(np.where(np.eye(3, dtype=bool)[labels], 0.7, 0.15))
    assert fit_temperature(sure, labels) == pytest.approx(BOUNDS[0])
    assert held_temperature(sure, labels) == 1
    one_wrong = np.where(np.arange(40) == 6, (labels + 1) % 3, labels)  # an even row: odd ones can't check
    assert held_temperature(sure, one_wrong) == 1
    hierarchy = Hierarchy(("A", "B"), (("a", "b"), ("c",)))
    macro = np.log(np.where((labels == 2)[:, None], [0.3, 0.7], [0.7, 0.3]))
    within = np.log(
        np.column_stack([np.where(labels == 1, 0.3, 0.7), np.where(labels == 1, 0.7, 0.3), np.ones(40)])
    )
    assert fit_composed_temperatures(macro, within, hierarchy, labels, held=True) == Temperatures(1, (1, 1))
