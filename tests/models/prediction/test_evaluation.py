"""The few metrics of a classifier on labelled images, by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from aisles.experiments.metrics import answers as benchmark
from aisles.experiments.metrics.probabilistic import nll
from aisles.models.prediction.evaluation import summarize

CLASSES = np.array(["apple", "kiwi", "lemon", "pear"])


def metrics(truth, answered):
    probs = np.eye(len(CLASSES))[np.asarray(answered)]
    return summarize(np.asarray(truth), probs, None, None, CLASSES, None, "flat")


def test_answers_on_classes_without_images_count_in_macro_f1_and_are_counted():
    found = metrics([0, 0, 1], [0, 2, 1])
    # F1: apple 2 * 1 / (2 + 1), kiwi 1, lemon 0; pear neither occurs nor is answered.
    assert found.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.balanced_accuracy == pytest.approx((1 / 2 + 1) / 2)
    assert found.answers_on_absent == 1
    assert found.per_class["lemon"] == (0, 0, 0, 0) and list(found.per_class) == ["apple", "kiwi", "lemon"]
    assert metrics([0, 1, 2], [1, 0, 2]).answers_on_absent == 0


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_has_one_definition_here_in_comparisons_and_in_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, answered = rng.integers(0, 2, 12), rng.integers(0, 4, 12)
    found = metrics(truth, answered)
    assert found.macro_f1 == pytest.approx(f1_score(truth, answered, average="macro"))
    assert found.macro_f1 == pytest.approx(benchmark.macro_f1(truth, answered))
    assert found.balanced_accuracy == pytest.approx(benchmark.balanced_accuracy(truth, answered))
    assert found.answers_on_absent == (answered > truth.max()).sum()
    with pytest.warns(UserWarning, match="classes not in y_true"):
        assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, answered))


def test_top_5_of_hard_leaves_out_the_classes_of_other_macros():
    classes = np.array(list("abcdefg"))
    probs = np.array([[0.0, 0.7, 0.3, 0.0, 0.0, 0.0, 0.0]] * 4)
    truth = np.array([1, 2, 0, 6])  # of the last two hard says that they are impossible
    found = summarize(truth, probs, None, None, classes, None, "hard")
    assert found.top5_accuracy == 0.5 == benchmark.top_k_accuracy(truth, probs, 5)


def test_the_log_loss_is_that_of_benchmarks_where_probabilities_are_zero_too():
    probs = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1e-14, 0.0, 0.0, 1 - 1e-14]])
    truth = np.array([0, 2, 0])
    found = summarize(truth, probs, None, None, CLASSES, None, "hard").log_loss
    assert found == pytest.approx((np.log(2) + 52 * np.log(2) - np.log(1e-14)) / 3)
    assert found == pytest.approx(nll(probs, truth))
