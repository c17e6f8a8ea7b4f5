import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.multitest import multipletests

from aisles.experiments.stats import verdict as statistics
from aisles.experiments.stats.verdict import accuracy_interval, apply_holm, compare, product_bootstrap


def pair(both, only_a, only_b, neither):
    """Return correctness of a and b with these counts."""
    a = [1] * both + [1] * only_a + [0] * only_b + [0] * neither
    b = [1] * both + [0] * only_a + [1] * only_b + [0] * neither
    return np.array(a, dtype=bool), np.array(b, dtype=bool)


CASES = {
    "better": pair(3800, 150, 250, 800),
    "worse": pair(3800, 250, 150, 800),
    "equivalent": pair(3850, 100, 100, 950),
    "no difference shown": pair(300, 20, 25, 155),
}


@pytest.mark.parametrize("verdict", CASES)
def test_compare_reaches_the_verdict(verdict):
    comparison = compare(*CASES[verdict], names=("flat", "soft"))
    assert comparison.verdict == verdict
    assert ("soft" in comparison.sentence()) and ("flat" in comparison.sentence())


def test_the_sentence_says_difference_interval_and_power():
    sentence = compare(*CASES["better"], names=("flat", "soft")).sentence()
    start = "soft is better than flat: 81.0 % against 79.0 % correct, +2.0 points (95 % interval +1."
    assert sentence.startswith(start)
    assert "5000 images, one training: these trained models; 80 % power to detect 1.1 points)." in sentence


def test_compare_counts_corrected_and_broken_per_seed():
    a = np.array([[1, 1, 0, 0], [1, 0, 0, 0]])
    b = np.array([[1, 0, 1, 1], [1, 1, 0, 0]])
    comparison = compare(a, b)
    assert comparison.corrected == (2, 1)
    assert comparison.broken == (1, 0)
    assert comparison.difference == 0.25
    assert comparison.difference_per_seed == (0.25, 0.25)
    assert comparison.difference_sd == 0.0
    assert (comparison.n_seeds, comparison.n_images, comparison.n_products) == (2, 4, 4)


def test_one_seed_and_single_images_give_the_exact_mcnemar_p():
    comparison = compare(*pair(100, 12, 25, 30))
    assert comparison.p_value == pytest.approx(comparison.mcnemar[0].p_value, rel=1e-12)
    assert comparison.difference_sd is None


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 3), st.just(24))),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30)
def test_difference_is_corrected_less_broken_and_swapping_mirrors_it(a, random):
    b = np.array([random.random() < 0.5 for _ in range(a.size)]).reshape(a.shape)
    products = np.arange(24) // 3
    forth = compare(a, b, products, n_resamples=200)
    back = compare(b, a, products, n_resamples=200)
    assert forth.difference == (sum(forth.corrected) - sum(forth.broken)) / a.size
    assert forth.difference == pytest.approx(b.mean() - a.mean())
    assert back.difference == -forth.difference
    assert back.p_value == pytest.approx(forth.p_value)
    assert back.equivalence_p == pytest.approx(forth.equivalence_p)
    assert forth.interval[0] <= forth.interval[1]


def test_a_claim_needs_more_when_images_belong_to_few_products():
    a, b = pair(300, 8, 24, 68)
    assert compare(a, b).verdict == "better"
    products = np.where(a != b, (~a & b) * 1, 2 + np.arange(400))
    grouped = compare(a, b, products)
    assert grouped.verdict == "no difference shown"
    assert grouped.smallest_detectable > 2 * compare(a, b).smallest_detectable


def test_systems_that_always_agree_are_equivalent_only_with_enough_images():
    right = np.ones(5000, dtype=bool)
    assert compare(right, right).verdict == "equivalent"
    few = compare(right[:30], right[:30])
    assert few.verdict == "no difference shown"
    assert few.p_value == 1.0


def test_holm_takes_a_claim_back():
    borderline = compare(*pair(3800, 170, 212, 818), names=("flat", "hard"))
    assert borderline.verdict == "better" and 0.02 < borderline.p_value < 0.05
    clear = compare(*CASES["better"])
    nothing = compare(*CASES["no difference shown"])
    family = (borderline, clear, nothing)
    judged = apply_holm(family)
    expected = multipletests([c.p_value for c in family], method="holm")[1]
    assert [c.p_corrected for c in judged] == pytest.approx(expected.tolist())
    assert [c.verdict for c in judged] == ["no difference shown", "better", "no difference shown"]
    assert [c.p_value for c in judged] == [c.p_value for c in family]
    assert apply_holm([clear])[0] == clear
    assert apply_holm([]) == ()


def test_a_corrected_sentence_says_that_the_smallest_difference_is_not():
    one = compare(*CASES["better"], names=("flat", "soft"))
    assert "uncorrected" not in one.sentence()
    for corrected in apply_holm([one, one]):
        assert "80 % power to detect 1.1 points at alpha 0.05 uncorrected)." in corrected.sentence()
        assert "corrected for 2 comparisons" in corrected.sentence()


def test_a_claim_of_equivalence_tells_its_own_p():
    same = compare(*CASES["equivalent"])
    assert same.verdict == "equivalent"
    assert f"p of equivalence = {same.equivalence_p_corrected:.2g}," in same.sentence()


def test_holm_corrects_claims_of_equivalence_too():
    barely = compare(*pair(3850, 170, 180, 800), margin=0.0085)
    assert barely.verdict == "equivalent"
    unclear = [replace(barely, equivalence_p=0.9)] * 4
    assert apply_holm([barely, *unclear])[0].verdict == "no difference shown"


def test_a_comparison_is_plain_enough_for_json():
    record = asdict(compare(*CASES["better"], names=("flat", "soft")))
    assert json.loads(json.dumps(record))["verdict"] == "better"
    assert {"a", "b", "difference", "interval", "p_value", "verdict"} <= set(record)


def test_everything_a_verdict_rests_on_comes_from_one_place():
    assert list(statistics.__all__) == sorted(statistics.__all__)
    assert all(hasattr(statistics, name) for name in statistics.__all__)


@pytest.mark.parametrize(
    ("a", "b", "products", "message"),
    [
        pytest.param([1, 0], [[1, 0], [0, 1]], None, "same images and seeds", id="seeds"),
        pytest.param([], [], None, "not empty", id="empty"),
        pytest.param([0.2, 1], [1, 1], None, "true and false", id="probabilities"),
        pytest.param([0, 1], [1, 1], ["p"], "one product per image", id="products"),
    ],
)
def test_compare_refuses(a, b, products, message):
    with pytest.raises(ValueError, match=message):
        compare(a, b, products)


@pytest.mark.parametrize(("n_images", "disagree"), [(500, 0.12), (200, 0.2)])
def test_the_smallest_difference_stated_is_found_in_80_of_100_worlds(n_images, disagree):
    rng = np.random.default_rng(1)

    def world(difference):
        kind = rng.random(n_images)
        only_b, only_a = kind < (disagree + difference) / 2, kind > 1 - (disagree - difference) / 2
        both = rng.random(n_images) < 0.7
        return np.where(only_b, False, np.where(only_a, True, both)), np.where(only_a, False, only_b | both)

    stated = np.mean([compare(*world(0.04), n_resamples=100).smallest_detectable for _ in range(40)])
    found = [compare(*world(stated), n_resamples=1000).verdict == "better" for _ in range(1500)]
    assert abs(np.mean(found) - 0.8) < 0.04  # three standard errors, and a little


def test_an_accuracy_over_few_products_has_students_interval():
    shares = np.array([0.4, 0.6, 0.8, 0.6])  # of four products with five images each
    correct = np.concatenate([np.arange(5) < 5 * share for share in shares])
    found = accuracy_interval(correct, np.repeat(np.arange(4), 5))
    half = stats.t.isf(0.025, 3) * shares.std(ddof=1) / np.sqrt(4)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    sure = accuracy_interval(np.arange(20) < 19, np.repeat(np.arange(4), 5), alpha=0.1)
    assert sure.high == 1.0 and sure.level == 0.9  # 0.95 + 2.35 * 0.05 would be more than all


def test_an_accuracy_over_many_products_has_the_bootstraps_interval():
    correct, products = np.arange(100) < 70, np.repeat(np.arange(20), 5)
    found, drawn = accuracy_interval(correct, products), product_bootstrap(correct, products)
    assert (found.low, found.high) == (drawn.low, drawn.high) and found.estimate == pytest.approx(0.7)
