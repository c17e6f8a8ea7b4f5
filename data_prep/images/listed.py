"""A manifest as people write it, CSV from spreadsheets and programs, read as text."""

import csv
from pathlib import Path

import pandas as pd

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.tables import restored_table

_DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "bars"}
_NEEDED = ("file_name", "label")


def read_text_table(path: Path) -> pd.DataFrame:
    """Read a CSV as text only; pandas would guess at types and pass over surplus cells.

    A first line `sep=;`, which spreadsheets write and read, says what divides cells; the apostrophe in front of what a
    spreadsheet would compute (`'=1+2`) is taken away.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte order mark, with a header.

    Returns
    -------
    DataFrame
        Of str; names of columns without blanks around them.

    Raises
    ------
    DataError
        If it is not UTF-8, not regular (the row and line are named), empty, or a row has too few or too many cells.
    """
    rows: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            delimiter = _told_delimiter(first)
            if delimiter is None:
                stream.seek(0)
            reader = csv.reader(stream, strict=True, delimiter=delimiter or ",")
            rows += (row for row in reader if row)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: a manifest must be UTF-8 ({error}). Save it again as UTF-8.") from error
    except csv.Error as error:
        line = reader.line_num + (delimiter is not None)
        raise DataError(
            f"{path} is not a regular CSV: {error}, in or before line {line}, row {len(rows)} of the data. Write a "
            'quotation mark inside quotes twice (24"" for 24 inches), and end every quote.'
        ) from error
    if not rows:
        raise DataError(f"{path} is empty. It needs a header with file_name and label.")
    header, cells = [name.strip() for name in rows[0]], rows[1:]
    _check_header(header, path)
    width = len(header)
    for number, row in enumerate(cells, start=1):
        if len(row) < width or any(row[width:]):
            raise DataError(
                f"{path}: every row must have {width} cells as the header has. Row {number} of the data "
                f"has {len(row)}; put names with commas in quotes."
            )
    return restored_table(pd.DataFrame([row[:width] for row in cells], columns=header, dtype=str))


def _told_delimiter(line: str) -> str | None:
    text = line.strip().strip('"')
    return text[4:] if text.lower().startswith("sep=") and len(text) == 5 else None


def _check_header(header: list[str], path: Path) -> None:
    if len(set(header)) < len(header):
        raise DataError(f"{path}: column names must differ. Received: {header}.")
    only = header[0] if len(header) == 1 else ""
    told = next((name for mark, name in _DELIMITERS.items() if mark in only), None)
    if told:
        raise DataError(
            f"{path}: a manifest needs the columns file_name and label; the header is divided by {told}: {only!r}. "
            "Separate columns by commas."
        )


def missing_columns(columns: list[str], where: str, folders: bool = False) -> str:
    """Return in words which of the needed columns are missing, which were probably meant, what to do; "" if none is.

    Parameters
    ----------
    columns : list of str
        Those that there are.
    where : str
        The table, for the message.
    folders : bool
        Whether it stands beside class folders, which would be read without it.
    """
    missing = [name for name in _NEEDED if name not in columns]
    if not missing:
        return ""
    meant = {name: _meant(name, columns) for name in missing}
    hints = [f" Did you mean {column!r} for {name}? Rename it." for name, column in meant.items() if column]
    if folders:
        hints.append(
            f" There are class folders beside it, which are read where there is no {Path(where).name}: rename or move "
            "it to have the folders read."
        )
    return (
        f"{where}: a manifest needs the columns file_name and label; missing: {missing}. "
        f"Found: {columns}.{''.join(hints)}"
    )


def _meant(name: str, columns: list[str]) -> str:
    """Return the column that differs by case, blanks or dashes alone, or is what others call it."""
    others = {
        "file_name": {
            "filename",
            "file",
            "path",
            "filepath",
            "image",
            "imagepath",
            "imagename",
            "imagefile",
            "img",
        },
        "label": {"label", "labels", "class", "classname", "category", "target", "y"},
    }[name]
    plain = {"".join(filter(str.isalnum, column.lower())): column for column in reversed(columns)}
    return next((plain[word] for word in sorted(others & set(plain), key=len, reverse=True)), "")
