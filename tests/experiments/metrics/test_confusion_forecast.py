import numpy as np
import pytest

from aisles.experiments.metrics.answers import confusion
from aisles.experiments.metrics.confusion_forecast import forecast, soft_confusion
from aisles.experiments.metrics.hierarchical import error_budget

MACRO_OF = [0, 0, 1, 1]
COUNTS = [[7, 2, 1, 0], [1, 9, 0, 0], [0, 0, 10, 0], [0, 2, 4, 4]]


def test_forecast_worked_by_hand():
    guarantee = forecast(COUNTS, MACRO_OF)
    assert (guarantee.right, guarantee.inside, guarantee.between) == (30 / 40, 7 / 40, 3 / 40)
    assert guarantee.ceiling == pytest.approx(37 / 40)
    assert guarantee.inside_by_chance == pytest.approx(4 / 12)
    assert guarantee.concentration == pytest.approx((7 / 10) / (1 / 3))


def test_forecast_on_the_same_images_is_what_the_error_budget_finds():
    rng = np.random.default_rng(0)
    truth, answers, groups = rng.integers(0, 9, 300), rng.integers(0, 9, 300), rng.integers(0, 3, 9)
    guarantee = forecast(confusion(truth, answers, 9), groups)
    budget = error_budget(truth, answers, groups)
    assert guarantee.between == pytest.approx(budget.router_wrong / 300)
    assert guarantee.inside == pytest.approx(budget.within_wrong / 300)
    assert guarantee.ceiling == pytest.approx(budget.router_accuracy)


def test_random_partitions_of_uniform_confusions_have_concentration_one():
    counts = np.full((12, 12), 5) + 40 * np.eye(12, dtype=int)
    rng = np.random.default_rng(1)
    for _ in range(5):
        groups = rng.permutation([0] * 5 + [1] * 4 + [2] * 3)
        assert forecast(counts, groups).concentration == pytest.approx(1)


def test_merging_macros_moves_mass_inside():
    fine, coarse = forecast(COUNTS, [0, 1, 2, 2]), forecast(COUNTS, [0, 0, 1, 1])
    assert coarse.inside > fine.inside and coarse.between < fine.between
    assert coarse.right == fine.right


def test_partitions_without_choice_are_neutral():
    assert forecast(COUNTS, [0, 1, 2, 3]).concentration == 1
    assert forecast(np.eye(4), MACRO_OF).concentration == 1
    assert forecast(COUNTS, [0] * 4).between == 0
    assert forecast([[3]], [0]).inside_by_chance == 0


def test_soft_confusion_adds_distributions_and_certain_ones_are_counts():
    truth, answers = np.array([0, 1, 1]), np.array([0, 1, 0])
    np.testing.assert_array_equal(soft_confusion(truth, np.eye(2)[answers]), confusion(truth, answers, 2))
    mass = soft_confusion([0, 0, 1], [[0.7, 0.3], [0.5, 0.5], [0.1, 0.9]])
    np.testing.assert_allclose(mass, [[1.2, 0.8], [0.1, 0.9]])
    assert forecast(mass, [0, 1]).between == pytest.approx(0.9 / 3)


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(np.zeros((4, 4)), id="all zero"),
        pytest.param(-np.eye(4), id="negative"),
        pytest.param(np.full((4, 4), np.nan), id="nan"),
        pytest.param(np.eye(3), id="size"),
    ],
)
def test_forecast_refuses(counts):
    with pytest.raises(ValueError, match="matrix of 4 by 4 numbers"):
        forecast(counts, MACRO_OF)
