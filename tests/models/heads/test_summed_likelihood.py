import numpy as np
import pytest

from aisles.models.heads.closed_form import fit_logistic
from aisles.models.heads.summed_likelihood import fit_summed_lda, fit_summed_logistic, summed_lda_grid

LDA = {"feature_map": "raw", "shrinkage": 0.1, "rounds": 10}
LOGISTIC = {"feature_map": "raw", "strength": 100.0}


def world(n_fine, n_coarse, seed=0):
    """Draw 4 classes in 2 macros, far apart; the first `n_fine` images of each class are known by class."""
    rng = np.random.default_rng(seed)
    centers = 4.0 * np.eye(4, 8)
    classes = np.repeat(np.arange(4), n_fine + n_coarse)
    x = centers[classes] + rng.normal(0, 1.0, (len(classes), 8))
    fine = np.tile(np.arange(n_fine + n_coarse) < n_fine, 4)
    allowed = np.vstack([np.eye(4, dtype=bool), [[1, 1, 0, 0], [0, 0, 1, 1]]]).astype(bool)
    return x, classes, np.where(fine, classes, 4 + classes // 2), allowed


def accuracy(head, n=4000):
    x, classes, _, _ = world(n // 4, 0, seed=9)
    return float((head.logits(x).argmax(1) == classes).mean())


@pytest.mark.parametrize(("fit", "setting"), [(fit_summed_lda, LDA), (fit_summed_logistic, LOGISTIC)])
def test_images_known_by_their_macro_help_where_few_are_known_by_class(fit, setting):
    x, classes, targets, allowed = world(1, 60)
    fine = targets < 4
    (alone,) = fit(x[fine], targets[fine], allowed, [setting])
    (both,) = fit(x, targets, allowed, [setting])
    (oracle,) = fit(x, classes, allowed, [setting])
    assert accuracy(both) > accuracy(alone) + 0.02
    assert accuracy(oracle) - accuracy(both) < 0.03


def test_the_summed_likelihood_of_fine_labels_is_logistic_regressions():
    x, classes, _, allowed = world(20, 0)
    (ours,) = fit_summed_logistic(x, classes, allowed, [LOGISTIC], steps=500)
    (theirs,) = fit_logistic(x, classes, 4, [LOGISTIC])
    asked = world(50, 0, seed=3)[0]
    a, b = (h.logits(asked) - h.logits(asked).mean(axis=1, keepdims=True) for h in (ours, theirs))
    assert np.abs(a - b).max() < 0.15 and (a.argmax(1) == b.argmax(1)).all()


def test_the_discriminant_of_fine_labels_alone_has_the_covariance_inside_classes():
    x, classes, _, allowed = world(30, 0)
    (head,) = fit_summed_lda(x, classes, allowed, [LDA])
    means = np.stack([x[classes == c].mean(0) for c in range(4)])
    inside = np.cov((x - means[classes]).T, bias=True)
    spread = 0.9 * inside + 0.1 * np.trace(inside) / 8 * np.eye(8)
    weights = np.linalg.solve(spread, means.T)
    logits = x @ weights - 0.5 * np.einsum("ij,ji->i", means, weights) + np.log(0.25)
    given = head.logits(x)
    differ = (given - given[:, :1]) - (logits - logits[:, :1])
    assert np.abs(differ).max() < 1e-8


def test_a_macro_of_one_class_tells_the_class():
    x, classes, _, _ = world(1, 40)
    allowed = np.vstack([np.eye(4, dtype=bool), np.eye(4, dtype=bool)])
    (by_macro,) = fit_summed_lda(
        x, np.where(np.arange(len(x)) % 41 < 1, classes, 4 + classes), allowed, [LDA]
    )
    (by_class,) = fit_summed_lda(x, classes, allowed, [LDA])
    np.testing.assert_allclose(by_macro.logits(x), by_class.logits(x), atol=1e-8)


def test_a_label_without_images_of_its_own_is_refused():
    x, _, targets, allowed = world(1, 5)
    rows = targets != 2
    with pytest.raises(ValueError, match=r"Labels without: \[2\]"):
        list(fit_summed_lda(x[rows], targets[rows], allowed, summed_lda_grid()))
