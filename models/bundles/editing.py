"""Changing a bundle without training: every file that the change doesn't touch stays byte for byte."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisles.data_prep.io.files import sha256_of
from aisles.data_prep.io.whole_folder import whole_folder
from aisles.hierarchy.class_tree import ClassTree
from aisles.models.heads.combined import reordered
from aisles.models.prediction.stored import BundleError, StoredNetwork

from .bundle import CARD, TREE, check_place, read_bundle, seal

KINDS = ("class", "macro")


@dataclass(frozen=True)
class RenameResult:
    """What `rename` did.

    Attributes
    ----------
    bundle : str
    kind : {'class', 'macro'}
    old, new : str
    changed_files : tuple of str
        Of the bundle, apart from `bundle.json` and the card.
    """

    bundle: str
    kind: str
    old: str
    new: str
    changed_files: tuple[str, ...]


def rename(
    bundle: str | Path, old: str, new: str, *, kind: str | None = None, output: str | Path | None = None
) -> RenameResult:
    """Rename a macro or a class of a bundle, without training.

    Answers, temperatures and guarantees stay as they are. Classes are sorted by name; where a flat model's classes
    change places its outputs are put in the new order, which changes its file.

    Parameters
    ----------
    bundle : path
    old, new : str
    kind : {'macro', 'class'}, optional
        What `old` is; needed only where a macro and a class bear the same name.
    output : path, optional
        The folder of the renamed bundle; the bundle itself is replaced, in one step, unless given.

    Returns
    -------
    RenameResult

    Raises
    ------
    ValueError
        If there is no such name, the new one is taken or empty, or `old` is both a macro and a class.
    BundleError
        As in `read_bundle`.
    """
    content = read_bundle(bundle)
    chosen = _kind_of(content, old, kind)
    if not new.strip() or not new.isprintable():
        raise ValueError(f"A name is printable text of one line, not empty. Received: {new!r}.")
    taken = content["hierarchy"]["macros"] if chosen == "macro" else content["classes"]
    if new in taken:
        raise ValueError(f"There is already a {chosen} {new!r}. Choose another name.")

    def edit(content: dict[str, Any], part: Path) -> None:
        (_rename_macro if chosen == "macro" else _rename_class)(content, part, old, new)
        note_change(content, f"{chosen} {old!r} renamed {new!r}")

    place, changed = rewrite(bundle, output or bundle, edit)
    return RenameResult(str(place), chosen, old, new, changed)


def rewrite(
    bundle: str | Path, output: str | Path, edit: Callable[[dict[str, Any], Path], None]
) -> tuple[Path, tuple[str, ...]]:
    """Copy a bundle, change the copy, and put it at `output` once it is whole.

    Parameters
    ----------
    bundle, output : path
        May be the same.
    edit : callable
        Is given what `bundle.json` says and the folder of the copy, and changes both.

    Returns
    -------
    tuple of (Path, tuple of str)
        `output`, and the names of the files that changed, came or went, apart from `bundle.json` and the card.

    Raises
    ------
    FileExistsError
        If `output` exists, is not empty and is not a bundle.
    """
    bundle, output = Path(bundle), Path(output)
    check_place(output)
    content = read_bundle(bundle)
    before = dict(content["files"])
    with whole_folder(output) as part:
        for name, digest in before.items():
            shutil.copyfile(bundle / name, part / name)
            if sha256_of(part / name) != digest:
                raise BundleError(f"{bundle / name} has changed while the bundle was read. Start again.")
        edit(content, part)
        seal(part, content)
        after = content["files"]
    names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n) and n != CARD)
    return output, tuple(names)


def note_change(content: dict[str, Any], text: str) -> None:
    """Add a line to what the model card tells under Changes."""
    facts = content.setdefault("facts", {})
    facts["changes"] = [*facts.get("changes", []), text]


def _kind_of(content: dict[str, Any], name: str, kind: str | None) -> str:
    macros = list((content["hierarchy"] or {"macros": {}})["macros"])
    found = [k for k, names in zip(KINDS, (content["classes"], macros), strict=True) if name in names]
    if kind is not None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}. Received: {kind!r}.")
        found = [kind] if kind in found else []
    if len(found) == 2:
        raise ValueError(f"{name!r} is a macro and a class. Say which: --kind macro, or --kind class.")
    if not found:
        raise ValueError(
            f"The bundle has no {kind or 'macro or class'} {name!r}. Its macros: {', '.join(macros) or 'none'}. "
            f"Its classes: {', '.join(content['classes'][:20])}{', ...' if len(content['classes']) > 20 else ''}."
        )
    return found[0]


def _rename_macro(content: dict[str, Any], _part: Path, old: str, new: str) -> None:
    hierarchy = content["hierarchy"]
    hierarchy["macros"] = {new if m == old else m: names for m, names in hierarchy["macros"].items()}
    router = content["models"].get("router")
    if router is not None:
        router["labels"] = _replaced(router["labels"], old, new)


def _rename_class(content: dict[str, Any], part: Path, old: str, new: str) -> None:
    if content["hierarchy"]:
        macros = content["hierarchy"]["macros"]
        for macro, names in macros.items():
            macros[macro] = _replaced(names, old, new)
    for model in content["models"].get("submodels", []):
        model["labels"] = _replaced(model["labels"], old, new)
    names = _replaced(content["classes"], old, new)
    order = sorted(range(len(names)), key=names.__getitem__)
    content["classes"] = [names[i] for i in order]
    if content["models"].get("flat"):
        _reorder(content["models"]["flat"], content, part, order)
    if (part / TREE).is_file():
        tree = ClassTree.from_json((part / TREE).read_text(encoding="utf-8"))
        (part / TREE).write_text(tree.renamed({old: new}).to_json(), encoding="utf-8")


def _reorder(model: dict[str, Any], content: dict[str, Any], part: Path, order: list[int]) -> None:
    """Rearrange a flat model to the classes' new order."""
    model["labels"] = content["classes"]
    if order == list(range(len(order))):
        return
    if model.get("network"):
        columns = model["order"] or list(range(len(order)))
        model["order"] = [columns[i] for i in order]
    elif model["head"]:
        path = part / model["head"]
        head = StoredNetwork(path, content["files"][path.name]).load()
        reordered(head, order).save(path)


def _replaced(names: list[str], old: str, new: str) -> list[str]:
    return [new if name == old else name for name in names]
