"""Discriminants inside macros: what a temperature needs of very small probabilities is kept."""

import numpy as np
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from aisles.experiments.methods.discriminant import SHRINKAGES, discriminant_probs
from aisles.experiments.methods.discriminant import _tables as tables_of
from aisles.hierarchy.calibration import apply_temperature
from aisles.hierarchy.hierarchy import Hierarchy

HIERARCHY = Hierarchy(("A", "B"), (("a", "b", "c"), ("d",)))


class Given:
    """A covariance that scikit-learn takes for every class."""

    def __init__(self, covariance: np.ndarray):
        self.covariance = covariance

    def fit(self, X):
        self.covariance_ = self.covariance
        return self


def drawn(spread: float):
    """Draw four classes in five dimensions; far apart for a large `spread`."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.array(["a", "b", "c", "d"]), 30)
    means = spread * rng.normal(size=(4, 5))
    return means[np.repeat(np.arange(4), 30)] + rng.normal(size=(120, 5)), labels


def oracle(features, labels, shrinkage: float) -> LinearDiscriminantAnalysis:
    """Fit scikit-learn's discriminant with the pooled covariance shrunk by hand."""
    names = np.unique(labels)
    inside = np.concatenate([features[labels == name] - features[labels == name].mean(0) for name in names])
    pooled = inside.T @ inside / len(features)
    shrunk = (1 - shrinkage) * pooled + shrinkage * np.trace(pooled) / 5 * np.eye(5)
    return LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Given(shrunk)).fit(features, labels)


def test_a_discriminant_is_scikit_learns_with_the_same_covariance():
    features, labels = drawn(0.7)
    (found,) = discriminant_probs(features, labels, features, tuple("abcd"), [0.3])
    np.testing.assert_allclose(found, oracle(features, labels, 0.3).predict_proba(features), atol=1e-9)


def test_a_temperature_finds_the_logits_of_classes_far_apart():
    features, labels = drawn(5.0)
    rows, inside = np.arange(120), labels != "d"
    table = tables_of(features, labels, rows, rows, HIERARCHY)[:, :, :3]
    assert 0 < table[0].min() < 1e-45  # float32 would have zeros, of which no temperature makes anything
    for shrinkage, mine in zip(SHRINKAGES, table, strict=True):
        logits = oracle(features[inside], labels[inside], shrinkage).decision_function(features)
        np.testing.assert_allclose(apply_temperature(mine, 20.0), softmax(logits / 20, axis=1), rtol=1e-6)
