"""The loss of class and macro: by hand, against differences, and against logistic regression and its two extremes."""

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax

from aisles.models.heads.closed_form import fit_logistic
from aisles.models.heads.macro_loss import fit_macro_loss, loss_and_gradient

MACRO_OF = np.array([0, 0, 1])
MEMBERS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def test_the_loss_of_one_image_by_hand():
    table = np.array([[np.log(2.0), 0.0, 0.0], [0.0, 0.0, 0.0]])  # P = 1/2, 1/4, 1/4 at x = 1
    loss, gradient = loss_and_gradient(
        table.ravel(), np.array([[1.0]]), np.array([1]), MEMBERS, (2, 3), 2.0, np.inf
    )
    assert loss == pytest.approx(np.log(4) + 2 * np.log(4 / 3))
    pull = 3 * np.array([1 / 2, 1 / 4, 1 / 4]) - [0, 1, 0] - 2 * np.array([2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(gradient.reshape(2, 3), [pull, pull], atol=1e-12)


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    for weight in (0.0, 0.7, 3.0):
        start = rng.normal(size=15)
        loss, gradient = loss_and_gradient(start, x, targets, MEMBERS, (5, 3), weight, 2.0)
        for place in range(15):
            moved = start + 1e-6 * np.eye(15)[place]
            there, _ = loss_and_gradient(moved, x, targets, MEMBERS, (5, 3), weight, 2.0)
            assert (there - loss) / 1e-6 == pytest.approx(gradient[place], abs=1e-4)


def drawn(rng, n=300):
    """Draw classes in two macros that lie far apart, the first macro's classes close to each other."""
    targets = rng.integers(0, 3, n)
    x = np.array([[0.0, 1.0], [0.0, 2.0], [4.0, 0.0]])[targets] + rng.normal(size=(n, 2))
    return x, targets


def test_no_weight_is_logistic_regression():
    x, targets = drawn(np.random.default_rng(1))
    setting = {"feature_map": "raw", "strength": 30.0}
    (theirs,) = fit_logistic(x, targets, 3, [setting])
    (ours,) = fit_macro_loss(x, targets, MACRO_OF, [{**setting, "weight": 0.0}], steps=500)
    np.testing.assert_allclose(softmax(ours.logits(x), 1), softmax(theirs.logits(x), 1), atol=0.01)


def test_more_weight_gives_a_likelier_macro_and_a_less_likely_class():
    x, targets = drawn(np.random.default_rng(2))
    # Hardly regularized: what weight gives the macro it takes from the class, else it only regularizes less.
    settings = [{"feature_map": "raw", "strength": 1e6, "weight": weight} for weight in (0.0, 3.0, 30.0)]
    of_class, of_macro = [], []
    for head in fit_macro_loss(x, targets, MACRO_OF, settings, steps=3000):
        logs = log_softmax(head.logits(x), axis=1)
        macros = np.stack([logsumexp(logs[:, :2], axis=1), logs[:, 2]], axis=1)
        of_class.append(-logs[np.arange(len(x)), targets].mean())
        of_macro.append(-macros[np.arange(len(x)), MACRO_OF[targets]].mean())
    assert of_macro[0] > of_macro[1] > of_macro[2]
    assert of_class[0] < of_class[1] < of_class[2]
