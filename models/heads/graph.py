"""The steps of head training as graph functions that serve every width.

Keras traces a new graph for every head and updates weights by a dozen small operations each. Here the graph
depends on a head's structure alone (how many hidden layers, with batch normalization or dropout or not):
weights, images and settings come in as arguments of any size. So one tracing serves flat model, router and
all sub-models, and an update of a weight is TensorFlow's one fused Adam operation. A step computes what
Keras computes.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import tensorflow as tf
from keras import layers

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7  # Keras' defaults


@dataclass(frozen=True)
class Block:
    """What follows one Dense layer.

    Attributes
    ----------
    norm : tuple of (momentum, epsilon), or None
        Batch normalization.
    relu : bool
    dropout : float
    """

    norm: tuple[float, float] | None = None
    relu: bool = False
    dropout: float = 0.0


def read_structure(head: keras.Model) -> tuple[Block, ...]:
    """Return which blocks a head consists of.

    Raises
    ------
    ValueError
        If it holds a layer that `aisles.models.heads.variants.build_head` doesn't build.
    """
    blocks: list[dict] = []
    for layer in head.layers:
        if isinstance(layer, layers.Dense):
            blocks.append({})
        elif isinstance(layer, layers.BatchNormalization):
            blocks[-1]["norm"] = (layer.momentum, layer.epsilon)
        elif isinstance(layer, layers.ReLU):
            blocks[-1]["relu"] = True
        elif isinstance(layer, layers.Dropout):
            blocks[-1]["dropout"] = layer.rate
        elif not isinstance(layer, layers.InputLayer | layers.Softmax):
            raise ValueError(
                f"A head consists of Dense, BatchNormalization, ReLU and Dropout. Received: {layer}."
            )
    return tuple(Block(**block) for block in blocks)


@dataclass
class Adam:
    """Adam's moving averages for a head's trainable weights, and how many steps were taken."""

    first: list[tf.Variable]
    second: list[tf.Variable]
    steps: int = 0

    @classmethod
    def start(cls, head: keras.Model) -> "Adam":
        """Begin at zero."""
        zeros = [tf.zeros(weight.shape) for weight in head.trainable_variables]
        return cls([tf.Variable(zero) for zero in zeros], [tf.Variable(zero) for zero in zeros])

    def handles(self) -> tuple[list, list]:
        """Return the resources behind the averages."""
        return [v.handle for v in self.first], [v.handle for v in self.second]


def handles_of(head: keras.Model) -> tuple[list, list]:
    """Return the resources behind a head's trainable weights and behind its moving averages, in their order."""
    norms = [layer for layer in head.layers if isinstance(layer, layers.BatchNormalization)]
    moving: list[Any] = [weight for layer in norms for weight in (layer.moving_mean, layer.moving_variance)]
    return [weight.value.handle for weight in head.trainable_variables], [
        weight.value.handle for weight in moving
    ]


@lru_cache(maxsize=64)
def epoch_of(structure: tuple[Block, ...]):
    """Compile one epoch of Adam steps for heads of this structure.

    Returns
    -------
    tf.function
        (trainable, moving, first, second, x, y, w, order, batch_size, smoothing, rate, seed, steps) -> (loss,
        accuracy). The first four are lists of resource handles; x (rows, dimension) float32, y (rows,) int32,
        w (rows,) float32; `order` (n,) int32 are the rows to visit; `steps` how many steps were taken before.
    """
    n_trainable = sum(2 + 2 * bool(block.norm) for block in structure)
    n_moving = sum(2 * bool(block.norm) for block in structure)

    @tf.function(input_signature=_signature(n_trainable, n_moving), autograph=False)
    def run_epoch(trainable, moving, first, second, x, y, w, order, batch_size, smoothing, rate, seed, steps):
        n_images = tf.size(order)

        def step(start, number, total_loss, total_hits):
            rows = order[start : start + batch_size]
            labels = tf.gather(y, rows)
            values = [_read(handle) for handle in trainable]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                key = seed + tf.stack([number, 0])
                logits = _forward(structure, tf.gather(x, rows), values, moving, key)
                each = cross_entropy(labels, logits, smoothing) * tf.gather(w, rows)
                loss = tf.reduce_mean(each)
            gradients = tape.gradient(loss, values)
            _update(trainable, first, second, gradients, rate, number)
            return (
                start + batch_size,
                number + 1,
                total_loss + tf.reduce_sum(each),
                total_hits + _hits(labels, logits),
            )

        start = (tf.constant(0), steps + 1, tf.constant(0.0), tf.constant(0.0))
        # One iteration at a time: a step may not read weights before the last step has written them.
        _, _, loss, hits = tf.while_loop(
            lambda start, *_: start < n_images, step, start, parallel_iterations=1
        )
        n = tf.cast(n_images, tf.float32)
        return loss / n, hits / n

    return run_epoch


@lru_cache(maxsize=64)
def evaluation_of(structure: tuple[Block, ...]):
    """Compile the metrics without training: (trainable, moving, x, y) -> (loss, accuracy), means of rows."""
    n_trainable = sum(2 + 2 * bool(block.norm) for block in structure)
    n_moving = sum(2 * bool(block.norm) for block in structure)
    trainable, moving, _, _, x, y, *_ = _signature(n_trainable, n_moving)

    @tf.function(input_signature=(trainable, moving, x, y), autograph=False)
    def evaluate(trainable, moving, x, y):
        logits = _forward(structure, x, [_read(handle) for handle in trainable], moving, None)
        return tf.reduce_mean(cross_entropy(y, logits, tf.constant(0.0))), _hits(y, logits) / _rows(logits)

    return evaluate


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: tf.Tensor | float) -> tf.Tensor:
    """Return each image's loss (n,), with `smoothing` of the probability spread evenly over all labels."""
    n_outputs = tf.shape(logits)[1]
    wanted = tf.one_hot(labels, n_outputs) * (1 - smoothing) + smoothing / tf.cast(n_outputs, tf.float32)
    return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)


def _signature(n_trainable: int, n_moving: int) -> tuple:
    resource, number, real = (
        tf.TensorSpec((), tf.resource),
        tf.TensorSpec((), tf.int32),
        tf.TensorSpec((), tf.float32),
    )
    weights = [resource] * n_trainable
    rows = (tf.TensorSpec((None, None)), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,)))
    order, seed = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((2,), tf.int32)
    return weights, [resource] * n_moving, weights, weights, *rows, order, number, real, real, seed, number


def _forward(structure, x, trainable, moving, key):
    """Return the logits; `key` is the seed of dropout, or None when not training."""
    weights, averages = iter(trainable), iter(moving)
    for number, block in enumerate(structure):
        kernel, bias = tf.ensure_shape(next(weights), (None, None)), tf.ensure_shape(next(weights), (None,))
        x = tf.matmul(x, kernel) + bias
        if block.norm:
            gamma, beta = next(weights), next(weights)
            x = _normalize(
                x, gamma, beta, next(averages), next(averages), block.norm, training=key is not None
            )
        if block.relu:
            x = tf.nn.relu(x)
        if block.dropout and key is not None:
            kept = tf.random.stateless_uniform(tf.shape(x), key + [0, number]) >= block.dropout
            x = x * tf.cast(kept, tf.float32) * (1 / (1 - block.dropout))
    return tf.ensure_shape(x, (None, None))


def _normalize(x, gamma, beta, mean_handle, variance_handle, norm, *, training: bool):
    momentum, epsilon = norm
    mean, variance = _read(mean_handle), _read(variance_handle)
    if training:
        batch_mean, batch_variance = tf.nn.moments(x, 0)
        _assign(mean_handle, mean * momentum + batch_mean * (1 - momentum))
        _assign(variance_handle, variance * momentum + batch_variance * (1 - momentum))
        mean, variance = batch_mean, batch_variance
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def _update(trainable, first, second, gradients, rate, number):
    number = tf.cast(number, tf.float32)
    powers = {"beta1_power": tf.pow(BETA1, number), "beta2_power": tf.pow(BETA2, number)}
    fixed = {"beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON, "lr": rate}
    for var, m, v, grad in zip(trainable, first, second, gradients, strict=True):
        tf.raw_ops.ResourceApplyAdam(var=var, m=m, v=v, grad=grad, **powers, **fixed)


def _read(handle):
    return tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)


def _assign(handle, value):
    tf.raw_ops.AssignVariableOp(resource=handle, value=value)


def _hits(labels, logits):
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), tf.float32))


def _rows(logits):
    return tf.cast(tf.shape(logits)[0], tf.float32)
