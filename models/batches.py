"""Image files to batches of pixels, decoded in parallel while the network computes."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from aisles.data_prep.images.decoding import load_fitted
from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.errors import UnreadableImage

DECODERS = max(2, os.cpu_count() or 1)
AHEAD = 2
"""Batches that are decoded before they are asked for."""


def pixel_batches(
    sources: Sequence[Path | bytes],
    fitting: Fitting,
    batch_size: int,
    *,
    order: np.ndarray | None = None,
    change: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
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
        What happens to each image: (uint8 pixels, position in `sources`) -> uint8 pixels.

    Yields
    ------
    ndarray of uint8, of shape (batch, height, width, 3)
        RGB, 0-255.

    Raises
    ------
    UnreadableImage
        If an image can't be decoded; it begins with the file's path where there is one.
    """

    def load(position: int) -> np.ndarray:
        source = sources[position]
        try:
            pixels = load_fitted(source, fitting)
        except UnreadableImage as error:
            place = "" if isinstance(source, bytes) else f"{source} "
            raise UnreadableImage(f"{place}{error}. Repair it, or leave it out.") from error
        return pixels if change is None else change(pixels, position)

    positions = range(len(sources)) if order is None else np.asarray(order).tolist()
    starts = range(0, len(positions), batch_size)
    with ThreadPoolExecutor(DECODERS, "decoding") as pool:
        waiting: deque[list[Future[np.ndarray]]] = deque()
        try:
            for start in starts:
                waiting.append([pool.submit(load, i) for i in positions[start : start + batch_size]])
                if len(waiting) > AHEAD:
                    yield np.stack([image.result() for image in waiting.popleft()])
            while waiting:
                yield np.stack([image.result() for image in waiting.popleft()])
        finally:  # whoever stops reading waits for no image but those in the decoders' hands
            pool.shutdown(wait=False, cancel_futures=True)
