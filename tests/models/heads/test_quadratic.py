"""Quadratic discriminants against formulas written out, scikit-learn, and the linear discriminant that they contain."""

import numpy as np
import pytest
from scipy.special import softmax

from aisles.models.heads.closed_form import Background, fit_lda
from aisles.models.heads.quadratic import SHARES_OF_CLASS, _axes, fit_rda, rda_grid


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(4), (12, 9, 7, 5))
    spread = rng.uniform(0.4, 2.0, size=(4, 5))
    x = rng.normal(size=(4, 5))[targets] * 2 + rng.normal(size=(len(targets), 5)) * spread[targets]
    return x, targets, rng.normal(size=(20, 5)) * 2


def written_out(x, targets, asked, common, own, shrinkage):
    """Invert every class's covariance as the docstring defines it."""
    n, d = len(x), x.shape[1]
    counts, means = np.bincount(targets), np.stack([x[targets == c].mean(0) for c in range(4)])
    pooled = (1 - shrinkage) * common + shrinkage * np.trace(common) / d * np.eye(d)
    images = n / 4 * (1 - own) / own
    logits = []
    for c in range(4):
        inside = np.cov(x[targets == c].T, bias=True)
        covariance = (counts[c] * inside + images * pooled) / (counts[c] + images)
        away = asked - means[c]
        distance = (away @ np.linalg.inv(covariance) * away).sum(1)
        logits.append(-0.5 * distance - 0.5 * np.linalg.slogdet(covariance)[1] + np.log(counts[c] / n))
    return np.stack(logits, axis=1)


def pooled_inside(x, targets):
    return sum(np.cov(x[targets == c].T, bias=True) * (targets == c).sum() for c in np.unique(targets)) / len(
        x
    )


@pytest.mark.parametrize("own", [0.05, 0.4, 0.9])
def test_probabilities_are_those_of_the_inverted_covariances(world, own):
    x, targets, asked = world
    setting = {"feature_map": "raw", "shrinkage": 0.3, "share_of_class": own}
    (head,) = fit_rda(x, targets, 4, [setting])
    wanted = written_out(x, targets, asked, pooled_inside(x, targets), own, 0.3)
    np.testing.assert_allclose(softmax(head.logits(asked), 1), softmax(wanted, 1), atol=1e-9)
    np.testing.assert_allclose(softmax(head.divided(3.0).logits(asked), 1), softmax(wanted / 3, 1), atol=1e-9)


def test_the_macros_covariance_is_drawn_to_that_of_all_classes(world):
    x, targets, asked = world
    other = np.random.default_rng(5).normal(size=(40, 5)) * 3
    everyone = Background(np.concatenate([x, other]), np.concatenate([targets, np.repeat([4, 5], 20)]))
    setting = {"feature_map": "raw", "shrinkage": 0.1, "share_of_class": 0.2, "share_of_all": 0.5}
    (head,) = fit_rda(x, targets, 4, [setting], everyone)
    common = 0.5 * pooled_inside(x, targets) + 0.5 * pooled_inside(everyone.features, everyone.targets)
    wanted = written_out(x, targets, asked, common, 0.2, 0.1)
    np.testing.assert_allclose(softmax(head.logits(asked), 1), softmax(wanted, 1), atol=1e-9)


def test_no_weight_for_the_classes_own_covariance_leaves_the_linear_discriminant(world):
    x, targets, asked = world
    for shrinkage in (0.1, 0.6):
        setting = {"feature_map": "root", "shrinkage": shrinkage}
        (linear,) = fit_lda(x, targets, 4, [setting])
        (head,) = fit_rda(x, targets, 4, [{**setting, "share_of_class": 0.0}])
        np.testing.assert_allclose(
            softmax(head.logits(asked), 1), softmax(linear.logits(asked), 1), atol=1e-9
        )


def test_almost_all_weight_gives_the_quadratic_discriminant_of_scikit_learn():
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

    rng = np.random.default_rng(1)
    targets = np.repeat(np.arange(3), 200)
    spread = np.array([[0.3, 1.0], [1.0, 0.3], [2.0, 2.0]])
    x = rng.normal(size=(600, 2)) * spread[targets] + targets[:, None]
    theirs = QuadraticDiscriminantAnalysis().fit(x, targets)
    (ours,) = fit_rda(x, targets, 3, [{"feature_map": "raw", "shrinkage": 1e-9, "share_of_class": 1 - 1e-9}])
    np.testing.assert_allclose(softmax(ours.logits(x), 1), theirs.predict_proba(x), atol=0.01)


def test_a_class_of_one_image_has_the_common_covariance_up_to_scale(world):
    x, targets, asked = world
    keep = np.flatnonzero((targets != 3) | (np.arange(len(targets)) == len(targets) - 1))
    (head,) = fit_rda(
        x[keep], targets[keep], 4, [{"feature_map": "raw", "shrinkage": 0.3, "share_of_class": 0.4}]
    )
    assert np.isfinite(head.logits(asked)).all()
    assert np.abs(head.curvatures[:5, 3] / head.curvatures[0, 3] - 1).max() < 1e-9
    assert not head.curvatures[5:, 3].any()


def test_the_grid_holds_the_linear_discriminant_and_all_classes_only_where_there_are_others(world):
    x, targets, _ = world
    assert {setting["share_of_class"] for setting in rda_grid(None)} == set(SHARES_OF_CLASS)
    assert {setting["share_of_all"] for setting in rda_grid(None)} == {0.0}
    assert {setting["share_of_all"] for setting in rda_grid(Background(x, targets))} == {0.0, 1.0}


@pytest.mark.keras
@pytest.mark.parametrize("own", [0.0, 0.3])
def test_the_network_says_what_the_head_says(world, own):
    x, targets, asked = world
    (head,) = fit_rda(x, targets, 4, [{"feature_map": "root", "shrinkage": 0.3, "share_of_class": own}])
    network = head.network()
    np.testing.assert_allclose(
        np.asarray(network(asked.astype(np.float32))), softmax(head.logits(asked), 1), atol=1e-4
    )
    assert network.count_params() == head.parameters


def test_whoever_takes_the_heads_one_by_one_keeps_numpys_threads(world):
    from threadpoolctl import threadpool_info

    def threads():
        return [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]

    x, targets, *_ = world
    before = threads()
    heads = fit_rda(x, targets, int(targets.max()) + 1, rda_grid(None))
    next(heads)
    assert threads() == before


def test_more_images_than_dimensions_give_the_same_axes_as_fewer_would():
    rest = np.random.default_rng(5).normal(size=(40, 6))
    wide = np.hstack([rest, np.zeros((40, 50))])
    (tall_energies, tall), (wide_energies, axes) = _axes(rest), _axes(wide)
    np.testing.assert_allclose(tall_energies, wide_energies)
    np.testing.assert_allclose((tall * tall_energies) @ tall.T, rest.T @ rest)
    np.testing.assert_allclose((axes * wide_energies) @ axes.T, wide.T @ wide, atol=1e-9)
