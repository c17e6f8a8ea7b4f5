"""Hierarchical prediction sets: worked out by hand, kept on simulated data, and never more names than flat sets."""

import numpy as np
import pytest

from aisles.hierarchy.guarantees import SET_METHODS, fit_prediction_sets
from aisles.hierarchy.hierarchical_sets import HierarchicalSetRule, fit_hierarchical_sets
from aisles.hierarchy.hierarchy import Hierarchy

SHOP = Hierarchy(("A", "B", "C"), (("a", "b", "c"), ("d", "e"), ("f",)))
PAIRS = Hierarchy(("A", "B"), (("a", "b", "c"), ("d",)))


def simulated(n, overconfidence=1.0):
    """Draw labels from distributions, and give those of an overconfident model."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.full(6, 0.4), size=n)
    labels = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=5)
    sharp = true**overconfidence
    return sharp / sharp.sum(axis=1, keepdims=True), labels


def test_two_classes_of_a_macro_are_its_macro():
    rule = HierarchicalSetRule(0.9, "lac", 0.75, 100)  # classes of .25 and more
    found = rule.sets([[0.4, 0.3, 0.05, 0.25], [0.6, 0.1, 0.05, 0.25], [0.2, 0.2, 0.2, 0.4]], PAIRS)
    assert found.macros.tolist() == [[True, False], [False, False], [False, False]]
    assert found.classes.tolist() == [
        [False, False, False, True], [True, False, False, True], [False, False, False, True],
    ]  # fmt: skip
    assert found.members[0].all() and found.n_names.tolist() == [2, 2, 1]


def test_the_quantile_is_the_one_worked_out_by_hand():
    # true class c: its own score .9, but a and b of its macro are in from .5 and .6 on: with both, A stands for c too
    probs = [[0.5, 0.4, 0.1, 0.0]] * 3
    assert fit_hierarchical_sets(probs, [2, 2, 2], 0.75, PAIRS).quantile == pytest.approx(0.6)
    assert fit_prediction_sets(probs, [2, 2, 2], 0.75).quantile == pytest.approx(0.9)
    # a class alone in its macro, or the first of its macro, has its own score
    assert fit_hierarchical_sets(probs, [3, 3, 3], 0.75, PAIRS).quantile == pytest.approx(1.0)
    assert fit_hierarchical_sets(probs, [0, 0, 0], 0.75, PAIRS).quantile == pytest.approx(0.5)


@pytest.mark.parametrize("method", SET_METHODS)
@pytest.mark.parametrize("overconfidence", [0.5, 2.0])
def test_hierarchical_sets_hold_the_stated_share_on_average_over_draws(method, overconfidence):
    probs, labels = simulated(20_000, overconfidence)
    held, fewer = [], []
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(len(labels))
        some, others = order[:100], order[100:]
        found = fit_hierarchical_sets(probs[some], labels[some], 0.9, SHOP, method).sets(probs[others], SHOP)
        flat = fit_prediction_sets(probs[some], labels[some], 0.9, method).sets(probs[others])
        held.append(found.members[np.arange(len(others)), labels[others]].mean())
        fewer.append(flat.sum(axis=1).mean() - found.n_names.mean())
    assert np.mean(held) > 0.9 - 2 * np.std(held) / np.sqrt(40)
    assert min(fewer) >= 0


@pytest.mark.parametrize("method", SET_METHODS)
def test_sets_hold_a_class_exactly_when_its_score_is_in(method):
    probs, labels = simulated(300)
    rule = fit_hierarchical_sets(probs[:150], labels[:150], 0.8, SHOP, method)
    found = rule.sets(probs[:150], SHOP)
    held = found.members[np.arange(150), labels[:150]]
    assert held.sum() >= 121, "the ceil(151 x .8) = 121st score and all below"
    assert not (found.classes & found.macros[:, SHOP.macro_of]).any(), "no class is named beside its macro"
    for i in range(20):
        np.testing.assert_array_equal(rule.sets(probs[i : i + 1], SHOP).members[0], found.members[i])


def test_classes_alone_in_their_macros_make_flat_sets():
    alone = Hierarchy(("A", "B", "C"), (("a",), ("b",), ("c",)))
    probs = np.random.default_rng(0).dirichlet(np.ones(3), size=60)
    labels = np.random.default_rng(1).integers(0, 3, 60)
    flat, along = fit_prediction_sets(probs, labels, 0.8), fit_hierarchical_sets(probs, labels, 0.8, alone)
    assert along.quantile == flat.quantile
    np.testing.assert_array_equal(along.sets(probs, alone).classes, flat.sets(probs))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="needs? at least 9 calibration images. Received: 5"):
        fit_hierarchical_sets([[1, 0, 0, 0]] * 5, [0] * 5, 0.9, PAIRS)
    with pytest.raises(ValueError, match="exactly one macro"):
        both = Hierarchy(("A", "B"), (("a", "b"), ("b", "c")))
        fit_hierarchical_sets([[1, 0, 0]] * 20, [0] * 20, 0.5, both)
    with pytest.raises(ValueError, match="'raps'"):
        fit_hierarchical_sets([[1, 0, 0, 0]] * 20, [0] * 20, 0.5, PAIRS, "raps")
