"""Several heads as one network: what averages or multiplies their distributions can be saved like any head."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

SMALLEST = 1e-12
"""Probabilities below it count as it where logarithms are taken."""


def averaged(heads: Sequence[keras.Model]) -> keras.Model:
    """Return the mean of several heads' distributions as one head.

    Parameters
    ----------
    heads : sequence of keras.Model
        From features (n, dimension) to probabilities (n, n_labels), all of the same shapes; at least one.

    Returns
    -------
    keras.Model
        Of the same shapes.
    """
    if len(heads) == 1:
        return heads[0]
    features = keras.Input(heads[0].input_shape[1:], name="features")
    outputs = [_member(head, number)(features) for number, head in enumerate(heads)]
    return keras.Model(features, layers.Average(name="probabilities")(outputs), name="head")


def geometric_mean(first: keras.Model, second: keras.Model, weight: float) -> keras.Model:
    """Return first^(1 - weight) second^weight, rescaled to sum to 1, of two heads' distributions as one head."""
    features = keras.Input(first.input_shape[1:], name="features")
    parts = [
        share * _logs(_member(head, number)(features))
        for number, (head, share) in enumerate(((first, 1 - weight), (second, weight)))
    ]
    logits = layers.Add(name="logits")(parts)
    return keras.Model(features, layers.Softmax(name="probabilities")(logits), name="head")


def reordered(head: keras.Model, order: Sequence[int]) -> keras.Model:
    """Return a head whose output j is the old one's output `order[j]`, the same number exactly."""
    features = keras.Input(head.input_shape[1:], name="features")
    placed = layers.Dense(len(order), use_bias=False, name="order", dtype="float32")
    model = keras.Model(features, placed(_member(head, 0)(features)), name="head")
    placed.set_weights([np.eye(len(order), dtype=np.float32)[:, list(order)]])
    return model


def _logs(probs: Any) -> Any:
    return ops.log(ops.maximum(probs, SMALLEST))


def _member(head: keras.Model, number: int) -> keras.Model:
    """Copy a head under a name of its own: two of one name can't stand in one network."""
    copy = keras.models.clone_model(head)
    copy.set_weights(head.get_weights())
    copy.name = f"member{number}"
    return copy


def at_length(head: keras.Model, dimension: int, length: float) -> keras.Model:
    """Return a head that first scales each row of features, (n, dimension), to a length; zeros stay zeros."""
    features = keras.Input((dimension,), name="features")
    unit = layers.UnitNormalization(name="unit_length")(features)
    scaled = layers.Rescaling(length, name="length")(unit)
    return keras.Model(features, head(scaled), name="head")
