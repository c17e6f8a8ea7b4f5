"""Settings of training on images: `aisles train` and `aisles ablate heads`."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from aisles.hierarchy.rules import parse_rule
from aisles.models.fine_tuning.settings import FineTuningSettings
from aisles.models.heads.settings import Section

from .benchmark import BackboneSettings, DataSettings, HierarchySettings


class ClassifierSettings(Section):
    """What is trained."""

    model: Literal["flat", "two-stage"] = Field(
        default="two-stage", description="One model over all classes, or router and sub-models."
    )
    sharing: Literal["frozen", "fine-tuned", "separate"] = Field(
        default="fine-tuned",
        description="frozen: one pretrained backbone for all models; fine-tuned: one, fine-tuned as the flat model's; "
        "separate: each model fine-tunes its own.",
    )
    start: Literal["imagenet", "flat"] = Field(
        default="imagenet",
        description="What the models of separate start from: the pretrained weights, or the flat model's.",
    )
    rule: str = Field(default="soft", description="The bundle's own routing rule.")
    seed: int = Field(default=0, ge=0, description="For first weights, order of images and augmentation.")
    published: Literal["abo65"] | None = Field(
        default=None, description="The published study whose metrics stand beside the measured ones."
    )

    @field_validator("rule")
    @classmethod
    def _known(cls, rule: str) -> str:
        return str(parse_rule(rule))


class TrainSettings(Section):
    """Everything that decides a training, apart from the images."""

    command: ClassVar[str] = "train"

    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    hierarchy: HierarchySettings = HierarchySettings()
    classifier: ClassifierSettings = ClassifierSettings()
    fine_tuning: FineTuningSettings = FineTuningSettings()
