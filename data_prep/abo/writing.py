"""What a curation leaves for people and programs: the manifest, the images, contact sheets."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from aisles.data_prep.images.decoding import read_image_bytes
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import path_from, write_whole
from aisles.data_prep.io.progress import progress
from aisles.data_prep.io.tables import column, write_table

from .contact_page import write_contact_sheets
from .contact_sheet import DROPPED, FLAGGED, KEPT, SheetImage
from .recipe import Threshold

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
        start = path_from(str(root.absolute()), str(output.absolute()))
        table["file_name"] = [f"{start}/{path}" for path in images["path"]]
    write_table(output / "metadata.csv", table.reindex(columns=list(MANIFEST_COLUMNS)))
    return output / "metadata.csv"


def write_sheets(
    folder: Path,
    images: pd.DataFrame,
    path_of: Mapping[str, Path],
    flagged: pd.DataFrame,
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
    flagged : DataFrame
        What the audit flagged: image_id, label, faults, score. Shown in a part of their own, and the faults
        also below the image, as the reason of a dropped one is.
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
    sheets: dict[str, list[SheetImage]] = {}
    decisions = dict(zip(images["image_id"], images["decision"], strict=True))
    faults = dict(zip(flagged["image_id"], flagged["faults"], strict=True))
    for row in images.to_dict("records"):
        kept = row["decision"] == "kept"
        caption = faults.get(row["image_id"]) if kept else row["reason"]
        caption = caption or ("main image" if row["source"] == "main" else "")
        image = SheetImage(
            path_of[row["image_id"]], float(row["similarity"]), KEPT if kept else DROPPED, caption
        )
        sheets.setdefault(row["label"], []).append(image)
    for row in flagged.to_dict("records"):
        score, why = float(row["score"]), f"{row['faults']} ({decisions[row['image_id']]})"
        sheets[row["label"]].append(SheetImage(path_of[row["image_id"]], score, FLAGGED, why))
    exceptions = "".join(f", {label} from {value:g}" for label, value in sorted(threshold.exceptions.items()))
    title = f"Similarity to the main image by {backbone}: kept from {threshold.default:g} on{exceptions}"
    write_contact_sheets(sheets, folder, title, (KEPT, DROPPED, FLAGGED))
    write_whole(note, key)


def check_output(output: Path, directory: Path, root: Path, *, images: bool) -> None:
    """Refuse to write among the catalogue's images, or `images` where they are: DataError."""
    place, root = output.resolve(), root.resolve()
    if place.is_relative_to(root):
        raise DataError(f"{output} lies among the catalogue's images ({root}). Choose another output folder.")
    if images and (place == directory.resolve() or root.is_relative_to((output / "images").resolve())):
        raise DataError(
            f"{output / 'images'} would hold both the catalogue's images ({root}) and those that are written. "
            "Choose another output folder."
        )


def remove_unfinished(output: Path) -> None:
    """Remove the unfinished files and steps that a killed curation left in its folders."""
    folders = [output, *(output / name for name in ("images", "sheets", "steps"))]
    for folder in folders:
        for stray in list(folder.glob("**/.part-*" if folder != output else ".part-*")):
            if stray.is_dir():  # a step that was cut short
                shutil.rmtree(stray)
            else:
                stray.unlink(missing_ok=True)


def _materialize(
    output: Path, root: Path, images: pd.DataFrame, put: Callable[[Path, Path], None], made: str
) -> list[str]:
    """Write `images/<class>/<file>`; what an earlier curation by other settings wrote there is removed."""
    files = _image_files(images)
    # Beside the images, not among them: a removal that is interrupted must leave it to the end.
    note, text = output / "steps" / "images.txt", made + "".join(f"{file}\n" for file in files)
    noted = note.read_text("utf-8") if note.is_file() else ""
    if noted != text:
        _remove_written(output, noted.splitlines()[1:])
        write_whole(note, text)
    pairs = zip(images["path"], files, strict=True)
    for path, file in progress(pairs, "Writing images", len(files)):
        if not (output / file).exists():
            put(root / path, output / file)
    return files


def _remove_written(output: Path, written: list[str]) -> None:
    """Remove the images that an earlier curation noted; DataError if there are others and it noted none."""
    folder = output / "images"
    if not written and folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder} holds files that no curation wrote. Choose another output folder.")
    named = [file.split("/") for file in written]
    paths = [output.joinpath(*parts) for parts in named if len(parts) == 3 and ".." not in parts]
    mine = [path for path in paths if path.parent.parent == folder]
    for path in mine:
        path.unlink(missing_ok=True)
    for place in {path.parent for path in mine}:
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _image_files(images: pd.DataFrame) -> list[str]:
    """Name the images' copies: `images/<class>/<file>`, with the folder where two files have one name."""
    names = [path.rpartition("/")[2] for path in images["path"]]
    taken = column(images.assign(name=names), "name").duplicated(keep=False)
    unique = [
        path.replace("/", "_") if twice else name
        for path, name, twice in zip(images["path"], names, taken, strict=True)
    ]
    return [f"images/{label}/{name}" for label, name in zip(images["label"], unique, strict=True)]


def _copy(source: Path, target: Path) -> None:
    write_whole(target, read_image_bytes(source))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(path_from(str(source.absolute()), str(target.parent.absolute())))
