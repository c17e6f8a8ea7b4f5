"""Training a head on features that were extracted beforehand.

`Model.fit` spends most of its time between the steps of so small a network. Here one epoch is one call into a
graph that is traced once for all heads of a structure (see `head_steps`), and the features lie in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from .graph import Adam, epoch_of, evaluation_of, handles_of, read_structure
from .settings import HeadTraining


@dataclass(frozen=True)
class History:
    """What was observed, one entry per epoch.

    Attributes
    ----------
    loss, accuracy, val_loss, val_accuracy : tuple of float
        Training metrics are means over the epoch's images, with dropout; validation metrics are taken at its
        end (empty after `refit_head`).
    best_epoch : int
        Index of the epoch whose weights were kept.
    """

    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    val_loss: tuple[float, ...]
    val_accuracy: tuple[float, ...]
    best_epoch: int


def train_head(
    head: keras.Model,
    features: np.ndarray,
    targets: np.ndarray,
    val_features: np.ndarray,
    val_targets: np.ndarray,
    training: HeadTraining | None = None,
    *,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
) -> History:
    """Train a head in place and leave it with its best weights.

    Parameters
    ----------
    head : keras.Model
        From `aisles.models.heads.variants.build_head`.
    features : ndarray of shape (n_images, dimension) or (n_images, n_views, dimension)
        Where an image has several views, each epoch draws one of them for each image.
    targets : int ndarray of shape (n_images,)
        Positions among the head's outputs.
    val_features, val_targets : ndarray
        The same for validation images, (n, dimension) and (n,); training stops by their loss (ties: the
        earlier epoch is kept).
    training : HeadTraining, optional
    seed : int
        For the order of images, their views and dropout.
    on_epoch : callable, optional
        Called with the epoch's number and its validation loss.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        Without images, or if a loss, of training or of validation, stops being a number.
    """
    training = training or HeadTraining()
    if len(features) == 0 or len(val_features) == 0:
        raise ValueError(
            "A head needs training and validation images. "
            f"Received: {len(features)} training and {len(val_features)} validation images."
        )
    epochs = _Epochs(head, features, targets, training, seed)
    evaluate = _evaluation(head, val_features, val_targets)
    rows: list[tuple[float, float, float, float]] = []
    best, best_weights, waited, rate = np.inf, head.get_weights(), 0, training.learning_rate
    for epoch in range(training.epochs):
        rows.append((*epochs.run(rate), *evaluate()))
        val_loss = rows[-1][2]
        if not np.isfinite(val_loss):
            raise ValueError(
                f"The validation loss became {val_loss} in epoch {epoch + 1}. Look for validation features that are "
                f"not finite, or lower the learning rate ({rate:g})."
            )
        if on_epoch:
            on_epoch(epoch, val_loss)
        if val_loss < best:
            best, best_weights, waited = val_loss, head.get_weights(), 0
            continue
        waited += 1
        if waited >= training.patience:
            break
        if training.plateau and waited % training.plateau == 0:
            rate /= 2
    head.set_weights(best_weights)
    loss, accuracy, val_loss, val_accuracy = zip(*rows, strict=True) if rows else ((), (), (), ())
    return History(loss, accuracy, val_loss, val_accuracy, int(np.argmin(val_loss)) if rows else 0)


def refit_head(
    head: keras.Model,
    features: np.ndarray,
    targets: np.ndarray,
    epochs: int,
    training: HeadTraining | None = None,
    *,
    seed: int = 0,
) -> History:
    """Train a head in place for a fixed number of epochs, without validation images.

    For the last fit on training and validation images together, once `train_head` has found the number of
    epochs (`History.best_epoch + 1`).

    Parameters
    ----------
    head, features, targets, training, seed
        As in `train_head`; `epochs`, `patience` and `plateau` of `training` are not used.
    epochs : int
        How many, at least 1.

    Returns
    -------
    History
        Without validation metrics; `best_epoch` is the last.
    """
    if len(features) == 0 or epochs < 1:
        raise ValueError(
            f"A refit needs images and at least one epoch. Received: {len(features)} images, epochs={epochs}."
        )
    run = _Epochs(head, features, targets, training or HeadTraining(), seed)
    rate = (training or HeadTraining()).learning_rate
    rows = [run.run(rate) for _ in range(epochs)]
    loss, accuracy = zip(*rows, strict=True)
    return History(loss, accuracy, (), (), epochs - 1)


def balanced_weights(targets: np.ndarray) -> np.ndarray:
    """Return each image the weight n_images / (n_labels * images of its label); their mean is 1."""
    counts = np.bincount(targets)
    return (len(targets) / (np.count_nonzero(counts) * counts[targets])).astype(np.float32)


class _Epochs:
    """A head, its data and its optimizer, ready to run epoch after epoch."""

    def __init__(self, head: keras.Model, features, targets, training: HeadTraining, seed: int):
        self.n_images, self.n_views = len(features), features.shape[1] if features.ndim == 3 else 1
        self.optimizer, self.rng, self.training = Adam.start(head), np.random.default_rng(seed), training
        weights = balanced_weights(targets) if training.class_weights else np.ones(self.n_images, np.float32)
        self.weights = handles_of(head)
        self.rows = (
            tf.constant(features.reshape(-1, features.shape[-1]), tf.float32),
            tf.constant(np.repeat(targets, self.n_views), tf.int32),
            tf.constant(np.repeat(weights, self.n_views)),
        )
        self.seed = tf.constant(np.random.SeedSequence(seed).generate_state(2).astype(np.int32))
        self.graph = epoch_of(read_structure(head))

    def run(self, rate: float) -> tuple[float, float]:
        """Run one epoch and give loss and accuracy."""
        order = self.rng.permutation(self.n_images)
        if self.n_views > 1:
            order = order * self.n_views + self.rng.integers(self.n_views, size=self.n_images)
        batch_size, smoothing = self.training.batch_size, self.training.label_smoothing
        loss, accuracy = self.graph(
            *self.weights, *self.optimizer.handles(), *self.rows, tf.constant(order, tf.int32), batch_size,
            smoothing, rate, self.seed, self.optimizer.steps,
        )  # fmt: skip
        self.optimizer.steps += -(-self.n_images // batch_size)
        if not np.isfinite(loss := float(loss)):
            raise ValueError(
                f"The training loss became {loss}. Look for features that are not finite, or lower the "
                f"learning rate ({rate:g})."
            )
        return loss, float(accuracy)


def _evaluation(head: keras.Model, features, targets) -> Callable[[], tuple[float, float]]:
    graph = evaluation_of(read_structure(head))
    weights = handles_of(head)
    rows = (tf.constant(features, tf.float32), tf.constant(targets, tf.int32))

    def evaluate() -> tuple[float, float]:
        loss, accuracy = graph(*weights, *rows)
        return float(loss), float(accuracy)

    return evaluate
