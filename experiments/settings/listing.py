"""Every setting with its type, default and meaning, read off the records."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes
    ----------
    name : str
        `section.key`, as `--set` and `settings={...}` take it.
    type : str
        What it may be, in words.
    default : object
        As Python has it.
    meaning : str
    """

    name: str
    type: str
    default: Any
    meaning: str


def list_settings(kind: type[BaseModel]) -> list[Setting]:
    """List the settings of a record made of sections, in its order; of a section inside one its keys too."""
    return list(_settings(kind, ""))


def _settings(kind: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for key, field in kind.model_fields.items():
        inner = [part for part in _parts(field.annotation) if _is_section(part)]
        if not (inner and not prefix):
            default = field.get_default(call_default_factory=True)
            shown = " or ".join(_words(part) for part in _parts(field.annotation))
            yield Setting(
                f"{prefix}{key}", f"{shown}{_bounds(field.metadata)}", default, field.description or ""
            )
        for section in inner:
            yield from _settings(section, f"{prefix}{key}.")


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _words(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(map(str, inside))
    if origin is tuple and inside[-1] is Ellipsis:
        return f"list of {_words(inside[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_words, inside))}]"
    if origin is dict:
        return "table"
    if _is_section(annotation):
        return "table"
    return {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "none"}[
        annotation
    ]


def _bounds(metadata: list[Any]) -> str:
    """Return the limits of a number, as `, at least 1`."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = [
        f"{text} {getattr(rule, name):g}"
        for rule in metadata
        for name, text in words.items()
        if getattr(rule, name, None) is not None
    ]
    return f", {' and '.join(found)}" if found else ""
