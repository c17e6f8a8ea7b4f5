"""Augmentation: training images changed a little, in the input pipeline and never in a saved model.

What happens to an image depends on (draw, image number) alone, so neither the order of images nor an
interruption changes it. Images go in and come out as uint8, as a network sees them at prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Augmentation:
    """How much an image may be changed; each change is drawn uniformly, either way.

    Attributes
    ----------
    flip : bool
        Left and right exchanged in half of the images.
    rotation : float
        Largest angle in degrees.
    zoom : float
        Largest relative change of size, below 1.
    translation : float
        Largest shift, as a share of height and width.
    contrast : float
        Largest relative change of the distance from the image's mean color.
    brightness : float
        Largest change of all values, as a share of the full range.
    """

    flip: bool = True
    rotation: float = 15.0
    zoom: float = 0.15
    translation: float = 0.1
    contrast: float = 0.1
    brightness: float = 0.1

    def __post_init__(self) -> None:
        for name in ("zoom", "translation", "contrast", "brightness"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 0 and below 1. Received: {name}={getattr(self, name)}."
                )
        if not 0 <= self.rotation <= 180:
            raise ValueError(
                f"rotation must be between 0 and 180 degrees. Received: rotation={self.rotation}."
            )

    @property
    def key(self) -> str:
        """A name for these settings, safe as part of a cache's address."""
        sizes = (self.rotation, self.zoom, self.translation, self.contrast, self.brightness)
        return f"flip{int(self.flip)}-" + "-".join(f"{size:g}" for size in sizes)

    def change(self, pixels: tf.Tensor, draw: tf.Tensor | int, number: tf.Tensor | int) -> tf.Tensor:
        """Change one image.

        Parameters
        ----------
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
        if self.flip or self.rotation or self.zoom or self.translation:
            mirror = tf.where(flip < 0, -1.0, 1.0) if self.flip else tf.constant(1.0)
            image = _move(
                image,
                mirror,
                angle * (self.rotation * np.pi / 180),
                1 / (1 + size * self.zoom),
                (across * self.translation, down * self.translation),
            )
        if self.contrast:
            mean = tf.reduce_mean(image, (0, 1), keepdims=True)
            image = mean + (image - mean) * (1 + contrast * self.contrast)
        image += 255 * self.brightness * brightness
        return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)

    def changer(self, seed: int, epoch: int, numbers: np.ndarray | None = None) -> Callable:
        """Return the function (pixels, index) -> pixels that `pixel_batches` takes.

        Parameters
        ----------
        seed, epoch : int
        numbers : int64 ndarray, optional
            The number of each image; its index unless given.
        """
        draw = draw_of(seed, epoch)

        def change(pixels, index):
            return self.change(pixels, draw, index if numbers is None else tf.gather(numbers, index))

        return change


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
