"""Settings of training on images: `aisles train`, `aisles ablate heads` and the recipes of the published study."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from aisles.hierarchy.rules import parse_rule
from aisles.models.fine_tuning.augmentation import Augmentation
from aisles.models.fine_tuning.two_phase import TwoPhaseTraining

from .benchmark import (
    AugmentationSettings,
    BackboneSettings,
    DataSettings,
    HierarchySettings,
    ImageSettings,
    Section,
    read_settings,
)


class ClassifierSettings(Section):
    """What is trained.

    `trunk` and `start` are explained in `aisles.models.fine_tuning.sharing`. `published` names the study
    whose metrics stand beside the measured ones in an evaluation.
    """

    model: Literal["flat", "two-stage"] = "two-stage"
    trunk: Literal["shared", "tuned", "separate"] = "tuned"
    start: Literal["imagenet", "flat"] = "imagenet"
    rule: str = "soft"
    seed: int = Field(default=0, ge=0)
    published: Literal["abo65"] | None = None

    @field_validator("rule")
    @classmethod
    def _known(cls, rule: str) -> str:
        return str(parse_rule(rule))


class TrainSettings(Section):
    """Everything that decides a training, apart from the images."""

    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    hierarchy: HierarchySettings = HierarchySettings()
    classifier: ClassifierSettings = ClassifierSettings()
    images: ImageSettings = ImageSettings()
    augmentation: AugmentationSettings = AugmentationSettings()

    @property
    def training(self) -> TwoPhaseTraining:
        """The settings in the form that the training takes."""
        return two_phase(self.images, self.augmentation)


def two_phase(images: ImageSettings, augmentation: AugmentationSettings) -> TwoPhaseTraining:
    """Return settings in the form that the training takes."""
    chosen = Augmentation(**augmentation.model_dump()) if images.augment else None
    return TwoPhaseTraining(**images.model_dump(exclude={"augment"}), augmentation=chosen)


def read_train_settings(config: str | Path | None = None, changes: Iterable[str] = ()) -> TrainSettings:
    """Read settings as `read_settings`, for training on images."""
    return read_settings(config, changes, TrainSettings)
