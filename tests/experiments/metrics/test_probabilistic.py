import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from aisles.experiments.metrics.probabilistic import aurc, brier, climb_curve, ece, nll, risk_coverage


def drawn(seed, n=200, n_classes=5):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(n_classes, 0.5), n)
    return probs, rng.integers(0, n_classes, n)


def test_ece_worked_by_hand():
    # confidences 0.9 (right), 0.9 (wrong), 0.6 (right), 0.6 (right); in both bins |gap| = 0.4
    probs = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]]
    assert ece(probs, [0, 1, 0, 1], bins=15) == pytest.approx(0.4)
    assert ece(probs, [0, 1, 0, 1], bins=1) == pytest.approx(0.0)


def test_ece_bins_are_closed_on_the_right():
    probs = [[0.75, 0.25], [0.7, 0.3]]  # of 4 bins both lie in (0.5, 0.75]
    assert ece(probs, [0, 1], bins=4) == pytest.approx(abs(0.5 - 0.725))


@given(st.integers(0, 10_000), st.integers(1, 20))
@settings(max_examples=25)
def test_ece_equals_a_loop_over_bins(seed, bins):
    probs, labels = drawn(seed)
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    total = 0.0
    for i in range(bins):
        chosen = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        if chosen.any():
            total += chosen.mean() * abs(right[chosen].mean() - confidence[chosen].mean())
    assert ece(probs, labels, bins) == pytest.approx(total)


@pytest.mark.parametrize("seed", range(3))
def test_nll_and_brier_agree_with_scikit_learn(seed):
    probs, labels = drawn(seed)
    classes = list(range(probs.shape[1]))
    assert nll(probs, labels) == pytest.approx(log_loss(labels, probs, labels=classes))
    expected = brier_score_loss(labels, probs, labels=classes, scale_by_half=False)
    assert brier(probs, labels) == pytest.approx(expected)


def test_certain_answers_have_finite_metrics():
    certain = np.eye(3, dtype=np.float32)
    assert (nll(certain, [0, 1, 2]), brier(certain, [0, 1, 2]), ece(certain, [0, 1, 2])) == (0, 0, 0)
    assert nll(certain, [1, 2, 0]) == pytest.approx(-np.log(np.finfo(float).eps))
    assert brier(certain, [1, 2, 0]) == 2


def test_risk_coverage_worked_by_hand():
    curve = risk_coverage([0.9, 0.5, 0.8, 0.6], [True, True, False, True])
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert curve.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_risk_coverage_is_the_mean_over_orders_of_equal_confidence(seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.integers(0, 3, 12) / 2, rng.random(12) < 0.6
    risks = []
    for _ in range(3000):
        order = np.lexsort((rng.random(12), -confidence))
        risks.append(np.cumsum(~correct[order]) / np.arange(1, 13))
    curve = risk_coverage(confidence, correct)
    np.testing.assert_allclose(curve.risk, np.mean(risks, axis=0), atol=0.05)
    order = rng.permutation(12)
    assert aurc(confidence[order], correct[order]) == pytest.approx(curve.aurc)
    assert curve.risk[-1] == pytest.approx(1 - correct.mean())


def test_confidence_that_knows_its_errors_has_the_lowest_area():
    correct = np.array([True] * 8 + [False] * 2)
    assert aurc(np.arange(10)[::-1], correct) < aurc(np.zeros(10), correct) < aurc(np.arange(10), correct)
    assert aurc(np.zeros(10), correct) == pytest.approx(0.2)


def test_climb_curve_worked_by_hand():
    curve = climb_curve(
        [0.9, 0.6, 0.4, 0.3], [True, True, False, False], [0.95, 0.8, 0.7, 0.4], [True, True, True, False],
        thresholds=[0.0, 0.5, 0.99],
    )  # fmt: skip
    assert curve.class_share.tolist() == [1.0, 0.5, 0.0]
    assert curve.macro_share.tolist() == [0.0, 0.25, 0.0]
    np.testing.assert_array_equal(curve.class_accuracy, [0.5, 1.0, np.nan])
    np.testing.assert_array_equal(curve.accuracy, [0.5, 1.0, np.nan])


def test_climb_answers_every_class_at_threshold_zero_and_less_and_less_after():
    rng = np.random.default_rng(0)
    sure, right = rng.random(300), rng.random(300) < 0.7
    curve = climb_curve(sure, right, np.minimum(1, sure + 0.1), right)
    assert len(curve.thresholds) == 101
    assert (curve.class_share[0], curve.accuracy[0]) == (1.0, right.mean())
    assert (np.diff(curve.class_share) <= 0).all()
    assert (curve.class_share + curve.macro_share <= 1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: ece([[0.5, 0.5]], [0], bins=0), "bins", id="bins"),
        pytest.param(lambda: ece([[0.5, 0.5]], [0, 1]), "n_images", id="lengths"),
        pytest.param(lambda: nll([[2.0, -1.0]], [0]), "distribution", id="logits"),
        pytest.param(lambda: nll([[0.5, 0.6]], [0]), "distribution", id="sum"),
        pytest.param(lambda: brier([[0.5, 0.5]], [2]), "from 0 to 1", id="label"),
        pytest.param(lambda: brier(np.empty((0, 2)), []), "at least one image", id="empty"),
        pytest.param(lambda: risk_coverage([0.1, np.nan], [True, False]), "finite", id="nan"),
        pytest.param(lambda: risk_coverage([0.1, 0.2], [0.3, 1.0]), "true or false", id="correct"),
        pytest.param(lambda: climb_curve([1], [1], [1, 1], [1, 1]), "same images", id="climb"),
    ],
)
def test_calibration_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
