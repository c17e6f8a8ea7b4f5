import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    confusion_matrix,
    f1_score,
    recall_score,
    top_k_accuracy_score,
)

from aisles.experiments.metrics.answers import (
    accuracy,
    balanced_accuracy,
    class_table,
    confusion,
    corrected_and_broken,
    macro_f1,
    top_k_accuracy,
)

N_CLASSES = 7
TRUTH = [0, 0, 0, 1, 1, 2]
ANSWERS = [0, 0, 1, 1, 3, 1]


@st.composite
def answered(draw, systems=1):
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    truth = rng.integers(0, N_CLASSES - 1, n)
    return truth, *(
        np.where(rng.random(n) < 0.6, truth, rng.integers(0, N_CLASSES, n)) for _ in range(systems)
    )


def test_metrics_worked_by_hand():
    assert accuracy(TRUTH, ANSWERS) == 3 / 6
    assert balanced_accuracy(TRUTH, ANSWERS) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert macro_f1(TRUTH, ANSWERS) == pytest.approx((4 / 5 + 2 / 5 + 0 + 0) / 4)


def test_class_table_worked_by_hand():
    table = class_table(TRUTH, ANSWERS, ["a", "b", "c", "d", "unseen"])
    assert table.precision.tolist() == pytest.approx([1, 1 / 3, 0, 0, 0])
    assert table.recall.tolist() == pytest.approx([2 / 3, 1 / 2, 0, 0, 0])
    assert table.support.tolist() == [3, 2, 1, 0, 0]
    assert table.rows()[1] == {
        "class": "b", "precision": 1 / 3, "recall": 0.5, "f1": pytest.approx(0.4), "support": 2
    }  # fmt: skip


@given(answered())
@settings(max_examples=25, deadline=None)
def test_metrics_agree_with_scikit_learn(data):
    truth, answers = data
    assert accuracy(truth, answers) == pytest.approx(accuracy_score(truth, answers))
    assert macro_f1(truth, answers) == pytest.approx(f1_score(truth, answers, average="macro"))
    labels = list(range(N_CLASSES))
    np.testing.assert_array_equal(
        confusion(truth, answers, N_CLASSES), confusion_matrix(truth, answers, labels=labels)
    )
    expected = recall_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0)
    assert balanced_accuracy(truth, answers) == pytest.approx(expected)
    names = [f"class {i}" for i in labels]
    report = classification_report(
        truth, answers, labels=labels, target_names=names, output_dict=True, zero_division=0
    )
    for row in class_table(truth, answers, names).rows():
        expected = report[row["class"]]
        assert row["precision"] == pytest.approx(expected["precision"])
        assert row["recall"] == pytest.approx(expected["recall"])
        assert row["f1"] == pytest.approx(expected["f1-score"])
        assert row["support"] == expected["support"]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_agrees_with_scikit_learn(k):
    rng = np.random.default_rng(k)
    probs, truth = rng.dirichlet(np.ones(N_CLASSES), 200), rng.integers(0, N_CLASSES, 200)
    expected = top_k_accuracy_score(truth, probs, k=k, labels=range(N_CLASSES))
    assert top_k_accuracy(truth, probs, k) == pytest.approx(expected)


def test_top_k_breaks_ties_as_argmax_does():
    probs = [[0.25, 0.25, 0.25, 0.25]] * 4
    assert [top_k_accuracy([0, 1, 2, 3], probs, k) for k in (1, 2, 4, 9)] == [0.25, 0.5, 1.0, 1.0]


def test_an_impossible_class_is_never_among_the_most_probable():
    """Hard leaves four of six classes at zero; the first of them would fill up the top 5 in alphabetical order."""
    probs = np.array([[0, 0, 0.9, 0.1, 0, 0]] * 4, dtype=float)
    assert top_k_accuracy([2, 3, 0, 5], probs, 5) == 0.5
    assert top_k_accuracy([0], probs[:1] - 1.0, 5) == 1.0  # scores that are no probabilities may be anything


@given(answered(systems=2))
@settings(max_examples=40)
def test_corrected_less_broken_over_n_is_the_difference_of_accuracies(data):
    truth, a, b = data
    changes = corrected_and_broken(truth, a, b, N_CLASSES)
    assert changes.difference == pytest.approx(accuracy(truth, b) - accuracy(truth, a), abs=1e-12)
    assert changes.corrected_per_class.sum() == changes.corrected
    assert changes.broken_per_class.sum() == changes.broken
    assert not set(changes.corrected_images) & set(changes.broken_images)
    back = corrected_and_broken(truth, b, a, N_CLASSES)
    assert back.corrected_images.tolist() == changes.broken_images.tolist()


def test_corrected_and_broken_name_images_and_classes():
    changes = corrected_and_broken([0, 1, 1, 2], [0, 0, 0, 2], [1, 1, 1, 0], 3)
    assert changes.corrected_images.tolist() == [1, 2]
    assert changes.broken_images.tolist() == [0, 3]
    assert changes.corrected_per_class.tolist() == [0, 2, 0]
    assert changes.broken_per_class.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: accuracy([], []), "at least one image", id="empty"),
        pytest.param(lambda: accuracy([0, 1], [0]), "one class index per image", id="lengths"),
        pytest.param(lambda: accuracy([0.0], [0.0]), "whole numbers", id="floats"),
        pytest.param(lambda: accuracy([0], [-1]), "Received: -1", id="negative"),
        pytest.param(lambda: class_table([0], [1], ["only"]), "1 classes", id="nameless"),
        pytest.param(lambda: confusion([0], [3], 3), "3 classes", id="outside"),
        pytest.param(lambda: top_k_accuracy([0], [[0.5, 0.5]], 0), "`k`", id="k"),
        pytest.param(lambda: top_k_accuracy([0, 1], [[0.5, 0.5]]), "n_classes", id="scores"),
        pytest.param(lambda: top_k_accuracy([0], [[np.nan, 0.5]]), "NaN", id="nan"),
        pytest.param(lambda: top_k_accuracy([2], [[0.5, 0.5]]), "2 classes", id="column"),
    ],
)
def test_metrics_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
