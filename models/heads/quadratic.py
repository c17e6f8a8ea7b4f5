"""Quadratic discriminants: covariances drawn from each class's own to the macro's, to that of all classes, to a sphere.

The linear discriminant of `closed_form` has the last three levels; a covariance of each class's own makes it quadratic.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .closed_form import BLOCK, Background, _eigen, _mapped_layers, _moments, _threads, mapped

if TYPE_CHECKING:
    import keras

SHARES_OF_CLASS = (0.0, 0.05, 0.15, 0.4)
"""Weight of a class's own covariance, for a class with as many images as the mean of all."""
SHRINKAGES = (0.1, 0.3, 0.6)
SHARES_OF_ALL = (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class QuadraticHead:
    """Logits x W + b + (x D)^2 V on mapped features.

    Attributes
    ----------
    feature_map : str
        One of `closed_form.MAPS`.
    weights : ndarray of shape (dimension, n_labels)
        W.
    bias : ndarray of shape (n_labels,)
        b.
    directions : ndarray of shape (dimension, n_directions)
        D.
    curvatures : ndarray of shape (n_directions, n_labels)
        V.
    """

    feature_map: str
    weights: np.ndarray
    bias: np.ndarray
    directions: np.ndarray
    curvatures: np.ndarray

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return self.weights.size + self.bias.size + self.directions.size + self.curvatures.size

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits (n, n_labels), float64."""
        found = []
        for start in range(0, len(features), BLOCK):
            x = mapped(features[start : start + BLOCK], self.feature_map)
            found.append(x @ self.weights + self.bias + (x @ self.directions) ** 2 @ self.curvatures)
        return np.concatenate(found) if found else np.empty((0, len(self.bias)))

    def divided(self, temperature: float) -> "QuadraticHead":
        """Return the head with its logits divided by a temperature."""
        return replace(
            self,
            weights=self.weights / temperature,
            bias=self.bias / temperature,
            curvatures=self.curvatures / temperature,
        )

    def network(self) -> "keras.Model":
        """Return it as a Keras model from features to probabilities; the layer `logits` comes before the softmax."""
        import keras
        from keras import layers

        features = keras.Input((len(self.weights),), name="features")
        x = _mapped_layers(features, self.feature_map)
        linear = layers.Dense(len(self.bias), name="linear")
        along = layers.Dense(self.directions.shape[1], use_bias=False, name="directions")
        curved = layers.Dense(len(self.bias), use_bias=False, name="curvatures")
        logits = layers.Add(name="logits")([linear(x), curved(keras.ops.square(along(x)))])
        model = keras.Model(features, layers.Softmax(name="probabilities")(logits), name="head")
        linear.set_weights([self.weights.astype(np.float32), self.bias.astype(np.float32)])
        along.set_weights([self.directions.astype(np.float32)])
        curved.set_weights([self.curvatures.astype(np.float32)])
        return model


def rda_grid(background: Background | None) -> list[dict[str, Any]]:
    """List the settings: feature map, shrinkage, `share_of_class` and, beside other classes, `share_of_all`."""
    shares = (0.0,) if background is None else SHARES_OF_ALL
    return [
        {"feature_map": name, "share_of_all": share, "shrinkage": shrinkage, "share_of_class": own}
        for name in ("raw", "root")
        for share in shares
        for shrinkage in SHRINKAGES
        for own in SHARES_OF_CLASS
    ]


def fit_rda(
    features: np.ndarray,
    targets: np.ndarray,
    n_labels: int,
    settings: Sequence[Mapping[str, Any]],
    background: Background | None = None,
) -> Iterator[QuadraticHead]:
    """Fit quadratic discriminants for several settings.

    The logit of c is -(x - m_c)' S_c^-1 (x - m_c) / 2 - log det S_c / 2 + log share of c. S_c is (n_c C_c + v P) over
    (n_c + v): C_c the covariance of the n_c images of c, P that inside the labels as `closed_form.fit_lda` shrinks it
    towards all classes and to a multiple of the identity, and v the images that P counts as, so that C_c has the weight
    `share_of_class` in a class with as many images as the mean of all (Friedman, Regularized discriminant analysis,
    JASA 1989; the mean of the posterior under an inverse Wishart prior). With a weight of 0 it is `fit_lda`.

    Parameters
    ----------
    features, targets, n_labels, background
        As in `fit_lda`.
    settings : sequence of mapping
        `feature_map`, `shrinkage`, `share_of_class` (from 0 to less than 1) and optionally `share_of_all`.

    Yields
    ------
    QuadraticHead
        One per setting, in order.
    """
    counts = np.bincount(targets, minlength=n_labels)
    priors = np.log(np.maximum(counts, 0.5) / np.maximum(counts, 0.5).sum())
    of, x, means, values, vectors = (), features, features[:0], features[:0], features[:0]
    whitened: _Whitened | None = None
    for setting in settings:
        name, share = setting["feature_map"], float(setting.get("share_of_all", 0.0))
        with _threads().limit(limits=1):
            if (name, share) != of:
                of = name, share
                x = mapped(features, name)
                means, inside = _moments(features, targets, n_labels, name)
                if background is not None and share:
                    across, axes = background.spread(name)
                    inside = (1 - share) * inside + share * (axes * across) @ axes.T
                values, vectors = _eigen(inside)
            s = float(setting["shrinkage"])
            if whitened is None or whitened.of != (name, share, s):
                spread = (1 - s) * values + s * max(float(values.mean()), 1e-12)
                whitened = _whiten((name, share, s), x, targets, means, vectors / np.sqrt(spread))
            head = _head(whitened, counts, priors, float(setting["share_of_class"]))
        yield head


@dataclass(frozen=True, eq=False)
class _Whitened:
    """The training images in the directions in which P is the identity.

    Attributes
    ----------
    of : tuple
        Feature map, share of all classes and shrinkage.
    whitening : ndarray of shape (dimension, dimension)
    centers : ndarray of shape (n_labels, dimension)
    axes : list of (ndarray of shape (k,), ndarray of shape (dimension, k))
        Of each class: eigenvalues e_j above 0 of the sum of its images' squared differences from their mean, and its
        eigenvectors u_j, in columns.
    """

    of: tuple[str, float, float]
    whitening: np.ndarray
    centers: np.ndarray
    axes: list[tuple[np.ndarray, np.ndarray]]


def _whiten(
    of: tuple[str, float, float], x: np.ndarray, targets: np.ndarray, means: np.ndarray, whitening: np.ndarray
) -> _Whitened:
    z, centers = x @ whitening, means @ whitening
    axes = [_axes(z[targets == c] - centers[c]) for c in range(len(means))]
    return _Whitened(of, whitening, centers, axes)


def _axes(rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues above 0 and eigenvectors of rest' rest, from the smaller of its two products."""
    few = len(rest) < rest.shape[1]
    energies, turned = np.linalg.eigh(rest @ rest.T if few else rest.T @ rest)
    kept = energies > 1e-9 * max(float(energies.max(initial=0.0)), 1e-12)
    energies, turned = energies[kept], turned[:, kept]
    return energies, rest.T @ (turned / np.sqrt(energies)) if few else turned


def _head(whitened: _Whitened, counts: np.ndarray, priors: np.ndarray, own: float) -> QuadraticHead:
    """Return the head in which a class's own covariance has the weight `own`.

    There S_c is (v I + sum e_j u_j u_j') / (n_c + v), its inverse (n_c + v) / v times I - sum e_j / (v + e_j) u_j u_j'.
    """
    name, whitening, centers = whitened.of[0], whitened.whitening, whitened.centers
    if not own:
        bias = priors - 0.5 * (centers**2).sum(axis=1)
        none = np.zeros((len(whitening), 1)), np.zeros((1, len(centers)))  # a layer needs a unit
        return QuadraticHead(name, whitening @ centers.T, bias, *none)
    n_labels, dimension = len(centers), len(whitening)
    images = counts.mean() * (1 - own) / own
    factor = (counts + images) / images
    directions, curvatures = [np.eye(dimension)], [np.tile(-0.5 * factor, (dimension, 1))]
    weights, bias = factor * centers.T, priors - 0.5 * factor * (centers**2).sum(axis=1)
    for c, (energies, u) in enumerate(whitened.axes):
        gain = 0.5 * factor[c] * energies / (images + energies)
        along = centers[c] @ u
        weights[:, c] -= u @ (2 * gain * along)
        bias[c] += (gain * along**2).sum()
        log_det = np.log1p(energies / images).sum() - dimension * np.log(factor[c])
        bias[c] -= 0.5 * log_det
        directions.append(u)
        table = np.zeros((len(energies), n_labels))
        table[:, c] = gain
        curvatures.append(table)
    return QuadraticHead(
        name, whitening @ weights, bias, whitening @ np.hstack(directions), np.concatenate(curvatures)
    )
