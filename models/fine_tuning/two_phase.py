"""Two-phase training on images, as the published study did: the head on the frozen network, then both.

The frozen phase works on features that are extracted once (of the images themselves, or of `views`
augmented copies of each), or passes augmented images through the frozen network in every epoch. The
second phase fine-tunes the network, by default all of it, with a lower rate. A model that was trained lies
in its folder as `trained/`; one whose training was interrupted goes on from its last finished epoch.
"""

import hashlib
import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from aisles.models.backbones.registry import Backbone, in_precision, offers_bfloat16
from aisles.models.features import extract
from aisles.models.heads.building import build_head
from aisles.models.heads.training import HeadTraining, train_head

from .augmentation import Augmentation
from .checkpoints import Progress, read_checkpoint, write_checkpoint
from .curves import Epoch, epochs_of
from .loop import ImageTrainer, LabeledImages, PhaseSettings, copied, weights_from
from .result import TrainedModel, load_trained, write_trained
from .tensorboard import EventLog, write_event_log
from .views import extract_views

logger = logging.getLogger(__name__)
EVENTS = "tensorboard"
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TwoPhaseTraining:
    """How a model is trained on images.

    Attributes
    ----------
    head : str
        A key of `aisles.models.heads.variants.VARIANTS`.
    frozen_epochs, tuned_epochs : int
        At most so many in each phase; 0 leaves the phase out. The study: 40 and 25 for v1.3, else 20 and 15.
    frozen_rate, tuned_rate : float
        Learning rates. The second should be an order of magnitude lower.
    batch_size : int
    optimizer : str
        Of Keras, by name, on images; the frozen phase on cached features always takes Adam.
    cosine : bool
        Whether the rate of the second phase falls to zero along a half cosine.
    patience : int
        Epochs without a lower validation loss after which a phase stops; the best weights are kept.
    plateau : int
        Epochs without a lower validation loss after which the rate is halved; 0 for never.
    tune_from : str, optional
        Name of the network's first layer to be fine-tuned; all of them unless given.
    label_smoothing : float
        Share of the probability spread evenly over all labels; 0 for none.
    class_weights : bool
        Weight each image by n_images / (n_labels * images of its label).
    precision : str
        `float32`, `bfloat16`, `float16` (for GPUs, with a scaled loss), or `auto`: bfloat16 where it is faster
        (the processor multiplies it in hardware, the network has no depthwise convolutions), else float32.
        Weights and what is saved are float32.
    augmentation : Augmentation, optional
        None for none.
    views : int
        0: the frozen phase passes augmented images through the network in every epoch. k: it takes the
        features of k augmented views of each image, extracted once. Without augmentation it takes the
        images' own.
    max_steps : int, optional
        At most so many steps in an epoch on images.
    deterministic : bool
        Whether the same seed shall give the same model bit for bit on the same machine. This is for the whole
        process: TensorFlow can't switch it off again.
    tensorboard : bool
        Whether the curves are written as event files too, after every epoch. It changes no model.
    """

    head: str = "v1.3"
    frozen_epochs: int = 20
    tuned_epochs: int = 15
    frozen_rate: float = 1e-3
    tuned_rate: float = 1e-4
    batch_size: int = 32
    optimizer: str = "adam"
    cosine: bool = False
    patience: int = 5
    plateau: int = 0
    tune_from: str | None = None
    label_smoothing: float = 0.0
    class_weights: bool = False
    precision: str = "auto"
    augmentation: Augmentation | None = None
    views: int = 0
    max_steps: int | None = None
    deterministic: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(PRECISIONS)}. Received: {self.precision!r}."
            )
        check_optimizer(self.optimizer)
        if self.views and self.augmentation is None:
            raise ValueError(f"views={self.views} needs an augmentation: without one all views are alike.")
        if self.frozen_epochs < 0 or self.tuned_epochs < 0 or self.frozen_epochs + self.tuned_epochs == 0:
            raise ValueError(
                "There must be at least one epoch in one of the phases. "
                f"Received: frozen_epochs={self.frozen_epochs}, tuned_epochs={self.tuned_epochs}."
            )

    def identity(self) -> dict[str, Any]:
        """Return the settings that the trained model depends on."""
        return {name: value for name, value in asdict(self).items() if name != "tensorboard"}

    def head_training(self) -> HeadTraining:
        """Return the frozen phase's settings for heads on features."""
        return HeadTraining(
            epochs=self.frozen_epochs,
            patience=self.patience,
            learning_rate=self.frozen_rate,
            batch_size=self.batch_size,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            plateau=self.plateau,
        )

    def phase(self, name: str) -> PhaseSettings:
        """Return the settings of a phase on images, `frozen` or `tuned`."""
        tuned = name == "tuned"
        return PhaseSettings(
            rate=self.tuned_rate if tuned else self.frozen_rate,
            epochs=self.tuned_epochs if tuned else self.frozen_epochs,
            cosine=self.cosine and tuned,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            max_steps=self.max_steps,
            augmentation=self.augmentation,
        )


def check_optimizer(name: str) -> None:
    """Refuse a name that is no optimizer of Keras.

    Raises
    ------
    ValueError
    """
    try:
        keras.optimizers.get(name)
    except (ValueError, TypeError):
        raise ValueError(
            f"The optimizer must be one of Keras, such as adam, sgd, rmsprop. Received: {name!r}."
        ) from None


def train_on_images(
    backbone: Backbone,
    train: LabeledImages,
    val: LabeledImages,
    labels: tuple[str, ...],
    training: TwoPhaseTraining,
    folder: str | Path,
    *,
    seed: int = 0,
    cache: str | Path | None = None,
) -> TrainedModel:
    """Train a model in two phases, or load it if `folder` holds it already.

    Parameters
    ----------
    backbone : Backbone
        Where to start from; it stays as it is.
    train, val : LabeledImages
        Validation images say when to stop and which weights are best, by their loss (ties: the earlier).
    labels : tuple of str
        At least 2.
    training : TwoPhaseTraining
    folder : path
        For the finished model (`trained/`: trunk.keras, head.keras, curves.csv, curves.png, training.json) and,
        until then, for the checkpoint. With `tensorboard` also for `tensorboard/`.
    seed : int
        For the head's first weights, the order of images, dropout and augmentation.
    cache : path, optional
        Folder of cached features.

    Returns
    -------
    TrainedModel

    Raises
    ------
    ValueError
        Without images, for a layer that the network doesn't have, or if the loss stops being a number.
    """
    if len(train) == 0 or len(val) == 0:
        raise ValueError(
            "Training needs training and validation images. "
            f"Received: {len(train)} training and {len(val)} validation images."
        )
    weights_from(backbone.network, training.tune_from)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    run = _Run(backbone, train, val, tuple(labels), training, Path(folder), seed, cache)
    if trained := load_trained(run.folder, run.key):
        log_finished(trained, training, run.folder)
        return trained
    return run.train_both_phases()


def log_finished(trained: TrainedModel, training: TwoPhaseTraining, folder: Path) -> None:
    """Write the event files of a model that was trained without them, if they are wanted."""
    place = folder / EVENTS
    if training.tensorboard and not place.exists():
        write_event_log(place, trained.epochs)


def gains_from_bfloat16(network: keras.Model) -> bool:
    """Return whether bfloat16 is clearly faster: of a network of depthwise convolutions most stays in float32."""
    return offers_bfloat16() and not _has_depthwise(network)


def _has_depthwise(network: keras.Model) -> bool:
    slow = (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    return any(
        _has_depthwise(layer) if isinstance(layer, keras.Model) else isinstance(layer, slow)
        for layer in network.layers
    )


@dataclass(eq=False)
class _Run:
    backbone: Backbone
    train: LabeledImages
    val: LabeledImages
    labels: tuple[str, ...]
    training: TwoPhaseTraining
    folder: Path
    seed: int
    cache: str | Path | None

    def __post_init__(self) -> None:
        facts = {
            "backbone": self.backbone.key,
            "labels": self.labels,
            "training": self.training.identity(),
            "seed": self.seed,
            "images": [[*images.sha256, *map(int, images.targets)] for images in (self.train, self.val)],
        }
        self.key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self.checkpoint = self.folder / "checkpoint.npz"
        self.log: EventLog | None = None

    def train_both_phases(self) -> TrainedModel:
        training = self.training
        precision = training.precision
        if precision == "auto":
            precision = "bfloat16" if gains_from_bfloat16(self.backbone.network) else "float32"
        trunk = copied(self.backbone, precision)
        head = build_head(training.head, trunk.dimension, len(self.labels), seed=self.seed)
        found = read_checkpoint(self.checkpoint, self.key)
        progress = found[0] if found else Progress()
        if training.tensorboard:
            self.log = EventLog(self.folder / EVENTS, progress.epochs)
        if progress.phase == "frozen":
            if training.augmentation is None or training.views:
                self._on_features(head, progress)
            else:
                self._on_images(trunk, head, progress, found)
            found = None
            progress = Progress("tuned", best=progress.best, epochs=progress.epochs)
        self._on_images(trunk, head, progress, found)
        return self._finish(trunk, head, progress.epochs)

    def _on_features(self, head: keras.Model, progress: Progress) -> None:
        """Train the head on cached features; it takes seconds, so it is all or nothing."""
        training, train, val = self.training, self.train, self.val
        if not training.frozen_epochs:
            return
        if training.augmentation is None:
            features = extract(self.backbone, train.paths, images=train.sha256, cache=self.cache).vectors
        else:
            features = extract_views(
                self.backbone, train.paths, training.augmentation, training.views,
                images=train.sha256, cache=self.cache,
            )  # fmt: skip
        val_features = extract(self.backbone, val.paths, images=val.sha256, cache=self.cache).vectors
        started = time.perf_counter()
        history = train_head(
            head, features, train.targets, val_features, val.targets, training.head_training(), seed=self.seed
        )
        progress.best = min(history.val_loss)
        progress.epochs = list(epochs_of("frozen", history, time.perf_counter() - started))
        if self.log:
            for epoch in progress.epochs:
                self.log.add(epoch)

    def _on_images(self, trunk: Backbone, head: keras.Model, progress: Progress, found) -> None:
        """Run the phase that `progress` names to its end; leave trunk and head with their best weights."""
        settings = self.training.phase(progress.phase)
        tuned = weights_from(trunk.network, self.training.tune_from)
        # The phase's number keeps its orders and augmentations apart from the other's.
        seed = 2 * self.seed + (progress.phase == "tuned")
        trained = tuned if progress.phase == "tuned" else []
        if not settings.epochs:
            return
        trainer = ImageTrainer(trunk, head, trained, self.train, settings, seed)
        best = trainer.weights()
        if found:
            trainer.restore(found[1])
            best = found[2]
            logger.info("Going on after epoch %d of the %s phase.", progress.epoch, progress.phase)
        while progress.epoch < settings.epochs and progress.waited < self.training.patience:
            started = time.perf_counter()
            metrics = trainer.run_epoch(
                progress.epoch, progress.factor, f"{progress.phase} {progress.epoch + 1}/{settings.epochs}"
            )
            epoch = Epoch(
                progress.phase, *metrics, *trainer.evaluate(self.val), time.perf_counter() - started
            )
            logger.info(
                "%s: accuracy %.4f, validation %.4f", self.folder.name, epoch.accuracy, epoch.val_accuracy
            )
            if epoch.val_loss < progress.best:
                best = trainer.weights()
            self._note(progress, epoch)
            write_checkpoint(self.checkpoint, self.key, progress, trainer.state(), best)
            if self.log:
                self.log.add(epoch)
        trainer.set_weights(best)

    def _note(self, progress: Progress, epoch: Epoch) -> None:
        progress.epoch += 1
        progress.epochs.append(epoch)
        progress.waited += 1
        if epoch.val_loss < progress.best:
            progress.best, progress.waited = epoch.val_loss, 0
        elif self.training.plateau and progress.waited % self.training.plateau == 0:
            progress.factor /= 2

    def _finish(self, trunk: Backbone, head: keras.Model, epochs: list[Epoch]) -> TrainedModel:
        trunk = replace(in_precision(trunk, "float32"), weights=f"{self.backbone.weights}, fine-tuned")
        facts = {"key": self.key, "seed": self.seed, "training": asdict(self.training)}
        trained = write_trained(self.folder, trunk, head, self.labels, epochs, facts)
        if self.log:
            self.log.close()
        self.checkpoint.unlink(missing_ok=True)
        return trained
