"""Fitting and decoding as TensorFlow operations, so that an exported model takes images of any size or encoded bytes.

The resize is Pillow's, bit for bit: each side on its own, first along the rows, antialiased, with weights of 22 binary
digits, each pass rounded to 8 bits. It is written as two matrix products whose weights are computed from the image's
size, which ONNX can express as well; whole numbers of up to 30 binary digits are exact in double precision.
Source of the weights: Pillow's `precompute_coeffs` (https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c).
"""

import math
from typing import Any

import tensorflow as tf

from aisles.data_prep.images.fitting import EXTREME, Fitting

EXIF_WITHIN = 1 << 16  # the segment stands at the start of a JPEG
DRAFTS = (1, 2, 4, 8)
ONE = 2.0**22
"""What a weight of 1 is in Pillow's fixed point."""


def fitted(pixels: Any, fitting: Fitting) -> Any:
    """Fit images as `Fitting.apply` does.

    Parameters
    ----------
    pixels : tensor
        uint8 (n, height, width, 3), RGB, of any height and width.
    fitting : Fitting

    Returns
    -------
    tensor
        uint8 (n, *fitting.size, 3).
    """
    size = tf.cast(tf.shape(pixels)[1:3], tf.float64)
    (top, bottom, rows, first_row), (left, right, columns, first_column) = _places(size[0], size[1], fitting)
    across, in_columns = _weights(
        size[1], left, right, columns, first_column, fitting.size[1], fitting.filter
    )
    down, in_rows = _weights(size[0], top, bottom, rows, first_row, fitting.size[0], fitting.filter)
    lines = tf.cast(tf.transpose(pixels, (0, 1, 3, 2)), tf.float64)
    lines = _to_8_bits(tf.matmul(lines, tf.transpose(across)))  # (n, height, 3, W)
    lines = _to_8_bits(tf.matmul(tf.transpose(lines, (0, 2, 3, 1)), tf.transpose(down)))  # (n, 3, W, H)
    result = tf.transpose(lines, (0, 3, 2, 1))
    inside = (in_rows[:, None] & in_columns[None, :])[None, :, :, None]
    return tf.cast(tf.where(inside, result, _f64(255)), tf.uint8)


def decoded(data: Any, fitting: Fitting) -> Any:
    """Decode one JPEG or PNG and fit it: a scalar text tensor to uint8 (*fitting.size, 3).

    A JPEG's EXIF orientation is applied, and it is decoded smaller where `Fitting.enough` allows; transparency is laid
    over white. Color profiles are not applied.
    """
    image = tf.cond(
        tf.equal(tf.strings.substr(data, 0, 2), b"\xff\xd8"), lambda: _jpeg(data, fitting), lambda: _png(data)
    )
    return fitted(image[None], fitting)[0]


def _places(height: Any, width: Any, fitting: Fitting) -> tuple[tuple, tuple]:
    """Return for rows and for columns: begin and end of what is shown, in pixels; its size in the result; its place."""
    out_height, out_width = fitting.size
    squash = ((_f64(0), height, _f64(out_height), _f64(0)), (_f64(0), width, _f64(out_width), _f64(0)))
    if fitting.fit == "squash":
        return squash
    scale = tf.minimum(out_width / width, out_height / height)
    rows, columns = (tf.maximum(_f64(1), tf.round(side * scale)) for side in (height, width))
    pad = (
        (_f64(0), height, rows, tf.floor((out_height - rows) / 2)),
        (_f64(0), width, columns, tf.floor((out_width - columns) / 2)),
    )
    if fitting.fit == "pad":
        return pad
    scale = tf.minimum(width / out_width, height / out_height) * fitting.crop_share
    top, left = (height - out_height * scale) / 2, (width - out_width * scale) / 2
    crop = tuple(
        (tf.maximum(start, _f64(0)), tf.minimum(start + out * scale, side), _f64(out), _f64(0))
        for start, out, side in ((top, out_height, height), (left, out_width, width))
    )
    shape = width / out_width * out_height / height
    extreme = tf.maximum(shape, 1 / shape) >= EXTREME
    rows, columns = (
        tuple(tf.where(extreme, one, other) for one, other in zip(ours, theirs, strict=True))
        for ours, theirs in zip(pad, crop, strict=True)
    )
    return rows, columns


def _weights(n: Any, begin: Any, end: Any, shown: Any, first: Any, out: int, filter: str) -> tuple[Any, Any]:
    """Return how much each of n pixels weighs in each of the `out` of the result, and which of those show anything.

    Weights are whole numbers of 1 / `ONE`, float64 (out, n).
    """
    begin, end = tf.cast(begin, tf.float32), tf.cast(end, tf.float32)  # Pillow's box is of single precision
    scale = tf.cast(end - begin, tf.float64) / shown
    spread = tf.maximum(scale, _f64(1))
    places = tf.range(_f64(0), _f64(out), _f64(1)) - first
    centers = tf.cast(begin, tf.float64) + (places + 0.5) * scale
    pixels = tf.range(_f64(0), n, _f64(1))
    weights = _KERNELS[filter]((pixels[None, :] + 0.5 - centers[:, None]) / spread)
    total = tf.reduce_sum(weights, axis=1, keepdims=True)
    shows = (places >= 0) & (places < shown)
    scaled = weights / tf.where(shows[:, None], total, _f64(1)) * ONE
    return tf.sign(scaled) * tf.floor(tf.abs(scaled) + 0.5), shows


def _bilinear(x: Any) -> Any:
    return tf.maximum(1 - tf.abs(x), _f64(0))


def _bicubic(x: Any) -> Any:
    x = tf.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return tf.where(x < 1, near, tf.where(x < 2, far, _f64(0)))


def _lanczos(x: Any) -> Any:
    def sinc(y: Any) -> Any:
        angle = tf.where(tf.equal(y, 0), _f64(1), y * math.pi)
        return tf.where(tf.equal(y, 0), _f64(1), tf.sin(angle) / angle)

    return tf.where(tf.abs(x) < 3, sinc(x) * sinc(x / 3), _f64(0))


_KERNELS = {"bilinear": _bilinear, "bicubic": _bicubic, "lanczos": _lanczos}


def _f64(number: float) -> Any:
    return tf.constant(number, tf.float64)


def _to_8_bits(sums: Any) -> Any:
    return tf.clip_by_value(tf.floor((sums + ONE / 2) / ONE), _f64(0), _f64(255))


def _rounded(values: Any) -> Any:
    return tf.clip_by_value(tf.floor(values + 0.5), 0.0, 255.0)


def _png(data: Any) -> Any:
    pixels = tf.cast(tf.io.decode_png(data, channels=4), tf.float32)
    alpha = pixels[..., 3:] / 255
    return tf.cast(_rounded(pixels[..., :3] * alpha + 255 * (1 - alpha)), tf.uint8)


def _jpeg(data: Any, fitting: Fitting) -> Any:
    shorter = tf.reduce_min(tf.io.extract_jpeg_shape(data)[:2]) // fitting.enough
    decoders = [
        lambda ratio=ratio: tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
        for ratio in DRAFTS
    ]
    draft = tf.reduce_sum(tf.cast(shorter >= tf.constant(DRAFTS[1:]), tf.int32))
    image = tf.switch_case(draft, decoders)
    turned = [
        lambda: image,
        lambda: tf.reverse(image, (1,)),
        lambda: tf.reverse(image, (0, 1)),
        lambda: tf.reverse(image, (0,)),
        lambda: tf.transpose(image, (1, 0, 2)),
        lambda: tf.image.rot90(image, 3),
        lambda: tf.reverse(tf.transpose(image, (1, 0, 2)), (0, 1)),
        lambda: tf.image.rot90(image, 1),
    ]
    return tf.switch_case(_orientation(data) - 1, turned)


def _orientation(data: Any) -> Any:
    """Read EXIF's tag 0x0112 from a JPEG's first image directory: 1 to 8, 1 where there is none."""
    found = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, EXIF_WITHIN), tf.uint8), tf.int32)
    padded = tf.pad(found, [[0, 16]])
    n = tf.shape(found)[0]
    marks = tf.reduce_all(
        tf.stack([tf.equal(padded[i : i + n], mark) for i, mark in enumerate(b"Exif\0\0")]), axis=0
    )
    start = tf.argmax(tf.cast(marks, tf.int32), output_type=tf.int32) + 6
    little = tf.equal(padded[start], ord("I"))

    def number(place: Any, length: int) -> Any:
        digits = [tf.gather(padded, tf.clip_by_value(place + i, 0, n)) for i in range(length)]
        low_first = sum(digit * 256**i for i, digit in enumerate(digits))
        high_first = sum(digit * 256**i for i, digit in enumerate(reversed(digits)))
        return tf.where(little, low_first, high_first)

    directory = start + number(start + 4, 4)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), 256))
    is_orientation = tf.equal(number(entries, 2), 0x0112)
    told = tf.reduce_sum(tf.where(is_orientation, number(entries + 8, 2), 0))
    return tf.where(tf.reduce_any(marks) & (told >= 1) & (told <= 8), told, 1)
