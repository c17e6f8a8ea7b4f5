"""Steps that are not done twice: a folder made once for the same inputs, whole or not at all."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import DataError
from .files import sha256_of
from .tables import read_table, write_table
from .whole_folder import whole_folder

logger = logging.getLogger(__name__)
STAMP = "step.json"
TABLES_VERSION = 2
"""Raised whenever a step of `TableSteps` makes other tables of the same input."""


def step(folder: str | Path, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> bool:
    """Make a folder's content unless it was made from the same inputs before.

    Parameters
    ----------
    folder : path
        The step's own.
    inputs : mapping
        Everything that the content depends on, as values that JSON can hold.
    make : callable
        Writes the content into the folder that it is given. That folder becomes `folder` only when `make` is done,
        so a killed run leaves no half-made step.

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
    """Return whether a step was made from these inputs."""
    return _made_from(Path(folder)) == fingerprint(inputs)


def made_from(folder: str | Path) -> dict[str, Any]:
    """Return the inputs that a step was made from, as its folder records them."""
    return read_facts(Path(folder) / STAMP)["inputs"]


def read_facts(file: str | Path) -> dict[str, Any]:
    """Read an object of JSON that a step has written.

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
        whole = all(sha256_of(folder / name) == digest for name, digest in stamp["sha256"].items())
        return stamp["key"] if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass
class TableSteps:
    """Steps in a row that leave tables behind; each depends on all before it.

    Attributes
    ----------
    folder : Path
        Holds one folder per step, with its tables.
    key : str
        The hash of everything so far.
    reused : list of str
        The steps whose tables were there already.
    """

    folder: Path
    key: str
    reused: list[str] = field(default_factory=list)

    def run(
        self,
        name: str,
        settings: object,
        build: Callable[[], Mapping[str, pd.DataFrame]],
        numbers: tuple[str, ...] = (),
    ) -> dict[str, pd.DataFrame]:
        """Build a step's tables, or read them if nothing that went into them has changed.

        Parameters
        ----------
        name : str
            The step, and its folder.
        settings : anything that JSON can say
            What this step depends on, besides the steps before.
        build : callable
            Returns the tables by name.
        numbers : tuple of str
            Columns that hold numbers; all others are text.

        Returns
        -------
        dict of str to DataFrame
            As read back from the files, so that a first run and a later one go on from the same.
        """

        def make(part: Path) -> None:
            for table_name, table in build().items():
                write_table(part / f"{table_name}.csv", table)

        inputs = {"version": TABLES_VERSION, "before": self.key, "step": name, "settings": settings}
        self.key = fingerprint(inputs)
        if not step(self.folder / name, inputs, make):
            self.reused.append(name)
            logger.info("Step %s: nothing has changed, its tables are read.", name)
        return {
            path.stem: _with_numbers(path, numbers) for path in sorted((self.folder / name).glob("*.csv"))
        }


def _with_numbers(path: Path, numbers: tuple[str, ...]) -> pd.DataFrame:
    table = read_table(path)
    return read_table(path, [name for name in numbers if name in table.columns])
