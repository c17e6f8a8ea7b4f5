"""Image files to batches of pixels, decoded in parallel while the network computes."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from aisles.data_prep.images.decoding import load_fitted
from aisles.data_prep.images.fitting import Fitting

DECODERS = max(2, os.cpu_count() or 1)


def pixel_batches(
    sources: Sequence[Path | bytes],
    fitting: Fitting,
    batch_size: int,
    *,
    order: np.ndarray | None = None,
    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> "tf.data.Dataset":
    """Make batches of images.

    Parameters
    ----------
    sources : sequence of Path or bytes
        Image files (a path may lead into a tar archive), or their contents.
    fitting : Fitting
        How an image of any size becomes pixels.
    batch_size : int
        Images a batch; the last batch may be smaller.
    order : int ndarray, optional
        Positions in `sources`, in the order to come; all from first to last unless given.
    change : callable, optional
        What happens to each image, in the graph: (uint8 pixels, position in `sources`) -> uint8 pixels.

    Returns
    -------
    tf.data.Dataset
        Of uint8 tensors (batch, height, width, 3), RGB, 0-255.

    Raises
    ------
    UnreadableImage
        Raised inside the pipeline and seen by the reader as tf.errors.OpError; check the images beforehand.
    """

    def load(index: np.ndarray) -> np.ndarray:
        return load_fitted(sources[int(index)], fitting)

    def load_in_graph(index):
        pixels = tf.ensure_shape(
            tf.numpy_function(load, [index], tf.uint8, stateful=False), (*fitting.size, 3)
        )
        return pixels if change is None else change(pixels, index)

    positions = np.arange(len(sources)) if order is None else np.asarray(order)
    indices = tf.data.Dataset.from_tensor_slices(positions.astype(np.int64))
    images = indices.map(load_in_graph, num_parallel_calls=DECODERS, deterministic=True)
    return images.batch(batch_size).prefetch(2)
