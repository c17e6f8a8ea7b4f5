"""What flat model, router and sub-models have in common, and how pictures pass through them.

A `LabelModel` is one trunk and one head over named labels. A `PictureBatch` holds a few pictures and every feature
that was computed for them, so that models with the same trunk share one pass and a model that sees some of the
pictures computes only those.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from ..data_prep.images import decode_image, read_image_bytes, resize_image
from ..hierarchy.calibration import apply_temperature
from .backbones import Backbone

Picture = str | Path | bytes | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class LabelModel:
    """A trunk and a head that tell named labels apart; with one label a constant.

    Attributes
    ----------
    labels : tuple of str
        In the order of the columns.
    trunk : Backbone, optional
        None for a constant.
    head : keras.Model, optional
        From features (n, dimension) to probabilities (n, n_labels). None for a constant.
    temperature : float
        Divides the logits of calibrated probabilities; 1 if not calibrated.
    """

    labels: tuple[str, ...]
    trunk: Backbone | None = None
    head: keras.Model | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        outputs = 1 if self.head is None else self.head.output_shape[-1]
        if outputs != len(self.labels):
            raise ValueError(
                f"A model must have one output for each of its labels. It has {outputs} outputs and "
                f"{len(self.labels)} labels: {list(self.labels)[:5]}."
            )

    @property
    def constant(self) -> bool:
        """Whether there is one label only, so nothing to tell apart."""
        return self.head is None

    def from_features(self, features: np.ndarray, *, calibrated: bool = True) -> np.ndarray:
        """Give probabilities (n, n_labels), float64, rows sum to 1, from features (n, dimension)."""
        if self.constant:
            return np.ones((len(features), 1))
        features = tf.convert_to_tensor(features, tf.float32)
        probs = self.head(features, training=False).numpy().astype(np.float64)
        probs /= probs.sum(1, keepdims=True)
        return apply_temperature(probs, self.temperature) if calibrated and self.temperature != 1 else probs

    def probabilities(
        self, batch: "PictureBatch", rows: np.ndarray | None = None, *, calibrated: bool = True
    ) -> np.ndarray:
        """Give probabilities (n, n_labels) of a batch's pictures, or of some of its rows."""
        rows = np.arange(len(batch)) if rows is None else rows
        if self.constant:
            return np.ones((len(rows), 1))
        return self.from_features(batch.features(self.trunk, rows), calibrated=calibrated)


class PictureBatch:
    """A few pictures and the features that were computed for them so far.

    Parameters
    ----------
    pictures : sequence
        Paths, bytes of image files, PIL images or uint8 arrays (height, width, 3) or (height, width).
    """

    def __init__(self, pictures: Sequence[Picture]):
        self.pictures = [open_picture(picture) for picture in pictures]
        self._pixels: dict[tuple[int, int], np.ndarray] = {}
        self._features: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def pixels(self, size: tuple[int, int]) -> np.ndarray:
        """Give the pictures as uint8 of shape (n, height, width, 3)."""
        if size not in self._pixels:
            resized = [np.asarray(resize_image(picture, size)) for picture in self.pictures]
            self._pixels[size] = np.stack(resized) if resized else np.zeros((0, *size, 3), np.uint8)
        return self._pixels[size]

    def features(self, trunk: Backbone, rows: np.ndarray) -> np.ndarray:
        """Give features (len(rows), dimension), passing only pictures that have not passed yet."""
        if id(trunk) not in self._features:
            shape = (len(self), trunk.dimension)
            self._features[id(trunk)] = (np.zeros(shape, np.float32), np.zeros(len(self), bool))
        vectors, known = self._features[id(trunk)]
        new = rows[~known[rows]]
        if len(new):
            vectors[new] = trunk.forward(self.pixels(trunk.input_size)[new]).numpy()
            known[new] = True
        return vectors[rows]


def open_picture(picture: Picture) -> Image.Image:
    """Give a picture as PIL image in RGB.

    Raises
    ------
    UnreadableImage
        If the file or the bytes can't be decoded.
    TypeError
        If it is none of the accepted types.
    """
    if isinstance(picture, str | Path):
        return decode_image(read_image_bytes(picture))
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode_image(bytes(picture))
    if isinstance(picture, Image.Image):
        return picture if picture.mode == "RGB" else decode_image(_as_png(picture))
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim in (2, 3):
        return Image.fromarray(picture).convert("RGB")
    raise TypeError(
        "A picture is a path, the bytes of an image file, a PIL image or a uint8 array (height, width, 3). "
        f"Received: {type(picture).__name__}{_array_facts(picture)}."
    )


def batched(items: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Take items in lists of at most `size`, lazily and in order."""
    items = iter(items)
    while some := list(islice(items, size)):
        yield some


def _as_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "F"):
        picture = picture.convert("RGB")
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _array_facts(picture: object) -> str:
    return f" of {picture.dtype}, shape {picture.shape}" if isinstance(picture, np.ndarray) else ""
