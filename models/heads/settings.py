"""How heads on features are trained: one frozen record for TOML, the command line, Python and the training itself.

Nothing here loads TensorFlow, so settings are read and refused at once.
"""

from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Head = Literal["v1.1", "v1.2", "v1.3", "v1.4", "v2.1", "v2.2", "vgg"]


class Section(BaseModel):
    """Settings that refuse unknown keys, numbers that are none, and true or false for a number; they don't change."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("true and false are not values of this setting")
        return value

    def changed(self, **changes: Any) -> Self:
        """Return the settings with some values changed, checked like all others."""
        return type(self).model_validate(self.model_dump() | changes)


class HeadTraining(Section):
    """How every head of dense layers is trained; the same for all methods."""

    epochs: int = Field(default=100, ge=1, description="At most so many epochs.")
    patience: int = Field(
        default=10,
        ge=1,
        description="Epochs without a lower validation loss after which training stops; the best weights are kept.",
    )
    learning_rate: float = Field(default=6e-4, gt=0, description="Adam's learning rate.")
    batch_size: int = Field(default=32, ge=1, description="Images per step.")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the probability spread evenly over all labels."
    )
    class_weights: bool = Field(
        default=False, description="Weight each image by n_images / (n_labels * images of its label)."
    )
    plateau: int = Field(
        default=0,
        ge=0,
        description="Epochs without a lower validation loss after which the rate is halved; 0 for never.",
    )
