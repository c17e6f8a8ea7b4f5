"""Images of every accepted kind to pixels: decoded by threads ahead of the network, in order, in bounded memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aisles.data_prep.images.decoding import decode_image, load_fitted, read_image_bytes, upright_rgb
from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.errors import UnreadableImage

ImageInput = str | Path | bytes | Image.Image | np.ndarray
DECODERS = max(2, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class ImageWindow:
    """Some successive images as pixels.

    Attributes
    ----------
    pixels : dict of Fitting to ndarray of shape (n_readable, height, width, 3)
        uint8 RGB of the images that could be decoded, in order, fitted in every way that was asked for.
    errors : tuple of (UnreadableImage or None)
        One entry an image, in order; None where it could be decoded.
    start : int
        How many images came before.
    """

    pixels: dict[Fitting, np.ndarray]
    errors: tuple[UnreadableImage | None, ...]
    start: int

    @property
    def n_readable(self) -> int:
        """How many images could be decoded."""
        return sum(error is None for error in self.errors)


def read_windows(
    images: Iterable[ImageInput], fittings: Sequence[Fitting], window: int, *, ahead: int | None = None
) -> Iterator[ImageWindow]:
    """Decode images into windows, lazily and in order.

    The iterable is advanced by the caller's thread, at most `ahead` images before they are needed.

    Parameters
    ----------
    images : iterable
        Paths, bytes of image files, PIL images or uint8 arrays.
    fittings : sequence of Fitting
        Every size, with its crop and filter, that some network wants.
    window : int
        Images a window; the last may be smaller.
    ahead : int, optional
        Images decoded while the network computes; one window, at most 64, unless given.

    Raises
    ------
    TypeError
        If an item is none of the accepted types.
    """
    fittings = list(dict.fromkeys(fittings))
    ahead = min(window, 64) if ahead is None else ahead
    source = iter(images)
    pending: deque[Future] = deque()
    start = 0
    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as pool:
        try:
            while True:
                done: list = []
                while len(done) < window:
                    _top_up(pending, source, pool, fittings, ahead + 1)
                    if not pending:
                        break
                    done.append(pending.popleft().result())
                if not done:
                    return
                _top_up(pending, source, pool, fittings, ahead)
                yield _window(done, fittings, start)
                start += len(done)
        finally:
            for future in pending:
                future.cancel()


def _top_up(
    pending: deque, source: Iterator[ImageInput], pool: ThreadPoolExecutor, fittings: list, most: int
) -> None:
    while len(pending) < most:
        try:
            image = next(source)
        except StopIteration:
            return
        pending.append(pool.submit(_decoded, image, fittings))


def _decoded(image: ImageInput, fittings: list[Fitting]) -> list[np.ndarray] | UnreadableImage:
    try:
        return image_pixels(image, fittings)
    except UnreadableImage as error:
        error.path = image if isinstance(image, str | Path) else None
        return error


def _window(done: list, fittings: list[Fitting], start: int) -> ImageWindow:
    readable = [item for item in done if not isinstance(item, UnreadableImage)]
    pixels = {
        fitting: np.stack([item[i] for item in readable])
        if readable
        else np.zeros((0, *fitting.size, 3), np.uint8)
        for i, fitting in enumerate(fittings)
    }
    errors = tuple(item if isinstance(item, UnreadableImage) else None for item in done)
    return ImageWindow(pixels, errors, start)


def image_pixels(image: ImageInput, fittings: Sequence[Fitting]) -> list[np.ndarray]:
    """Return an image's pixels, uint8 RGB (height, width, 3), fitted in each of the ways.

    Raises
    ------
    UnreadableImage
        If it can't be decoded.
    TypeError
        If it is none of the accepted types.
    """
    if isinstance(image, str | Path):
        image = read_image_bytes(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return [load_fitted(bytes(image), fitting) for fitting in fittings]
    image = open_image(image)
    return [fitting.pixels(image) for fitting in fittings]


def open_image(image: Any) -> Image.Image:
    """Return an image as PIL image in RGB; raises as `image_pixels`."""
    if isinstance(image, str | Path):
        return decode_image(read_image_bytes(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_image(bytes(image))
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    if _is_pixels(image):
        one_channel = image.ndim == 3 and image.shape[2] == 1
        image = Image.fromarray(image[:, :, 0] if one_channel else image)
        return image if image.mode == "RGB" else upright_rgb(image)
    raise TypeError(
        "An image is a path, the bytes of an image file, a PIL image or a uint8 array (height, width, 3). "
        f"Received: {type(image).__name__}{_array_facts(image)}."
    )


def check_iterable(images: object) -> Iterable[ImageInput]:
    """Refuse one image where several are expected; a 4-d uint8 array is several.

    Raises
    ------
    TypeError
        If it is one image, or nothing that can be gone through.
    """
    several = isinstance(images, Iterable) and not isinstance(images, str | bytes | bytearray | memoryview)
    if isinstance(images, np.ndarray) and images.ndim != 4 and images.dtype != object:
        several = False
    if not several:
        raise TypeError(
            "Give a list of images, even if it is one: predict([image]). "
            f"Received: {type(images).__name__}{_array_facts(images)}."
        )
    return images  # type: ignore[return-value]


def _is_pixels(image: object) -> bool:
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4)))
        and 0 not in image.shape
    )


def _array_facts(image: object) -> str:
    return f" of {image.dtype}, shape {image.shape}" if isinstance(image, np.ndarray) else ""
