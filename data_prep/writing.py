"""What a curation leaves for people and programs: the manifest, the images, contact sheets."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from .contact_sheet import SheetPicture, write_contact_sheets
from .errors import DataError
from .files import write_whole
from .images import read_image_bytes
from .progress import progress
from .recipe import Threshold
from .tables import column, write_table

Materialize = Literal["copy", "link"]
MANIFEST_COLUMNS = ("file_name", "label", "product", "split", "source", "similarity", "image_id")


def write_images(
    output: Path, root: Path, images: pd.DataFrame, materialize: Materialize | None, key: str
) -> Path:
    """Write the manifest, and the images in one folder per class if asked for.

    Parameters
    ----------
    output : Path
        The folder of the manifest.
    root : Path
        What the images' paths are relative to; may run through a tar.
    images : DataFrame
        With columns label, product, split, source, similarity, image_id and path.
    materialize : {"copy", "link"}, optional
        Whether and how to write `output/images/<class>/<file>`.
    key : str
        What the images depend on: files written for the same key are not written again.

    Returns
    -------
    Path
        `output/metadata.csv`; its file names lead to the written images, else to the catalogue.

    Raises
    ------
    DataError
        If `output/images` holds files that no curation wrote.
    """
    table = images.copy()
    if materialize:
        put = _copy if materialize == "copy" else _link
        table["file_name"] = _materialize(output, root, images, put, f"{materialize} {key}\n")
    else:
        start = Path(os.path.relpath(root.absolute(), output.absolute())).as_posix()
        table["file_name"] = [f"{start}/{path}" for path in images["path"]]
    write_table(output / "metadata.csv", table.reindex(columns=list(MANIFEST_COLUMNS)))
    return output / "metadata.csv"


def write_sheets(
    folder: Path,
    images: pd.DataFrame,
    path_of: Mapping[str, Path],
    faults: Mapping[str, str],
    threshold: Threshold,
    backbone: str,
    key: str,
) -> None:
    """Write a contact sheet per class, unless they were written for the same key.

    Parameters
    ----------
    folder : Path
        Where the sheets and `index.html` go.
    images : DataFrame
        As `balancing.Balance.images`.
    path_of : mapping of str to Path
        Where each image is, by image_id.
    faults : mapping of str to str
        What the audit flagged, by image_id; shown below the picture, as the reason of a dropped one is.
    threshold : Threshold
        For the heading.
    backbone : str
        For the heading.
    key : str
        What the sheets depend on.
    """
    note = folder / ".key"
    if note.is_file() and note.read_text("utf-8") == key:
        return
    pictures: dict[str, list[SheetPicture]] = {}
    for row in images.to_dict("records"):
        kept = row["decision"] == "kept"
        caption = faults.get(row["image_id"]) if kept else row["reason"]
        caption = caption or ("main image" if row["source"] == "main" else "")
        picture = SheetPicture(path_of[row["image_id"]], float(row["similarity"]), kept, caption)
        pictures.setdefault(row["label"], []).append(picture)
    exceptions = "".join(f", {label} from {value:g}" for label, value in sorted(threshold.exceptions.items()))
    title = f"Similarity to the main image by {backbone}: kept from {threshold.default:g} on{exceptions}"
    write_contact_sheets(pictures, folder, title)
    write_whole(note, key)


def remove_unfinished(output: Path) -> None:
    """Remove the unfinished files that a killed curation left in its folders."""
    folders = [output, *(output / name for name in ("images", "sheets", "steps"))]
    for folder in folders:
        for stray in folder.glob("**/.part-*" if folder != output else ".part-*"):
            stray.unlink()


def _materialize(
    output: Path, root: Path, images: pd.DataFrame, put: Callable[[Path, Path], None], made: str
) -> list[str]:
    """Write `images/<class>/<file>`; what an earlier curation by other settings wrote there is removed."""
    # Beside the images, not among them: a removal that is interrupted must leave it to the end.
    folder, note = output / "images", output / "steps" / "images.txt"
    if folder.exists() and (not note.is_file() or note.read_text("utf-8") != made):
        if not note.is_file() and any(folder.iterdir()):
            raise DataError(f"{folder} holds files that no curation wrote. Choose another output folder.")
        shutil.rmtree(folder)
    write_whole(note, made)
    names = [path.rpartition("/")[2] for path in images["path"]]
    taken = column(images.assign(name=names), "name").duplicated(keep=False)
    unique = [
        path.replace("/", "_") if twice else name
        for path, name, twice in zip(images["path"], names, taken, strict=True)
    ]
    files = [f"images/{label}/{name}" for label, name in zip(images["label"], unique, strict=True)]
    pairs = zip(images["path"], files, strict=True)
    for path, file in progress(pairs, "Writing images", len(files)):
        if not (output / file).exists():
            put(root / path, output / file)
    return files


def _copy(source: Path, target: Path) -> None:
    write_whole(target, read_image_bytes(source))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(os.path.relpath(source.absolute(), target.parent.absolute()))
