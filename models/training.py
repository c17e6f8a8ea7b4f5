"""Training a head on features that were extracted beforehand.

`Model.fit` spends most of its time between the steps of so small a network. Here one epoch is one call into a
compiled graph: the features lie in memory, batches are gathered inside, Python sees only the epoch's losses.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class HeadTraining:
    """How a head is trained.

    Attributes
    ----------
    epochs : int
        At most so many.
    patience : int
        Epochs without a lower validation loss after which training stops; the best weights are kept.
    learning_rate : float
        Adam's.
    batch_size : int
    label_smoothing : float
        Share of the probability spread evenly over all labels; 0 for none.
    class_weights : bool
        Weight each image by n_images / (n_labels * images of its label).
    """

    epochs: int = 100
    patience: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 64
    label_smoothing: float = 0.0
    class_weights: bool = False


@dataclass(frozen=True)
class History:
    """What happened, one entry an epoch.

    Attributes
    ----------
    loss, accuracy, val_loss, val_accuracy : tuple of float
        Training figures are means over the epoch's steps, with dropout; validation figures are taken at its end.
    best_epoch : int
        Index of the epoch whose weights were kept.
    """

    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    val_loss: tuple[float, ...]
    val_accuracy: tuple[float, ...]
    best_epoch: int


@dataclass
class _Curves:
    rows: list[tuple[float, float, float, float]] = field(default_factory=list)

    def history(self) -> History:
        loss, accuracy, val_loss, val_accuracy = zip(*self.rows, strict=True)
        return History(loss, accuracy, val_loss, val_accuracy, int(np.argmin(val_loss)))


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
        From `aisles.models.heads.build_head`.
    features : ndarray of shape (n_images, dimension)
    targets : int ndarray of shape (n_images,)
        Positions among the head's outputs.
    val_features, val_targets : ndarray
        The same for validation images; training stops by their loss (ties: the earlier epoch is kept).
    training : HeadTraining, optional
    seed : int
        For the order of images.
    on_epoch : callable, optional
        Called with the epoch's number and its validation loss.

    Returns
    -------
    History
    """
    training = training or HeadTraining()
    if len(features) == 0 or len(val_features) == 0:
        raise ValueError(
            "A head needs training and validation images. "
            f"Received: {len(features)} training and {len(val_features)} validation images."
        )
    n_outputs = head.output_shape[-1]
    weights = _image_weights(targets, n_outputs) if training.class_weights else np.ones(len(targets), np.float32)
    run_epoch, evaluate = _compile(head, features, targets, weights, val_features, val_targets, training)
    rng = np.random.default_rng(seed)
    curves, best, best_weights, waited = _Curves(), np.inf, head.get_weights(), 0
    for epoch in range(training.epochs):
        loss, accuracy = run_epoch(tf.constant(rng.permutation(len(features)), tf.int32))
        val_loss, val_accuracy = evaluate()
        curves.rows.append((float(loss), float(accuracy), float(val_loss), float(val_accuracy)))
        if on_epoch:
            on_epoch(epoch, float(val_loss))
        if float(val_loss) < best:
            best, best_weights, waited = float(val_loss), head.get_weights(), 0
        elif (waited := waited + 1) >= training.patience:
            break
    head.set_weights(best_weights)
    return curves.history()


def _image_weights(targets: np.ndarray, n_outputs: int) -> np.ndarray:
    counts = np.bincount(targets, minlength=n_outputs)
    return (len(targets) / (np.count_nonzero(counts) * counts[targets])).astype(np.float32)


def _compile(head, features, targets, weights, val_features, val_targets, training: HeadTraining):
    """Give two graph functions: one epoch of steps over an order of images, and the validation figures."""
    logits_of = keras.Model(head.inputs, head.get_layer("logits").output)
    optimizer = keras.optimizers.Adam(training.learning_rate)
    optimizer.build(head.trainable_variables)
    x, y, w = tf.constant(features, tf.float32), tf.constant(targets, tf.int32), tf.constant(weights)
    val_x, val_y = tf.constant(val_features, tf.float32), tf.constant(val_targets, tf.int32)
    n_outputs, batch_size, n_images = head.output_shape[-1], training.batch_size, len(features)
    n_steps = -(-n_images // batch_size)

    def losses(labels, logits, smoothing):
        wanted = tf.one_hot(labels, n_outputs) * (1 - smoothing) + smoothing / n_outputs
        return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)

    def hits(labels, logits):
        return tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), tf.float32)

    @tf.function
    def run_epoch(order):
        total_loss, total_hits = tf.constant(0.0), tf.constant(0.0)
        for step in tf.range(n_steps):
            batch = order[step * batch_size : (step + 1) * batch_size]
            labels, images = tf.gather(y, batch), tf.gather(x, batch)
            with tf.GradientTape() as tape:
                logits = logits_of(images, training=True)
                each = losses(labels, logits, training.label_smoothing) * tf.gather(w, batch)
                loss = tf.reduce_mean(each)
            gradients = tape.gradient(loss, head.trainable_variables)
            optimizer.apply(gradients, head.trainable_variables)
            total_loss += tf.reduce_sum(each)
            total_hits += tf.reduce_sum(hits(labels, logits))
        return total_loss / n_images, total_hits / n_images

    @tf.function
    def evaluate():
        logits = logits_of(val_x, training=False)
        return tf.reduce_mean(losses(val_y, logits, 0.0)), tf.reduce_mean(hits(val_y, logits))

    return run_epoch, evaluate
