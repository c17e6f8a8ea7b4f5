"""The contestants of a study: trained on the same images, features, seeds and budget."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..hierarchy.taxonomy import Hierarchy
from ..models.fitting import FittedModel, FittedTwoStage, fit_labels, load_fitted, macro_labels, save_fitted
from ..models.training import HeadTraining
from .config import TrainingSettings
from .preparation import PreparedData
from .stages import stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains heads on one set of features, each kept as a stage of the run.

    Attributes
    ----------
    folder : Path
        Where the stages lie.
    prepared : PreparedData
    features : ndarray of shape (n_images, dimension)
    feature_key : str
        What the features depend on, apart from the images.
    settings : TrainingSettings
        The same for every contestant.
    """

    folder: Path
    prepared: PreparedData
    features: np.ndarray
    feature_key: str
    settings: TrainingSettings

    def flat(self, seed: int) -> FittedModel:
        """Train the flat model of a seed."""
        manifest = self.prepared.manifest
        return self._fit(f"seed-{seed}/flat", manifest.labels, manifest.classes, seed)

    def two_stage(self, hierarchy: Hierarchy, seed: int, name: str = "two-stage") -> FittedTwoStage:
        """Train router and sub-models of a hierarchy; `name` keeps several hierarchies of one study apart."""
        labels = self.prepared.manifest.labels
        router = self._fit(
            f"seed-{seed}/{name}/router", macro_labels(hierarchy, labels), hierarchy.macros, seed
        )
        submodels = [
            self._fit(f"seed-{seed}/{name}/submodel-{i:02d}", labels, members, seed)
            for i, members in enumerate(hierarchy.members)
        ]
        return FittedTwoStage(hierarchy, router, tuple(submodels))

    def _fit(self, name: str, image_labels: np.ndarray, labels: tuple[str, ...], seed: int) -> FittedModel:
        inputs = {
            "data": self.prepared.fingerprint,
            "features": self.feature_key,
            "training": self.settings.model_dump(),
            "labels": list(labels),
            "groups": _groups(image_labels, self.prepared.manifest.labels),
            "seed": seed,
            "name": name,
        }

        def make(part: Path) -> None:
            fitted = fit_labels(
                self.features,
                image_labels,
                self.prepared.manifest.splits,
                labels,
                head=self.settings.head,
                training=head_training(self.settings),
                refit=self.settings.refit,
                seed=seed,
                name=name,
            )
            save_fitted(fitted, part)
            if fitted.history:
                curves = {k: v for k, v in asdict(fitted.history).items() if k != "best_epoch"}
                pd.DataFrame(curves).to_csv(part / "history.csv", index_label="epoch")

        folder = self.folder / name
        if stage(folder, inputs, make):
            logger.info("Trained %s (%d labels).", name, len(labels))
        return load_fitted(folder)


def head_training(settings: TrainingSettings) -> HeadTraining:
    """Give the settings in the form that the training takes."""
    return HeadTraining(
        epochs=settings.epochs,
        patience=settings.patience,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        label_smoothing=settings.label_smoothing,
        class_weights=settings.class_weights,
    )


def _groups(image_labels: np.ndarray, classes: np.ndarray) -> Mapping[str, str]:
    """Say which label each class stands for, so that another hierarchy is another stage."""
    return {str(name): str(label) for name, label in sorted(set(zip(classes, image_labels, strict=True)))}
