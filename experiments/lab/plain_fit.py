"""Training by Keras' own `fit` with its defaults: what this package's training is measured against."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def compile_plainly(model: keras.Model, rate: float) -> Any:
    """Compile a classifier as tutorials do, and give it back."""
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit_plainly(
    model: keras.Model, inputs: np.ndarray, targets: np.ndarray, *, epochs: int, rate: float, batch_size: int
) -> None:
    """Compile and fit a model, without a global seed.

    Under `keras.utils.set_random_seed` `fit` would go through the images in one and the same order in every epoch,
    which costs it some accuracy.
    """
    tf.random.set_seed(None)  # pyright: ignore[reportArgumentType]  # undoes whatever was set before
    compile_plainly(model, rate).fit(inputs, targets, batch_size=batch_size, epochs=epochs, verbose=0)
