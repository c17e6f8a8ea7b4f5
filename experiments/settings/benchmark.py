"""Settings of a study: frozen, validated where they enter, read from TOML, changed with `section.key=value`."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from aisles.data_prep.io.settings_errors import explained
from aisles.hierarchy.rules import parse_rule

Head = Literal["v1.1", "v1.2", "v1.3", "v1.4", "v2.1", "v2.2", "vgg"]
Settings = TypeVar("Settings", bound=BaseModel)


class Section(BaseModel):
    """Settings that refuse unknown keys and don't change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Section):
    """What happens to the images before any model sees them.

    `note` is what readers must know about the images; the report says it under the verdict. `resplit` makes new splits
    where the manifest brings some; `split_by="image"` lets photographs of one product fall into several splits, which
    leaks and is there to show how much: a manifest's splits are taken as they are if products cross them already,
    otherwise new ones are made. `min_similarity` leaves out training images from secondary listing photographs (source
    `other`) below that similarity.
    """

    label_column: str = "label"
    note: str = ""
    strict: bool = False
    split_seed: int = 0
    split_by: Literal["product", "image"] = "product"
    resplit: bool = False
    min_similarity: float | None = None
    train_share: float = Field(default=0.64, gt=0)
    val_share: float = Field(default=0.16, gt=0)
    test_share: float = Field(default=0.2, gt=0)

    @property
    def shares(self) -> dict[str, float]:
        """Shares by split; they need not sum to 1."""
        return {"train": self.train_share, "val": self.val_share, "test": self.test_share}


class BackboneSettings(Section):
    """Which pretrained network turns pixels into features."""

    name: Literal["efficientnet_lite0", "inception_v3", "vgg16"] = "efficientnet_lite0"
    weights: str = "imagenet"
    input_size: tuple[int, int] | None = None
    color: Literal["rgb", "gray"] = "rgb"
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_size: int = Field(default=32, ge=1)


class HierarchySettings(Section):
    """How classes become macro-categories.

    `file` (JSON) or `column` (of the manifest) brings a hierarchy; otherwise classes are clustered. `independent` names
    the column with a grouping that nobody learned from these images, on which the distance of mistakes is measured
    too: "auto" takes the first extra column that gives every class one of several names, "none" does without.
    `bootstraps` are those of the hierarchy's stability.
    """

    macros: int | Literal["auto"] = 5
    linkage: Literal["ward", "average", "complete"] = "ward"
    file: str | None = None
    column: str | None = None
    independent: str = "auto"
    bootstraps: int = Field(default=20, ge=1)

    @field_validator("macros")
    @classmethod
    def _at_least_two(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 2:
            raise ValueError("there must be at least 2 macros, or 'auto'")
        return value

    @model_validator(mode="after")
    def _brought_once(self) -> Self:
        if self.file is not None and self.column is not None:
            raise ValueError("a hierarchy is brought as a file or as a column of the manifest, not as both")
        return self


class TrainingSettings(Section):
    """How every head is trained; the same for all methods."""

    head: Head = "v1.3"
    epochs: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    batch_size: int = Field(default=32, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: bool = False
    refit: bool = True


class ComparisonSettings(Section):
    """Who is compared, and how; named before anything is measured.

    The methods are those of `aisles.experiments.methods.registry`; `aisles benchmark --help` lists them. Baselines, and
    flat ensembles that cost as much as separate fine-tuned networks, take part unasked.
    """

    methods: tuple[str, ...] = ("flat", "hard", "soft", "implied", "hie", "masked")
    seeds: int = Field(default=3, ge=1)
    margin: float = Field(default=0.01, gt=0, lt=1)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    primary: str = "soft"
    random_partitions: int = Field(default=5, ge=1)

    @field_validator("methods")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from aisles.experiments.methods.registry import find_method

        for name in names:
            find_method(name)
        if len(set(names)) < len(names):
            raise ValueError("every method may be named once")
        return names

    @field_validator("primary")
    @classmethod
    def _answers_with_classes(cls, rule: str) -> str:
        if parse_rule(rule).definition.several_levels:
            raise ValueError("climb answers at two levels; the primary rule must answer with classes")
        return rule

    @property
    def everyone(self) -> tuple[str, ...]:
        """The methods' names, flat, the primary rule and everybody's baselines among them in any case."""
        from aisles.experiments.methods.registry import FLAT, everyone

        return everyone((FLAT, *self.methods, self.primary))


class ImageSettings(Section):
    """How a model is trained on images; see `aisles.models.fine_tuning.two_phase.TwoPhaseTraining`."""

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
        from aisles.models.fine_tuning.two_phase import check_optimizer

        check_optimizer(name)
        return name

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.views and not self.augment:
            raise ValueError(
                f"views = {self.views} asks for augmented views: set augment = true as well, or views = 0"
            )
        if self.frozen_epochs + self.tuned_epochs == 0:
            raise ValueError("frozen_epochs and tuned_epochs can't both be 0: there would be no training")
        return self


class AugmentationSettings(Section):
    """How much images are changed where `images.augment` is true; see `aisles.models.fine_tuning.augmentation`."""

    flip: bool = True
    rotation: float = Field(default=15.0, ge=0, le=180)
    zoom: float = Field(default=0.15, ge=0, lt=1)
    translation: float = Field(default=0.1, ge=0, lt=1)
    contrast: float = Field(default=0.1, ge=0, lt=1)
    brightness: float = Field(default=0.1, ge=0, lt=1)


class SweepSettings(Section):
    """Which cuts of the tree a sweep tries, each with the primary rule."""

    macros: tuple[int, ...] = tuple(range(2, 13))
    linkages: tuple[Literal["ward", "average", "complete"], ...] = ("ward",)


class BenchmarkSettings(Section):
    """Everything that decides a study, apart from the images."""

    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    hierarchy: HierarchySettings = HierarchySettings()
    training: TrainingSettings = TrainingSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    sweep: SweepSettings = SweepSettings()
    images: ImageSettings = ImageSettings()
    augmentation: AugmentationSettings = AugmentationSettings()


def with_all_methods(settings: BenchmarkSettings) -> BenchmarkSettings:
    """Return the settings with every method of a full benchmark that can run here added."""
    from aisles.experiments.methods.registry import full_methods

    names = (*settings.comparison.methods, *full_methods())
    comparison = settings.comparison.model_copy(update={"methods": tuple(dict.fromkeys(names))})
    return settings.model_copy(update={"comparison": comparison})


def recipe_names() -> tuple[str, ...]:
    """List the presets that come with the package."""
    return tuple(sorted(_presets()))


def read_settings(
    path: str | Path | None = None, changes: Iterable[str] = (), kind: type[Settings] = BenchmarkSettings
) -> Settings:
    """Read settings from TOML and apply changes.

    Parameters
    ----------
    path : path or str, optional
        A TOML file with some of the sections and keys, or the name of a recipe of the package; the defaults hold for
        the others.
    changes : iterable of str
        Such as `training.epochs=40` or `hierarchy.macros=auto`, applied in order.
    kind : type
        Which settings: `BenchmarkSettings`, or another model made of sections.

    Raises
    ------
    ValueError
        For a file that is no TOML, or neither file nor recipe, an unknown section or key, or a value out of range.
    """
    content: dict[str, Any] = {}
    if path is not None:
        path = _settings_file(path)
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"The settings {path} can't be read: {error}.") from error
    for change in changes:
        _apply(content, change)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"The settings are not valid. {explained(error, kind)}") from None


def _settings_file(given: str | Path) -> Path:
    if Path(given).exists() and not Path(given).is_dir():  # a run folder may be called after its recipe
        return Path(given)
    if str(given) not in recipe_names():
        raise ValueError(
            f"There is no file {given}, and no recipe of that name. Recipes: {', '.join(recipe_names())}."
        )
    return _presets()[str(given)]


def _presets() -> dict[str, Path]:
    folder = Path(__file__).parent / "presets"
    return {file.stem: file for file in folder.glob("*/*.toml")}


def _apply(content: dict[str, Any], change: str) -> None:
    name, sign, text = change.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (sign and dot and section and key):
        raise ValueError(f"A change is written section.key=value. Received: {change!r}.")
    if not isinstance(content.setdefault(section, {}), dict):
        raise ValueError(f"{section!r} is no section.")
    content[section][key] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def explained_difference(before: BenchmarkSettings, after: BenchmarkSettings) -> list[str]:
    """List the settings that differ and matter, as `section.key: before -> after`."""
    from aisles.experiments.methods.registry import fine_tunes

    old, new = before.model_dump(), after.model_dump()
    del new["data"]["note"]
    if not any(fine_tunes(each.comparison.everyone) for each in (before, after)):
        del new["images"], new["augmentation"]
    return [
        f"{section}.{key}: {old[section][key]} -> {value}"
        for section, values in new.items()
        for key, value in values.items()
        if old[section][key] != value
    ]
