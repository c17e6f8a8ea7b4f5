"""Settings of a study: frozen, validated where they enter, read from TOML, changed with `section.key=value`."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

Settings = TypeVar("Settings", bound=BaseModel)


class Section(BaseModel):
    """Settings that refuse unknown keys and don't change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Section):
    """What happens to the images before any model sees them."""

    label_column: str = "label"
    strict: bool = False
    split_seed: int = 0
    train_share: float = Field(0.64, gt=0)
    val_share: float = Field(0.16, gt=0)
    test_share: float = Field(0.2, gt=0)

    @property
    def shares(self) -> dict[str, float]:
        """Shares by split; they need not sum to 1."""
        return {"train": self.train_share, "val": self.val_share, "test": self.test_share}


class BackboneSettings(Section):
    """Which pretrained network turns pixels into features."""

    name: str = "efficientnet_lite0"
    weights: str = "imagenet"
    input_size: tuple[int, int] | None = None
    color: Literal["rgb", "gray"] = "rgb"
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_size: int = Field(32, ge=1)


class HierarchySettings(Section):
    """How classes become macro-categories."""

    macros: int | Literal["auto"] = 5
    linkage: Literal["ward", "average", "complete"] = "ward"
    file: str | None = None

    @field_validator("macros")
    @classmethod
    def _at_least_two(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 2:
            raise ValueError("there must be at least 2 macros, or 'auto'")
        return value


class TrainingSettings(Section):
    """How every head is trained; the same for all contestants."""

    head: str = "v1.3"
    epochs: int = Field(100, ge=1)
    patience: int = Field(10, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: bool = False
    refit: bool = True


class ComparisonSettings(Section):
    """How the contestants are compared; named before anything is measured."""

    seeds: int = Field(3, ge=1)
    margin: float = Field(0.01, gt=0, lt=1)
    alpha: float = Field(0.05, gt=0, lt=0.5)
    primary: str = "soft"


class StudySettings(Section):
    """Everything that decides a study, apart from the images."""

    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    hierarchy: HierarchySettings = HierarchySettings()
    training: TrainingSettings = TrainingSettings()
    comparison: ComparisonSettings = ComparisonSettings()


def read_settings(
    path: str | Path | None = None, changes: Iterable[str] = (), kind: type[Settings] = StudySettings
) -> Settings:
    """Read settings from TOML and apply changes.

    Parameters
    ----------
    path : path, optional
        A TOML file with some of the sections and keys; the defaults hold for the others.
    changes : iterable of str
        Such as `training.epochs=40` or `hierarchy.macros=auto`, applied in order.
    kind : type
        Which settings: `StudySettings`, or another model made of sections.

    Raises
    ------
    ValueError
        For a file that is no TOML, an unknown section or key, or a value out of range.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"The settings {path} can't be read: {error}.") from error
    for change in changes:
        _apply(content, change)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(_explained(error)) from None


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


def _explained(error: ValidationError) -> str:
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        faults.append(f"{where}: {fault['msg']}. Received: {fault['input']!r}.")
    return "The settings are not valid. " + " ".join(faults)
