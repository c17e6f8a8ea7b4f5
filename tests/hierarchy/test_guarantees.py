"""Guarantees: kept on simulated exchangeable data, and refused where data are too few."""

import numpy as np
import pytest
from scipy.special import softmax

from aisles.hierarchy.guarantees import GRID, SET_METHODS, _fallback, climb_guarantee, fit_prediction_sets
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import NEVER, climb, soft

SHOP = Hierarchy(("A", "B", "C"), (("a", "b", "c"), ("d", "e"), ("f",)))


def simulated(n, sharpness, overconfidence=1.0, seed=0):
    """Draw labels from the true distribution, and give an overconfident model's."""
    rng = np.random.default_rng(seed)
    macro, within = sharpness * rng.normal(size=(n, 3)), sharpness * rng.normal(size=(n, 6))

    def composed(scale):
        blocks = np.hstack([softmax(within[:, b] * scale, axis=1) for b in SHOP.blocks])
        return softmax(macro * scale, axis=1), soft(softmax(macro * scale, axis=1), blocks, SHOP)

    true = composed(1.0)[1]
    labels = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=5)
    return *composed(overconfidence), labels


def share_right(probs, macro_probs, labels, threshold):
    """Measure the share of right answers among those given, and the share given."""
    answers = climb(probs, macro_probs, threshold, SHOP)
    right = np.where(
        answers.levels == "class", answers.class_index == labels, answers.macro_index == SHOP.macro_of[labels]
    )
    return right[answers.answered], answers.answered.mean()


@pytest.mark.parametrize(("overconfidence", "target"), [(1.0, 0.9), (2.0, 0.9), (0.5, 0.9), (1.0, 0.97)])
def test_the_stated_share_of_given_answers_is_right_however_calibrated_the_model(overconfidence, target):
    macro_probs, probs, labels = simulated(20_000, 6, overconfidence)
    kept, given = [], []
    for seed in range(100):
        order = np.random.default_rng(seed).permutation(len(labels))
        some, others = order[:400], order[400:]
        found = climb_guarantee(probs[some], macro_probs[some], SHOP, labels[some], target, delta=0.1)
        right, share = share_right(probs[others], macro_probs[others], labels[others], found.threshold)
        kept.append(right.mean() >= target if len(right) else True)
        given.append(share)
    assert np.mean(kept) >= 0.9 - 0.06, "0.06 is two standard errors of a share of 0.9 in 100"
    assert np.mean(given) > 0.3, "silence would keep any guarantee"


def test_the_guarantee_reports_what_climb_does_at_its_threshold():
    macro_probs, probs, labels = simulated(1000, 6)
    found = climb_guarantee(probs, macro_probs, SHOP, labels, 0.9)
    right, share = share_right(probs, macro_probs, labels, found.threshold)
    assert (found.n_images, found.n_given, found.n_right) == (1000, len(right), right.sum())
    assert share == found.n_given / 1000
    assert found.n_right / found.n_given > 0.9, "finite samples need a margin"


def test_a_perfect_model_answers_everything():
    macro_probs, probs = np.eye(3)[[0, 1] * 100], np.eye(6)[[0, 3] * 100]
    assert climb_guarantee(probs, macro_probs, SHOP, np.array([0, 3] * 100), 0.95).threshold == 0


def test_macro_answers_count_as_right_when_the_macro_holds_the_class_even_in_overlap():
    overlap = Hierarchy(("A", "B"), (("a", "b"), ("b", "c")))
    macro_probs, probs = np.tile([1.0, 0.0], (200, 1)), np.tile([0.5, 0.5, 0.0], (200, 1))
    found = climb_guarantee(probs, macro_probs, overlap, np.array([0, 1] * 100), 0.95)
    assert found.threshold == pytest.approx(0.51), "one step lower it would guess classes"


def test_a_model_that_cannot_keep_the_guarantee_falls_silent(caplog):
    macro_probs, probs, _ = simulated(500, 6)
    wrong = (probs.argmax(axis=1) + 3) % 6
    found = climb_guarantee(probs, macro_probs, SHOP, wrong, 0.95)
    assert found.threshold == NEVER
    assert "answer nothing" in caplog.text
    assert not climb(probs, macro_probs, found.threshold, SHOP).answered.any()


def test_fallback_hands_levels_on_worked_out_by_hand():
    p = np.ones(len(GRID))
    p[GRID.index(0.999)] = 0.0  # no level has come yet
    p[GRID.index(0.99)] = 0.02  # the first start brings 0.02: passed
    p[GRID.index(0.98)] = 0.02  # handed on: passed
    p[GRID.index(0.97)] = 0.021  # lost
    p[GRID.index(0.96)] = 0.0  # no level left
    p[GRID.index(0.9)] = 0.02  # the second start
    for step in range(89, 80, -1):
        p[GRID.index(step / 100)] = 0.0
    p[GRID.index(0.8)] = 0.04  # the second start's level and the third's
    passed = [GRID[i] for i in np.flatnonzero(_fallback(p, 0.1))]
    assert passed == [0.99, 0.98, *(step / 100 for step in range(90, 79, -1))]


@pytest.mark.parametrize("method", SET_METHODS)
@pytest.mark.parametrize("overconfidence", [1.0, 3.0])
def test_sets_hold_the_true_class_as_often_as_stated(method, overconfidence):
    _, probs, labels = simulated(20_000, 3, overconfidence)
    held = []
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(len(labels))
        some, others = order[:100], order[100:]
        sets = fit_prediction_sets(probs[some], labels[some], 0.9, method).sets(probs[others])
        held.append(sets[np.arange(len(others)), labels[others]].mean())
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)
    assert np.mean(held) > 0.9 - 2 * np.std(held) / np.sqrt(40)


def test_lac_sets_worked_out_by_hand():
    calibration = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]
    rule = fit_prediction_sets(calibration, [0, 0, 0, 1], coverage=0.6)
    assert rule.quantile == pytest.approx(0.3), "third smallest of .1, .2, .3, .6"
    assert rule.sets([[0.75, 0.25], [0.5, 0.5]]).tolist() == [[True, False], [False, False]]


def test_aps_sets_worked_out_by_hand():
    calibration = [[0.5, 0.3, 0.2]] * 4
    rule = fit_prediction_sets(calibration, [0, 0, 1, 2], coverage=0.6, method="aps")
    assert rule.quantile == pytest.approx(0.5), "scores 0, 0, .5, .8"
    found = rule.sets([[0.4, 0.35, 0.25], [0.1, 0.3, 0.6]])
    assert found.tolist() == [[True, True, False], [False, False, True]]


def test_aps_sets_are_never_empty_and_each_image_stands_alone():
    _, probs, labels = simulated(300, 2)
    for method in SET_METHODS:
        rule = fit_prediction_sets(probs[:100], labels[:100], 0.8, method)
        sets = rule.sets(probs)
        assert method == "lac" or sets.any(axis=1).all()
        for i in range(20):
            np.testing.assert_array_equal(rule.sets(probs[i : i + 1])[0], sets[i])


def test_just_enough_images_are_enough():
    probs, labels = np.tile([0.6, 0.4], (19, 1)), np.zeros(19, dtype=int)
    assert fit_prediction_sets(probs, labels, 0.95).n_images == 19
    with pytest.raises(
        ValueError, match="coverage of 0.95 need at least 19 calibration images. Received: 18"
    ):
        fit_prediction_sets(probs[:18], labels[:18], 0.95)


def test_a_guarantee_that_so_few_images_cannot_carry_is_refused():
    macro_probs, probs = np.tile(np.eye(3)[0], (77, 1)), np.tile(np.eye(6)[0], (77, 1))
    labels = np.zeros(77, dtype=int)
    assert climb_guarantee(probs, macro_probs, SHOP, labels, 0.95).threshold == 0
    with pytest.raises(ValueError, match="needs at least 77 calibration images. Received: 76"):
        climb_guarantee(probs[1:], macro_probs[1:], SHOP, labels[1:], 0.95)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": 1}, "`target` must be between 0 and 1"),
        ({"delta": 0}, "`delta` must be between 0 and 1"),
        ({"labels": np.full(100, 6)}, "class index from 0 to 5"),
        ({"labels": ["a"] * 100}, "class index from 0 to 5"),
        ({"probs": np.ones((100, 6))}, "`probs` must sum to 1"),
        ({"macro_probs": np.eye(3)[[0] * 99]}, "same images"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes, message):
    given = {
        "probs": np.eye(6)[[0] * 100], "macro_probs": np.eye(3)[[0] * 100], "hierarchy": SHOP,
        "labels": np.zeros(100, dtype=int), "target": 0.9,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        climb_guarantee(**{**given, **changes})


def test_an_unknown_kind_of_set_is_refused():
    with pytest.raises(ValueError, match=r"one of \['lac', 'aps'\]. Received: method='raps'"):
        fit_prediction_sets([[1.0]], [0], 0.5, "raps")
