"""Folders with images in them, read as a tree: links followed, sidecars and special files told apart."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aisles.data_prep.io.errors import DataError

from .decoding import IMAGE_SUFFIXES

_SIDECARS = frozenset(
    {
        "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "__pycache__",
        "system volume information", "thumbnails", "thumbnail", "thumbs", "thumb", "_thumbs",
    }
)  # fmt: skip
"""Folders that file servers, phones and systems put beside images; those that begin with a dot are such, too."""
_DEEPEST = 40  # folders inside each other; deeper ones are a mistake or an attack


@dataclass
class Folder:
    """One folder.

    Attributes
    ----------
    path : str
        From the root, with forward slashes; "" for the root.
    images, others, special, sidecars : list of str
        Paths of files that are images by name; of other files; of pipes and devices; of folders that are passed over.
    inner : list of Folder
        Those in it, by name.
    fault : str
        Why it can't be listed, "" if it can.
    """

    path: str
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    inner: list["Folder"] = field(default_factory=list)
    sidecars: list[str] = field(default_factory=list)
    fault: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def has_images(self) -> bool:
        """Whether images are in it or below."""
        return bool(self.images) or any(folder.has_images for folder in self.inner)

    def below(self) -> Iterator["Folder"]:
        """Yield this folder and those in it, in order."""
        yield self
        for folder in self.inner:
            yield from folder.below()


def read_folders(root: Path, path: str = "", around: tuple[tuple[int, int], ...] = ()) -> Folder:
    """Read a folder and those in it.

    Parameters
    ----------
    root : Path
    path : str
        The folder, from the root.
    around : tuple of (int, int)
        The folders that it is in, by device and number.

    Raises
    ------
    DataError
        If folders contain each other, or a name is not UTF-8.
    """
    folder = Folder(path)
    here = root / path if path else root
    try:
        status = os.stat(here)
        entries = sorted(os.scandir(here), key=lambda entry: entry.name)
    except OSError as error:
        folder.fault = f"can't be listed: {error.strerror}"
        return folder
    own = (status.st_dev, status.st_ino)
    if own in around or len(around) > _DEEPEST:
        raise DataError(
            f"{root}: folders contain each other through a link, or are more than {_DEEPEST} deep: {path!r}. "
            "Remove the link."
        )
    for entry in entries:
        name = f"{path}/{entry.name}" if path else entry.name
        _check_utf8(name, root)
        if entry.is_dir():
            if is_sidecar(entry.name):
                if not entry.name.startswith("."):
                    folder.sidecars.append(name)
            else:
                folder.inner.append(read_folders(root, name, (*around, own)))
        elif is_sidecar(entry.name):
            continue
        elif not entry.is_file() and not entry.is_symlink():
            folder.special.append(name)
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            folder.images.append(name)
        else:
            folder.others.append(name)
    return folder


def is_sidecar(name: str) -> bool:
    """Return whether a file or folder of this name belongs to a file server, a phone or a system."""
    return name.startswith((".", "__MACOSX")) or name.lower() in _SIDECARS


def _check_utf8(name: str, root: Path) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"{root}: names of files and folders must be UTF-8. Received: {os.fsencode(name)!r}. Rename it, for "
            "example with convmv."
        ) from None
