"""A flat linear head whose loss also asks for the macro-category: -log P(class) - weight log P(macro).

P(macro) is the sum of the probabilities of its classes, so nothing is added to the model: only what it is trained for
differs from logistic regression, which is the head of weight 0 (HACE, arXiv 2605.06274).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

from .closed_form import LinearHead, mapped

WEIGHTS = (0.3, 1.0, 3.0)
STRENGTHS = (30.0, 100.0, 300.0)


def macro_loss_grid() -> list[dict[str, Any]]:
    """List the settings: feature map, weight of the macro's term, inverse strength of regularization."""
    return [
        {"feature_map": name, "weight": weight, "strength": strength}
        for name in ("raw", "root")
        for weight in WEIGHTS
        for strength in STRENGTHS
    ]


def fit_macro_loss(
    features: np.ndarray,
    targets: np.ndarray,
    macro_of: np.ndarray,
    settings: Sequence[Mapping[str, Any]],
    *,
    steps: int = 50,
) -> Iterator[LinearHead]:
    """Fit linear heads by the loss of class and macro, each started from the one before.

    Minimizes the mean of -log P(c) - weight log P(macro of c), plus the squared weights over twice the strength
    (L-BFGS; features are scaled as in `closed_form.fit_logistic`).

    Parameters
    ----------
    features : ndarray of shape (n_images, dimension)
    targets : ndarray of int of shape (n_images,)
        Classes as numbers.
    macro_of : ndarray of int of shape (n_classes,)
        The macro of each class.
    settings : sequence of mapping
        `feature_map`, `weight` (0 or more) and `strength`.
    steps : int
        At most so many iterations.

    Yields
    ------
    LinearHead
        One per setting, in order.
    """
    members = np.eye(int(macro_of.max()) + 1)[macro_of]
    of, x, scale, start = None, features, 1.0, np.zeros(0)
    shape = (features.shape[1] + 1, len(macro_of))
    for setting in settings:
        name = setting["feature_map"]
        if name != of:
            of, x = name, mapped(features, name)
            scale = float(np.sqrt((x**2).sum(axis=1).mean() / x.shape[1])) or 1.0
            x = (x / scale).astype(np.float32)
            start = np.zeros(shape[0] * shape[1])
        found = minimize(
            loss_and_gradient,
            start,
            args=(x, targets, members, shape, float(setting["weight"]), float(setting["strength"])),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": steps, "gtol": 1e-5},
        )
        start = found.x
        table = start.reshape(shape)
        yield LinearHead(name, table[:-1] / scale, table[-1])


def loss_and_gradient(
    flat: np.ndarray,
    x: np.ndarray,
    targets: np.ndarray,
    members: np.ndarray,
    shape: tuple[int, int],
    weight: float,
    strength: float,
) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient at flattened weights.

    The gradient by the logits is (1 + weight) P - [own class] - weight P given the own macro.

    Parameters
    ----------
    flat : ndarray of shape ((dimension + 1) n_classes,)
        Weights, the last row the bias.
    x : ndarray of shape (n_images, dimension)
    targets : ndarray of int of shape (n_images,)
    members : ndarray of shape (n_classes, n_macros)
        1 where the class lies in the macro, else 0.
    shape : tuple of int
        (dimension + 1, n_classes).
    weight, strength : float
        As in `fit_macro_loss`.
    """
    table, rows = flat.reshape(shape), np.arange(len(x))
    logits = (x @ table[:-1].astype(x.dtype)).astype(np.float64) + table[-1]
    logits -= logits.max(axis=1, keepdims=True)
    probs = np.exp(logits)
    totals = probs.sum(axis=1, keepdims=True)
    probs /= totals
    of_class = (logits - np.log(totals))[rows, targets]
    own = members[:, members[targets].argmax(axis=1)].T
    inside = probs * own
    of_macro = np.maximum(inside.sum(axis=1, keepdims=True), 1e-300)
    loss = -float(np.mean(of_class + weight * np.log(of_macro[:, 0])))
    pull = (1 + weight) * probs - weight * inside / of_macro
    pull[rows, targets] -= 1
    pull /= len(x)
    gradient = np.empty(shape)
    gradient[:-1] = x.T @ pull.astype(x.dtype) + table[:-1] / strength
    gradient[-1] = pull.sum(axis=0)
    return loss + float((table[:-1] ** 2).sum()) / (2 * strength), gradient.ravel()
