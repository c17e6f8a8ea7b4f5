"""Which classes and macros a table says are possible for each image."""

import os
from collections.abc import Callable
from pathlib import Path

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.tables import read_table

DIVIDER = "|"


def read_possible(path: Path, column: str) -> Callable[[Path | str], list[str] | None]:
    """Return the function from an image's path to its possible classes and macros, None for all.

    Parameters
    ----------
    path : Path
        A CSV with the columns `file_name` (relative to the CSV, or to the folder that the command runs in) and
        `column`: names joined by |, empty for all classes.
    column : str

    Raises
    ------
    DataError
        If the file or a column is missing; by the function, if the image has no row.
    """
    table = read_table(path)
    missing = [name for name in ("file_name", column) if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} must have the columns file_name and {column}. Missing: {missing}; found: {list(table.columns)}. "
            "Name the column of possible classes with --only-column."
        )
    found: dict[str, list[str] | None] = {}
    for name, cell in zip(table["file_name"], table[column], strict=True):
        names = [part.strip() for part in str(cell).split(DIVIDER) if part.strip()]
        for place in ("", path.parent):
            found[os.path.abspath(os.path.join(place, name))] = names or None

    def possible(image: Path | str) -> list[str] | None:
        try:
            return found[os.path.abspath(image)]
        except KeyError:
            raise DataError(
                f"{image} has no row in {path}. Add one; an empty cell in {column} means all classes."
            ) from None

    return possible
