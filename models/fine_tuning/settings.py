"""How a model is fine-tuned on images: one frozen record for TOML, the command line, Python and the training itself.

Nothing here loads TensorFlow, so settings are read and refused at once.
"""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from aisles.models.heads.settings import Head, Section

OPTIMIZERS = (
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lion", "muon", "nadam", "rmsprop", "sgd",
)  # fmt: skip
"""Optimizers of Keras by name."""


class Augmentation(Section):
    """How much a training image may be changed; each change is drawn uniformly, either way."""

    flip: bool = Field(default=True, description="Exchange left and right in half of the images.")
    rotation: float = Field(default=15.0, ge=0, le=180, description="Largest angle, in degrees.")
    zoom: float = Field(default=0.15, ge=0, lt=1, description="Largest relative change of size.")
    translation: float = Field(
        default=0.1, ge=0, lt=1, description="Largest shift, as a share of height and of width."
    )
    contrast: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Largest relative change of the distance from the image's mean color.",
    )
    brightness: float = Field(
        default=0.1, ge=0, lt=1, description="Largest change of all values, as a share of the full range."
    )

    @property
    def key(self) -> str:
        """A name for these settings, safe as part of a cache's address."""
        sizes = (self.rotation, self.zoom, self.translation, self.contrast, self.brightness)
        return f"flip{int(self.flip)}-" + "-".join(f"{size:g}" for size in sizes)


class FineTuningSettings(Section):
    """How a model is fine-tuned on images in two phases: the head on the frozen network, then both.

    The defaults are those of the published head v1.3: 40 and 25 epochs.
    """

    head: Head = Field(default="v1.3", description="Layers on the backbone's features, by version.")
    frozen_epochs: int = Field(
        default=40, ge=0, description="At most so many epochs of the head alone; 0: none."
    )
    tuned_epochs: int = Field(
        default=25, ge=0, description="At most so many epochs of network and head; 0: none."
    )
    frozen_rate: float = Field(default=1e-3, gt=0, description="Learning rate of the first phase.")
    tuned_rate: float = Field(
        default=1e-4, gt=0, description="Learning rate of the second phase: an order of magnitude lower."
    )
    batch_size: int = Field(default=32, ge=1, description="Images per step.")
    optimizer: str = Field(
        default="adam",
        description="Keras' optimizer on images, by name; on cached features the first phase always takes Adam.",
    )
    cosine: bool = Field(
        default=False, description="Let the rate of the second phase fall to zero along a half cosine."
    )
    patience: int = Field(
        default=5,
        ge=1,
        description="Epochs without a lower validation loss after which a phase stops; the best weights are kept.",
    )
    plateau: int = Field(
        default=0,
        ge=0,
        description="Epochs without a lower validation loss after which the rate is halved; 0: never.",
    )
    tune_from: str | None = Field(
        default=None,
        description="The network's first layer to be fine-tuned, by name; all of them unless given.",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the probability spread evenly over all labels."
    )
    class_weights: bool = Field(
        default=False, description="Weight each image by n_images / (n_labels * images of its label)."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="What the network computes in: float16 is for GPUs, with a scaled loss; auto takes bfloat16 where "
        "it is faster, else float32. Weights and what is saved are float32.",
    )
    augmentation: Augmentation | None = Field(
        default=None,
        description="Change training images: true, false, or a table of strengths (fine_tuning.augmentation.rotation "
        "and so on).",
    )
    views: int = Field(
        default=0,
        ge=0,
        description="With augmentation, the first phase takes the features of so many views of each image, extracted "
        "once; 0: it passes newly changed images through the network in every epoch.",
    )
    max_steps: int | None = Field(
        default=None, ge=1, description="At most so many steps per epoch on images."
    )
    deterministic: bool = Field(
        default=False,
        description="The same seed gives the same model bit for bit on the same machine. TensorFlow can't switch it "
        "off again in a process.",
    )
    tensorboard: bool = Field(
        default=False, description="Write the curves as TensorBoard event files too. It changes no model."
    )

    @field_validator("augmentation", mode="before")
    @classmethod
    def _switched(cls, value: Any) -> Any:
        """Take true for the default strengths and false for none."""
        if value is True:
            return Augmentation()
        return None if value is False else value

    @field_validator("optimizer")
    @classmethod
    def _of_keras(cls, name: str) -> str:
        if name.lower() not in OPTIMIZERS:
            raise ValueError(f"the optimizer must be one of Keras': {', '.join(OPTIMIZERS)}")
        return name

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.views and self.augmentation is None:
            raise ValueError(
                f"views = {self.views} needs an augmentation, as all views are alike without one: set "
                "fine_tuning.augmentation = true as well, or views = 0"
            )
        if self.frozen_epochs + self.tuned_epochs == 0:
            raise ValueError("frozen_epochs and tuned_epochs can't both be 0: there would be no training")
        return self

    def identity(self) -> dict[str, Any]:
        """Return the settings that the trained model depends on."""
        return self.model_dump(exclude={"tensorboard"})
