"""Stages of a run: made once for the same inputs, whole or not at all."""

import glob
import hashlib
import json
import logging
import os
import platform
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
    _remove_left_over(folder)
    part = Path(tempfile.mkdtemp(prefix=f"{_part_of(folder)}{os.getpid()}-", dir=folder.parent))
    part.chmod(0o755)
    try:
        make(part)
        sizes = {
            path.relative_to(part).as_posix(): path.stat().st_size
            for path in part.rglob("*")
            if path.is_file()
        }
        stamp = {"key": key, "inputs": inputs, "sizes": sizes}
        (part / STAMP).write_text(json.dumps(stamp, indent=1, default=str))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def is_made(folder: str | Path, inputs: Mapping[str, Any]) -> bool:
    """Return whether a stage was made from these inputs."""
    return _made_from(Path(folder)) == fingerprint(inputs)


def made_from(folder: str | Path) -> dict[str, Any]:
    """Return the inputs that a stage was made from, as the stage itself records them."""
    return json.loads((Path(folder) / STAMP).read_text())["inputs"]


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256 of values that JSON can hold, independent of the order of keys."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def _made_from(folder: Path) -> str | None:
    """Return the key of what a folder was made from; None if it isn't there, or a file of it was cut short or lost."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
        sizes = stamp.get("sizes", {})
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        return stamp["key"] if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _part_of(folder: Path) -> str:
    """Begin the name of an unfinished folder, which goes on with this machine and the number of the process."""
    return f".part-{folder.name}-{platform.node()}-"


def _remove_left_over(folder: Path) -> None:
    """Remove what killed processes of this machine left; what another process is writing stays."""
    start = _part_of(folder)
    for part in folder.parent.glob(f"{glob.escape(start)}*"):
        number = part.name.removeprefix(start).partition("-")[0]
        if not (number.isdigit() and _runs_elsewhere(int(number))):
            shutil.rmtree(part, ignore_errors=True)


def _runs_elsewhere(number: int) -> bool:
    """Return whether a process other than this one has the number; where that can't be asked safely, yes."""
    if number == os.getpid():
        return False
    if os.name == "nt":  # there, signal 0 would end it
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
