"""Stages of a run: made once for the same inputs, whole or not at all."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".part-{folder.name}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".part-{folder.name}-", dir=folder.parent))
    part.chmod(0o755)
    try:
        make(part)
        (part / STAMP).write_text(json.dumps({"key": key, "inputs": inputs}, indent=1, default=str))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def is_made(folder: str | Path, inputs: Mapping[str, Any]) -> bool:
    """Say whether a stage was made from these inputs."""
    return _made_from(Path(folder)) == fingerprint(inputs)


def made_from(folder: str | Path) -> dict[str, Any]:
    """Give the inputs that a stage was made from, as the stage itself records them."""
    return json.loads((Path(folder) / STAMP).read_text())["inputs"]


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Give the SHA-256 of values that JSON can hold, independent of the order of keys."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def _made_from(folder: Path) -> str | None:
    try:
        return json.loads((folder / STAMP).read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
