"""Stages of a run: made once for the same inputs, whole or not at all."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import sha256_of
from aisles.data_prep.io.whole_folder import whole_folder

logger = logging.getLogger(__name__)
STAMP = "stage.json"


def stage(folder: str | Path, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> bool:
    """Make a folder's content unless it was made from the same inputs before.

    Parameters
    ----------
    folder : path
        The stage's folder inside the run folder.
    inputs : mapping
        Everything that the content depends on, as values that JSON can hold.
    make : callable
        Writes the content into the folder that it is given. That folder becomes `folder` only when `make` is done,
        so a killed run leaves no half-made stage.

    Returns
    -------
    bool
        Whether it was made now (False: it was there already).
    """
    folder = Path(folder)
    key = fingerprint(inputs)
    if _made_from(folder) == key:
        logger.debug("%s is unchanged.", folder.name)
        return False
    with whole_folder(folder) as part:
        make(part)
        hashes = {
            path.relative_to(part).as_posix(): sha256_of(path) for path in part.rglob("*") if path.is_file()
        }
        stamp = {"key": key, "inputs": inputs, "sha256": hashes}
        (part / STAMP).write_text(json.dumps(stamp, indent=1, default=str))
    return True


def is_made(folder: str | Path, inputs: Mapping[str, Any]) -> bool:
    """Return whether a stage was made from these inputs."""
    return _made_from(Path(folder)) == fingerprint(inputs)


def made_from(folder: str | Path) -> dict[str, Any]:
    """Return the inputs that a stage was made from, as the stage itself records them."""
    return read_facts(Path(folder) / STAMP)["inputs"]


def read_facts(file: str | Path) -> dict[str, Any]:
    """Read an object of JSON that a stage has written.

    Raises
    ------
    DataError
        If the file is gone or damaged; its path and what to do are named.
    """
    file = Path(file)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} is damaged or gone ({error}). Delete the folder {file.parent} and run again: it is made anew."
        ) from error
    return found


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256 of values that JSON can hold, independent of the order of keys."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def _made_from(folder: Path) -> str | None:
    """Return the key of what a folder was made from; None if it isn't there, or a file of it was changed or lost."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
        hashes = stamp["sha256"]
        whole = all(sha256_of(folder / name) == digest for name, digest in hashes.items())
        return stamp["key"] if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
