"""From every pixel mode and color profile to 8-bit sRGB, in strips, so that no second full-size copy is needed."""

import hashlib
import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from aisles.data_prep.io.errors import UnreadableImage

VERSION = 2
"""Of the rules from file to pixels; part of the address of every cached feature. 2: color profiles, gray levels."""
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
STRIP = 1 << 22  # pixels converted at a time
SAME = 2  # levels of 255 by which profiles may differ and count as equal
DEPTHS = (8, 12, 16, 24, 32)


def as_srgb(image: Image.Image) -> Image.Image:
    """Return a loaded image as a person would see it, in mode RGB.

    Transparency is laid over white; CMYK and palettes are converted; an embedded ICC profile (RGB, gray or CMYK) is
    converted to sRGB, unless it is sRGB or damaged.

    Gray values of more than 8 bits are scaled by the image's greatest value: integers by the smallest depth of 8, 12,
    16, 24 and 32 bits that holds it (so 12-bit values in a 16-bit file are no black image), negative ones are black;
    fractions as 0-1 if nothing is greater than 1, else as 0-255, else as 0-65535. `nan` is black.

    Raises
    ------
    UnreadableImage
        For fractions greater than 65535, for which no rule is known.
    """
    profile = _profile_of(image)
    convert = _to_rgb(image, profile)
    if convert is None:
        return image
    if image.width * image.height <= STRIP:
        return convert(image)
    whole = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip.info = image.info
        whole.paste(convert(strip), (0, top))
    return whole


def bytes_a_pixel(mode: str) -> int:
    """Return what decoding and converting an image of that mode takes in memory, in bytes per pixel."""
    deep = {"I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2, "1": 1, "L": 1, "P": 1}
    return deep.get(mode, 4) + (0 if mode == "RGB" else 4)


def _to_rgb(image: Image.Image, profile: bytes | None) -> Callable[[Image.Image], Image.Image] | None:
    """Return the conversion of a strip; None if there is nothing to do."""
    transparent = image.info.get("transparency")
    if image.mode[0] in "IF":
        return _deep_gray(image, transparent)
    space = _space(profile)
    if space == "CMYK" and image.mode == "CMYK":
        return lambda strip: _transformed(strip, profile, "CMYK")
    if space == "GRAY" and image.mode in ("L", "1") and transparent is None:
        return lambda strip: _transformed(strip.convert("L"), profile, "L")
    into_rgb = _over_white if image.mode in ALPHA_MODES or transparent is not None else _plain
    if space == "RGB" and image.mode != "CMYK":
        return lambda strip: _transformed(into_rgb(strip), profile, "RGB")
    return None if image.mode == "RGB" and into_rgb is _plain else into_rgb


def _plain(strip: Image.Image) -> Image.Image:
    return strip.convert("RGB")


def _over_white(strip: Image.Image) -> Image.Image:
    if strip.mode == "La":  # Pillow knows no direct way from La
        strip = strip.convert("LA")
    if strip.mode == "1":  # and loses the transparent level of bilevel images
        level = 255 if strip.info["transparency"] else 0
        strip = strip.convert("L")
        strip.info["transparency"] = level
    over = strip.convert("RGBA")
    white = Image.new("RGBA", over.size, "white")
    return Image.alpha_composite(white, over).convert("RGB")


# ---- gray values of more than eight bits --------------------------------------------------------


def _deep_gray(image: Image.Image, transparent: Any) -> Callable[[Image.Image], Image.Image]:
    low, high = _extrema(image)
    if image.mode == "F":
        scale = _float_scale(high)
    else:
        depth = next(depth for depth in DEPTHS if high < 1 << depth)
        scale = 2.0 ** (8 - depth)
    level = transparent if isinstance(transparent, int) else None

    def convert(strip: Image.Image) -> Image.Image:
        values = np.nan_to_num(np.asarray(strip), nan=0.0, posinf=high, neginf=0.0)
        gray = (values * np.float64(scale)).clip(0, 255).astype(np.uint8)
        if level is not None:
            gray[values == level] = 255
        return Image.fromarray(gray).convert("RGB")

    return convert


def _extrema(image: Image.Image) -> tuple[float, float]:
    """Return the least and the greatest finite value, read in strips."""
    low, high = np.inf, 0.0
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def _float_scale(high: float) -> float:
    if high > 65535:
        raise UnreadableImage(
            f"has gray values as fractions up to {high:g}; what is white is known for 0-1, 0-255 and 0-65535 only"
        )
    return 255.0 if high <= 1 else 1.0 if high <= 255 else 1 / 257


# ---- color profiles -----------------------------------------------------------------------------


def _profile_of(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def _space(profile: bytes | None) -> str | None:
    """Return the color space of a profile, None if there is none to convert from."""
    if profile is None or len(profile) < 128:
        return None
    return _known_space(hashlib.sha256(profile).digest(), _Bytes(profile))


class _Bytes:
    """Bytes that a cache doesn't compare: their hash stands beside them."""

    def __init__(self, content: bytes):
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bytes)

    def __hash__(self) -> int:
        return 0


@lru_cache(64)
def _known_space(digest: bytes, profile: _Bytes) -> str | None:
    try:
        opened: Any = ImageCms.getOpenProfile(io.BytesIO(profile.content))
        space = opened.profile.xcolor_space.strip()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # a damaged profile is no reason to lose the image
    return None if space == "RGB" and _changes_nothing(digest, profile) else space


def _changes_nothing(digest: bytes, profile: _Bytes) -> bool:
    """Return whether a profile is sRGB by what it does to a grid of colors; descriptions can't be trusted."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(9, 81, 3)
    transform = _transform(digest, profile, "RGB")
    if transform is None:
        return True
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(grid), transform))
    return np.abs(converted.astype(int) - grid).max() <= SAME


def _transformed(strip: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    assert profile is not None
    transform = _transform(hashlib.sha256(profile).digest(), _Bytes(profile), mode)
    if transform is None:
        return _plain(strip)
    converted = ImageCms.applyTransform(strip, transform)
    assert converted is not None  # None only for conversions in place
    return converted


@lru_cache(64)
def _transform(digest: bytes, profile: _Bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        opened = ImageCms.getOpenProfile(io.BytesIO(profile.content))
        return ImageCms.buildTransform(
            opened, ImageCms.createProfile("sRGB"), mode, "RGB", flags=ImageCms.Flags.NOCACHE
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
