"""Tables of text: parts of them, and their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

from .errors import DataError
from .files import whole_file


def rows(table: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """Return the rows where `mask` is true, as a table of its own."""
    return cast(pd.DataFrame, table[mask]).copy()


def columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return some columns, in the order of `names`, as a table of its own."""
    return cast(pd.DataFrame, table[list(names)]).copy()


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """Return one column."""
    return cast(pd.Series, table[name])


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a CSV that appears whole or not at all; floating point numbers so that they read back equal."""
    with whole_file(path) as part:
        table.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")


def read_table(path: str | Path, numbers: Sequence[str] = (), made_by: str = "") -> pd.DataFrame:
    """Read a CSV of text.

    Parameters
    ----------
    path : str or Path
        The file.
    numbers : sequence of str
        The columns that hold numbers (an empty field is NaN); everything else is text, however it looks.
    made_by : str
        The command that makes the file, for the message if it is missing.

    Returns
    -------
    DataFrame
        Without any NaN in its text.

    Raises
    ------
    DataError
        If the file is not there.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8")
    except FileNotFoundError as error:
        hint = f" Make it with `{made_by}`." if made_by else ""
        raise DataError(f"{path} is not there.{hint}") from error
    for name in numbers:
        texts = table[name].tolist()
        table[name] = [float(text or "nan") for text in texts] if "" in texts else pd.to_numeric(table[name])
    return table
