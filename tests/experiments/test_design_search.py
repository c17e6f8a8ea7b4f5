"""Choosing a design by validation images, and discriminants in closed form."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from aisles.experiments.design_search import Candidate, mixed_inside, report
from aisles.experiments.discriminants import discriminant_probs, geometric_mean
from aisles.hierarchy.taxonomy import Hierarchy

HIERARCHY = Hierarchy(("COLD", "WARM"), (("b", "d"), ("a", "c")))


@pytest.mark.parametrize("n_images", [12, 60], ids=["fewer images than features", "more"])
def test_discriminants_are_those_of_scikit_learn(n_images):
    rng = np.random.default_rng(0)
    labels = np.array(list("abc") * (n_images // 3))
    features = rng.normal(size=(n_images, 20)) + (labels[:, None] == np.array(list("abc"))) @ rng.normal(
        size=(3, 20)
    )
    asked = rng.normal(size=(7, 20))
    found = discriminant_probs(features, labels, asked, ("c", "a", "b"), (0.2, 0.7))
    for probs, shrinkage in zip(found, (0.2, 0.7), strict=True):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(features, labels)
        assert np.allclose(probs, model.predict_proba(asked)[:, [2, 0, 1]], atol=1e-8)


def test_a_mean_of_weight_0_or_1_is_one_of_the_two():
    first, second = np.array([[0.2, 0.8]]), np.array([[0.6, 0.4]])
    assert np.allclose(geometric_mean(first, second, 0), first)
    assert np.allclose(geometric_mean(first, second, 1), second)


def test_mixing_nothing_of_the_stages_leaves_flat():
    rng = np.random.default_rng(1)
    flat, router = rng.dirichlet(np.ones(4), 5), rng.dirichlet(np.ones(2), 5)
    within = np.concatenate([rng.dirichlet(np.ones(2), 5) for _ in range(2)], axis=1)
    assert np.allclose(mixed_inside(flat, router, within, HIERARCHY, 0), flat)


def test_validation_images_choose_and_test_images_only_judge():
    truth = {"val": np.arange(40) % 4, "test": np.arange(80) % 4}
    rng = np.random.default_rng(2)

    def says(val_wrong, test_wrong):
        tables = []
        for split, wrong in (("val", val_wrong), ("test", test_wrong)):
            given = truth[split].copy()
            given[:wrong] = (given[:wrong] + 1) % 4
            tables.append(np.stack([0.1 + 0.6 * np.eye(4)[given]] * 2) + rng.uniform(0, 1e-6))
        return tuple(tables)

    candidates = [
        Candidate("flat", "flat", 1.0, says(10, 30)),
        Candidate("lucky on test", "two-stage", 1.5, says(9, 0)),
        Candidate("best on val", "two-stage", 1.9, says(5, 20)),
        Candidate("too dear", "two-stage", 3.0, says(1, 20)),
    ]
    found = report(candidates, truth, np.arange(80))
    assert found["leagues"]["light"]["chosen"] == {"flat": "flat", "two-stage": "best on val"}
    assert found["leagues"]["light"]["comparison"]["difference"] == pytest.approx(10 / 80)
    assert found["leagues"]["heavy"]["chosen"]["two-stage"] == "too dear"
    assert len(found["candidates"]) == 4
