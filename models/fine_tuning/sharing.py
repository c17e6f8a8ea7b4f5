"""Backbone sharing: which network flat model, router and sub-models look through.

`frozen`: one pretrained network, all models are heads on its features. `fine-tuned`: one network, fine-tuned once as
the flat model's; its features are extracted once more, and router and sub-models are heads on them. `separate`: each
model fine-tunes a network of its own, in a subprocess of its own, from the pretrained weights or the flat model's.
"""

import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from aisles.data_prep.images.manifest import Manifest
from aisles.data_prep.io.files import sha256_of, whole_file
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import Backbone
from aisles.models.bundles.keras_file import check_keras_file
from aisles.models.features import extract
from aisles.models.heads.fitting import fit_labels, macro_labels
from aisles.models.prediction.label_model import LabelModel
from aisles.models.prediction.stored import StoredBackbone, StoredNetwork
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

from .curves import Epoch, draw_curves, epochs_of, write_curves
from .loop import LabeledImages
from .result import TrainedModel
from .settings import FineTuningSettings
from .subprocess import NetworkTask, train_ahead
from .tensorboard import write_event_log
from .two_phase import EVENTS, head_training

logger = logging.getLogger(__name__)
SHARING = ("frozen", "fine-tuned", "separate")
STARTS = ("imagenet", "flat")


@dataclass(frozen=True, eq=False)
class ImageTable:
    """The images that a classifier is trained on.

    Attributes
    ----------
    paths : sequence of Path
    labels : ndarray of str
        The class of each image.
    splits : ndarray of str
        train, val or test; test images are not looked at.
    sha256 : ndarray of str
        Of each file's bytes.
    """

    paths: Sequence[Path]
    labels: np.ndarray
    splits: np.ndarray
    sha256: np.ndarray

    @classmethod
    def of(cls, manifest: Manifest, sha256: np.ndarray) -> "ImageTable":
        """Take the images from a manifest whose splits are filled in."""
        return cls(manifest.paths, manifest.labels, manifest.splits, sha256)

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, sorted."""
        return tuple(sorted(set(map(str, self.labels))))

    def of_split(self, split: str, labels: Sequence[str], image_labels: np.ndarray) -> LabeledImages:
        """Return the images of a split whose label is among `labels`."""
        place = {label: i for i, label in enumerate(labels)}
        rows = [i for i in np.flatnonzero(self.splits == split).tolist() if image_labels[i] in place]
        targets = np.array([place[image_labels[i]] for i in rows], np.int64)
        return LabeledImages([self.paths[i] for i in rows], targets, [str(self.sha256[i]) for i in rows])


@dataclass(frozen=True, eq=False)
class ClassifierTrainer:
    """Trains classifiers on images; what is finished in `folder` is not trained again.

    Attributes
    ----------
    backbone : Backbone
        The pretrained network to start from.
    images : ImageTable
    training : FineTuningSettings
        The same for every model.
    folder : Path
        One folder a model, with its curves: `flat`, `router-from-imagenet`, `submodel-00-from-flat`, `flat-from-flat`;
        and where a head alone is trained `flat-on-frozen`, `router-on-fine-tuned` and so on.
    seed : int
    cache : path, optional
        Folder of cached features.
    """

    backbone: Backbone
    images: ImageTable
    training: FineTuningSettings
    folder: Path
    seed: int = 0
    cache: str | Path | None = None

    def flat(self, sharing: str = "fine-tuned") -> FlatClassifier:
        """Train the flat model.

        Parameters
        ----------
        sharing : {'frozen', 'fine-tuned', 'separate'}
            `frozen`: a head on the frozen network. The other two mean the same for one model: fine-tuned.
        """
        _check("sharing", sharing, SHARING)
        classes = self.images.classes
        if sharing == "frozen":
            return FlatClassifier(self._head_on(self.backbone, sharing, classes, self.images.labels, "flat"))
        return FlatClassifier(self.fine_tuned_flat().classifier)

    def two_stage(
        self, hierarchy: Hierarchy, sharing: str = "fine-tuned", start: str = "imagenet", rule: str = "soft"
    ) -> TwoStageClassifier:
        """Train router and sub-models.

        Parameters
        ----------
        hierarchy : Hierarchy
            Over the images' classes.
        sharing : {'frozen', 'fine-tuned', 'separate'}
        start : {'imagenet', 'flat'}
            What each model of `separate` starts from: the pretrained network, or the flat model's, which is
            trained first.
        rule : str
            The classifier's own routing rule.

        Returns
        -------
        TwoStageClassifier
            With a flat model on the same backbone where there is one: not for `separate` from ImageNet.
        """
        _check("sharing", sharing, SHARING)
        _check("start", start, STARTS)
        hierarchy.check_classes(self.images.classes)
        if sharing == "separate":
            return self._separate(hierarchy, start, rule)
        if sharing == "fine-tuned":
            trained = self.fine_tuned_flat()
            network, flat = trained.backbone.load(), trained.classifier
            flat = LabelModel(flat.labels, network, flat.head)
        else:
            network, labels = self.backbone, self.images.labels
            flat = self._head_on(network, sharing, hierarchy.classes, labels, "flat")
        return self._assemble(hierarchy, rule, flat, lambda *model: self._head_on(network, sharing, *model))

    def fine_tuned_flat(self) -> TrainedModel:
        """Fine-tune the flat model, in a subprocess of its own."""
        return self._in_subprocess(self._stored_start(), self.images.classes, self.images.labels, "flat")

    def flat_again(self) -> FlatClassifier:
        """Fine-tune the flat model once more, from its own network, as `separate` from flat does its models.

        With the same further epochs as router and sub-models it is their fair baseline.
        """
        start = self.fine_tuned_flat().backbone
        name = "flat-from-flat"
        return FlatClassifier(
            self._in_subprocess(start, self.images.classes, self.images.labels, name).classifier
        )

    def _separate(self, hierarchy: Hierarchy, start: str, rule: str) -> TwoStageClassifier:
        flat = self.fine_tuned_flat() if start == "flat" else None
        network = flat.backbone if flat else self._stored_start()

        def task(labels: tuple[str, ...], image_labels: np.ndarray, name: str) -> NetworkTask:
            return self._task(network, labels, image_labels, f"{name}-from-{start}")

        def train(labels: tuple[str, ...], image_labels: np.ndarray, name: str) -> LabelModel:
            return (
                LabelModel(labels) if len(labels) == 1 else task(labels, image_labels, name).done().classifier
            )

        train_ahead([task(*model) for model in self._models(hierarchy) if len(model[0]) > 1])
        return self._assemble(hierarchy, rule, flat and flat.classifier, train)

    def _assemble(
        self, hierarchy: Hierarchy, rule: str, flat: LabelModel | None, train
    ) -> TwoStageClassifier:
        router, *submodels = [train(*model) for model in self._models(hierarchy)]
        return TwoStageClassifier(router, submodels, hierarchy, flat=flat, rule=rule)

    def _models(self, hierarchy: Hierarchy) -> list[tuple[tuple[str, ...], np.ndarray, str]]:
        """Return labels, each image's label and name of the router and of all sub-models."""
        labels = self.images.labels
        submodels = [(members, labels, f"submodel-{i:02d}") for i, members in enumerate(hierarchy.members)]
        return [(hierarchy.macros, macro_labels(hierarchy, labels), "router"), *submodels]

    def _head_on(self, backbone: Backbone, sharing: str, labels, image_labels, name: str) -> LabelModel:
        """Train a head on the features of training and validation images."""
        images = self.images
        if self.training.deterministic:
            tf.config.experimental.enable_op_determinism()
        if sharing == "frozen" and self.training.augmentation is not None:
            logger.warning(
                "%s is a head on features of the images as they are: augmentation takes no part.", name
            )
        rows = np.flatnonzero(images.splits != "test")
        paths, hashes = [images.paths[i] for i in rows.tolist()], list(map(str, images.sha256[rows]))
        features = extract(backbone, paths, images=hashes, cache=self.cache)
        started = time.perf_counter()
        fitted = fit_labels(
            features.vectors,
            image_labels[rows],
            images.splits[rows],
            labels,
            head=self.training.head,
            training=head_training(self.training),
            refit=False,
            seed=self.seed,
            name=name,
        )
        seconds = time.perf_counter() - started
        if fitted.history is not None:
            self._write_curves(
                epochs_of("frozen", fitted.history, seconds), f"{name}-on-{sharing}", len(labels)
            )
        return fitted.on(backbone)

    def _write_curves(self, epochs: tuple[Epoch, ...], name: str, n_labels: int) -> None:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        write_curves(epochs, folder / "curves.csv")
        draw_curves(epochs, folder / "curves.png", f"{name}, {n_labels} labels")
        if self.training.tensorboard:
            write_event_log(folder / EVENTS, epochs)

    def flat_task(self) -> NetworkTask:
        """Return the task of fine-tuning the flat model, for workers."""
        return self._task(self._stored_start(), self.images.classes, self.images.labels, "flat")

    def _in_subprocess(self, start: StoredBackbone, labels, image_labels, name: str) -> TrainedModel:
        return self._task(start, labels, image_labels, name).done()

    def _task(self, start: StoredBackbone, labels, image_labels, name: str) -> NetworkTask:
        train = self.images.of_split("train", labels, image_labels)
        # A small sub-model may lack validation images of its own; its training loss must then tell when to stop.
        val = self.images.of_split("val", labels, image_labels)
        return NetworkTask(
            start,
            train,
            val if len(val) else train,
            labels,
            self.training,
            self.folder / name,
            seed=zlib.crc32(f"{name} {self.seed}".encode()),
            cache=self.cache,
        )

    def _stored_start(self) -> StoredBackbone:
        """Keep the pretrained network where the other processes find it."""
        backbone, path = self.backbone, self.folder / "start" / f"{self.backbone.key}.keras"
        if not _is_whole(path):
            with whole_file(path) as part:
                backbone.model.save(part)
        network = StoredNetwork(path, sha256_of(path))
        return StoredBackbone(
            network,
            backbone.name,
            backbone.preprocessing,
            backbone.color,
            backbone.weights,
            backbone.precision,
            backbone.fitting,
        )


def _is_whole(path: Path) -> bool:
    """Return whether a network lies there, and was neither cut short nor changed: its zip has checksums."""
    if not path.exists():
        return False
    try:
        check_keras_file(path)
        return True
    except ValueError as error:
        logger.warning("%s; it is written anew.", error)
        return False


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}. Received: {value!r}.")
