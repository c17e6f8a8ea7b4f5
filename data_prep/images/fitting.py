"""Fitting: from an image of any size to the pixels that a network takes, by one rule that can be written down."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

Fit = Literal["crop", "squash", "pad"]
Filter = Literal["bilinear", "bicubic", "lanczos"]
EXTREME = 5.0
"""From this ratio of the sides on, an image is padded where it would be cropped: a crop would show under a fifth."""
GAP = 2  # a JPEG may be decoded smaller, down to so many times the pixels that are wanted


@dataclass(frozen=True)
class Fitting:
    """How an image of any size becomes pixels of one size.

    Attributes
    ----------
    size : (height, width)
        Of the result, in pixels.
    fit : {'squash', 'crop', 'pad'}
        What happens to another aspect ratio: both sides are scaled on their own; the center is cut out; or the whole
        image is shown between white bars. An image whose sides are 1:5 or more extreme, seen in the shape of
        the result, is padded where `crop` would cut it: it would lose more than four fifths.
    crop_share : float
        For `crop`: which share of the shorter side the center has (224 of 256 pixels are .875).
    filter : {'bilinear', 'bicubic', 'lanczos'}
        Pillow's, with antialiasing.

    Notes
    -----
    `crop` takes the center box of the original and resizes that once; fractions of a pixel are kept.
    """

    size: tuple[int, int]
    fit: Fit = "squash"
    crop_share: float = 1.0
    filter: Filter = "bilinear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or not all(isinstance(side, int) and side >= 1 for side in self.size):
            raise ValueError(f"`size` is (height, width), 1 or more pixels each. Received: {self.size!r}.")
        if self.fit not in get_args(Fit):
            raise ValueError(f"`fit` must be 'crop', 'squash' or 'pad'. Received: {self.fit!r}.")
        if self.filter not in get_args(Filter):
            raise ValueError(
                f"`filter` must be one of {', '.join(get_args(Filter))}. Received: {self.filter!r}."
            )
        if not 0 < self.crop_share <= 1:
            raise ValueError(f"`crop_share` must be over 0 and at most 1. Received: {self.crop_share!r}.")

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "Fitting":
        """Read what `to_dict` wrote."""
        return cls(**{**facts, "size": tuple(facts["size"])})

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON knows them."""
        return {**asdict(self), "size": list(self.size)}

    @property
    def key(self) -> str:
        """The rule as a part of file names, such as `224x224` (squashed) or `224x224-crop0.875-bicubic`."""
        height, width = self.size
        share = f"{self.crop_share:.4g}" if self.fit == "crop" else ""
        rule = "" if self.fit == "squash" else f"-{self.fit}{share}"
        return f"{height}x{width}{rule}" + ("" if self.filter == "bilinear" else f"-{self.filter}")

    @property
    def enough(self) -> int:
        """Pixels of the shorter side from which decoding a JPEG larger would gain nothing to speak of."""
        return math.ceil(GAP * max(self.size) / (self.crop_share if self.fit == "crop" else 1))

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the image resized; one that fits already, uncropped, is returned as it is."""
        height, width = self.size
        fit = self.rule_for(image.size)
        if image.size == (width, height) and (fit != "crop" or self.crop_share == 1):
            return image
        resampling = Image.Resampling[self.filter.upper()]
        if fit == "pad":
            return _padded(image, height, width, resampling)
        box = self._center_box(image.size) if fit == "crop" else None
        return _resized(image, width, height, resampling, box)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Return the resized image as uint8 (height, width, 3), RGB, 0-255."""
        return np.array(self.apply(image))

    def rule_for(self, image_size: tuple[int, int]) -> Fit:
        """Return what happens to an image of (width, height): `fit`, or `pad` for a crop of an extreme shape."""
        height, width = self.size
        shape = image_size[0] / width * height / image_size[1]
        return "pad" if self.fit == "crop" and max(shape, 1 / shape) >= EXTREME else self.fit

    def _center_box(self, image_size: tuple[int, int]) -> tuple[float, float, float, float]:
        height, width = self.size
        scale = min(image_size[0] / width, image_size[1] / height) * self.crop_share
        left, top = (image_size[0] - width * scale) / 2, (image_size[1] - height * scale) / 2
        return (
            max(left, 0),
            max(top, 0),
            min(left + width * scale, image_size[0]),
            min(top + height * scale, image_size[1]),
        )


def _padded(image: Image.Image, height: int, width: int, resampling: Image.Resampling) -> Image.Image:
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (width, height), "white")
    place = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    canvas.paste(_resized(image, *inner, resampling), place)
    return canvas


def _resized(
    image: Image.Image,
    width: int,
    height: int,
    resampling: Image.Resampling,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Return an image, or the box (left, top, right, bottom) in it, resized: along the rows, then down the columns.

    Each way is rounded to 8 bits, so their order tells in the pixels. Pillow before 13 begins with the rows; since
    then it begins with the columns of tall images, where that is faster (`ImagingResampleInner` in Resample.c).
    Features must not depend on that, so these are resized in two calls.
    """
    left, top, right, bottom = box or (0, 0, image.width, image.height)
    if image.height - height > max(2 * (image.width - width), 0):
        image = image.resize((width, image.height), resampling, box=(left, 0, right, image.height))
        left, right = 0, width
    return image.resize((width, height), resampling, box=(left, top, right, bottom))
