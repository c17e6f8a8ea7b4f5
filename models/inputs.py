"""Image files to batches of pixels, decoded in parallel while the network computes."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..data_prep.images import load_pixels

DECODERS = max(2, os.cpu_count() or 1)


def pixel_batches(
    sources: Sequence[Path | bytes], size: tuple[int, int], batch_size: int
) -> "tf.data.Dataset":
    """Make batches of pictures in the given order.

    Parameters
    ----------
    sources : sequence of Path or bytes
        Image files (a path may lead into a tar archive), or their contents.
    size : (height, width)
        In pixels.
    batch_size : int
        Pictures a batch; the last batch may be smaller.

    Returns
    -------
    tf.data.Dataset
        Of uint8 tensors (batch, height, width, 3), RGB, 0-255.

    Raises
    ------
    UnreadableImage
        Raised inside the pipeline and seen by the reader as tf.errors.OpError; use `readable` beforehand.
    """

    def load(index: np.ndarray) -> np.ndarray:
        return load_pixels(sources[int(index)], size)

    def load_in_graph(index):
        pixels = tf.numpy_function(load, [index], tf.uint8, stateful=False)
        return tf.ensure_shape(pixels, (*size, 3))

    indices = tf.data.Dataset.range(len(sources))
    pictures = indices.map(load_in_graph, num_parallel_calls=DECODERS, deterministic=True)
    return pictures.batch(batch_size).prefetch(2)
