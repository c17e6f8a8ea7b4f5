"""Pictures of every accepted kind to pixels: decoded by threads ahead of the network, in order, in bounded memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aisles.data_prep.images.decoding import (
    decode_image,
    load_pixels,
    read_image_bytes,
    resize_image,
    upright_rgb,
)
from aisles.data_prep.io.errors import UnreadableImage

Picture = str | Path | bytes | Image.Image | np.ndarray
Size = tuple[int, int]
DECODERS = max(2, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class PictureWindow:
    """Some successive pictures as pixels.

    Attributes
    ----------
    pixels : dict of (height, width) to ndarray of shape (n_readable, height, width, 3)
        uint8 RGB of the pictures that could be decoded, in order, in every size that was asked for.
    errors : tuple of (UnreadableImage or None)
        One entry a picture, in order; None where it could be decoded.
    start : int
        How many pictures came before.
    """

    pixels: dict[Size, np.ndarray]
    errors: tuple[UnreadableImage | None, ...]
    start: int

    @property
    def n_readable(self) -> int:
        """How many pictures could be decoded."""
        return sum(error is None for error in self.errors)


def read_windows(
    pictures: Iterable[Picture], sizes: Sequence[Size], window: int, *, ahead: int | None = None
) -> Iterator[PictureWindow]:
    """Decode pictures into windows, lazily and in order.

    The iterable is advanced by the caller's thread, at most `ahead` pictures before they are needed.

    Parameters
    ----------
    pictures : iterable
        Paths, bytes of image files, PIL images or uint8 arrays.
    sizes : sequence of (height, width)
        Every size that some network wants.
    window : int
        Pictures a window; the last may be smaller.
    ahead : int, optional
        Pictures decoded while the network computes; one window, at most 64, unless given.

    Raises
    ------
    TypeError
        If an item is none of the accepted types.
    """
    sizes = list(dict.fromkeys(sizes))
    ahead = min(window, 64) if ahead is None else ahead
    source = iter(pictures)
    pending: deque[Future] = deque()
    start = 0
    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as pool:
        try:
            while True:
                done: list = []
                while len(done) < window:
                    _top_up(pending, source, pool, sizes, ahead + 1)
                    if not pending:
                        break
                    done.append(pending.popleft().result())
                if not done:
                    return
                _top_up(pending, source, pool, sizes, ahead)
                yield _window(done, sizes, start)
                start += len(done)
        finally:
            for future in pending:
                future.cancel()


def _top_up(
    pending: deque, source: Iterator[Picture], pool: ThreadPoolExecutor, sizes: list, most: int
) -> None:
    while len(pending) < most:
        try:
            picture = next(source)
        except StopIteration:
            return
        pending.append(pool.submit(_decoded, picture, sizes))


def _decoded(picture: Picture, sizes: list[Size]) -> list[np.ndarray] | UnreadableImage:
    try:
        return picture_pixels(picture, sizes)
    except UnreadableImage as error:
        error.path = picture if isinstance(picture, str | Path) else None
        return error


def _window(done: list, sizes: list[Size], start: int) -> PictureWindow:
    readable = [item for item in done if not isinstance(item, UnreadableImage)]
    pixels = {
        size: np.stack([item[i] for item in readable]) if readable else np.zeros((0, *size, 3), np.uint8)
        for i, size in enumerate(sizes)
    }
    errors = tuple(item if isinstance(item, UnreadableImage) else None for item in done)
    return PictureWindow(pixels, errors, start)


def picture_pixels(picture: Picture, sizes: Sequence[Size]) -> list[np.ndarray]:
    """Give a picture's pixels, uint8 RGB (height, width, 3), in each of the sizes.

    Raises
    ------
    UnreadableImage
        If it can't be decoded.
    TypeError
        If it is none of the accepted types.
    """
    if isinstance(picture, str | Path):
        picture = read_image_bytes(picture)
    if isinstance(picture, bytes | bytearray | memoryview):
        return [load_pixels(bytes(picture), size) for size in sizes]
    image = open_picture(picture)
    return [
        np.asarray(image) if (image.height, image.width) == size else np.asarray(resize_image(image, size))
        for size in sizes
    ]


def open_picture(picture: Any) -> Image.Image:
    """Give a picture as PIL image in RGB; raises as `picture_pixels`."""
    if isinstance(picture, str | Path):
        return decode_image(read_image_bytes(picture))
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode_image(bytes(picture))
    if isinstance(picture, Image.Image):
        return upright_rgb(picture)
    if _is_pixels(picture):
        one_channel = picture.ndim == 3 and picture.shape[2] == 1
        image = Image.fromarray(picture[:, :, 0] if one_channel else picture)
        return image if image.mode == "RGB" else upright_rgb(image)
    raise TypeError(
        "A picture is a path, the bytes of an image file, a PIL image or a uint8 array (height, width, 3). "
        f"Received: {type(picture).__name__}{_array_facts(picture)}."
    )


def check_iterable(pictures: object) -> Iterable[Picture]:
    """Refuse one picture where several are expected; a 4-d uint8 array is several.

    Raises
    ------
    TypeError
        If it is one picture, or nothing that can be gone through.
    """
    several = isinstance(pictures, Iterable) and not isinstance(
        pictures, str | bytes | bytearray | memoryview
    )
    if isinstance(pictures, np.ndarray) and pictures.ndim != 4 and pictures.dtype != object:
        several = False
    if not several:
        raise TypeError(
            "Give a list of pictures, even if it is one: predict([picture]). "
            f"Received: {type(pictures).__name__}{_array_facts(pictures)}."
        )
    return pictures  # type: ignore[return-value]


def _is_pixels(picture: object) -> bool:
    return (
        isinstance(picture, np.ndarray)
        and picture.dtype == np.uint8
        and (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (1, 3, 4)))
        and 0 not in picture.shape
    )


def _array_facts(picture: object) -> str:
    return f" of {picture.dtype}, shape {picture.shape}" if isinstance(picture, np.ndarray) else ""
