"""Metrics by name: hand-worked values, agreement with scikit-learn, and refusals."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, top_k_accuracy_score

from aisles.experiments.metrics.registry import METRICS, TAKEN, register_metric
from aisles.hierarchy.hierarchy import Hierarchy

SHOP = Hierarchy(("SEAT", "LIGHT"), (("CHAIR", "SOFA"), ("LAMP",)))  # classes: CHAIR, LAMP, SOFA
TRUTH = np.array([0, 0, 1, 2])
ANSWERS = np.array([[0, 2, 1, 1], [0, 0, 1, 2]])


@pytest.fixture
def register(monkeypatch):
    """Return `register_metric`; what it registers is gone after the test."""
    len(METRICS)  # ours first
    monkeypatch.setattr(METRICS, "_known", dict(METRICS._known))
    return register_metric


def values(name: str) -> list:
    return [METRICS[name].value(TRUTH, probs, SHOP) for probs in np.eye(3)[ANSWERS]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", [1 / 2, 1]),
        (
            "macro_accuracy",
            [3 / 4, 1],
        ),  # a chair taken for a sofa stays among the seats, a sofa taken for a lamp doesn't
        ("hierarchical_f1", [5 / 8, 1]),  # the mean of the two
        ("cross_macro_share", [1 / 2, 0]),
        ("balanced_accuracy", [(1 / 2 + 1 + 0) / 3, 1]),
        ("macro_f1", [(2 / 3 + 2 / 3 + 0) / 3, 1]),
    ],
)
def test_metrics_of_two_seeds_are_as_worked_out_by_hand(name, expected):
    assert values(name) == pytest.approx(expected)


def test_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    names = tuple(f"c{i}" for i in range(8))
    hierarchy = Hierarchy(("A", "B"), (names[:5], names[5:]))
    truth = np.concatenate([np.arange(8), rng.integers(0, 8, 192)])
    probs = rng.dirichlet(np.ones(8), 200)
    found = {name: METRICS[name].value(truth, probs, hierarchy) for name in METRICS}
    answers = probs.argmax(1)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, answers))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, answers, average="macro"))
    assert found["top5_accuracy"] == pytest.approx(top_k_accuracy_score(truth, probs, k=5))


def test_a_metric_that_is_not_finite_is_refused(register):
    register("undefined", description="nothing divided by nothing")(lambda truth, probs, hierarchy: np.nan)
    with pytest.raises(ValueError, match="undefined gives nan: a metric is a finite number"):
        values("undefined")


def test_a_metric_that_fails_is_named_with_what_it_was_given(register):
    @register("broken_metric", description="fails")
    def broken(truth, probs, hierarchy):
        raise IndexError("no fifth column")

    with pytest.raises(ValueError, match=r"broken_metric fails: IndexError: no fifth column.*\(4, 3\)"):
        values("broken_metric")
    register("two_numbers", description="gives two")(lambda truth, probs, hierarchy: np.ones(2))
    with pytest.raises(ValueError, match="two_numbers fails.*returns one number"):
        values("two_numbers")


def test_metrics_are_refused_under_names_that_are_taken(register):
    with pytest.raises(ValueError, match="There is a metric 'macro_f1' already"):
        register("macro_f1", description="another")(lambda truth, probs, hierarchy: 0.0)
    with pytest.raises(ValueError, match="`per_class` is something else that metrics.json says"):
        register("per_class", description="another")
    with pytest.raises(ValueError, match="Did you mean 'macro_f1'"):
        METRICS["macro-f1"]


def test_every_metric_says_what_it_measures():
    for name, metric in METRICS.items():
        assert 10 < len(metric.description) < 100, name


@pytest.mark.keras
def test_no_metric_can_be_called_as_anything_else_that_a_run_says_of_a_method(full_run):
    metrics = json.loads((full_run / "metrics.json").read_text(encoding="utf-8"))
    said = set().union(*metrics["methods"].values())
    assert said - set(metrics["metrics"]) == TAKEN - {"sent"}  # what only methods with a gate have
