"""Augmentation: training images changed a little, in the input pipeline and never in a saved model.

What happens to an image depends on (draw, image number) alone, so neither the order of images nor an
interruption changes it. Images go in and come out as uint8, as a network sees them at prediction.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import tensorflow as tf

from .settings import Augmentation


def changed(
    augmentation: Augmentation, pixels: tf.Tensor, draw: tf.Tensor | int, number: tf.Tensor | int
) -> tf.Tensor:
    """Change one image.

    Parameters
    ----------
    augmentation : Augmentation
    pixels : uint8 tensor of shape (height, width, 3)
    draw : int64
        Tells seeds and epochs apart; see `draw_of`.
    number : int64
        Tells images apart.

    Returns
    -------
    uint8 tensor of the same shape
        What lies outside the image is filled with its mirror image.
    """
    seed = tf.stack([tf.cast(draw, tf.int64), tf.cast(number, tf.int64)])
    flip, angle, size, across, down, contrast, brightness = tf.unstack(
        tf.random.stateless_uniform((7,), seed, -1.0, 1.0)
    )
    image = tf.cast(pixels, tf.float32)
    if augmentation.flip or augmentation.rotation or augmentation.zoom or augmentation.translation:
        mirror = tf.where(flip < 0, -1.0, 1.0) if augmentation.flip else tf.constant(1.0)
        image = _move(
            image,
            mirror,
            angle * (augmentation.rotation * np.pi / 180),
            1 / (1 + size * augmentation.zoom),
            (across * augmentation.translation, down * augmentation.translation),
        )
    if augmentation.contrast:
        mean = tf.reduce_mean(image, (0, 1), keepdims=True)
        image = mean + (image - mean) * (1 + contrast * augmentation.contrast)
    image += 255 * augmentation.brightness * brightness
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def changer(
    augmentation: Augmentation, seed: int, epoch: int, numbers: np.ndarray | None = None
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Return the function (pixels, position) -> pixels that `pixel_batches` takes.

    Parameters
    ----------
    augmentation : Augmentation
    seed, epoch : int
    numbers : int64 ndarray, optional
        The number of each image; its position unless given.
    """
    draw, run = tf.constant(draw_of(seed, epoch), tf.int64), _compiled(augmentation.model_dump_json())

    def change(pixels: np.ndarray, position: int) -> np.ndarray:
        number = position if numbers is None else numbers[position]
        return run(pixels, draw, tf.constant(number, tf.int64)).numpy()

    return change


@lru_cache(maxsize=8)
def _compiled(settings: str) -> Callable:
    augmentation = Augmentation.model_validate_json(settings)
    return tf.function(partial(changed, augmentation), autograph=False)


def draw_of(seed: int, epoch: int) -> int:
    """Return one number for a seed and an epoch."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _move(image, mirror, angle, scale, shift):
    """Turn about the center, mirror, scale and shift, in one bilinear resampling."""
    height, width = image.shape[:2]
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    a, b = scale * tf.cos(angle) * mirror, -scale * tf.sin(angle)
    c, d = scale * tf.sin(angle) * mirror, scale * tf.cos(angle)
    x0 = center_x - a * center_x - b * center_y + shift[0] * width
    y0 = center_y - c * center_x - d * center_y + shift[1] * height
    zero = tf.constant(0.0)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([a, b, x0, c, d, y0, zero, zero])[None],
        output_shape=tf.constant([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]
