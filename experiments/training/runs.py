"""Training a classifier on images, from a folder of photographs to a bundle."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.images.features_table import is_features_table
from aisles.data_prep.images.manifest import write_manifest
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import features_cache
from aisles.experiments.benchmark.preparation import (
    PreparedData,
    check_hierarchy,
    find_hierarchy,
    prepare_data,
)
from aisles.experiments.runs.writer import run_folder, write_json
from aisles.experiments.settings.training import TrainSettings
from aisles.experiments.settings.writing import write_settings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import Backbone, build_backbone, in_precision
from aisles.models.bundles.bundle import save_bundle
from aisles.models.features import extract
from aisles.models.fine_tuning.loop import weights_from
from aisles.models.fine_tuning.settings import FineTuningSettings
from aisles.models.fine_tuning.sharing import ClassifierTrainer, ImageTable
from aisles.models.prediction.evaluation import Evaluation
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What `train_classifier` gives.

    Attributes
    ----------
    bundle : Path
        The folder that `aisles predict` takes.
    manifest : Path
        The images with the splits that were used.
    validation : Evaluation
        On the images that chose the weights and the temperatures: rather too good.
    test : Evaluation or None
        None if there are no test images.
    """

    bundle: Path
    manifest: Path
    validation: Evaluation
    test: Evaluation | None

    def __repr__(self) -> str:
        told = {"validation": self.validation, "test": self.test}
        metrics = [f"{name} accuracy {e.accuracy:.3f}" for name, e in told.items() if e is not None]
        return f"TrainResult({str(self.bundle)!r}, {', '.join(metrics)})"


def train_classifier(
    data: str | Path,
    output: str | Path,
    settings: TrainSettings | None = None,
    *,
    cache: str | Path | None = None,
    backbone: Backbone | None = None,
    command: str | None = None,
) -> TrainResult:
    """Train a flat or two-stage classifier on images; run again, it goes on where it stopped.

    Parameters
    ----------
    data : path
        A manifest or a folder of class folders.
    output : path
        The run folder: `models/` with curves and networks, `bundle/`, `manifest.csv`, `settings.toml`, `training.json`.
    settings : TrainSettings, optional
    cache : path, optional
        Folder of cached features.
    backbone : Backbone, optional
        One of your own, in place of the one that the settings name.
    command : str, optional
        What was typed to start it, for those who want to repeat it.

    Returns
    -------
    TrainResult
    """
    settings, output = settings or TrainSettings(), Path(output)
    if is_features_table(data):
        raise DataError(
            f"{data} is a features table. What aisles train makes predicts images, and nothing says which network made "
            "these features of them. Compare on them: aisles benchmark. Or train on them in Python, and save it: "
            "aisles.save(aisles.HierarchicalEstimator().fit(X, y), 'model')."
        )
    with run_folder(output):
        features_cache(cache)  # what can't be written is said before images are read
        prepared = prepare_data(data, settings.data, settings.hierarchy.column)
        if settings.classifier.model == "two-stage":
            check_hierarchy(prepared, settings.hierarchy)
        backbone = backbone or start_backbone(settings)
        if settings.classifier.sharing != "frozen":
            check_layer(backbone, settings.fine_tuning)
        notes = [f"Written by: {command}"] if command else []
        write_settings(output / "settings.toml", settings, notes=notes)
        classifier = _trained(prepared, backbone, settings, output, cache)
        return finish(classifier, prepared, settings, output)


def _trained(
    prepared: PreparedData,
    backbone: Backbone,
    settings: TrainSettings,
    output: Path,
    cache: str | Path | None,
) -> FlatClassifier | TwoStageClassifier:
    table, chosen = ImageTable.of(prepared.manifest, prepared.sha256), settings.classifier
    trainer = ClassifierTrainer(backbone, table, settings.fine_tuning, output / "models", chosen.seed, cache)
    if chosen.model == "flat":
        return trainer.flat(chosen.sharing)
    hierarchy = learned_hierarchy(prepared, backbone, settings, cache)
    hierarchy.write(output / "hierarchy.json")
    return trainer.two_stage(hierarchy, chosen.sharing, chosen.start, chosen.rule)


def start_backbone(settings: TrainSettings) -> Backbone:
    """Build the pretrained network that training starts from."""
    wanted = settings.backbone
    built = build_backbone(
        wanted.name, weights=wanted.weights, input_size=wanted.input_size, color=wanted.color, fit=wanted.fit
    )
    return in_precision(built, wanted.precision)


def check_layer(backbone: Backbone, training: FineTuningSettings) -> None:
    """Refuse to fine-tune from a layer that the network doesn't have, before anything is trained.

    Raises
    ------
    ValueError
        Naming the network's last layers.
    """
    weights_from(backbone.network, training.tune_from)


def learned_hierarchy(
    prepared: PreparedData, backbone: Backbone, settings: TrainSettings, cache: str | Path | None
) -> Hierarchy:
    """Cluster the classes by the pretrained network's features of training images, or read what a person brings."""
    features = extract(backbone, prepared.manifest.paths, images=list(map(str, prepared.sha256)), cache=cache)
    return find_hierarchy(prepared, features.vectors, settings.hierarchy).hierarchy


def finish(
    classifier: FlatClassifier | TwoStageClassifier,
    prepared: PreparedData,
    settings: TrainSettings,
    output: Path,
) -> TrainResult:
    """Calibrate on validation images, measure, and write the bundle."""
    manifest = prepared.manifest
    val = prepared.rows("val")
    paths = manifest.paths
    if len(val):
        classifier.calibrate([paths[i] for i in val.tolist()], [str(label) for label in manifest.labels[val]])
    measured = {
        split: classifier.evaluate(manifest, split=split)
        for split in ("val", "test")
        if (manifest.splits == split).any()
    }
    facts = {
        "data": {"fingerprint": prepared.fingerprint, **_counts(prepared)},
        "metrics": {
            f"{split} {name}": value for split, e in measured.items() for name, value in _few(e).items()
        },
        "settings": _flat(settings),
        "published": settings.classifier.published,
    }
    classifier.learned_from |= prepared.learned_from
    bundle = save_bundle(classifier, output / "bundle", facts=facts)
    write_json(output / "training.json", facts)
    listed = write_manifest(manifest, output / "manifest.csv")
    return TrainResult(bundle, listed, measured["val"], measured.get("test"))


def _few(evaluation: Evaluation) -> dict[str, float]:
    names = ("accuracy", "top5_accuracy", "macro_f1", "macro_accuracy", "accuracy_where_macro_right")
    found = {name: getattr(evaluation, name) for name in names}
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _counts(prepared: PreparedData) -> dict[str, int]:
    splits, counts = np.unique(prepared.manifest.splits.astype(str), return_counts=True)
    return {f"{split} images": int(count) for split, count in zip(splits, counts, strict=True)}


def _flat(settings: TrainSettings) -> dict[str, Any]:
    sections: Mapping[str, Mapping[str, Any]] = settings.model_dump(mode="json")
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
