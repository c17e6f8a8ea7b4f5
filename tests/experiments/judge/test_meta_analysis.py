"""The random-effects mean against statsmodels, a brute-force likelihood, and by hand."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from aisles.experiments.judge.meta_analysis import random_effects

EFFECTS = np.array([0.010, 0.031, -0.012, 0.052, 0.004])
ERRORS = np.array([0.008, 0.006, 0.009, 0.012, 0.005])


def test_dersimonian_laird_with_hartung_knapp_equals_statsmodels():
    theirs = combine_effects(EFFECTS, ERRORS**2, method_re="dl", use_t=True)
    ours = random_effects(EFFECTS, ERRORS, method="dl")
    assert ours.tau**2 == pytest.approx(theirs.tau2)
    assert ours.q == pytest.approx(theirs.q) and ours.i_squared == pytest.approx(theirs.i2)
    assert ours.mean == pytest.approx(theirs.mean_effect_re)
    assert ours.weights == pytest.approx(theirs.weights_rel_re)
    assert ours.q_p_value == pytest.approx(theirs.test_homogeneity().pvalue)
    hartung_knapp = np.sqrt(theirs.var_hksj_re)
    assert theirs.scale_hksj_re > 1 and ours.standard_error == pytest.approx(hartung_knapp)
    reach = stats.t.ppf(0.975, 4) * hartung_knapp
    assert (ours.low, ours.high) == pytest.approx((ours.mean - reach, ours.mean + reach))


def test_reml_is_where_the_restricted_likelihood_is_greatest():
    grid = np.linspace(0, 0.002, 200_001)
    w = 1 / (ERRORS**2 + grid[:, None])
    means = (w * EFFECTS).sum(1) / w.sum(1)
    likelihood = 0.5 * np.log(w).sum(1) - 0.5 * np.log(w.sum(1))
    likelihood -= 0.5 * (w * (EFFECTS - means[:, None]) ** 2).sum(1)
    assert random_effects(EFFECTS, ERRORS).tau ** 2 == pytest.approx(grid[likelihood.argmax()], abs=2e-8)


def test_equal_effects_have_no_variance_between_sets_and_no_narrower_interval_than_fixed_effects():
    found = random_effects([0.01, 0.01, 0.01], [0.01, 0.01, 0.01])
    assert found.tau == 0 and found.q == pytest.approx(0) and found.i_squared == 0
    assert found.standard_error == pytest.approx(0.01 / np.sqrt(3))
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3))


def test_two_sets_give_a_mean_and_no_prediction():
    found = random_effects([0.02, 0.04], [0.01, 0.01])
    assert found.mean == pytest.approx(0.03) and found.prediction is None
    assert found.high - found.low > 0.1  # Student's t with one degree of freedom


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(600):
        errors = rng.uniform(0.005, 0.02, 6)
        effects = 0.01 + rng.normal(0, 0.015, 6) + rng.normal(0, errors)
        found = random_effects(effects, errors)
        covered += found.low <= 0.01 <= found.high
    assert 0.93 < covered / 600 <= 0.99


@pytest.mark.parametrize(
    ("effects", "errors", "message"),
    [
        ([0.1], [0.1], "at least 2 effects"),
        ([0.1, 0.2], [0.1, 0.0], "above 0"),
        ([0.1, np.nan], [1, 1], "finite"),
    ],
)
def test_effects_that_can_not_be_combined_are_refused(effects, errors, message):
    with pytest.raises(ValueError, match=message):
        random_effects(effects, errors)
