"""The manifest: one validated table with one row per image."""

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.io.archive import open_tar, split_tar_path
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import path_from, write_whole

from .decoding import IMAGE_SUFFIXES
from .folders import SPLIT_ALIASES, list_class_folders

TEXT_COLUMNS = ("file_name", "label", "product", "split", "source")
COLUMNS = (*TEXT_COLUMNS, "similarity")


@dataclass(frozen=True, eq=False)
class Manifest:
    """A table of labelled images and the folder that its file names start from.

    Attributes
    ----------
    table : DataFrame
        Columns file_name, label, product, split, source (text; a missing split or source is ""),
        similarity (float, NaN if missing) and whatever else the input had (text). Index 0..n-1.
    root : Path
        The folder that `file_name` is relative to.
    notes : tuple of str
        What was assumed or changed on the way, for a person to read.
    """

    table: pd.DataFrame
    root: Path
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def paths(self) -> list[Path]:
        """Each image's path, for `images.read_image_bytes`."""
        return [self.root / name for name in self.table["file_name"]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted, each once."""
        return tuple(sorted(set(self.table["label"])))

    @property
    def labels(self) -> np.ndarray:
        """Each image's label, an object array of str."""
        return self.table["label"].to_numpy(dtype=object)

    @property
    def products(self) -> np.ndarray:
        """Each image's product, an object array of str."""
        return self.table["product"].to_numpy(dtype=object)

    @property
    def splits(self) -> np.ndarray:
        """Each image's split, an object array of str; "" where none is given."""
        return self.table["split"].to_numpy(dtype=object)

    def keep(self, mask: np.ndarray | Sequence[bool], *notes: str) -> "Manifest":
        """Return the manifest of the rows where `mask` is true, with `notes` added."""
        table = self.table[np.asarray(mask, dtype=bool)].reset_index(drop=True)
        return replace(self, table=table, notes=(*self.notes, *notes))

    def with_columns(self, *notes: str, **columns: Sequence[object] | np.ndarray) -> "Manifest":
        """Return the manifest with columns set, for example `split`, and with `notes` added."""
        return replace(self, table=self.table.assign(**columns), notes=(*self.notes, *notes))

    def fingerprint(self, sha256: Sequence[str] | np.ndarray | None = None) -> str:
        """Hash what decides an experiment: file names, labels, products and splits, in order.

        Parameters
        ----------
        sha256 : sequence of str, optional
            Each image's own hash (`scan.ImageScan.sha256`), if it shall count too.

        Returns
        -------
        str
            A SHA-256 in hexadecimal.
        """
        columns = [self.table[name].tolist() for name in ("file_name", "label", "product", "split")]
        columns.append(list(sha256) if sha256 is not None else [""] * len(self))
        digest = hashlib.sha256()
        for row in zip(*columns, strict=True):
            digest.update(json.dumps(row, ensure_ascii=True).encode("ascii") + b"\n")
        return digest.hexdigest()


def read_manifest(
    path: str | Path, *, label_column: str = "label", check_files: bool = True, min_classes: int = 2
) -> Manifest:
    """Read a manifest, or make one from a folder of class folders.

    Parameters
    ----------
    path : str or Path
        A manifest CSV; a folder with a `metadata.csv`; or a folder `<class>/<image>` or
        `<split>/<class>/<image>`, where a split is called train, val (valid, validation) or test.
    label_column : str
        The column with the class, for a manifest with several levels of labels. The column `label`,
        if there is another, is kept as `original_label`.
    check_files : bool
        Whether a file that is not there is an error.
    min_classes : int
        How many classes there must be.

    Returns
    -------
    Manifest
        Rows in the order of the CSV; of a folder sorted by path.

    Raises
    ------
    DataError
        If there is nothing to read, a column is missing (or asked of class folders), labels are empty, a split is
        unknown, a file name is repeated, files are missing, or there are too few classes.
    """
    path = Path(path)
    if path.is_dir():
        listed = path / "metadata.csv"
        if label_column != "label" and not listed.is_file():
            raise DataError(
                f"Only a manifest has columns to take labels from. Received: label column {label_column!r} for {path}, "
                "a folder without metadata.csv, whose folders are the classes. Leave the label column out."
            )
        manifest = _from_csv(listed, label_column) if listed.is_file() else _from_folders(path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        manifest = _from_csv(path, label_column)
    elif path.exists():
        raise DataError(
            f"{path} is neither a manifest (.csv) nor a folder. "
            "Give a CSV with the columns file_name and label, or a folder of class folders."
        )
    else:
        raise DataError(f"{path} does not exist. Give a manifest CSV or a folder of class folders.")
    _check_classes(manifest, path, min_classes)
    if check_files:
        _check_files(manifest)
    return manifest


def write_manifest(manifest: Manifest, path: str | Path) -> Path:
    """Write a manifest as CSV, whole or not at all.

    Parameters
    ----------
    manifest : Manifest
        What to write.
    path : str or Path
        The CSV. If it is in another folder than `manifest.root`, file names are made relative to it.

    Returns
    -------
    Path
        `path`.
    """
    path = Path(path)
    table = manifest.table
    here, root = os.path.abspath(path.parent), os.path.abspath(manifest.root)
    if here != root:
        table = table.assign(file_name=[_moved(name, root, here) for name in table["file_name"]])
    return write_whole(path, table.to_csv(index=False, lineterminator="\n"))


def complete_table(table: pd.DataFrame, where: str = "the manifest") -> tuple[pd.DataFrame, list[str]]:
    """Check the columns of a manifest's table, fill in what may be missing and put them in order.

    Parameters
    ----------
    table : DataFrame
        With at least file_name and label.
    where : str
        What to call the table in messages.

    Returns
    -------
    tuple of (DataFrame, list of str)
        The table as `Manifest.table` wants it, and notes on what was filled in.

    Raises
    ------
    DataError
        As in `read_manifest`.
    """
    notes: list[str] = []
    _check_columns(table, where)
    if table.empty:
        raise DataError(f"{where} has no rows: there are no images. Add one row per image.")
    text = {str(name): _as_text(column) for name, column in table.items()}
    text["file_name"] = text["file_name"].str.replace("\\", "/", regex=False)
    for name in ("label", "product", "split", "source"):
        text[name] = text[name].str.strip() if name in text else _blank(len(table))
    _check_cells(text, where)
    text["split"] = _known_splits(text["split"], where)
    unnamed = np.asarray(text["product"] == "")
    if unnamed.any():
        which = "Every image" if unnamed.all() else f"Each of {unnamed.sum():,} images"
        notes.append(f"{which} counts as its own product: {Path(where).name} names none.")
        text["product"] = text["product"].where(~unnamed, text["file_name"])
    similarity = _numbers(text.get("similarity", _blank(len(table))), where)
    others = [name for name in text if name not in COLUMNS]
    ordered = {**{name: text[name] for name in TEXT_COLUMNS}, "similarity": similarity}
    return pd.DataFrame({**ordered, **{name: text[name] for name in others}}), notes


def _as_text(column: pd.Series) -> pd.Series:
    missing = column.isna().tolist()
    texts = ["" if gone else str(value) for value, gone in zip(column, missing, strict=True)]
    return pd.Series(texts, dtype=str)


def _blank(n_rows: int) -> pd.Series:
    return pd.Series([""] * n_rows, dtype=str)


# ---- a CSV --------------------------------------------------------------------------------------


def _from_csv(path: Path, label_column: str) -> Manifest:
    table = _read_text_table(path)
    if label_column != "label":
        if label_column not in table:
            raise DataError(
                f"{path}: there is no column {label_column!r} to take labels from. "
                f"Found: {list(table.columns)}."
            )
        if "label" in table:
            table = table.rename(columns={"label": "original_label"})
        table = table.assign(label=table[label_column])
    table, notes = complete_table(table, str(path))
    return Manifest(table, path.parent, tuple(notes))


def _read_text_table(path: Path) -> pd.DataFrame:
    """Read a CSV as text only; pandas would guess at types and pass over surplus cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream, strict=True) if row]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: a manifest must be UTF-8 ({error}). Save it again as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a regular CSV: {error}. Save it again as CSV.") from error
    if not rows:
        raise DataError(f"{path} is empty. It needs a header with file_name and label.")
    header, cells = [name.strip() for name in rows[0]], rows[1:]
    if len(set(header)) < len(header):
        raise DataError(f"{path}: column names must differ. Received: {header}.")
    width = len(header)
    for number, row in enumerate(cells, start=1):
        if len(row) < width or any(row[width:]):
            raise DataError(
                f"{path}: every row must have {width} cells as the header has. Row {number} of the data "
                f"has {len(row)}; put names with commas in quotes."
            )
    return pd.DataFrame([row[:width] for row in cells], columns=header, dtype=str)


def _check_columns(table: pd.DataFrame, where: str) -> None:
    missing = [name for name in ("file_name", "label") if name not in table]
    if missing:
        hint = " Separate columns by commas." if any(";" in str(name) for name in table.columns) else ""
        raise DataError(
            f"{where}: a manifest needs the columns file_name and label; missing: {missing}. "
            f"Found: {list(table.columns)}.{hint}"
        )


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
    names = {**SPLIT_ALIASES, "": ""}
    unknown = sorted({name for name in splits if name.lower() not in names})
    if unknown:
        raise DataError(f"{where}: a split is called train, val or test. Received: {shortened(unknown)}.")
    known = splits.str.lower().map(names)
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


# ---- folders ------------------------------------------------------------------------------------


def _from_folders(root: Path) -> Manifest:
    found = list_class_folders(root)
    if not found.n_folders:
        raise DataError(
            f"{root} has {found.n_passed_over} files, but no folders. Give a folder with one folder of "
            "images per class (<class>/<image> or <split>/<class>/<image>), or a metadata.csv."
        )
    if not found.rows:
        raise DataError(
            f"{root} has {found.n_folders} folders, but no images in them "
            f"(looked for {', '.join(sorted(IMAGE_SUFFIXES))})."
        )
    table, notes = complete_table(pd.DataFrame(found.rows), str(root))
    if found.without_images:
        notes.append(f"No images in: {shortened(found.without_images)}.")
    if found.n_passed_over:
        notes.append(
            f"Files passed over in {root}: {found.n_passed_over:,} "
            "(no image by name, or not in a class folder)."
        )
    return Manifest(table, root, tuple(notes))


# ---- checks -------------------------------------------------------------------------------------


def _check_classes(manifest: Manifest, path: Path, min_classes: int) -> None:
    classes = manifest.classes
    if len(classes) < min_classes:
        raise DataError(
            f"{path}: there must be at least {min_classes} classes to tell apart. "
            f"Found {len(classes)}: {shortened(list(classes))}."
        )


def _check_files(manifest: Manifest) -> None:
    missing = [name for name in manifest.table["file_name"] if not _exists(manifest.root / name)]
    if missing:
        raise DataError(
            f"Every file of the manifest must exist. Missing below {manifest.root}: {len(missing):,} of "
            f"{len(manifest):,}: {shortened(missing)}. Put them there, or delete their rows."
        )


def _exists(path: Path) -> bool:
    inside = split_tar_path(path)
    if inside is None:
        return path.is_file()
    return inside[1] in open_tar(inside[0])


def _moved(name: str, root: str, here: str) -> str:
    if os.path.isabs(name):
        return name
    return path_from(os.path.join(root, name), here)


def shortened(names: Sequence[object], most: int = 5) -> str:
    """Quote the first names of a list and count the others, for a message."""
    shown = ", ".join(repr(name) for name in list(names)[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
