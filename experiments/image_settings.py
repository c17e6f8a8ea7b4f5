"""Settings of training on images: `aisles train`, `aisles ablate heads` and the recipes of the published study."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from ..hierarchy.routing import parse_rule
from ..models.augmentation import Augmentation
from ..models.fine_tuning import TwoPhaseTraining, check_optimizer
from .config import BackboneSettings, DataSettings, Head, HierarchySettings, Section, read_settings


class ClassifierSettings(Section):
    """What is trained.

    `trunk` and `start` are explained in `aisles.models.trunks`. `published` names the study whose figures stand
    beside the measured ones in an evaluation.
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


class ImageSettings(Section):
    """How a model is trained on images; see `aisles.models.fine_tuning.TwoPhaseTraining`."""

    head: Head = "v1.3"
    frozen_epochs: int = Field(default=40, ge=0)
    tuned_epochs: int = Field(default=25, ge=0)
    frozen_rate: float = Field(default=1e-3, gt=0)
    tuned_rate: float = Field(default=1e-4, gt=0)
    batch_size: int = Field(default=32, ge=1)
    optimizer: str = "adam"
    cosine: bool = False
    patience: int = Field(default=5, ge=1)
    plateau: int = Field(default=0, ge=0)
    tune_from: str | None = None
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    augment: bool = False
    views: int = Field(default=0, ge=0)
    max_steps: int | None = Field(default=None, ge=1)
    deterministic: bool = False
    tensorboard: bool = False

    @field_validator("optimizer")
    @classmethod
    def _of_keras(cls, name: str) -> str:
        check_optimizer(name)
        return name


class AugmentationSettings(Section):
    """How much pictures are changed where `images.augment` is true; see `aisles.models.augmentation`."""

    flip: bool = True
    rotation: float = Field(default=15.0, ge=0, le=180)
    zoom: float = Field(default=0.15, ge=0, lt=1)
    translation: float = Field(default=0.1, ge=0, lt=1)
    contrast: float = Field(default=0.1, ge=0, lt=1)
    brightness: float = Field(default=0.1, ge=0, lt=1)


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
        values = self.images.model_dump(exclude={"augment"})
        augmentation = Augmentation(**self.augmentation.model_dump()) if self.images.augment else None
        return TwoPhaseTraining(**values, augmentation=augmentation)


def read_train_settings(config: str | Path | None = None, changes: Iterable[str] = ()) -> TrainSettings:
    """Read settings as `read_settings`, for training on images."""
    return read_settings(config, changes, TrainSettings)
