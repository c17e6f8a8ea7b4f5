"""Flat classifiers that learn from images whose class is known only to be one of several: a macro's, say.

What such an image adds to the likelihood is the sum of the probabilities of the classes that it may have. Both heads
are linear, so everything that holds for heads in closed form holds for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from .closed_form import LinearHead, mapped

SHRINKAGES = (0.05, 0.1, 0.2, 0.4, 0.7)
ROUNDS = (1, 3, 10)
STRENGTHS = (30.0, 100.0)


def summed_lda_grid() -> list[dict[str, Any]]:
    """List the settings of a discriminant: feature map, shrinkage and rounds of expectation-maximization."""
    return [
        {"feature_map": name, "shrinkage": shrinkage, "rounds": rounds}
        for name in ("raw", "root")
        for shrinkage in SHRINKAGES
        for rounds in ROUNDS
    ]


def fit_summed_lda(
    features: np.ndarray, targets: np.ndarray, allowed: np.ndarray, settings: Sequence[Mapping[str, Any]]
) -> Iterator[LinearHead]:
    """Fit discriminants by expectation-maximization, for several settings.

    Classes are normal with one covariance, shrunk as in `closed_form.fit_lda`. An image's class is as probable as the
    model says among those that its target allows; means, shares and covariance follow from these probabilities
    (Dempster, Laird and Rubin, JRSS B 39, 1977; McLachlan, Discriminant Analysis and Statistical Pattern Recognition,
    1992, section 2.7). The first means are those of images whose class is known, the first covariance that of all
    images.

    Parameters
    ----------
    features : ndarray of shape (n_images, dimension)
    targets : ndarray of int of shape (n_images,)
        Rows of `allowed`.
    allowed : ndarray of bool of shape (n_targets, n_labels)
        Which labels a target may mean. Every label has an image that allows it alone.
    settings : sequence of mapping
        `feature_map`, `shrinkage` (above 0) and `rounds`.

    Yields
    ------
    LinearHead
        One per setting, in order.

    Raises
    ------
    ValueError
        If a label has no image of its own.
    """
    single = allowed.sum(axis=1) == 1
    own = single[targets]
    known = np.where(own, allowed.argmax(axis=1)[targets], -1)
    missing = np.setdiff1d(np.arange(allowed.shape[1]), known)
    if len(missing):
        raise ValueError(f"Every label needs an image of its own. Labels without: {missing[:5].tolist()}.")
    of, turned = None, _Turned(features[:0], targets[:0])
    path: tuple[Any, list[LinearHead]] = (None, [])
    for setting in settings:
        name, shrinkage = setting["feature_map"], float(setting["shrinkage"])
        if name != of:
            of, turned = name, _Turned(mapped(features, name), known)
        most = max(int(s["rounds"]) for s in settings)
        if path[0] != (name, shrinkage):
            path = (name, shrinkage), list(_rounds(turned, allowed[targets], name, shrinkage, most))
        yield path[1][int(setting["rounds"]) - 1]


class _Turned:
    """Images in the directions of their total covariance, and the means of those whose class is known."""

    def __init__(self, x: np.ndarray, known: np.ndarray):
        if not len(x):
            return
        self.center = x.mean(axis=0)
        x = x - self.center
        values, self.vectors = np.linalg.eigh(x.T @ x / len(x))
        self.values = np.maximum(values, 0.0)
        self.x = x @ self.vectors
        sure = np.flatnonzero(known >= 0)
        self.counts = np.bincount(known[sure]).astype(np.float64)
        sums = np.zeros((len(self.counts), x.shape[1]))
        np.add.at(sums, known[sure], self.x[sure])
        self.means = sums / self.counts[:, None]

    def head(
        self, name: str, means: np.ndarray, shares: np.ndarray, between: np.ndarray | None, s: float
    ) -> LinearHead:
        """Return the discriminant of means and shares; the covariance is the total less the spread of `between`."""
        removed = np.zeros((0, len(self.values))) if between is None else between
        trace = self.values.sum() - float((removed**2).sum())
        diagonal = (1 - s) * self.values + s * max(trace / len(self.values), 1e-12)
        rows = np.sqrt(1 - s) * removed
        solved, over = means / diagonal, rows / diagonal
        small = np.eye(len(rows)) - over @ rows.T
        solved = solved + np.linalg.solve(small, rows @ solved.T).T @ over if len(rows) else solved
        bias = np.log(np.maximum(shares, 1e-12)) - 0.5 * (solved * means).sum(axis=1)
        weights = self.vectors @ solved.T
        return LinearHead(name, weights, bias - self.center @ weights)


def _rounds(turned: _Turned, may: np.ndarray, name: str, s: float, n: int) -> Iterator[LinearHead]:
    means, shares = turned.means, turned.counts / turned.counts.sum()
    head = turned.head(name, means, shares, None, s)
    origin = turned.center @ head.weights
    for _ in range(n):
        logits = turned.x @ (turned.vectors.T @ head.weights) + head.bias + origin
        logits = np.where(may, logits, -np.inf)
        given = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
        counts = given.sum(axis=0)
        means = given.T @ turned.x / np.maximum(counts, 1e-12)[:, None]
        shares = counts / counts.sum()
        head = turned.head(name, means, shares, np.sqrt(shares)[:, None] * means, s)
        origin = turned.center @ head.weights
        yield head


def summed_logistic_grid() -> list[dict[str, Any]]:
    """List the settings of logistic regression: feature map and inverse strength of regularization."""
    return [{"feature_map": name, "strength": c} for name in ("raw", "root") for c in STRENGTHS]


def fit_summed_logistic(
    features: np.ndarray,
    targets: np.ndarray,
    allowed: np.ndarray,
    settings: Sequence[Mapping[str, Any]],
    *,
    steps: int = 50,
) -> Iterator[LinearHead]:
    """Fit multinomial logistic regressions by the summed likelihood, each started from the one before.

    Minimizes the mean of -log sum of P(c) over the labels that an image may have, plus the squared weights over twice
    the strength (L-BFGS; features are scaled as in `closed_form.fit_logistic`).

    Parameters
    ----------
    features, targets, allowed
        As in `fit_summed_lda`.
    settings : sequence of mapping
        `feature_map` and `strength`.
    steps : int
        At most so many iterations.

    Yields
    ------
    LinearHead
        One per setting, in order.
    """
    of, x, scale, start = None, features, 1.0, np.zeros(0)
    shape = (features.shape[1] + 1, allowed.shape[1])
    may = allowed[targets]
    for setting in settings:
        name, strength = setting["feature_map"], float(setting["strength"])
        if name != of:
            of, x = name, mapped(features, name)
            scale = float(np.sqrt((x**2).sum(axis=1).mean() / x.shape[1])) or 1.0
            x = (x / scale).astype(np.float32)
            start = np.zeros(shape[0] * shape[1])
        found = minimize(
            _summed_loss,
            start,
            args=(x, may, shape, strength),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": steps, "gtol": 1e-5},
        )
        start = found.x
        table = start.reshape(shape)
        yield LinearHead(name, table[:-1] / scale, table[-1])


def _summed_loss(
    flat: np.ndarray, x: np.ndarray, may: np.ndarray, shape: tuple[int, int], strength: float
) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient, (P - P given the allowed labels) summed over images, at flattened weights."""
    table = flat.reshape(shape)
    logits = (x @ table[:-1].astype(np.float32)).astype(np.float64) + table[-1]
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    inside = np.where(may, powers, 0.0)
    totals, sums = powers.sum(axis=1, keepdims=True), np.maximum(inside.sum(axis=1, keepdims=True), 1e-300)
    loss = float(np.mean(np.log(totals) - np.log(sums)))
    pull = (powers / totals - inside / sums) / len(x)
    gradient = np.empty(shape)
    gradient[:-1] = x.T @ pull.astype(np.float32) + table[:-1] / strength
    gradient[-1] = pull.sum(axis=0)
    return loss + float((table[:-1] ** 2).sum()) / (2 * strength), gradient.ravel()
