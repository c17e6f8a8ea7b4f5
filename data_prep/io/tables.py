"""Tables of text: parts of them, and their files."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
from pandas.api.types import is_numeric_dtype

from .errors import DataError
from .escaping import file_name_restored, file_name_safe, formula_restored, formula_safe
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
        write_csv(part, table)


def write_csv(part: str | Path | io.StringIO, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table whose texts no spreadsheet computes and every reader finds whole; see `spreadsheet_table`."""
    table = spreadsheet_table(table)
    texts = [table[name] for name in table.columns if not is_numeric_dtype(table[name])]
    quoting = quoting_for(text for values in texts for text in values.unique())
    table.to_csv(
        part, index=False, lineterminator="\n", encoding="utf-8", float_format=float_format, quoting=quoting
    )


def quoting_for(texts: Iterable[object]) -> Literal[0, 2]:
    """Return csv's way of quoting: a lone carriage return, which readers take for the end of a line, needs quotes."""
    lone = any(isinstance(text, str) and "\r" in text for text in texts)
    return csv.QUOTE_NONNUMERIC if lone else csv.QUOTE_MINIMAL


def spreadsheet_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts no spreadsheet computes; `restored_table` gives the texts back.

    Files (the column `file_name`) keep names that open them; see `escaping.file_name_safe`.
    """
    return _with_texts(table, file_name_safe, formula_safe)


def restored_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table from which `spreadsheet_table` made one."""
    return _with_texts(table, file_name_restored, formula_restored)


def _with_texts(
    table: pd.DataFrame, of_file: Callable[[str], str], of_text: Callable[[str], str]
) -> pd.DataFrame:
    changed = {}
    for name in table.columns:
        if is_numeric_dtype(table[name]):
            continue
        change = of_file if name == "file_name" else of_text
        if isinstance(table[name].dtype, pd.CategoricalDtype) and all(
            change(str(value)) == str(value) for value in table[name].cat.categories
        ):
            continue
        values = table[name].tolist()
        texts = [change(value) if isinstance(value, str) else value for value in values]
        if any(text is not value for text, value in zip(texts, values, strict=True)):
            changed[name] = pd.Series(texts, table.index, dtype=object)
    return cast(pd.DataFrame, table.assign(**changed)) if changed else table


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
    table = restored_table(table)
    for name in numbers:
        texts = table[name].tolist()
        table[name] = [float(text or "nan") for text in texts] if "" in texts else pd.to_numeric(table[name])
    return table
