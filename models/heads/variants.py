"""Heads: the trainable layers on a backbone, as named variants of the published study.

Flat model, router and sub-model are the same head built for different labels.
"""

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.initializers import GlorotUniform


@dataclass(frozen=True)
class HeadVariant:
    """What a head is made of.

    Attributes
    ----------
    dense_units : tuple of int
        Units of each hidden Dense + ReLU layer.
    batch_norm : bool
        Whether batch normalization follows each hidden layer.
    dropout : float
        Share dropped after each hidden layer; 0 for none.
    augmentation : bool
        Whether the study trained this variant on augmented images.
    study_epochs : tuple of int
        Epochs of the frozen and of the second phase in which the study trained this variant.
    """

    dense_units: tuple[int, ...]
    batch_norm: bool
    dropout: float
    augmentation: bool
    # No part of what is built, so a stage that records the head (by its repr) doesn't depend on it.
    study_epochs: tuple[int, int] = field(default=(20, 15), repr=False)


HEADS = {
    "v1.1": HeadVariant((256,), batch_norm=True, dropout=0.4, augmentation=True),
    "v1.2": HeadVariant((256,), batch_norm=True, dropout=0.4, augmentation=False),
    "v1.3": HeadVariant((256,), batch_norm=False, dropout=0.4, augmentation=True, study_epochs=(40, 25)),
    "v1.4": HeadVariant((256,), batch_norm=True, dropout=0.0, augmentation=True),
    "v2.1": HeadVariant((256, 512), batch_norm=True, dropout=0.4, augmentation=True),
    "v2.2": HeadVariant((512, 1024), batch_norm=True, dropout=0.4, augmentation=True),
    # The study says "three dense layers and dropout" and no sizes: two hidden layers and the softmax are assumed.
    "vgg": HeadVariant((256, 128), batch_norm=False, dropout=0.4, augmentation=True),
}


def build_head(variant: str | HeadVariant, dimension: int, n_outputs: int, *, seed: int = 0) -> keras.Model:
    """Build a head.

    Parameters
    ----------
    variant : str or HeadVariant
        A key of `HEADS`, or a variant of one's own.
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
        if variant not in HEADS:
            raise ValueError(f"The head must be one of {', '.join(HEADS)}. Received: {variant!r}.")
        variant = HEADS[variant]
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


def _glorot(seed: int) -> Any:  # Keras annotates initializers as str
    return GlorotUniform(seed=seed)
