"""A folder of class folders, listed."""

import os
from dataclasses import dataclass
from pathlib import Path

from aisles.data_prep.io.errors import DataError

from .decoding import IMAGE_SUFFIXES

SPLIT_ALIASES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class ClassFolders:
    """What a folder of class folders holds.

    Attributes
    ----------
    rows : list of dict
        file_name (relative, with forward slashes), label and split ("" without split folders) of each
        image, sorted by folder and name.
    n_folders : int
        How many folders there are at the top, hidden ones not counted.
    without_images : list of str
        The class folders that hold no image.
    n_passed_over : int
        Files that are no image by name, or in no class folder.
    """

    rows: list[dict[str, str]]
    n_folders: int
    without_images: list[str]
    n_passed_over: int


def list_class_folders(root: str | Path) -> ClassFolders:
    """List the images of `<class>/<image>` or `<split>/<class>/<image>`.

    Folders are splits if all of those at the top are named as splits and hold folders themselves. A folder of
    images that is named as a split is a class.
    Images further down belong to the class folder above them; hidden files and folders don't count.

    Parameters
    ----------
    root : str or Path
        The folder.

    Returns
    -------
    ClassFolders
        Possibly without any image.

    Raises
    ------
    DataError
        If some folders at the top are splits and others are not.
    """
    root = Path(root)
    folders = _visible_folders(root)
    rows: list[dict[str, str]] = []
    without_images: list[str] = []
    n_passed_over = sum(entry.is_file() and not _hidden(entry.name) for entry in os.scandir(root))
    for prefix, split, label in _class_folders(root, folders):
        images, others = _images_below(root / prefix)
        n_passed_over += others
        if not images:
            without_images.append(prefix)
        rows += [{"file_name": f"{prefix}/{name}", "label": label, "split": split} for name in images]
    return ClassFolders(rows, len(folders), without_images, n_passed_over)


def _class_folders(root: Path, folders: list[str]) -> list[tuple[str, str, str]]:
    """List (folder relative to the root, split, class)."""
    splits = [name for name in folders if name.lower() in SPLIT_ALIASES and _visible_folders(root / name)]
    others = [name for name in folders if name not in splits]
    if splits and others:
        raise DataError(
            f"The folders in {root} must all be classes, or all be splits (train, val, test) that hold class folders. "
            f"Splits: {splits}; others: {others[:5]}. Move the others away, or list the images in a metadata.csv."
        )
    if not splits:
        return [(name, "", name) for name in folders]
    return [
        (f"{split}/{name}", SPLIT_ALIASES[split.lower()], name)
        for split in folders
        for name in _visible_folders(root / split)
    ]


def _visible_folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not _hidden(entry.name))


def _images_below(folder: Path) -> tuple[list[str], int]:
    """List the images in a folder and below, relative to it and sorted; count the other files."""
    images: list[str] = []
    others = 0
    for place, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not _hidden(name)]
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        for name in files:
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not _hidden(name):
                images.append(name if below == "." else f"{below}/{name}")
            else:
                others += not _hidden(name)
    return sorted(images), others


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))
