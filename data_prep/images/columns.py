"""The columns of a manifest: checked, filled in and put in order; arithmetic on tables, no files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from aisles.data_prep.io.errors import DataError

from .listed import missing_columns
from .spelling import alike, missing_products, one_form
from .split_names import find_split_column, split_named

TEXT_COLUMNS = ("file_name", "label", "product", "split", "source")
COLUMNS = (*TEXT_COLUMNS, "similarity")


class CompleteTable(NamedTuple):
    """A table as `Manifest.table` wants it; what was filled in, and what may be a mistake."""

    table: pd.DataFrame
    notes: list[str]
    warnings: list[str]


def complete_table(
    table: pd.DataFrame, where: str = "the manifest", class_folders: bool = False
) -> CompleteTable:
    """Check the columns of a manifest's table, fill in what may be missing and put them in order.

    Labels are written in one form (`spelling.one_form`); products that are a missing value written as text are missing;
    a column that holds splits under another name is the split.

    Parameters
    ----------
    table : DataFrame
        With at least file_name and label.
    where : str
        What to call the table in messages.
    class_folders : bool
        Whether class folders stand beside it, for messages.

    Returns
    -------
    CompleteTable
        Rows in the same order.

    Raises
    ------
    DataError
        As in `read_manifest`.
    """
    notes: list[str] = []
    warnings: list[str] = []
    fault = missing_columns([str(name) for name in table.columns], where, class_folders)
    if fault:
        raise DataError(fault)
    if table.empty:
        raise DataError(f"{where} has no rows: there are no images. Add one row per image.")
    text = {str(name): _as_text(column) for name, column in table.items()}
    _name_split(text, notes, warnings)
    for name in ("label", "product", "split", "source"):
        text[name] = text[name].str.strip() if name in text else _blank(len(table))
    text["label"] = _in_one_form(text["label"], notes, warnings)
    _check_cells(text, where)
    text["split"] = _known_splits(text["split"], where)
    text["product"] = _named_products(text, where, notes, warnings)
    similarity = _numbers(text.get("similarity", _blank(len(table))), where)
    others = [name for name in text if name not in COLUMNS]
    ordered = {**{name: text[name] for name in TEXT_COLUMNS}, "similarity": similarity}
    return CompleteTable(pd.DataFrame({**ordered, **{name: text[name] for name in others}}), notes, warnings)


def with_labels_from(table: pd.DataFrame, column: str, where: str) -> pd.DataFrame:
    """Return a table whose labels are another column's; `label`, if there is one, is kept as `original_label`.

    Where the table has a column `original_label` already, the labels are kept as `original_label_2`, and so on.
    """
    if column == "label":
        return table
    if column not in table:
        raise DataError(
            f"{where}: there is no column {column!r} to take labels from. Found: {list(table.columns)}."
        )
    chosen = table[column]
    if "label" in table:
        names = ("original_label", *(f"original_label_{n}" for n in range(2, len(table.columns) + 3)))
        table = table.rename(columns={"label": next(name for name in names if name not in table)})
    return table.assign(label=chosen)


def _name_split(text: dict[str, pd.Series], notes: list[str], warnings: list[str]) -> None:
    """Take the splits from a column of another name."""
    if "split" in text:
        return
    used, unused = find_split_column(pd.DataFrame(text))
    if used:
        text["split"] = text[used].map(split_named)
        notes.append(f"The column {used!r} is taken for the split.")
    if unused:
        warnings.append(
            f"Columns that look like a split and are not used: {', '.join(unused)}. Call the column split, with train, "
            "val and test, to have it used."
        )


def _in_one_form(labels: pd.Series, notes: list[str], warnings: list[str]) -> pd.Series:
    forms = {label: one_form(label) for label in set(labels)}
    changed = sorted(label for label, form in forms.items() if label != form)
    if changed:
        notes.append(f"Class names are written with composed letters and single blanks: {_ascii(changed)}.")
    groups = alike(forms.values())
    if groups:
        told = "; ".join(_ascii(group) for group in groups[:5])
        warnings.append(f"Class names that differ by case or form alone are several classes: {told}.")
    return labels.map(forms).astype(str)


def _named_products(
    text: dict[str, pd.Series], where: str, notes: list[str], warnings: list[str]
) -> pd.Series:
    products = text["product"]
    written = missing_products(products)
    if written.any():
        warnings.append(
            f"{int(written.sum()):,} images whose product is written as "
            f"{shortened(sorted(set(products[written])))} count as products of their own: that means a missing value."
        )
        products = products.where(~written, "")
    unnamed = np.asarray(products == "")
    if unnamed.any():
        which = "Every image" if unnamed.all() else f"Each of {unnamed.sum():,} images"
        notes.append(f"{which} counts as its own product: {Path(where).name} names none.")
        products = products.where(~unnamed, text["file_name"])
    return products


def _ascii(names: Sequence[str]) -> str:
    return ", ".join(ascii(name) for name in list(names)[:5])


def _as_text(column: pd.Series) -> pd.Series:
    missing = column.isna().tolist()
    texts = ["" if gone else str(value) for value, gone in zip(column, missing, strict=True)]
    return pd.Series(texts, dtype=str)


def _blank(n_rows: int) -> pd.Series:
    return pd.Series([""] * n_rows, dtype=str)


def _check_cells(text: dict[str, pd.Series], where: str) -> None:
    for name in ("file_name", "label"):
        empty = np.flatnonzero(text[name].str.strip() == "")
        if len(empty):
            raise DataError(
                f"{where}: every row needs a {name}. Empty in {len(empty)} rows, the first is row "
                f"{empty[0] + 1} of the data. Fill them in or delete the rows."
            )
    repeated = text["file_name"][text["file_name"].duplicated()]
    if len(repeated):
        raise DataError(
            f"{where}: every file may be listed once. Repeated: {shortened(sorted(set(repeated)))}. "
            "Delete the repetitions; a file with two labels can't be used for either."
        )


def _known_splits(splits: pd.Series, where: str) -> pd.Series:
    names = {name: split_named(name) for name in set(splits)}
    unknown = sorted(name for name, split in names.items() if name and not split)
    if unknown:
        raise DataError(f"{where}: a split is called train, val or test. Received: {shortened(unknown)}.")
    known = splits.map(names)
    without = int((known == "").sum())
    if 0 < without < len(known):
        raise DataError(
            f"{where}: {without} of {len(known)} rows have no split. Give every row one, or leave "
            "the column out and have the split made."
        )
    return known.astype(str)


def _numbers(column: pd.Series, where: str) -> np.ndarray:
    numbers = np.full(len(column), np.nan)
    for i, text in enumerate(column):
        try:
            numbers[i] = float(text) if text.strip() else np.nan
        except ValueError:
            raise DataError(f"{where}: similarity must be a number or empty. Received: {text!r}.") from None
    return numbers


def shortened(names: Sequence[object], most: int = 5) -> str:
    """Quote the first names of a list and count the others, for a message."""
    shown = ", ".join(repr(name) for name in list(names)[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
