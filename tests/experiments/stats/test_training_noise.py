"""Seeds and images as two sources of variance, and several comparisons at once."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttest_ind

from aisles.experiments.stats.families import max_t
from aisles.experiments.stats.training_noise import Noise, noise_of
from aisles.experiments.stats.verdict import compare, compare_family


def world(rng, n_images, n_seeds, n_methods, sd, accuracy=0.75):
    """Answers of methods that are equally accurate in expectation; each training misses that by `sd`."""
    middle = stats.norm.ppf(accuracy)
    shared = rng.normal(size=n_images) * np.sqrt(0.85)
    tables = []
    for _ in range(n_methods):
        own = rng.normal(size=n_images) * np.sqrt(0.08)
        trained = middle + rng.normal(size=(n_seeds, 1)) * sd / stats.norm.pdf(middle)
        tables.append(trained + shared + own + rng.normal(size=(n_seeds, n_images)) * np.sqrt(0.07) > 0)
    return tables


def test_both_variances_by_hand():
    gains = np.array([[1, 0, 0, -1], [1, 1, 0, 0.0]])
    noise = noise_of(gains, ["p", "p", "q", "r"])
    # means per image 1, .5, 0, -.5; sums 1.5, 0, -.5; mean .25; residuals 1, -.25, -.75
    assert noise.images == pytest.approx((1 + 0.0625 + 0.5625) / 16 * 3 / 2)
    assert noise.seed_variance == pytest.approx(0.125)  # of 0 and .5
    assert noise.seeds == pytest.approx(0.0625)
    assert (noise.n_products, noise.n_seeds, noise.pooled_df) == (3, 2, 1)


def test_one_training_has_no_training_noise_and_the_test_is_students():
    gains = np.random.default_rng(0).choice([-1.0, 0, 0, 0, 1], size=200)
    noise = noise_of(gains)
    assert noise.seeds == 0
    expected = stats.ttest_1samp(gains, 0)
    assert noise.p_value(gains.mean()) == pytest.approx(expected.pvalue, rel=1e-6)
    assert ttest_ind(gains, gains)[1] == 1  # the oracle is there


def test_seeds_alone_give_students_t_over_seeds():
    gains = np.array([[0.02] * 50, [0.05] * 50, [-0.01] * 50])
    noise = noise_of(gains)
    assert noise.images == pytest.approx(0, abs=1e-18)
    assert noise.p_value(0.02) == pytest.approx(stats.ttest_1samp([0.02, 0.05, -0.01], 0).pvalue, rel=1e-5)


def test_cochrans_quantile_lies_between_those_of_its_parts():
    noise = Noise(images=2e-5, seed_variance=6e-5, n_products=1000, n_seeds=3, pooled_df=2)
    low, high = stats.t.isf(0.025, 999), stats.t.isf(0.025, 2)
    assert low < noise.critical(0.05) < high
    assert noise.critical(0.05) == pytest.approx((low + high) / 2)  # both parts weigh the same
    assert noise.p_value(noise.critical(0.05) * noise.standard_error) == pytest.approx(0.05, rel=1e-6)


def test_a_lucky_spread_is_raised_to_that_of_the_family():
    small = Noise(1e-5, 1e-8, 500, 3, 2)
    raised = small.at_least(4e-5, 4)
    assert raised.seed_variance == 4e-5 and raised.pooled_df == 4
    assert raised.at_least(1e-5, 4) is raised
    assert Noise(1e-5, 0.0, 500, 1, 1).at_least(4e-5, 4).seeds == 0


def test_seeds_that_repeat_themselves_are_no_replications():
    a = np.tile(np.arange(100) < 70, (3, 1))
    b = np.tile(np.arange(100) < 80, (3, 1))
    found = compare(a, b)
    assert found.n_seeds == 1 and found.seed_sd == 0 and "these trained models" in found.about
    b[1, 0] = False
    assert compare(a, b).n_seeds == 3


def test_partitions_are_the_unit_where_they_are_named():
    rng = np.random.default_rng(1)
    b = np.ones((6, 300), bool)
    shift = np.repeat([0.1, 0.3, 0.2], 2)[:, None]
    a = rng.random((6, 300)) > shift
    found = compare(a, b, replications=np.repeat([1, 2, 3], 2))
    assert found.n_seeds == 3 and len(found.difference_per_seed) == 6
    per_partition = (b.astype(float) - a).mean(axis=1).reshape(3, 2).mean(axis=1)
    assert found.seed_sd == pytest.approx(per_partition.std(ddof=1))


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_training_noise_makes_few_false_claims(n_seeds):
    """In the worlds of images alone it is 10 to 50 in 100 (per comparison), and most tables hold one."""
    rng, claims, images_alone, tables = np.random.default_rng(n_seeds), 0, 0, 40
    for _ in range(tables):
        names = ("flat", *"abcdef")
        correct = dict(zip(names, world(rng, 1_000, n_seeds, 7, sd=0.02), strict=True))
        found = compare_family([("flat", name) for name in names[1:]], correct, n_resamples=200)
        claims += any(each.verdict in ("better", "worse") for each in found)
        gains = correct["a"].mean(0) - correct["flat"].mean(0)
        images_alone += stats.ttest_1samp(gains, 0).pvalue < 0.05
    assert claims <= 5  # at 5 in 100, more would be seen once in 70 times
    assert images_alone > 8


def test_a_real_difference_is_found_in_spite_of_training_noise():
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(20):
        flat, better = world(rng, 2_000, 5, 1, 0.005)[0], world(rng, 2_000, 5, 1, 0.005, accuracy=0.80)[0]
        found += compare(flat, better).verdict == "better"
    assert found >= 15


def test_max_t_of_one_comparison_is_its_own_test_and_of_equals_no_more():
    rng = np.random.default_rng(2)
    gains = rng.choice([-1.0, 0, 0, 0, 1], size=(1, 400))
    noise = noise_of(gains)
    (alone,), _ = max_t([gains], [noise], n_resamples=4000)
    assert alone == pytest.approx(noise.p_value(gains.mean()), abs=0.04)
    same, _ = max_t([gains] * 5, [noise] * 5, n_resamples=4000)
    np.testing.assert_allclose(same, alone, atol=0.02)  # equals cost nothing; Holm would ask for five times


def test_max_t_of_independent_comparisons_corrects_for_their_number():
    rng = np.random.default_rng(3)
    gains = [rng.choice([-1.0, 0, 0, 1], size=(1, 500)) for _ in range(4)]
    noises = [noise_of(table) for table in gains]
    corrected, critical = max_t(gains, noises, n_resamples=4000)
    alone = np.array([noise.p_value(table.mean()) for noise, table in zip(noises, gains, strict=True)])
    best = int(alone.argmin())
    assert corrected[best] == pytest.approx(1 - (1 - alone[best]) ** 4, abs=0.05)
    assert (corrected >= alone).all()
    assert critical == pytest.approx(stats.norm.isf((1 - 0.95**0.25) / 2), abs=0.15)


@pytest.mark.parametrize("n_products", [8, 15])
def test_with_few_products_intervals_still_cover(n_products):
    rng, covered, trials = np.random.default_rng(n_products), 0, 400
    products = np.repeat(np.arange(n_products), 20)
    for _ in range(trials):
        shift = np.repeat(rng.normal(0, 0.08, n_products), 20)
        a = rng.random(len(products)) < 0.7
        b = rng.random(len(products)) < np.clip(0.7 + shift, 0, 1)
        low, high = compare(a, b, products, n_resamples=50).interval
        covered += low <= 0 <= high
    assert covered / trials > 0.925


def test_the_smallest_detectable_difference_is_detected_as_often_as_it_says():
    rng, n, shown, trials = np.random.default_rng(5), 500, 0, 300
    a = np.arange(n) < 350
    b = a.copy()
    b[330:375] = ~b[330:375]  # 45 discordant images
    d = compare(a, b, n_resamples=200).smallest_detectable
    share = 45 / n
    for _ in range(trials):
        kinds = rng.choice([1, -1, 0], size=n, p=[(share + d) / 2, (share - d) / 2, 1 - share])
        right = np.where(kinds == 1, False, True)
        other = np.where(kinds == -1, False, right | (kinds == 1))
        shown += compare(right, other, n_resamples=200).verdict == "better"
    assert 0.74 < shown / trials < 0.9


def test_one_trained_method_against_many_partitions_keeps_its_own_training_noise():
    rng = np.random.default_rng(8)
    claims = {"shared": 0, "forgotten": 0}
    for _ in range(120):
        ours, *others = world(rng, 2000, 3, 6, 0.01)
        a, b = np.concatenate(others), np.tile(ours, (5, 1))
        for name, shared in (("shared", ours.mean(axis=1)), ("forgotten", None)):
            found = compare(a, b, replications=np.repeat(np.arange(5), 3), shared=shared, unit="partitions")
            claims[name] += found.verdict in ("better", "worse")
    assert claims["shared"] <= 10 and claims["forgotten"] > claims["shared"]
    assert "5 partitions" in found.sentence()


def test_a_shared_methods_variance_is_that_of_its_mean():
    gains = np.array([[0.02] * 50, [0.05] * 50, [-0.01] * 50])
    noise = noise_of(gains, shared=[0.7, 0.72, 0.77])
    assert (
        noise.shared == pytest.approx(0.0013 / 3) and noise.shared_df == 2
    )  # squares .0009, .0001, .0016; over 2
    assert noise.standard_error == pytest.approx(np.sqrt(0.0009 / 3 + 0.0013 / 3), rel=1e-6)
    assert noise.critical(0.05) == pytest.approx(stats.t.isf(0.025, 2), rel=1e-6)
    words = compare(
        np.zeros((2, 4)), np.eye(4)[:2], replications=[0, 1], shared=[0.25, 0.25], unit="partitions"
    ).about
    assert (
        words
        == "the methods, over other images, other partitions (2 were tried) and other training seeds (2)"
    )
