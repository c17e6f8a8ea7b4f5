"""The manifest: one validated table with one row per image."""

import hashlib
import json
import os
import posixpath
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from aisles.data_prep.io.archive import open_tar, split_tar_path
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import path_from
from aisles.data_prep.io.tables import write_table

from .columns import complete_table, shortened, with_labels_from
from .decoding import IMAGE_SUFFIXES
from .folders import ClassFolders, list_class_folders, split_folders_with_tables
from .listed import missing_columns, read_text_table

Strict = Literal["images", "classes", "no"]
"""What stops: an image that can't be read; a class or a folder whose images are all lost; nothing."""


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
    warnings : tuple of str
        Those of the notes that may tell of a mistake, for the first lines of whatever is shown.
    coarse_only : DataFrame or None
        Images of which a macro-category is known and no class, with the columns of `table` and an empty label; None
        where no hierarchy column was asked for.
    """

    table: pd.DataFrame
    root: Path
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    coarse_only: pd.DataFrame | None = None

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

    def with_warnings(self, *warnings: str) -> "Manifest":
        """Return the manifest with `warnings` added, to the notes too."""
        return replace(self, notes=(*self.notes, *warnings), warnings=(*self.warnings, *warnings))

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
    path: str | Path,
    *,
    label_column: str = "label",
    hierarchy_column: str | None = None,
    check_files: bool = True,
    min_classes: int = 2,
    strict: Strict = "classes",
) -> Manifest:
    """Read a manifest, or make one from a folder of class folders.

    Parameters
    ----------
    path : str or Path
        A manifest CSV; a folder with a `metadata.csv`; a folder of split folders with a `metadata.csv` each; or a
        folder of class folders, as `folders.list_class_folders` reads them. A split is called train (training), val
        (valid, validation, dev) or test (testing), in any case and with `set`, `data` and the like beside it.
    label_column : str
        The column with the class, for a manifest with several levels of labels. The column `label`,
        if there is another, is kept as `original_label`.
    hierarchy_column : str, optional
        The column with the macro-category. Rows that have one there and no class are `Manifest.coarse_only`.
    check_files : bool
        Whether a file that is not there is an error.
    min_classes : int
        How many classes there must be.
    strict : {'classes', 'images', 'no'}
        With 'no', class folders without an image that can be read are left out with a warning; else they are an error.

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
        manifest = _from_folder(path, label_column, hierarchy_column, strict)
    elif path.suffix.lower() == ".csv" and path.is_file():
        manifest = _from_csv(path, label_column, hierarchy_column)
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


def _from_folder(path: Path, label_column: str, hierarchy_column: str | None, strict: Strict) -> Manifest:
    listed = path / "metadata.csv"
    if listed.is_file():
        manifest = _from_csv(listed, label_column, hierarchy_column, beside=_class_folders_of(path))
        return _unlisted(manifest, path)
    tables = split_folders_with_tables(path)
    if tables:
        return _from_split_tables(path, tables, label_column, hierarchy_column)
    if label_column != "label":
        raise DataError(
            f"Only a manifest has columns to take labels from. Received: label column {label_column!r} for {path}, "
            "a folder without metadata.csv, whose folders are the classes. Leave the label column out."
        )
    return _from_folders(path, strict)


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
    write_table(path, table)
    return path


# ---- a CSV --------------------------------------------------------------------------------------


def _from_csv(
    path: Path, label_column: str, hierarchy_column: str | None = None, beside: Collection[str] = ()
) -> Manifest:
    return _from_table(read_text_table(path), path, label_column, hierarchy_column, bool(beside))


def _from_table(
    table: pd.DataFrame, path: Path, label_column: str, hierarchy_column: str | None, beside: bool = False
) -> Manifest:
    table = with_labels_from(table, label_column, str(path))
    if "file_name" in table:
        table = table.assign(file_name=_spelled_once(table["file_name"].tolist(), path.parent))
    coarse = None
    if hierarchy_column is not None:
        if hierarchy_column not in table:
            raise DataError(
                f"{path}: there is no column {hierarchy_column!r} to take macro-categories from. "
                f"Found: {list(table.columns)}."
            )
        table, coarse = _coarse_apart(table, hierarchy_column)
    table, notes, warnings = complete_table(table, str(path), beside)
    if coarse is not None and len(coarse):
        both = sorted(set(coarse["file_name"]) & set(table["file_name"]))
        if both:
            raise DataError(
                f"{path}: files that stand with a class and without one: {shortened(both)}. Delete one."
            )
        notes.append(f"{len(coarse):,} images are known by their {hierarchy_column!r} alone and kept apart.")
    return Manifest(table, path.parent, tuple(notes), coarse_only=coarse).with_warnings(*warnings)


def _coarse_apart(table: pd.DataFrame, column: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part the rows that name a macro-category and no class from the others."""
    if "label" not in table:
        return table, table.iloc[:0]
    coarse = (table["label"].str.strip() == "") & (table[column].str.strip() != "")
    parts = (table.loc[np.flatnonzero(chosen)].reset_index(drop=True) for chosen in (~coarse, coarse))
    others, alone = parts
    return others, alone


def _spelled_once(names: list[str], root: Path) -> list[str]:
    """Return names of files with slashes and without detours (`./x.jpg`), so that a file has one name only.

    A backslash stays where a file of that name is there; Windows has none. So do blanks around a name, unless the file
    without them is there and the other is not.
    """
    found = []
    above = os.path.abspath(root) + os.sep
    for name in names:
        if "\\" in name and not (root / name).is_file():
            name = name.replace("\\", "/")
        if name != name.strip() and not (root / name).is_file() and (root / name.strip()).is_file():
            name = name.strip()
        name = posixpath.normpath(name) if name.strip() else name
        found.append(name.removeprefix(above))
    return found


def _from_split_tables(
    path: Path, splits: dict[str, str], label_column: str, hierarchy_column: str | None
) -> Manifest:
    """Read the metadata.csv of each split folder."""
    parts = []
    for folder, split in splits.items():
        listed = path / folder / "metadata.csv"
        part = read_text_table(listed)
        fault = missing_columns([*part.columns, *(["label"] if label_column in part else [])], str(listed))
        if fault:
            raise DataError(fault)
        parts.append(part.assign(file_name=[f"{folder}/{name}" for name in part["file_name"]], split=split))
    table = pd.concat(parts, ignore_index=True).fillna("")
    manifest = _from_table(table, path / "metadata.csv", label_column, hierarchy_column)
    told = ", ".join(f"{folder} ({split})" for folder, split in splits.items())
    return replace(manifest, notes=(f"Read from the metadata.csv of each split: {told}.", *manifest.notes))


def _class_folders_of(root: Path) -> list[str]:
    """Name the folders beside a metadata.csv that hold images."""
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    return [
        folder.name
        for folder in folders
        if any(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in os.listdir(folder))
    ]


def _unlisted(manifest: Manifest, root: Path) -> Manifest:
    """Warn of images below the folder of a metadata.csv that it doesn't list."""
    listed = {os.path.normpath(name) for name in manifest.table["file_name"]}
    if manifest.coarse_only is not None:
        listed |= {os.path.normpath(name) for name in manifest.coarse_only["file_name"]}
    folders, missing = set(), []
    known = {os.path.dirname(name) for name in listed}
    for place, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        here = os.path.relpath(place, root)
        for name in sorted(files):
            whole = name if here == "." else os.path.join(here, name)
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
                continue
            if whole not in listed:
                missing.append(whole)
                folders |= {here} - known
    if not missing:
        return manifest
    whole = f", among them all of {shortened(sorted(folders))}" if folders else ""
    return manifest.with_warnings(
        f"{len(missing):,} images below {root} are in no row of metadata.csv and are not used{whole}: "
        f"{shortened(missing, 3)}."
    )


# ---- folders ------------------------------------------------------------------------------------


def _from_folders(root: Path, strict: Strict = "classes") -> Manifest:
    found = list_class_folders(root)
    if not found.n_folders:
        raise DataError(
            f"{root} has {found.n_passed_over} files, but no folders. Give a folder with one folder of "
            "images per class (<class>/<image> or <split>/<class>/<image>), or a metadata.csv."
        )
    warnings = [*found.warnings, *_lost_folders(found, root, strict)]
    if not found.rows:
        raise DataError(
            f"{root} has {found.n_folders} folders, but no images in them "
            f"(looked for {', '.join(sorted(IMAGE_SUFFIXES))})."
        )
    table, notes, more = complete_table(pd.DataFrame(found.rows), str(root))
    notes += found.notes
    if found.empty:
        notes.append(f"No images in: {shortened(found.empty)}.")
    if found.n_passed_over:
        notes.append(
            f"Files passed over in {root}: {found.n_passed_over:,} "
            "(no image by name, or not in a class folder)."
        )
    return Manifest(table, root, tuple(notes)).with_warnings(*warnings, *more)


def _lost_folders(found: ClassFolders, root: Path, strict: Strict) -> list[str]:
    if not found.lost:
        return []
    told = (
        f"{len(found.lost):,} folders in {root} hold no image that can be read: {', '.join(found.lost[:5])}."
    )
    if strict != "no":
        raise DataError(
            f"{told} Convert their files (to JPEG or PNG), move the folders away, or go on without them: --strict no."
        )
    return [told]


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
