"""Writing settings as TOML that `--config` reads back."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from aisles.data_prep.io.files import write_whole

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def write_settings(
    path: str | Path, settings: BaseModel, *, notes: Iterable[str] = (), without: Iterable[str] = ()
) -> Path:
    """Write all settings, defaults too, as TOML.

    What is None is left out, for TOML has no word for it and it is every such setting's default. Reading the file
    back gives equal settings.

    Parameters
    ----------
    path : path
    settings : BaseModel
        `BenchmarkSettings` or `TrainSettings`.
    notes : iterable of str
        Lines of comment at the top, such as the command.
    without : iterable of str
        Sections to leave out.

    Returns
    -------
    Path
    """
    comments = [f"# {line}" for note in notes for line in note.splitlines()]
    content = settings.model_dump(mode="json", exclude=set(without))
    return write_whole(path, "\n".join([*comments, *_table(content, ())]).lstrip("\n") + "\n")


def _table(content: Mapping[str, Any], parents: tuple[str, ...]) -> Iterator[str]:
    values = {key: value for key, value in content.items() if value is not None}
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    if parents and (plain or len(plain) == len(values)):
        yield f"\n[{'.'.join(map(_key, parents))}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_literal(value)}"
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _table(value, (*parents, key))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)  # whole numbers, and floats in the shortest spelling that reads back the same


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
