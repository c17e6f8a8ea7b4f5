"""Building a head's layers: flat model, router and sub-model are the same head built for different labels."""

from typing import Any

import keras
import numpy as np
from keras import layers
from keras.initializers import GlorotUniform

from .graph import read_structure
from .variants import VARIANTS, HeadVariant


def build_head(variant: str | HeadVariant, dimension: int, n_outputs: int, *, seed: int = 0) -> keras.Model:
    """Build a head.

    Parameters
    ----------
    variant : str or HeadVariant
        A key of `VARIANTS`, or a variant of one's own.
    dimension : int
        Length of a feature vector.
    n_outputs : int
        Number of labels, at least 2.
    seed : int
        For the initial weights and for dropout.

    Returns
    -------
    keras.Model
        From features (n, dimension) to probabilities (n, n_outputs); the layer `logits` comes before the softmax.
    """
    if isinstance(variant, str):
        if variant not in VARIANTS:
            raise ValueError(f"A head of layers must be one of {', '.join(VARIANTS)}. Received: {variant!r}.")
        variant = VARIANTS[variant]
    if n_outputs < 2:
        raise ValueError(f"A head tells at least 2 labels apart. Received: n_outputs={n_outputs}.")
    seeds = iter(np.random.SeedSequence(seed).generate_state(2 * len(variant.dense_units) + 1).tolist())
    features = x = keras.Input((dimension,), name="features")
    for number, units in enumerate(variant.dense_units):
        x = layers.Dense(units, kernel_initializer=_glorot(next(seeds)), name=f"dense{number}")(x)
        if variant.batch_norm:
            x = layers.BatchNormalization(name=f"norm{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
        if variant.dropout:
            x = layers.Dropout(variant.dropout, seed=next(seeds), name=f"dropout{number}")(x)
    logits = layers.Dense(n_outputs, kernel_initializer=_glorot(next(seeds)), name="logits")(x)
    return keras.Model(features, layers.Softmax(name="probabilities")(logits), name="head")


def head_like(network: keras.Model) -> str | HeadVariant:
    """Return which head a network is, to train another of its kind: hidden layers as they are, neighbors, else LDA."""
    if any(layer.name == "votes" for layer in network.layers):
        return "knn"
    try:
        *hidden, _ = read_structure(network)
    except (ValueError, IndexError):  # feature maps, averages
        return "lda"
    if not hidden:
        return "lda"
    units = [layer.units for layer in network.layers if isinstance(layer, layers.Dense)][:-1]
    first = hidden[0]
    return HeadVariant(tuple(units), first.norm is not None, first.dropout, augmentation=False)


def _glorot(seed: int) -> Any:  # Keras annotates initializers as str
    return GlorotUniform(seed=seed)
