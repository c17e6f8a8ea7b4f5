"""A folder of class folders, listed: `<class>/<image>`, with splits, macro-categories or batches around them."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aisles.data_prep.io.errors import DataError

from .folder_tree import Folder, is_sidecar, read_folders
from .split_names import looks_like_split, split_named, splits_of_folders

COARSE_COLUMN = "coarse_label"
_NO_IMAGES = frozenset(
    {
        ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yml", ".yaml", ".toml", ".ini", ".db",
        ".log", ".html", ".htm", ".pdf", ".py", ".ipynb", ".npy", ".npz", ".parquet", ".xls", ".xlsx", ".doc", ".docx",
        ".mat", ".zip", ".sh", ".css", ".js", ".cfg", ".lock", ".sha256", ".md5", ".names",
    }
)  # fmt: skip


@dataclass(frozen=True)
class ClassFolders:
    """What a folder of class folders holds.

    Attributes
    ----------
    rows : list of dict
        file_name (relative, with forward slashes), label and split ("" without split folders) of each image, and
        `coarse_label` where class folders are nested; sorted by file name.
    n_folders : int
        How many folders there are at the top, sidecars not counted.
    empty : list of str
        Class folders without any file.
    lost : list of str
        Folders whose files are none that could be read, or that can't be listed: "name (why)".
    n_passed_over : int
        Files that are no image by name, or in no class folder.
    notes, warnings : list of str
        What was assumed; what may be a mistake.
    """

    rows: list[dict[str, str]]
    n_folders: int
    empty: list[str]
    lost: list[str]
    n_passed_over: int
    notes: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class _Class:
    """A class folder, with the split and the folders around it."""

    folder: Folder
    label: str
    split: str = ""
    parents: tuple[Folder, ...] = ()


def list_class_folders(root: str | Path) -> ClassFolders:
    """List the images of class folders.

    - Folders at the top that all are named as splits (`split_names`) and hold folders are splits; so are folders that
      all are named as splits inside class folders (`<class>/train/<image>`).
    - A folder with images is a class, and folders inside it belong to it.
    - A folder whose folders hold the images is a level above classes: its name is the column `coarse_label` of its
      images. If all those folders hold folders of the same names (`batch1`, `batch2`), they are the classes themselves.
    - A folder that is alone at the top, without images, is passed through.
    - Links are followed. Hidden folders and those of file servers and phones (`@eaDir`, thumbnails) are left out.

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
        If some folders at the top are splits and others are not, splits hold images without classes, folders contain
        each other, or a name is not UTF-8.
    """
    tree = read_folders(Path(root))
    top = tree
    while len(top.inner) == 1 and not top.images and top.inner[0].inner and not top.inner[0].images:
        top = top.inner[0]
    notes, warnings = [], []
    if top is not tree:
        notes.append(f"Class folders are looked for in {top.path}, the only folder.")
    classes = _classes(top, notes, warnings)
    rows = [row for found in classes for row in _rows(found, _coarse(classes))]
    used = {folder.path for found in classes for folder in found.folder.below()}
    outside = [folder for folder in tree.below() if folder.path not in used]
    passed = [name for folder in tree.below() for name in folder.others]
    passed += [name for folder in outside for name in folder.images]
    warnings += _warnings(tree, classes)
    notes += _inside(classes)
    return ClassFolders(
        rows=sorted(rows, key=lambda row: row["file_name"]),
        n_folders=len(tree.inner),
        empty=[found.folder.path for found in classes if not any(_files(f) for f in found.folder.below())],
        lost=_lost(tree, classes),
        n_passed_over=len(passed),
        notes=notes,
        warnings=warnings,
    )


def split_folders_with_tables(root: str | Path) -> dict[str, str]:
    """Return folder and split where every folder is named as a split and has a metadata.csv of its own."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not is_sidecar(entry.name))
    splits = splits_of_folders(names)
    listed = [name for name in names if splits[name] and (Path(root) / name / "metadata.csv").is_file()]
    if not listed:
        return {}
    if listed != names:
        others = sorted(set(names) - set(listed))
        raise DataError(
            f"The folders in {root} must all be splits with a metadata.csv each, or none. With: {listed}; others: "
            f"{others[:5]}. Move the others away, or write one metadata.csv with a column split."
        )
    return splits


# ---- from folders to classes ----------------------------------------------------------------------


def _classes(top: Folder, notes: list[str], warnings: list[str]) -> list[_Class]:
    splits = _top_splits(top)
    if not splits:
        found = [leaf for folder in top.inner for leaf in _leaves(folder, ())]
    else:
        found = []
        for folder in top.inner:
            inner = [leaf for child in folder.inner for leaf in _leaves(child, ())]
            found += [_Class(leaf.folder, leaf.label, splits[folder.name], leaf.parents) for leaf in inner]
    nested = [leaf for leaf in found if leaf.parents]
    if not nested or len(nested) < len([leaf for leaf in found if leaf.folder.has_images]):
        return _told_apart(found, warnings)
    names_in: dict[str, set[str]] = {}
    for leaf in nested:
        names_in.setdefault("/".join(parent.name for parent in leaf.parents), set()).add(leaf.folder.name)
    names = set.union(*names_in.values())
    if not splits and len(names) > 1 and all(map(split_named, names)):
        return [
            _Class(x.folder, x.parents[-1].name, split_named(x.folder.name), x.parents[:-1]) for x in nested
        ]
    if len(names_in) > 1 and all(own == names for own in names_in.values()):
        warnings.append(
            f"The folders {_some(names)} stand in each of {_some(names_in)}: those above are taken for the classes."
        )
        return [_Class(x.folder, x.parents[-1].name, x.split, x.parents[:-1]) for x in nested]
    return _told_apart(found, warnings)


def _leaves(folder: Folder, parents: tuple[Folder, ...]) -> Iterator[_Class]:
    """Yield the class folders in a folder: itself, if it holds images or nothing inside does."""
    if folder.images or not folder.has_images:
        yield _Class(folder, folder.name, parents=parents)
        return
    for inner in folder.inner:
        if inner.has_images or any(_files(below) for below in inner.below()):
            yield from _leaves(inner, (*parents, folder))


def _told_apart(classes: list[_Class], warnings: list[str]) -> list[_Class]:
    """Put the folder above into the label where class folders of one name stand in several of them."""
    above: dict[str, set[str]] = {}
    for found in classes:
        above.setdefault(found.label, set()).add("/".join(p.name for p in found.parents))
    twice = sorted(label for label, parents in above.items() if len(parents) > 1)
    if not twice:
        return classes
    warnings.append(
        f"Class folders of one name stand in several folders and are taken for several classes, called by both names: "
        f"{_some(twice)}. Rename them where they are one class."
    )
    return [
        _Class(x.folder, "/".join([*(p.name for p in x.parents[-1:]), x.label]), x.split, x.parents)
        if x.label in twice
        else x
        for x in classes
    ]


def _top_splits(top: Folder) -> dict[str, str]:
    """Return the split that each folder at the top is, or nothing if they are classes."""
    splits = splits_of_folders(folder.name for folder in top.inner)
    meant = [folder for folder in top.inner if splits[folder.name] and folder.inner]
    others = [folder.name for folder in top.inner if folder not in meant]
    if meant and others:
        raise DataError(
            f"The folders in {top.path or 'it'} must all be classes, or all be splits (train, val, test) that hold "
            f"class folders. Splits: {[folder.name for folder in meant]}; others: {others[:5]}. Move the others away, "
            "or list the images in a metadata.csv."
        )
    if meant:
        return splits
    if len(top.inner) > 1 and all(looks_like_split(folder.name) for folder in top.inner):
        kept = (
            "no class folders"
            if all(splits.values())
            else "not all of them can be told to be train, val or test"
        )
        raise DataError(
            f"The folders {_some(f.name for f in top.inner)} look like splits, and there are {kept}. Make them "
            "<split>/<class>/<image> with splits called train, val and test, or list the images in a metadata.csv "
            "with the columns file_name, label and split."
        )
    return {}


def _coarse(classes: list[_Class]) -> dict[str, str]:
    """Return the name of the folder above by its path; nothing if there are not at least two of them."""
    above = {found.parents[-1].path: found.parents[-1].name for found in classes if found.parents}
    return above if len(set(above.values())) > 1 else {}


def _rows(found: _Class, coarse: dict[str, str]) -> list[dict[str, str]]:
    names = [name for folder in found.folder.below() for name in folder.images]
    row = {"label": found.label, "split": found.split}
    if coarse:
        row[COARSE_COLUMN] = coarse[found.parents[-1].path] if found.parents else found.label
    return [{"file_name": name, **row} for name in names]


# ---- what is to be said ---------------------------------------------------------------------------


def _files(folder: Folder) -> list[str]:
    return [*folder.images, *folder.others, *folder.special]


def _lost(tree: Folder, classes: list[_Class]) -> list[str]:
    """Name the folders that can't be listed, and the class folders with files of which none is an image by name."""
    lost = [f"{folder.path} ({folder.fault})" for folder in tree.below() if folder.fault]
    for found in classes:
        inside = list(found.folder.below())
        if any(folder.images for folder in inside):
            continue
        kinds = Counter(_suffix(name) for folder in inside for name in folder.others)
        kinds.update("special files" for folder in inside for _ in folder.special)
        unknown = [kind for kind, _ in kinds.most_common() if kind not in _NO_IMAGES]
        if unknown:
            lost.append(f"{found.folder.path} ({', '.join(f'{kinds[kind]} {kind}' for kind in unknown[:3])})")
    return lost


def _warnings(tree: Folder, classes: list[_Class]) -> list[str]:
    warnings = []
    special = [name for folder in tree.below() for name in folder.special]
    if special:
        warnings.append(f"Passed over, as they are no regular files (pipes, devices): {_some(special)}.")
    sidecars = [name for folder in tree.below() for name in folder.sidecars]
    if sidecars:
        warnings.append(
            f"Passed over, as file servers, phones and systems make such folders: {_some(sidecars)}. Rename what is a "
            "class."
        )
    around = {folder.name for found in classes for folder in (found.folder, *found.parents)}
    unused = sorted(name for name in around if looks_like_split(name) and not _is_split_leaf(name, classes))
    if unused:
        warnings.append(f"Folders that look like splits are taken for classes or macros: {_some(unused)}.")
    kinds = Counter(_suffix(name) for folder in tree.below() for name in folder.others)
    unread = {kind: count for kind, count in kinds.most_common() if kind not in _NO_IMAGES}
    if unread:
        told = ", ".join(f"{count} {kind}" for kind, count in list(unread.items())[:5])
        warnings.append(f"Files that may be images and are not read: {told}.")
    return warnings


def _is_split_leaf(name: str, classes: list[_Class]) -> bool:
    """Return whether a folder inside a class folder was used as its split."""
    return any(found.split and found.folder.name == name and found.label != name for found in classes)


def _inside(classes: list[_Class]) -> list[str]:
    notes = []
    coarse = _coarse(classes)
    if coarse:
        n_classes = len({found.label for found in classes})
        notes.append(
            f"Class folders are nested: {n_classes} classes in {len(set(coarse.values()))} folders, which are the "
            f"column {COARSE_COLUMN}; --hierarchy-column {COARSE_COLUMN} takes them for the macros."
        )
    deeper = [f.path for found in classes for f in found.folder.below() if f is not found.folder and f.images]
    if deeper:
        notes.append(f"Images in folders inside class folders count for the class: {_some(deeper)}.")
    return notes


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower() or "without ending"


def _some(names, most: int = 5) -> str:
    names = sorted(names)
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
