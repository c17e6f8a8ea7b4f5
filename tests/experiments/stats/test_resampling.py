import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aisles.experiments.stats import resampling
from aisles.experiments.stats.resampling import (
    cluster_sign_flip,
    paired_bootstrap,
    product_bootstrap,
    product_sums,
)


def flip_by_enumeration(sums) -> float:
    totals = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=len(sums))]
    return float(np.mean(np.array(totals) >= abs(sum(sums)) - 1e-9))


def test_product_sums_add_images_of_one_product():
    totals = product_sums([1, 0, -1, 1], ["b", "a", "b", "b"])
    assert totals.sums.tolist() == [0, 1]
    assert totals.sizes.tolist() == [1, 3]
    assert totals.mean == 0.25


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60))
@settings(max_examples=50)
def test_sign_flip_of_single_images_is_exact_mcnemar(differences):
    corrected, broken = differences.count(1), differences.count(-1)
    expected = stats.binomtest(corrected, corrected + broken).pvalue if corrected + broken else 1.0
    assert cluster_sign_flip(differences) == pytest.approx(expected, rel=1e-10)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9), st.sampled_from([1, 3, 5, 7]))
@settings(max_examples=40)
def test_sign_flip_equals_brute_force_over_all_signs(sums, seeds):
    differences = np.array(sums) / seeds
    expected = flip_by_enumeration([value for value in sums if value] or [0])
    assert cluster_sign_flip(differences) == pytest.approx(expected, rel=1e-10)


def test_sign_flip_flips_whole_products():
    differences, products = [1, 1, 1, -1, 1, 1], ["a", "a", "a", "b", "c", "c"]
    assert cluster_sign_flip(differences, products) == pytest.approx(flip_by_enumeration([3, -1, 2]))


def test_sign_flip_off_the_grid_is_close_to_enumeration_and_never_zero():
    sums = np.random.default_rng(1).normal(0.3, 1, 12)
    assert cluster_sign_flip(sums, n_flips=20_000) == pytest.approx(flip_by_enumeration(sums), abs=0.02)
    assert cluster_sign_flip(np.random.default_rng(2).normal(5, 1, 50), n_flips=999) == 1 / 1000


def test_monte_carlo_agrees_with_the_exact_answer(monkeypatch):
    differences = np.random.default_rng(3).choice([-1, 0, 1], 300, p=[0.1, 0.75, 0.15])
    exact = cluster_sign_flip(differences)
    monkeypatch.setattr(resampling, "_MOST_EXACT_WORK", 0)
    assert cluster_sign_flip(differences) == pytest.approx(exact, abs=0.01)


def test_bootstrap_agrees_with_scipy_on_single_images():
    values = np.random.default_rng(4).choice([-1, 0, 1], 400, p=[0.05, 0.8, 0.15]).astype(float)
    ours = product_bootstrap(values, n_resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours.estimate == values.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.0035)


def test_bootstrap_of_products_agrees_with_drawing_whole_products_by_hand():
    rng = np.random.default_rng(5)
    products = rng.integers(0, 40, 200)
    values = rng.normal(0, 1, 40)[products] + rng.normal(0, 0.2, 200)
    members = [values[products == product] for product in np.unique(products)]
    by_hand = []
    for _ in range(4_000):
        drawn = [members[i] for i in rng.integers(0, len(members), len(members))]
        by_hand.append(np.concatenate(drawn).mean())
    ours = product_bootstrap(values, products, n_resamples=20_000, level=0.9)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(by_hand, [0.05, 0.95])), abs=0.03)
    alone = product_bootstrap(values, n_resamples=2_000, level=0.9)
    assert ours.high - ours.low > 1.5 * (alone.high - alone.low)


def test_paired_bootstrap_is_the_difference_b_minus_a_and_seeded():
    a, b = np.array([1, 0, 0.5, 1]), np.array([1, 1, 1, 0.5])
    first = paired_bootstrap(a, b, seed=7)
    assert first.estimate == 0.25
    assert first.low <= 0.25 <= first.high
    assert first == paired_bootstrap(a, b, seed=7)
    mirrored = paired_bootstrap(b, a, n_resamples=50_000)
    assert mirrored.estimate == -0.25


def test_bootstrap_does_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(6)
    values, products = rng.choice([-1.0, 0.0, 1.0], 100), rng.integers(0, 30, 100)
    order = rng.permutation(100)
    assert product_bootstrap(values, products) == product_bootstrap(values[order], products[order])


def test_bootstrap_of_a_whole_test_set_takes_less_than_a_second():
    rng = np.random.default_rng(8)
    a, b = rng.random((3, 2485)) < 0.7, rng.random((3, 2485)) < 0.7
    products = np.array([f"product-{i // 2}" for i in range(2485)])
    start = time.perf_counter()
    paired_bootstrap(a.mean(axis=0), b.mean(axis=0), products)
    assert time.perf_counter() - start < 1


def test_memory_is_bounded_by_drawing_in_blocks(monkeypatch):
    values = np.random.default_rng(9).normal(size=50)
    monkeypatch.setattr(resampling, "_CELLS_AT_ONCE", 120)
    assert resampling._row_blocks(5, 50) == [2, 2, 1]
    assert resampling._row_blocks(2, 500) == [1, 1]
    interval = product_bootstrap(values, n_resamples=300)
    assert interval.low < values.mean() < interval.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: product_sums([]), "at least one image", id="no image"),
        pytest.param(lambda: product_sums([[1.0]]), "shape", id="table"),
        pytest.param(lambda: product_sums([np.nan]), "finite", id="nan"),
        pytest.param(lambda: product_sums([1.0, 0.0], ["a"]), "one product per image", id="lengths"),
        pytest.param(lambda: product_bootstrap([1.0], level=1.0), "level", id="level"),
        pytest.param(lambda: product_bootstrap([1.0], n_resamples=0), "n_resamples", id="resamples"),
        pytest.param(lambda: cluster_sign_flip([1.0], n_flips=0), "n_flips", id="flips"),
        pytest.param(lambda: paired_bootstrap([1.0], [1.0, 0.0]), "same images", id="pair"),
    ],
)
def test_resampling_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
