"""Heads that start from trained ones, learn from a teacher, or are trained together as one likelihood.

`training` serves plain heads by one graph for all. Here each network has its own graph; steps, patience and the last
fit on training and validation images are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.heads.building import build_head
from aisles.models.heads.training import HeadTraining
from aisles.models.heads.variants import HeadVariant

LogProbs = Callable[[tf.Tensor], tf.Tensor]
"""From a network's logits to log probabilities of labels."""


@dataclass(frozen=True, eq=False)
class Said:
    """What a network says of every image after training images alone, and after the last fit.

    Attributes
    ----------
    val_probs, probs : ndarray of shape (n_images, n_labels)
    epochs : int
        Of the last fit; 0 if no epoch was better than the start.
    parameters : int
        That are trained.
    """

    val_probs: np.ndarray
    probs: np.ndarray
    epochs: int
    parameters: int


def fit_network(
    begin: Callable[[bool], keras.Model],
    features: np.ndarray,
    truth: np.ndarray,
    splits: np.ndarray,
    training: HeadTraining,
    *,
    n_labels: int,
    seed: int,
    log_probs: LogProbs | None = None,
    taught: tuple[np.ndarray, np.ndarray] | None = None,
    epochs: int | None = None,
) -> Said:
    """Train a network of logits.

    Parameters
    ----------
    begin : callable
        Gives the network to start from, `begin(False)` for training images alone and `begin(True)` for the last fit.
    features : ndarray of shape (n_images, dimension)
    truth : int ndarray of shape (n_images,)
        Positions of the labels, -1 for images of others, which are left out.
    splits : ndarray of str of shape (n_images,)
    training : HeadTraining
        Without smoothing, class weights and plateaus.
    n_labels : int
    seed : int
        For the order of images.
    log_probs : callable, optional
        A plain head's softmax by default; see `log_soft`.
    taught : pair of ndarray of shape (n_images, n_labels), optional
        A teacher's distributions for the two fits: half of what is learned, the labels being the other half.
    epochs : int, optional
        A fixed number in place of patience.

    Returns
    -------
    Said
    """
    log_probs = log_probs or tf.nn.log_softmax
    rows = {split: np.flatnonzero((truth >= 0) & (splits == split)) for split in ("train", "val")}
    check = rows["val"] if len(rows["val"]) else rows["train"]
    said: list[np.ndarray] = []
    for final in (False, True):
        used = np.concatenate([rows["train"], rows["val"]]) if final else rows["train"]
        network = begin(final)
        wanted = np.eye(n_labels, dtype=np.float32)[truth[used]]
        if taught is not None:
            wanted = (wanted + taught[final][used].astype(np.float32)) / 2
        watched = None if epochs is not None else (features[check], truth[check])
        epochs = _train(network, log_probs, features[used], wanted, watched, training, seed, epochs)
        probs = tf.exp(log_probs(network(tf.constant(features, tf.float32), training=False))).numpy()
        said.append(probs.astype(np.float64) / probs.sum(axis=1, keepdims=True))
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_variables)
    return Said(said[0], said[1], epochs or 0, trained)


def log_soft(hierarchy: Hierarchy) -> LogProbs:
    """Return log of soft's distribution, from the router's logits with the sub-models' beside them."""
    k = hierarchy.n_macros
    holds = tf.constant(np.eye(hierarchy.n_classes, dtype=np.float32)[hierarchy.slot_class])

    def composed(logits: tf.Tensor) -> tf.Tensor:
        macros = tf.gather(tf.nn.log_softmax(logits[:, :k]), hierarchy.slot_macro, axis=1)
        within = [tf.nn.log_softmax(logits[:, k + b.start : k + b.stop]) for b in hierarchy.blocks]
        return tf.math.log(tf.matmul(tf.exp(macros + tf.concat(within, axis=1)), holds) + 1e-12)

    return composed


def side_by_side(head: str | HeadVariant, dimension: int, widths: Sequence[int], seed: int) -> keras.Model:
    """Return the logits of several heads, each with hidden layers of its own; a width of 1 is a constant."""
    features = keras.Input((dimension,))
    seeds = np.random.SeedSequence(seed).generate_state(len(widths)).tolist()
    logits = [
        plain(head, dimension, width, own)(features)
        if width > 1
        else keras.ops.zeros_like(keras.ops.take(features, [0], axis=1))
        for width, own in zip(widths, seeds, strict=True)
    ]
    return keras.Model(features, keras.layers.Concatenate()(logits))


def plain(head: str | HeadVariant, dimension: int, n_outputs: int, seed: int) -> keras.Model:
    """Return a new head's logits."""
    built = build_head(head, dimension, n_outputs, seed=seed)
    return keras.Model(built.input, built.get_layer("logits").output)


def grown_from(
    trained: keras.Model,
    head: str | HeadVariant,
    columns: Sequence[int] | None,
    n_outputs: int,
    seed: int,
    last_only: bool,
) -> keras.Model:
    """Return a head whose hidden layers start as a trained head's.

    Parameters
    ----------
    trained : keras.Model
        A head of the same variant.
    head : str or HeadVariant
    columns : sequence of int, optional
        The trained head's outputs that the last layer starts as; without them it is new.
    n_outputs, seed : int
    last_only : bool
        Whether the hidden layers stay as they are.
    """
    network = plain(head, trained.input_shape[-1], n_outputs, seed)
    for layer in network.layers[:-1]:
        layer.set_weights(trained.get_layer(layer.name).get_weights())
        layer.trainable = not last_only
    if columns is not None:
        kernel, bias = trained.get_layer("logits").get_weights()
        network.layers[-1].set_weights([kernel[:, columns], bias[list(columns)]])
    return network


def _train(network, log_probs, features, wanted, watched, training, seed, epochs) -> int:
    """Train in place; give the number of epochs after which the weights were best, or that were asked for."""
    optimizer = keras.optimizers.Adam(training.learning_rate)
    optimizer.build(network.trainable_variables)
    x, y, rng = tf.constant(features, tf.float32), tf.constant(wanted), np.random.default_rng(seed)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)], autograph=False)
    def step(rows):
        with tf.GradientTape() as tape:
            said = log_probs(network(tf.gather(x, rows), training=True))
            loss = -tf.reduce_mean(tf.reduce_sum(tf.gather(y, rows) * said, axis=1))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)

    def check() -> float:
        said = log_probs(network(tf.constant(watched[0], tf.float32), training=False)).numpy()
        return float(-said[np.arange(len(said)), watched[1]].mean())

    best, best_weights, best_epoch = (check() if watched else np.inf), network.get_weights(), 0
    for epoch in range(1, (training.epochs if watched else epochs) + 1):
        order = rng.permutation(len(features)).astype(np.int32)
        for start in range(0, len(order), training.batch_size):
            step(tf.constant(order[start : start + training.batch_size]))
        if not watched:
            continue
        if (loss := check()) < best:
            best, best_weights, best_epoch = loss, network.get_weights(), epoch
        elif epoch - best_epoch >= training.patience:
            break
    if watched:
        network.set_weights(best_weights)
        return best_epoch
    return epochs
