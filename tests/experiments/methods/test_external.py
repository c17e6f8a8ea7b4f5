"""References of other libraries: they are given the steps they need, and told of when these don't suffice."""

import logging

import numpy as np
import pytest

from aisles.experiments.methods import external as baselines
from aisles.hierarchy.hierarchy import Hierarchy


@pytest.mark.parametrize(("steps", "warned"), [(None, False), (100, True)], ids=["as given", "too few"])
def test_logistic_regression_converges_or_says_that_it_has_not(monkeypatch, caplog, steps, warned):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120).astype(str)
    features = (rng.normal(0, 1, (120, 30)) + np.eye(4, 30)[labels.astype(int)]) * np.geomspace(0.5, 20, 30)
    if steps:
        monkeypatch.setattr(baselines, "ITERATIONS", steps)
    hierarchy = Hierarchy(("a", "b"), (("0", "1"), ("2", "3")))
    rows = np.arange(120)
    with caplog.at_level(logging.WARNING):
        probs = baselines._logistic(features, labels, rows, rows, 10.0, hierarchy)
    assert ("has not converged" in caplog.text) is warned
    assert probs.sum(axis=1) == pytest.approx(1)


def test_hiclass_has_a_regression_at_the_root_and_one_output_for_two_labels():
    hierarchy = Hierarchy(("a", "b", "c"), (("0", "1"), ("2", "3"), ("4",)))
    assert baselines._n_outputs(baselines._logistic, hierarchy) == 5
    assert baselines._n_outputs(baselines._hiclass, hierarchy) == 3 + 1 + 1
