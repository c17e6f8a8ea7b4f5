"""Reading settings: presets, TOML files and single changes, laid over each other and checked once."""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from aisles.data_prep.io.settings_errors import explained

from .benchmark import BenchmarkSettings
from .preset_files import preset_files

Settings = TypeVar("Settings", bound=BaseModel)
Change = str | tuple[str, Any]
"""`section.key=value` as text, the value in TOML's spelling; or the pair of `section.key` and a value."""


def read_settings(
    config: str | Path | None = None,
    changes: Iterable[Change] | Mapping[str, Any] = (),
    kind: type[Settings] = BenchmarkSettings,
    *,
    preset: str | None = None,
) -> Settings:
    """Read settings; whatever comes later in this list wins: defaults, preset, file, changes.

    Parameters
    ----------
    config : path, optional
        A TOML file with some of the sections and keys, such as a run's `settings.toml`.
    changes : iterable of str or of (str, value), or mapping of str to value
        Such as `training.epochs=40` or `{"hierarchy.macros": "auto"}`, applied in order.
    kind : type
        Which settings: `BenchmarkSettings` or `TrainSettings`.
    preset : str, optional
        The name of settings that come with the package for this command.

    Raises
    ------
    ValueError
        For a file that can't be read, an unknown preset, section or key, or a value out of range.
    """
    content: dict[str, Any] = {}
    if preset is not None:
        _lay_over(content, _content_of(_preset_file(preset, kind)))
    if config is not None:
        if not Path(config).is_file():
            raise ValueError(f"There is no settings file {config}. {_presets_told(str(config), kind)}")
        _lay_over(content, _content_of(Path(config)))
    listed: list[Any] = list(changes.items() if isinstance(changes, Mapping) else changes)
    for change in listed:
        path, value = _parsed(change) if isinstance(change, str) else change
        apply_change(content, path, value)
    return validated(content, kind)


def validated(content: Mapping[str, Any], kind: type[Settings] = BenchmarkSettings) -> Settings:
    """Check settings that lie in nested mappings.

    Raises
    ------
    ValueError
        Naming the setting, the rule and what was received.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"The settings are not valid. {explained(error, kind)}") from None


def apply_change(content: dict[str, Any], path: str, value: Any) -> None:
    """Change one setting in nested mappings.

    A section that is switched on (`fine_tuning.augmentation = true`) keeps the values it has.

    Raises
    ------
    ValueError
        If the path has no section, or leads through a setting that is not a section.
    """
    *sections, key = path.split(".")
    if not sections or not all((*sections, key)):
        raise ValueError(f"A setting is named section.key. Received: {path!r}.")
    for section in sections:
        if content.get(section) in (None, True, False):
            content[section] = {}
        if not isinstance(content[section], dict):
            raise ValueError(f"{section!r} is not a section. Received: {path!r}.")
        content = content[section]
    if not (value is True and isinstance(content.get(key), dict)):
        content[key] = value


def _lay_over(content: dict[str, Any], other: Mapping[str, Any]) -> None:
    for section, values in other.items():
        if isinstance(values, dict):
            for key, value in values.items():
                apply_change(content, f"{section}.{key}", value)
        else:
            content[section] = values


def _content_of(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The settings {path} can't be read: {error}.") from error


def _preset_file(name: str, kind: type[BaseModel]) -> Path:
    files = preset_files(_command_of(kind))
    if name not in files:
        raise ValueError(f"There is no preset {name!r}. {_presets_told(name, kind)}")
    return files[name]


def _presets_told(given: str, kind: type[BaseModel]) -> str:
    command = _command_of(kind)
    names = list(preset_files(command))
    meant = get_close_matches(given, names, n=1)
    hint = f"Did you mean the preset {meant[0]}? " if meant else ""
    return f"{hint}Presets of {command}: {', '.join(names)}."


def _command_of(kind: type[BaseModel]) -> str:
    return getattr(kind, "command", "")


def _parsed(change: str) -> tuple[str, Any]:
    name, sign, text = change.partition("=")
    if not sign or "." not in name:
        raise ValueError(f"A change is written section.key=value. Received: {change!r}.")
    return name.strip(), _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
