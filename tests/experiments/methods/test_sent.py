"""Shares of images sent: intervals against brute force, many draws with and without a shift, and what is refused."""

import numpy as np
import pytest

from aisles.experiments.methods.second_look import GATES, Look, threshold_for
from aisles.experiments.methods.sent import Budget, counting, sent_shares, share_interval
from aisles.models.heads.registry import HEADS
from aisles.models.heads.tuning import Parts, tune

DRAWS, N_VAL, N_TEST = 1000, 150, 500


def test_the_interval_holds_what_thresholds_send_as_often_as_it_says():
    rng = np.random.default_rng(0)
    k, n, m = 60, 150, 400
    urgency = rng.exponential(size=(20_000, n + m))
    threshold = np.sort(urgency[:, :n], axis=1)[:, n - k]
    measured = (urgency[:, n:] >= threshold[:, None]).mean(axis=1)
    assert share_interval(k, n, m) == pytest.approx(np.quantile(measured, [0.025, 0.975]), abs=0.006)
    assert share_interval(k, n, m, 0.5) == pytest.approx(np.quantile(measured, [0.25, 0.75]), abs=0.006)


def test_none_sent_leaves_nothing_open():
    assert share_interval(0, 7, 100) == (0.0, 0.0)


def test_all_sent_leaves_open_how_many_new_images_lie_below_the_least_urgent_one():
    low, high = share_interval(7, 7, 100)
    draws = np.random.default_rng(0).binomial(100, np.random.default_rng(1).beta(7, 1, 200_000)) / 100
    assert high == 1.0 and low == pytest.approx(np.quantile(draws, 0.025), abs=0.011)


def looks(rng, n):
    """Draw images of three macros: sure and unsure ones, with a second look that helps most in the last macro."""
    macro = rng.integers(0, 3, n)
    top = rng.beta(2 + macro, 2)
    cheap = np.stack([top, 1 - top], axis=1)
    gain = rng.choice([-1.0, 0.0, 1.0], size=n, p=[0.1, 0.6, 0.3]) * (macro > 0)
    return Look(cheap, macro, gain)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
@pytest.mark.parametrize("gate", GATES)
def test_every_gate_keeps_the_stated_share_of_images_like_the_validation_images(gate, share):
    rng = np.random.default_rng(int(100 * share))
    measured, kept = [], []
    for _ in range(DRAWS):
        val, test = looks(rng, N_VAL), looks(rng, N_TEST)
        urgency = GATES[gate](val, test)
        threshold = threshold_for(urgency[0], share)
        found = sent_shares(Budget(share), *(own >= threshold for own in urgency))
        measured.append(found.measured)
        kept.append(found.as_stated)
    # A threshold's share scatters by sqrt(.4 x .6 / 150) = .04, a mean over 1,000 draws by .0013; steps are 1 / 150.
    assert np.mean(measured) == pytest.approx(share, abs=0.009)
    assert 0.92 <= np.mean(kept) <= 0.985


def test_images_of_one_product_count_as_fewer():
    sent = np.repeat([True, False, False, True], 5)
    assert counting(sent, np.arange(20)) == 20
    assert counting(sent, np.repeat(np.arange(4), 5)) == pytest.approx(
        4
    )  # always together: one image a product
    assert counting(np.ones(6, bool), np.zeros(6)) == 6
    alone = sent_shares(Budget(0.5), sent, sent)
    together = sent_shares(Budget(0.5), sent, sent, (np.repeat(np.arange(4), 5),) * 2)
    assert together.interval[0] < alone.interval[0] < 0.5 < alone.interval[1] < together.interval[1]


def visited(rng, n_visits, known):
    """Draw visits of 5 photographs of one class, which resemble each other more than others of the class."""
    label = rng.permutation(np.arange(n_visits) % 12)
    own = 1.8 * np.eye(12)[label] + rng.normal(size=(n_visits, 12))
    x = np.repeat(own, 5, axis=0) + 0.4 * rng.normal(size=(5 * n_visits, 12))
    visit = np.repeat(np.arange(n_visits), 5)
    return np.hstack([x, x**2]), np.repeat(label, 5), visit if known else np.arange(5 * n_visits)


def share_of_visits(rng, known):
    sizes = (
        36,
        60,
        240,
    )  # as on a data set with few training images, so that the final head gains from others
    x, y, product = zip(*(visited(rng, n, known) for n in sizes), strict=True)
    rows = np.split(np.arange(5 * sum(sizes)), np.cumsum([5 * n for n in sizes])[:2])
    product = np.concatenate([[f"{split}-{i}" for i in own] for split, own in enumerate(product)])
    found = tune(HEADS["lda"], Parts(np.concatenate(x), np.concatenate(y), rows[0], rows[1], product), 12)
    val, test = (
        -Look(probs, np.zeros(len(probs), int)).margin
        for probs in (found.val_probs[rows[1]], found.probs[rows[2]])
    )
    threshold = threshold_for(val, 0.4)
    return sent_shares(Budget(0.4), val >= threshold, test >= threshold, (product[rows[1]], product[rows[2]]))


def test_visits_that_are_known_as_products_keep_the_share_and_unknown_ones_send_more():
    known, unknown = (
        np.array([share_of_visits(np.random.default_rng(seed), told).measured for seed in range(30)])
        for told in (True, False)
    )
    assert known.mean() == pytest.approx(0.4, abs=0.04)
    assert unknown.mean() > known.mean() + 0.05
    assert (unknown > known).mean() > 0.8


def planted(rng, n, contrast=1.0):
    """Draw images of 12 classes; at less contrast, all is nearer to the mean."""
    label = rng.permutation(np.arange(n) % 12)
    return contrast * (1.8 * np.eye(12)[label] + rng.normal(size=(n, 12))), label


def measured_share(rng, contrast, refit):
    """Fit a head as methods do, and send the images of least margin on."""
    n_train, n_val, n_test = 240, 120, 600
    x, y = zip(*(planted(rng, n, c) for n, c in ((n_train + n_val, 1.0), (n_test, contrast))), strict=True)
    parts = Parts(np.concatenate(x), np.concatenate(y), np.arange(n_train), n_train + np.arange(n_val))
    found = tune(HEADS["lda"], parts, 12, refit=refit)
    val, test = (
        -Look(probs, np.zeros(len(probs), int)).margin
        for probs in (found.val_probs[parts.val], found.probs[n_train + n_val :])
    )
    threshold = threshold_for(val, 0.4)
    return sent_shares(Budget(0.4), val >= threshold, test >= threshold)


@pytest.mark.parametrize("refit", [True, False])
def test_thresholds_of_cross_fitted_scores_keep_the_share_of_the_final_head(refit):
    rng = np.random.default_rng(int(refit))
    found = [measured_share(rng, 1.0, refit) for _ in range(40)]
    # One share scatters by .05, their mean by .008; what a head's own training images would give is .1 off and more.
    assert np.mean([one.measured for one in found]) == pytest.approx(0.4, abs=0.024)
    assert np.mean([one.as_stated for one in found]) >= 0.85


def test_images_from_elsewhere_are_sent_more_often_and_that_is_said():
    found = measured_share(np.random.default_rng(0), 0.4, True)
    assert not found.as_stated and found.measured > found.interval[1]
    said = found.warning("second-look:margin@0.4")
    assert "not the stated 40 %" in said and f"{100 * found.measured:.1f} %" in said
    assert measured_share(np.random.default_rng(0), 1.0, True).warning("x") == ""


@pytest.mark.parametrize(
    ("text", "budget"),
    [("", Budget(0.4)), ("0.3", Budget(0.3)), ("1/batch", Budget(1.0, True)), ("/batch", Budget(0.4, True))],
)
def test_budgets_are_read(text, budget):
    assert Budget.read(text) == budget


@pytest.mark.parametrize("text", ["0", "1.1", "nan", "-0.2", "0.4/", "0.4/all", "half"])
def test_shares_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match="share of images sent must be above 0"):
        Budget.read(text)
