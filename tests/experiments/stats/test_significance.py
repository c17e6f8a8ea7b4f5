import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from aisles.experiments.stats.significance import (
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    tost,
    wilson,
)


def pair(both, only_a, only_b, neither):
    """Return correctness of a and b with these counts."""
    a = [1] * both + [1] * only_a + [0] * only_b + [0] * neither
    b = [1] * both + [0] * only_a + [1] * only_b + [0] * neither
    return np.array(a, dtype=bool), np.array(b, dtype=bool)


def test_mcnemar_of_the_airway_example():
    # Bentur et al. 2009, in Fagerland, Lydersen and Laake 2014: 1, 1 / 7, 12; exact conditional p = 0.070
    test = mcnemar_exact(*pair(1, 1, 7, 12))
    assert (test.corrected, test.broken) == (7, 1)
    assert test.p_value == pytest.approx(18 / 256)


@given(*[st.integers(0, 40)] * 4)
@settings(max_examples=40)
def test_mcnemar_agrees_with_statsmodels(both, only_a, only_b, neither):
    a, b = pair(both, only_a, only_b, neither + 1)
    if only_a + only_b == 0:
        assert mcnemar_exact(a, b).p_value == 1.0
        return
    expected = mcnemar([[both, only_a], [only_b, neither + 1]], exact=True).pvalue
    assert mcnemar_exact(a, b).p_value == pytest.approx(expected, rel=1e-9)


def test_holm_worked_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=12, deadline=None)  # statsmodels collects garbage on every call
def test_holm_agrees_with_statsmodels_and_never_lowers(p_values):
    corrected = holm(p_values)
    np.testing.assert_allclose(corrected, multipletests(p_values, method="holm")[1])
    assert (corrected >= np.array(p_values)).all()


def test_tost_has_the_estimate_and_error_of_bonett_and_price():
    # statpsych's ci.prop.ps(.05, 12, 4, 26, 6): 0.44, 0.09448809, (0.2548067, 0.6251933)
    a, b = pair(12, 4, 26, 6)
    result = tost(b * 1.0 - a, margin=0.1)
    assert result.interval.estimate == pytest.approx(0.44)
    assert result.standard_error == pytest.approx(0.09448809, abs=1e-8)
    normal = 0.44 + np.array([-1, 1]) * stats.norm.ppf(0.975) * result.standard_error
    assert normal.tolist() == pytest.approx([0.2548067, 0.6251933], abs=1e-6)


def test_tost_agrees_with_statsmodels_on_many_images():
    a, b = pair(4000, 160, 150, 690)
    ours = tost(b * 1.0 - a, margin=0.01)
    theirs = ttost_paired(b * 1.0, a * 1.0, -0.01, 0.01)[0]
    assert ours.p_value == pytest.approx(theirs, rel=0.05)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.005, 0.2))
@settings(max_examples=60)
def test_tost_claims_equivalence_exactly_when_the_interval_is_inside_the_margin(only_a, only_b, margin):
    a, b = pair(900, only_a, only_b, 100)
    result = tost(b * 1.0 - a, margin=margin)
    inside = -margin < result.interval.low and result.interval.high < margin
    assert (result.p_value < 0.05) == inside


def test_few_images_without_disagreement_prove_no_equivalence():
    assert tost(np.zeros(20)).p_value > 0.3
    assert tost(np.zeros(5000)).p_value < 0.001


def test_with_two_seeds_equivalence_at_exactly_the_margin_is_claimed_in_five_of_a_hundred_worlds_at_most():
    """In the reduced form: images vary the mean by .001, seeds by .003, which two of them tell badly."""
    rng, claims, worlds = np.random.default_rng(0), 0, 3000
    for _ in range(worlds):
        seeds = 0.5 + np.sqrt(2 * 0.003) * rng.normal(size=2)
        differences = seeds.mean() + rng.normal(size=1000)
        claims += tost(differences, margin=0.5, more=np.var(seeds, ddof=1) / 2, df=1).p_value < 0.05
    assert claims / worlds < 0.055  # Satterthwaite's degrees of freedom: .075


def test_equivalence_over_images_and_seeds_has_cochrans_quantile_by_hand():
    result = tost(np.tile([1.0, 0, 0, -1], 25), margin=0.3, more=0.004, df=2)
    images = (50 + 2) / 102**2
    quantile = (images * stats.t.isf(0.05, 101) + 0.004 * stats.t.isf(0.05, 2)) / (images + 0.004)
    half = quantile * np.sqrt(images + 0.004)
    assert (result.interval.low, result.interval.high) == pytest.approx((-half, half))
    assert (result.p_value < 0.05) == (half < 0.3)
    at_the_edge = tost(np.tile([1.0, 0, 0, -1], 25), margin=half, more=0.004, df=2)
    assert at_the_edge.p_value == pytest.approx(0.05)


def test_a_difference_beyond_the_margin_has_a_p_value_above_one_half():
    assert tost(np.full(50, 0.2), margin=0.1, more=0.001, df=2).p_value > 0.5


def test_tost_is_wider_when_products_err_together():
    differences = np.tile([1.0] * 4 + [0.0] * 32 + [-1.0] * 4, 10)
    products = np.arange(400) // 4
    assert tost(differences, products).standard_error > 1.9 * tost(differences).standard_error


@given(st.integers(0, 200), st.integers(1, 200), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=50)
def test_wilson_agrees_with_statsmodels(successes, more, level):
    n = successes + more
    low, high = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    ours = wilson(successes, n, level=level)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-9)
    assert ours.low <= ours.estimate <= ours.high


def test_detectable_difference_is_shown_as_often_as_stated():
    n, share = 2485, 0.0664
    difference = minimum_detectable_difference(n, share)
    assert difference == pytest.approx(0.0144, abs=2e-4)
    rng = np.random.default_rng(0)
    chances = [(share + difference) / 2, (share - difference) / 2, 1 - share]
    draws = rng.multinomial(n, chances, size=3000)
    shown = stats.binom.cdf(draws[:, 1], draws[:, 0] + draws[:, 1], 0.5) < 0.025
    assert shown.mean() == pytest.approx(0.8, abs=0.035)  # the exact test gives away a little power


def test_detectable_difference_agrees_with_connors_sample_size():
    z_a, z_b, share, difference = stats.norm.ppf(0.975), stats.norm.ppf(0.9), 0.2, 0.05
    n = (z_a * share**0.5 + z_b * (share - difference**2) ** 0.5) ** 2 / difference**2
    assert minimum_detectable_difference(n, share, power=0.9) == pytest.approx(difference)


def test_detectable_difference_grows_with_discordance_and_falls_with_images():
    assert minimum_detectable_difference(1000, 0.2) > minimum_detectable_difference(1000, 0.1)
    assert minimum_detectable_difference(1000, 0.1) > minimum_detectable_difference(4000, 0.1)
    assert minimum_detectable_difference(1000, 0.0) == pytest.approx(7.85 / 1000, rel=0.02)
    assert minimum_detectable_difference(2, 0.1) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: mcnemar_exact([1, 0], [1]), "must have shape", id="lengths"),
        pytest.param(lambda: mcnemar_exact([[1], [0]], [[1], [0]]), "must have shape", id="seeds"),
        pytest.param(lambda: mcnemar_exact([0.5], [1]), "true and false", id="averaged"),
        pytest.param(lambda: mcnemar_exact([], []), "not empty", id="empty"),
        pytest.param(lambda: holm([0.1, 1.2]), "between 0 and 1", id="p above 1"),
        pytest.param(lambda: holm([np.nan]), "between 0 and 1", id="p nan"),
        pytest.param(lambda: tost([0.0], margin=0), "margin", id="margin"),
        pytest.param(lambda: tost([0.0], alpha=0.5), "alpha", id="alpha"),
        pytest.param(lambda: wilson(3, 2), "between 0 and `n`", id="wilson"),
        pytest.param(lambda: minimum_detectable_difference(0, 0.1), "must be positive", id="no image"),
        pytest.param(lambda: minimum_detectable_difference(9, 0.1, power=0.01), "above `alpha`", id="power"),
    ],
)
def test_significance_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
