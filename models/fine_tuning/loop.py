"""The training loop on images: one compiled step, one state that can be written down after every epoch.

Everything random in an epoch (order of images, augmentation) is derived from the seed and the epoch's
number, and everything else that the next epoch depends on is in `ImageTrainer.state`. So training that was
killed goes on from its last finished epoch as if nothing had observed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aisles.data_prep.io.progress import progress
from aisles.models.backbones.registry import Backbone, in_precision, wrap_backbone
from aisles.models.batches import pixel_batches
from aisles.models.heads.graph import cross_entropy
from aisles.models.heads.training import balanced_weights

from .augmentation import changer
from .settings import Augmentation


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Image files and what they show.

    Attributes
    ----------
    paths : sequence of Path
        A path may lead into a tar archive.
    targets : int ndarray of shape (n_images,)
        Positions among the model's labels.
    sha256 : sequence of str
        Of each file's bytes.
    """

    paths: Sequence[Path]
    targets: np.ndarray
    sha256: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class PhaseSettings:
    """How one phase on images is trained; the fields are those of `FineTuningSettings`."""

    rate: float
    epochs: int
    batch_size: int
    optimizer: str
    cosine: bool
    label_smoothing: float
    class_weights: bool
    max_steps: int | None
    augmentation: Augmentation | None


def copied(backbone: Backbone, precision: str) -> Backbone:
    """Return the same backbone with weights of its own, all of them trainable, computing in `precision`."""

    def convert(layer):
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=convert)
        if not isinstance(layer, keras.Layer):  # an operation of keras.ops, which has no weights
            return type(layer).from_config(layer.get_config())
        return type(layer).from_config({**layer.get_config(), "trainable": True})

    network = convert(backbone.network)
    network.set_weights(backbone.network.get_weights())
    copy = wrap_backbone(network, "copy", preprocessing=backbone.preprocessing, color=backbone.color)
    about = {name: getattr(backbone, name) for name in ("name", "weights", "precision", "fitting")}
    return in_precision(replace(copy, **about), precision)


def weights_from(network: keras.Model, layer: str | None) -> list[keras.Variable]:
    """Return the trainable weights of a network from a layer on, in the order of its layers; all for None.

    Raises
    ------
    ValueError
        If there is no such layer.
    """
    names = [each.name for each in network.layers]
    if layer is not None and layer not in names:
        raise ValueError(
            f"The network {network.name} has no layer {layer!r} to fine-tune from. Its last layers are "
            f"{', '.join(names[-8:])}."
        )
    start = 0 if layer is None else names.index(layer)
    return [weight for each in network.layers[start:] for weight in each.trainable_variables]


class ImageTrainer:
    """A backbone and a head on images, some of whose weights are trained.

    Batch statistics of the backbone stay as they are, whatever is trained: it is called with `training=False`.

    Parameters
    ----------
    backbone : Backbone
    head : keras.Model
    backbone_weights : list of keras.Variable
        Which weights of the backbone are trained beside the head's; none in the frozen phase.
    train : LabeledImages
    settings : PhaseSettings
    seed : int
    """

    backbone: Backbone
    head: keras.Model
    train: LabeledImages
    settings: PhaseSettings
    seed: int
    variables: list[Any]
    kept: list[Any]
    logits_of: keras.Model
    step: Callable[..., Any]
    check: Callable[..., Any]
    image_weights: np.ndarray
    n_steps: int

    def __init__(
        self,
        backbone: Backbone,
        head: keras.Model,
        backbone_weights: list[keras.Variable],
        train: LabeledImages,
        settings: PhaseSettings,
        seed: int,
    ):
        self.backbone, self.head, self.train, self.settings, self.seed = backbone, head, train, settings, seed
        self.variables = [*backbone_weights, *head.trainable_variables]
        self.kept = [*backbone_weights, *head.variables]  # with moving statistics and dropout's state
        self.optimizer: Any = keras.optimizers.get(settings.optimizer)
        if backbone.precision == "float16":
            self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
        self.optimizer.build(self.variables)
        self.logits_of = keras.Model(head.inputs, head.get_layer("logits").output)
        self.step, self.check = self._compiled()
        weights = balanced_weights(train.targets) if settings.class_weights else np.ones(len(train))
        self.image_weights = weights.astype(np.float32)
        steps = math.ceil(len(train) / settings.batch_size)
        self.n_steps = min(steps, settings.max_steps or steps)

    def run_epoch(self, epoch: int, factor: float, description: str) -> tuple[float, float]:
        """Train one epoch with the rate times `factor`; give mean loss and accuracy over its images."""
        settings, size = self.settings, self.settings.batch_size
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train))[: self.n_steps * size]
        change = changer(settings.augmentation, self.seed, epoch) if settings.augmentation else None
        batches = pixel_batches(self.train.paths, self.backbone.fitting, size, order=order, change=change)
        total = np.zeros(2)
        for number, pixels in enumerate(progress(batches, description, self.n_steps, "steps")):
            rows = order[number * size : (number + 1) * size]
            self.optimizer.learning_rate.assign(self._rate(epoch * self.n_steps + number) * factor)
            metrics = self.step(pixels, self.train.targets[rows].astype(np.int32), self.image_weights[rows])
            total += metrics.numpy()
        if not np.isfinite(total).all():
            raise ValueError(
                f"The training loss became {total[0]} in epoch {epoch + 1}. Lower the learning rate "
                f"({settings.rate:g}), or train in float32."
            )
        return float(total[0] / len(order)), float(total[1] / len(order))

    def evaluate(self, images: LabeledImages) -> tuple[float, float]:
        """Return mean loss and accuracy of images as they are; a loss that is no number is a ValueError."""
        batches = pixel_batches(images.paths, self.backbone.fitting, self.settings.batch_size)
        total, start = np.zeros(2), 0
        for pixels in batches:
            targets = images.targets[start : start + len(pixels)].astype(np.int32)
            total, start = total + self.check(pixels, targets).numpy(), start + len(pixels)
        if not np.isfinite(total).all():
            raise ValueError(
                f"The validation loss became {total[0]}. Lower the learning rate ({self.settings.rate:g}), or train in "
                "float32."
            )
        return float(total[0] / len(images)), float(total[1] / len(images))

    def weights(self) -> list[np.ndarray]:
        """Return the values of everything that training changes in backbone and head."""
        return [variable.numpy() for variable in self.kept]

    def set_weights(self, values: Sequence[np.ndarray]) -> None:
        """Put back what `weights` gave."""
        for variable, value in zip(self.kept, values, strict=True):
            variable.assign(value)

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that the next epoch depends on, by name."""
        optimizer = {f"optimizer/{i:04d}": v.numpy() for i, v in enumerate(self.optimizer.variables)}
        return {f"weight/{i:04d}": value for i, value in enumerate(self.weights())} | optimizer

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state` gave."""
        self.set_weights([state[f"weight/{i:04d}"] for i in range(len(self.kept))])
        for i, variable in enumerate(self.optimizer.variables):
            variable.assign(state[f"optimizer/{i:04d}"])

    def _rate(self, step: int) -> float:
        if not self.settings.cosine:
            return self.settings.rate
        return (
            self.settings.rate * 0.5 * (1 + math.cos(math.pi * step / (self.n_steps * self.settings.epochs)))
        )

    def _compiled(self):
        pixels = tf.TensorSpec((None, *self.backbone.input_size, 3), tf.uint8)
        labels, weights = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)
        smoothing = self.settings.label_smoothing

        def logits_of(pixels, *, training: bool):
            features = self.backbone.model(tf.cast(pixels, tf.float32), training=False)
            return tf.cast(self.logits_of(tf.cast(features, tf.float32), training=training), tf.float32)

        @tf.function(input_signature=[pixels, labels, weights], autograph=False)
        def step(pixels, labels, weights):
            values = [variable.value for variable in self.variables]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                logits = logits_of(pixels, training=True)
                each = cross_entropy(labels, logits, smoothing) * weights
                loss = self.optimizer.scale_loss(tf.reduce_mean(each))
            self.optimizer.apply(tape.gradient(loss, values), self.variables)
            return _sums(each, labels, logits)

        @tf.function(input_signature=[pixels, labels], autograph=False)
        def check(pixels, labels):
            logits = logits_of(pixels, training=False)
            return _sums(cross_entropy(labels, logits, 0.0), labels, logits)

        return step, check


def _sums(each, labels, logits):
    hits = tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), tf.float32)
    return tf.stack([tf.reduce_sum(each), tf.reduce_sum(hits)])
