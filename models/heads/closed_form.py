"""Classifiers in closed form, or nearly: linear discriminants, logistic regression and nearest neighbors on features.

Each is fitted for a whole grid of settings at once, since they share most of the work, and becomes an ordinary Keras
network: a feature map (square root, unit length), a Dense layer, a softmax. So bundles, export, explanation and
prediction need nothing of their own for them.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

MAPS = ("raw", "root", "unit-root")
"""Feature maps: x; the signed square root sign(x) sqrt(|x|); the same, scaled to unit length."""
SHRINKAGES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
SHARES_OF_ALL = (0.0, 0.5, 1.0)
"""How far the covariance of one macro's classes is drawn towards that of all classes."""
STRENGTHS = (30.0, 100.0, 300.0)
SHARPNESS = (10.0, 20.0, 40.0, 80.0)
BLOCK = 8192


def mapped(features: np.ndarray, name: str) -> np.ndarray:
    """Apply a feature map of `MAPS`; float64, of the same shape."""
    x = np.asarray(features, dtype=np.float64)
    if name == "raw":
        return x
    roots = np.sign(x) * np.sqrt(np.abs(x))
    if name == "root":
        return roots
    return roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear classifier on mapped features.

    Attributes
    ----------
    feature_map : str
        One of `MAPS`.
    weights : ndarray of shape (dimension, n_labels)
    bias : ndarray of shape (n_labels,)
    """

    feature_map: str
    weights: np.ndarray
    bias: np.ndarray

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return self.weights.size + self.bias.size

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits (n, n_labels), float64."""
        blocks = (features[start : start + BLOCK] for start in range(0, len(features), BLOCK))
        found = [mapped(block, self.feature_map) @ self.weights + self.bias for block in blocks]
        return np.concatenate(found) if found else np.empty((0, len(self.bias)))

    def divided(self, temperature: float) -> "LinearHead":
        """Return the head with its logits divided by a temperature."""
        return replace(self, weights=self.weights / temperature, bias=self.bias / temperature)

    def network(self) -> "keras.Model":
        """Return it as a Keras model from features to probabilities; the layer `logits` comes before the softmax."""
        import keras
        from keras import layers

        features = keras.Input((len(self.weights),), name="features")
        x = _mapped_layers(features, self.feature_map)
        dense = layers.Dense(len(self.bias), name="logits")
        model = keras.Model(features, layers.Softmax(name="probabilities")(dense(x)), name="head")
        dense.set_weights([self.weights.astype(np.float32), self.bias.astype(np.float32)])
        return model


@dataclass(frozen=True, eq=False)
class NeighborHead:
    """Nearest neighbors: P(c) is the share of exp(sharpness cosine) that training images of c have.

    Attributes
    ----------
    feature_map : str
        `raw` or `root`; cosines are taken after it.
    vectors : ndarray of shape (n_train, dimension)
        Of unit length.
    targets : ndarray of shape (n_train,)
    n_labels : int
    sharpness : float
        The larger, the fewer neighbors count.
    """

    feature_map: str
    vectors: np.ndarray
    targets: np.ndarray
    n_labels: int
    sharpness: float

    @property
    def parameters(self) -> int:
        """How many numbers it has: the training vectors and their labels."""
        return self.vectors.size + len(self.targets) * self.n_labels

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return log probabilities (n, n_labels), float64, not below log(1e-12)."""
        found, order = [], np.argsort(self.targets, kind="stable")
        labels, starts = np.unique(self.targets[order], return_index=True)
        known = self.vectors[order].T
        for start in range(0, len(features), 1024):
            powers = _unit(mapped(features[start : start + 1024], self.feature_map)) @ known
            powers -= powers.max(axis=1, keepdims=True)
            powers *= self.sharpness
            np.exp(powers, out=powers)
            sums = np.zeros((len(powers), self.n_labels))
            sums[:, labels] = np.add.reduceat(powers, starts, axis=1)
            found.append(np.log(np.maximum(sums / sums.sum(axis=1, keepdims=True), 1e-12)))
        return np.concatenate(found) if found else np.empty((0, self.n_labels))

    def divided(self, temperature: float) -> "NeighborHead":
        """Return itself: the sharpness is chosen in place of a temperature."""
        return self

    def network(self) -> "keras.Model":
        """Return it as a Keras model: two Dense layers, of the training vectors and of their labels."""
        import keras
        from keras import layers

        features = keras.Input((self.vectors.shape[1],), name="features")
        x = layers.UnitNormalization(name="unit_length")(_mapped_layers(features, self.feature_map))
        similar = layers.Dense(len(self.targets), use_bias=False, name="similarities")
        votes = layers.Dense(self.n_labels, use_bias=False, name="votes")
        shares = votes(layers.Softmax(name="neighbors")(similar(x)))
        model = keras.Model(features, shares, name="head")
        similar.set_weights([(self.sharpness * self.vectors.T).astype(np.float32)])
        votes.set_weights([np.eye(self.n_labels, dtype=np.float32)[self.targets]])
        return model


Fitted = LinearHead | NeighborHead


@dataclass(frozen=True, eq=False)
class Background:
    """All training images, of whatever class, for heads over some of the classes.

    Attributes
    ----------
    features : ndarray of shape (n_images, dimension)
    targets : ndarray of int of shape (n_images,)
        Their classes as numbers.
    """

    features: np.ndarray
    targets: np.ndarray

    def spread(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return eigenvalues (dimension,) and eigenvectors, in columns, of the covariance inside all classes.

        `name` is a feature map's. Computed once for the same images: the heads of all macros have them in common.
        """
        key = (self._digest, name)
        if key not in _SPREADS:
            if len(_SPREADS) >= KEPT_SPREADS:
                _SPREADS.pop(next(iter(_SPREADS)))
            _SPREADS[key] = _eigen(_moments(self.features, self.targets, None, name)[1])
        return _SPREADS[key]

    @cached_property
    def _digest(self) -> bytes:
        digest = hashlib.blake2b(repr((self.features.shape, self.features.dtype)).encode())
        for rows in (self.features, self.targets):
            digest.update(np.ascontiguousarray(rows).data)
        return digest.digest()


KEPT_SPREADS = 4
_SPREADS: dict[tuple[bytes, str], tuple[np.ndarray, np.ndarray]] = {}


def lda_grid(background: Background | None) -> list[dict[str, Any]]:
    """List the settings of a discriminant: feature map, shrinkage and, beside other classes, `share_of_all`."""
    shares = (0.0,) if background is None else SHARES_OF_ALL
    return [
        {"feature_map": name, "shrinkage": shrinkage, "share_of_all": share}
        for name in ("raw", "root")
        for share in shares
        for shrinkage in SHRINKAGES
    ]


def fit_lda(
    features: np.ndarray,
    targets: np.ndarray,
    n_labels: int,
    settings: Sequence[Mapping[str, Any]],
    background: Background | None = None,
) -> Iterator[LinearHead]:
    """Fit linear discriminants for several settings.

    Logits are x S^-1 m_c - m_c S^-1 m_c / 2 + log share of c, with m_c the class means and S the covariance inside
    classes: (1 - a) C + a C_all, C_all that of all classes of the background, then (1 - s) of that and s times its
    mean variance on the diagonal (Friedman, Regularized discriminant analysis, JASA 1989).

    Parameters
    ----------
    features, targets : ndarray of shape (n_images, dimension) and (n_images,)
        Of training images; each of the `n_labels` labels should have one. A label without any gets the mean of all,
        and the share of half an image.
    n_labels : int
    settings : sequence of mapping
        `feature_map`, `shrinkage` (s, above 0) and optionally `share_of_all` (a).
    background : Background, optional
        Needed where `share_of_all` is above 0.

    Yields
    ------
    LinearHead
        One per setting, in order.
    """
    known: dict[tuple[str, float], _Spread | _Whole] = {}
    means: dict[str, np.ndarray] = {}
    once = len(settings) == 1
    counts = np.bincount(targets, minlength=n_labels)
    priors = np.log(np.maximum(counts, 0.5) / np.maximum(counts, 0.5).sum())
    for setting in settings:
        name, share = setting["feature_map"], float(setting.get("share_of_all", 0.0))
        share = share if background is not None else 0.0
        with _threads().limit(limits=1):  # at this size threads wait for each other more than they help
            if (name, share) not in known:
                if name not in means:
                    means, known = {}, {}
                means[name], known[name, share] = _spread(
                    features, targets, n_labels, name, share, background, means.get(name), once
                )
            centers = means[name]
            weights = known[name, share].solve(centers, float(setting["shrinkage"])).T
        bias = priors - 0.5 * (weights.T * centers).sum(axis=1)
        yield LinearHead(name, weights, bias)


@cache
def _threads() -> Any:
    """Return the controller of numpy's threads; finding their libraries takes longer than many a fit."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@dataclass(frozen=True, eq=False)
class _Spread:
    """A covariance V diag(values) V' + R'R, to be shrunk and inverted many times.

    Attributes
    ----------
    values : ndarray of shape (dimension,)
    vectors : ndarray of shape (dimension, dimension), or None
        V, in columns; the identity for None.
    rest : ndarray of shape (n, dimension), or None
        R V with few rows; none for None.
    """

    values: np.ndarray
    vectors: np.ndarray | None
    rest: np.ndarray | None

    def solve(self, means: np.ndarray, s: float) -> np.ndarray:
        """Return means (n, dimension) times the inverse of (1 - s) S + s mean variance I."""
        trace = self.values.sum() + (0.0 if self.rest is None else float((self.rest**2).sum()))
        diagonal = (1 - s) * self.values + s * max(trace / len(self.values), 1e-12)
        turned = means if self.vectors is None else means @ self.vectors
        solved = turned / diagonal
        if self.rest is not None:  # Woodbury's identity
            rest = np.sqrt(1 - s) * self.rest
            over = rest / diagonal
            small = np.eye(len(rest)) + over @ rest.T
            solved = solved - np.linalg.solve(small, rest @ solved.T).T @ over
        return solved if self.vectors is None else solved @ self.vectors.T


@dataclass(frozen=True, eq=False)
class _Whole:
    """A covariance S of shape (dimension, dimension), to be shrunk and inverted once."""

    inside: np.ndarray

    def solve(self, means: np.ndarray, s: float) -> np.ndarray:
        """Return means (n, dimension) times the inverse of (1 - s) S + s mean variance I."""
        from scipy.linalg import cho_factor, cho_solve

        shrunk = (1 - s) * self.inside
        np.fill_diagonal(
            shrunk, shrunk.diagonal() + s * max(float(np.trace(self.inside)) / len(shrunk), 1e-12)
        )
        try:
            return cho_solve(cho_factor(shrunk), means.T).T
        except np.linalg.LinAlgError:  # by rounding, where hardly anything is added to a matrix of low rank
            return _Spread(*_eigen(self.inside), None).solve(means, s)


def _spread(
    features: np.ndarray,
    targets: np.ndarray,
    n_labels: int,
    name: str,
    share: float,
    background: Background | None,
    means: np.ndarray | None,
    once: bool = False,
) -> tuple[np.ndarray, _Spread | _Whole]:
    """Return class means, and (1 - share) times the covariance inside classes plus share times the background's.

    What is inverted `once` needs no eigenvectors, which take longest. With few images the covariance inside their
    classes has a low rank, and is kept as their differences from the means.
    """
    dimension = features.shape[1]
    few = len(features) <= dimension // 2
    inside = None
    if means is None or not few:
        means, inside = _moments(features, targets, n_labels, name)
    values, vectors = np.zeros(dimension), None
    if share:
        assert background is not None
        values, vectors = background.spread(name)
    if share == 1.0:
        return means, _Spread(values, vectors, None)
    if few:
        rest = np.sqrt((1 - share) / max(len(features), 1)) * (mapped(features, name) - means[targets])
        return means, _Spread(share * values, vectors, rest if vectors is None else rest @ vectors)
    assert inside is not None
    if vectors is not None:
        inside = (1 - share) * inside + share * (vectors * values) @ vectors.T
    return means, _Whole(inside) if once else _Spread(*_eigen(inside), None)


def _eigen(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(inside)
    return np.maximum(values, 0.0), vectors


def _moments(
    features: np.ndarray, targets: np.ndarray, n_labels: int | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return class means (n_labels, dimension) and the covariance inside classes, in blocks of images."""
    n_labels = int(targets.max()) + 1 if n_labels is None else n_labels
    dimension = features.shape[1]
    sums, squares = np.zeros((n_labels, dimension)), np.zeros((dimension, dimension))
    for start in range(0, len(features), BLOCK):
        x = mapped(features[start : start + BLOCK], name)
        np.add.at(sums, targets[start : start + BLOCK], x)
        squares += x.T @ x
    counts = np.bincount(targets, minlength=n_labels)
    overall = sums.sum(axis=0) / max(len(features), 1)
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], overall)
    scaled = np.sqrt(counts)[:, None] * means
    inside = (squares - scaled.T @ scaled) / max(len(features), 1)
    return means, inside


def logistic_grid(_background: Background | None) -> list[dict[str, Any]]:
    """List the settings of logistic regression: feature map and inverse strength of regularization."""
    return [{"feature_map": name, "strength": c} for name in ("raw", "root") for c in STRENGTHS]


def fit_logistic(
    features: np.ndarray,
    targets: np.ndarray,
    n_labels: int,
    settings: Sequence[Mapping[str, Any]],
    background: Background | None = None,
) -> Iterator[LinearHead]:
    """Fit multinomial logistic regressions (scikit-learn, L2, L-BFGS), each started from the one before.

    Mapped features are divided by their root mean square norm over sqrt(dimension), so that a strength means the same
    whatever the backbone. The best weights lie in the space of the training images (the representer theorem), so fewer
    images than dimensions are turned into coordinates of that space, which leaves the answer as it is.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model, of, x, scale, back = None, None, features, 1.0, None
    for setting in settings:
        name = setting["feature_map"]
        if name != of:
            of, x = name, mapped(features, name)
            scale = float(np.sqrt((x**2).sum(axis=1).mean() / x.shape[1])) or 1.0
            x, back = _own_space(x / scale)
            x = x.astype(np.float32)
            model = LogisticRegression(warm_start=True, max_iter=100, tol=1e-3)
        assert model is not None
        # scikit-learn's C weighs the loss of all images together
        model.set_params(C=float(setting["strength"]) / len(x))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, targets)
        coefficients: Any = model.coef_
        intercept: Any = model.intercept_
        if len(model.classes_) == 2:
            coefficients = np.stack([-coefficients[0] / 2, coefficients[0] / 2])
            intercept = np.array([-intercept[0] / 2, intercept[0] / 2])
        weights = np.zeros((features.shape[1], n_labels))
        bias = np.full(n_labels, intercept.min() - 20.0)  # a label without images
        weights[:, model.classes_] = (coefficients if back is None else coefficients @ back).T / scale
        bias[model.classes_] = intercept
        yield LinearHead(name, weights, bias)


def _own_space(x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return fewer rows than columns in coordinates of an orthonormal basis of their space, and that basis in rows."""
    if len(x) >= x.shape[1]:
        return x, None
    basis, coordinates = np.linalg.qr(x.T)
    return coordinates.T, basis.T


def knn_grid(_background: Background | None) -> list[dict[str, Any]]:
    """List the settings of nearest neighbors: feature map and sharpness."""
    return [{"feature_map": name, "sharpness": value} for name in ("raw", "root") for value in SHARPNESS]


def fit_knn(
    features: np.ndarray,
    targets: np.ndarray,
    n_labels: int,
    settings: Sequence[Mapping[str, Any]],
    background: Background | None = None,
) -> Iterator[NeighborHead]:
    """Keep the training images: every one votes for its label, weighed by exp(sharpness cosine)."""
    for setting in settings:
        vectors = _unit(mapped(features, setting["feature_map"]))
        yield NeighborHead(
            setting["feature_map"], vectors, np.asarray(targets), n_labels, setting["sharpness"]
        )


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _mapped_layers(x: Any, name: str) -> Any:
    if name == "raw":
        return x
    import keras
    from keras import layers

    sign: Any = keras.ops.sign(x)
    roots = sign * keras.ops.sqrt(keras.ops.abs(x))
    return roots if name == "root" else layers.UnitNormalization(name="unit_root")(roots)
