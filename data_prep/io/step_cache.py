"""Steps that leave tables behind and are not done twice."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .files import sha256_of, write_whole
from .tables import read_table, write_table

log = logging.getLogger(__name__)

STEPS_VERSION = 2
"""Raised whenever a step makes other tables of the same input."""


@dataclass
class Steps:
    """The steps of one curation, in their folder; each depends on all before it.

    Attributes
    ----------
    folder : Path
        One folder per step: its tables, and `step.json`, written last, with the hash of what went in.
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
            Gives the tables by name.
        numbers : tuple of str
            Columns that hold numbers; all others are text.

        Returns
        -------
        dict of str to DataFrame
            As read back from the files, so that a first run and a later one go on from the same.
        """
        place = self.folder / name
        text = json.dumps([STEPS_VERSION, self.key, name, settings], sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        names = _recorded(place / "step.json", self.key)
        if names is None:
            tables = build()
            for table_name, table in tables.items():
                write_table(place / f"{table_name}.csv", table)
            names = list(tables)
            record = {"key": self.key, "tables": {n: sha256_of(place / f"{n}.csv") for n in names}}
            write_whole(place / "step.json", json.dumps(record, indent=1) + "\n")
        else:
            self.reused.append(name)
            log.info("Step %s: nothing has changed, its tables are read.", name)
        return {n: _with_numbers(place / f"{n}.csv", numbers) for n in names}


def _with_numbers(path: Path, numbers: tuple[str, ...]) -> pd.DataFrame:
    table = read_table(path)
    return read_table(path, [name for name in numbers if name in table.columns])


def _recorded(path: Path, key: str) -> list[str] | None:
    """Return the names of the tables that were written for this key, None if they are not all as written."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["key"] != key:
            return None
        tables = dict(record["tables"])
        intact = all(sha256_of(path.parent / f"{name}.csv") == digest for name, digest in tables.items())
        return list(tables) if intact else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
