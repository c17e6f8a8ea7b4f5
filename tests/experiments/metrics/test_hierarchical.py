import numpy as np
import pytest
from hiclass import metrics as hiclass_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy as scipy_hierarchy

from aisles.experiments.metrics.answers import accuracy
from aisles.experiments.metrics.hierarchical import (
    Ceilings,
    ceilings,
    cross_macro_share,
    error_budget,
    hierarchical_scores,
    linkage_distance,
    mistake_distance,
    partition_distance,
)

MACRO_OF = np.array([0, 0, 1, 1, 1, 2])
TRUTH = [0, 0, 2, 3, 5, 5]
ANSWERS = [0, 1, 2, 0, 5, 4]


@st.composite
def routed(draw):
    """Draw truth and both stages' distributions."""
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    truth = rng.integers(0, len(MACRO_OF), n)
    macro_probs = rng.dirichlet(np.ones(3), n) + np.eye(3)[MACRO_OF[truth]]
    within = rng.random((n, len(MACRO_OF))) + 0.5 * np.eye(len(MACRO_OF))[truth]
    return truth, macro_probs, within


def hard(macro_probs, within):
    routed_to = macro_probs.argmax(axis=1)
    return np.where(routed_to[:, None] == MACRO_OF, within, -1).argmax(axis=1)


def test_error_budget_worked_by_hand():
    budget = error_budget(TRUTH, ANSWERS, MACRO_OF)
    assert (budget.router_wrong, budget.within_wrong, budget.right) == (2, 1, 3)
    assert (budget.router_accuracy, budget.within_accuracy, budget.accuracy) == (4 / 6, 3 / 4, 3 / 6)
    assert budget.cross_macro_share == cross_macro_share(TRUTH, ANSWERS, MACRO_OF) == 2 / 3


@given(routed())
@settings(max_examples=50)
def test_router_times_submodels_is_the_hard_accuracy(data):
    truth, macro_probs, within = data
    answers = hard(macro_probs, within)
    routed_right = macro_probs.argmax(axis=1) == MACRO_OF[truth]
    budget = error_budget(truth, answers, MACRO_OF, routed_right=routed_right)
    # in counts the identity is exact: (routed right / n) * (right / routed right) = right / n
    assert budget.n_images == len(truth)
    assert budget.right == (truth == answers).sum()
    assert budget.within_wrong + budget.right == routed_right.sum()
    assert budget.router_accuracy * budget.within_accuracy == pytest.approx(accuracy(truth, answers))
    assert budget == error_budget(truth, answers, MACRO_OF)


def test_a_router_that_is_never_right_leaves_nothing_to_the_submodels():
    budget = error_budget([0, 0], [2, 5], MACRO_OF)
    assert (budget.router_accuracy, budget.within_accuracy, budget.accuracy) == (0, 0, 0)
    assert error_budget([0], [0], MACRO_OF).cross_macro_share == 0


@given(routed())
@settings(max_examples=30)
def test_ceilings_bound_hard_accuracy_and_equal_brute_force(data):
    truth, macro_probs, within = data
    blocks = np.zeros_like(within)
    for macro in range(3):
        chosen = macro == MACRO_OF
        blocks[:, chosen] = within[:, chosen] / within[:, chosen].sum(axis=1, keepdims=True)
    soft = blocks * (macro_probs / macro_probs.sum(axis=1, keepdims=True))[:, MACRO_OF]
    ceiling = ceilings(truth, soft, MACRO_OF)
    by_hand = [
        max(np.flatnonzero(MACRO_OF[t] == MACRO_OF), key=lambda c, row=row: row[c]) == t
        for t, row in zip(truth, within, strict=True)
    ]
    assert ceiling.oracle_router == pytest.approx(np.mean(by_hand))
    assert ceiling.oracle_router >= accuracy(truth, soft.argmax(axis=1))
    assert ceiling.oracle_submodels == error_budget(truth, soft.argmax(axis=1), MACRO_OF).router_accuracy
    assert ceilings(truth, blocks, MACRO_OF).oracle_router == ceiling.oracle_router


def test_an_oracle_router_needs_what_was_said_before_routing():
    inside = np.array([[0.1, 0.9, 0.5, 0.5], [0.9, 0.1, 0.2, 0.8]])
    routed = inside * [[0, 0, 1, 1], [1, 1, 0, 0]]  # both into the wrong macro
    found = ceilings([1, 3], routed, [0, 0, 1, 1], inside)
    assert found == Ceilings(oracle_router=1.0, oracle_submodels=0.0)
    assert ceilings([1, 3], routed, [0, 0, 1, 1]).oracle_router == 0.0


def test_ceilings_worked_by_hand():
    scores = [[0.1, 0.2, 0.7, 0, 0, 0], [0.1, 0.2, 0.1, 0.4, 0.2, 0]]
    ceiling = ceilings([1, 4], scores, MACRO_OF)
    assert (ceiling.oracle_router, ceiling.oracle_submodels) == (0.5, 0.5)


def test_partition_distance_counts_levels_to_the_common_ancestor():
    distance = partition_distance([0, 0, 1])
    assert distance.tolist() == [[0, 1, 2], [1, 0, 2], [2, 2, 0]]
    result = mistake_distance([0, 0, 1, 2], [0, 1, 2, 2], distance)
    assert (result.per_mistake, result.per_image) == (1.5, 0.75)
    assert mistake_distance([0], [0], distance).per_mistake == 0


def test_linkage_distance_is_the_height_at_which_two_classes_meet():
    # 0 and 1 merge at 1, 2 and 3 at 2, all at 5
    linkage = [[0, 1, 1.0, 2], [2, 3, 2.0, 2], [4, 5, 5.0, 4]]
    distance = linkage_distance(linkage)
    assert distance.tolist() == [[0, 1, 5, 5], [1, 0, 5, 5], [5, 5, 0, 2], [5, 5, 2, 0]]
    assert mistake_distance([0, 2], [1, 0], distance).per_mistake == 3


def test_a_cut_of_the_tree_keeps_its_macros_closer_than_the_rest():
    points = np.random.default_rng(0).normal(size=(12, 4))
    linkage = scipy_hierarchy.linkage(points, "ward")
    groups = scipy_hierarchy.fcluster(linkage, 4, "maxclust") - 1
    distance = linkage_distance(linkage)
    same = groups[:, None] == groups
    assert distance[same].max() < distance[~same].min()


@given(routed())
@settings(max_examples=30)
def test_hierarchical_scores_equal_hiclass_and_the_mean_of_two_accuracies(data):
    truth, macro_probs, within = data
    answers = hard(macro_probs, within)
    ours = hierarchical_scores(truth, answers, MACRO_OF)
    paths = [
        np.array([[f"macro {MACRO_OF[c]}", f"class {c}"] for c in classes]) for classes in (truth, answers)
    ]
    assert ours.precision == pytest.approx(hiclass_metrics.precision(*paths))
    assert ours.recall == pytest.approx(hiclass_metrics.recall(*paths))
    assert ours.f1 == pytest.approx(hiclass_metrics.f1(*paths))
    mean = (accuracy(truth, answers) + accuracy(MACRO_OF[truth], MACRO_OF[answers])) / 2
    assert ours.f1 == pytest.approx(mean)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: error_budget([0], [6], MACRO_OF), "6 classes", id="class"),
        pytest.param(lambda: error_budget([0], [0], [0.0, 1.0]), "macro index", id="partition"),
        pytest.param(lambda: error_budget([0], [0], [-1, 0]), "macro index", id="negative macro"),
        pytest.param(lambda: error_budget([0], [0], []), "macro index", id="no class"),
        pytest.param(
            lambda: error_budget([0], [0], MACRO_OF, routed_right=[False]), "not hard routing's", id="soft"
        ),
        pytest.param(
            lambda: error_budget([0], [0], MACRO_OF, routed_right=[True] * 2),
            "one value per image",
            id="routed",
        ),
        pytest.param(lambda: ceilings([0], [[0.5, 0.5]], MACRO_OF), "must agree", id="scores"),
        pytest.param(lambda: mistake_distance([0], [0], [[0, 1]]), "square", id="not square"),
        pytest.param(lambda: mistake_distance([0], [0], [[1]]), "zero diagonal", id="diagonal"),
    ],
)
def test_hierarchy_metrics_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
