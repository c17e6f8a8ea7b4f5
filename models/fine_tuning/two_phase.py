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
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import tensorflow as tf

from aisles.models.backbones.registry import Backbone, in_precision, offers_bfloat16
from aisles.models.features import extract
from aisles.models.heads.building import build_head
from aisles.models.heads.settings import HeadTraining
from aisles.models.heads.training import train_head

from .checkpoints import Progress, read_checkpoint, write_checkpoint
from .curves import Epoch, epochs_of
from .loop import ImageTrainer, LabeledImages, PhaseSettings, copied, weights_from
from .result import TrainedModel, load_trained, write_trained
from .settings import FineTuningSettings
from .tensorboard import EventLog, write_event_log
from .views import extract_views

logger = logging.getLogger(__name__)
EVENTS = "tensorboard"


def head_training(settings: FineTuningSettings) -> HeadTraining:
    """Return the frozen phase's settings for heads on features."""
    return HeadTraining(
        epochs=settings.frozen_epochs,
        patience=settings.patience,
        learning_rate=settings.frozen_rate,
        batch_size=settings.batch_size,
        label_smoothing=settings.label_smoothing,
        class_weights=settings.class_weights,
        plateau=settings.plateau,
    )


def phase_settings(settings: FineTuningSettings, name: str) -> PhaseSettings:
    """Return the settings of a phase on images, `frozen` or `tuned`."""
    tuned = name == "tuned"
    return PhaseSettings(
        rate=settings.tuned_rate if tuned else settings.frozen_rate,
        epochs=settings.tuned_epochs if tuned else settings.frozen_epochs,
        cosine=settings.cosine and tuned,
        batch_size=settings.batch_size,
        optimizer=settings.optimizer,
        label_smoothing=settings.label_smoothing,
        class_weights=settings.class_weights,
        max_steps=settings.max_steps,
        augmentation=settings.augmentation,
    )


def train_on_images(
    backbone: Backbone,
    train: LabeledImages,
    val: LabeledImages,
    labels: tuple[str, ...],
    training: FineTuningSettings,
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
    training : FineTuningSettings
    folder : path
        For the finished model (`trained/`: backbone.keras, head.keras, curves.csv, curves.png, training.json) and,
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


def log_finished(trained: TrainedModel, training: FineTuningSettings, folder: Path) -> None:
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
    training: FineTuningSettings
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
        backbone = copied(self.backbone, precision)
        head = build_head(training.head, backbone.dimension, len(self.labels), seed=self.seed)
        found = read_checkpoint(self.checkpoint, self.key)
        progress = found[0] if found else Progress()
        if training.tensorboard:
            self.log = EventLog(self.folder / EVENTS, progress.epochs)
        if progress.phase == "frozen":
            if training.augmentation is None or training.views:
                self._on_features(head, progress)
            else:
                self._on_images(backbone, head, progress, found)
            found = None
            progress = Progress("tuned", best=progress.best, epochs=progress.epochs)
        self._on_images(backbone, head, progress, found)
        return self._finish(backbone, head, progress.epochs)

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
            head, features, train.targets, val_features, val.targets, head_training(training), seed=self.seed
        )
        progress.best = min(history.val_loss)
        progress.epochs = list(epochs_of("frozen", history, time.perf_counter() - started))
        if self.log:
            for epoch in progress.epochs:
                self.log.add(epoch)

    def _on_images(self, backbone: Backbone, head: keras.Model, progress: Progress, found) -> None:
        """Run the phase that `progress` names to its end; leave backbone and head with their best weights."""
        settings = phase_settings(self.training, progress.phase)
        tuned = weights_from(backbone.network, self.training.tune_from)
        # The phase's number keeps its orders and augmentations apart from the other's.
        seed = 2 * self.seed + (progress.phase == "tuned")
        trained = tuned if progress.phase == "tuned" else []
        if not settings.epochs:
            return
        trainer = ImageTrainer(backbone, head, trained, self.train, settings, seed)
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

    def _finish(self, backbone: Backbone, head: keras.Model, epochs: list[Epoch]) -> TrainedModel:
        backbone = replace(in_precision(backbone, "float32"), weights=f"{self.backbone.weights}, fine-tuned")
        facts = {"key": self.key, "seed": self.seed, "training": self.training.model_dump()}
        trained = write_trained(self.folder, backbone, head, self.labels, epochs, facts)
        if self.log:
            self.log.close()
        self.checkpoint.unlink(missing_ok=True)
        return trained
