"""The hierarchy: macros, the classes inside each, and the fixed order of both."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

_SHAPE = '{"macros": {"NAME": ["CLASS", "CLASS"]}}'


@dataclass(frozen=True)
class Hierarchy:
    """Macros and their classes, frozen.

    A class may stand in several macros if a person says so (`overlapping` is then True); what needs
    exactly one macro per class (`macro_of`) refuses such a hierarchy.

    Parameters
    ----------
    macros
        Names of the macros, unique, in the column order of every macro distribution.
    members
        For each macro the names of its classes, at least one, unique inside the macro. Their order is
        kept: it is the column order of the macro's sub-model.

    Raises
    ------
    ValueError
        If there is no macro, a macro is empty, or a name is empty or repeated.

    Examples
    --------
    >>> hierarchy = Hierarchy(("SEAT", "LIGHT"), (("SOFA", "CHAIR"), ("LAMP",)))
    >>> hierarchy.classes
    ('CHAIR', 'LAMP', 'SOFA')
    >>> hierarchy.macro_of.tolist()
    [0, 1, 0]
    """

    macros: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(isinstance(names, str) for names in (self.macros, self.members, *self.members)):
            raise ValueError("`macros` and each entry of `members` must be lists of names, not one text.")
        object.__setattr__(self, "macros", tuple(self.macros))
        object.__setattr__(self, "members", tuple(tuple(names) for names in self.members))
        _check(self.macros, self.members)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """All class names, sorted: the column order of every class distribution."""
        return tuple(sorted({name for names in self.members for name in names}))

    @cached_property
    def slots(self) -> tuple[tuple[int, str], ...]:
        """(macro index, class name) of each column of `within_probs`: the members, macro after macro."""
        return tuple((macro, name) for macro, names in enumerate(self.members) for name in names)

    @cached_property
    def slot_macro(self) -> np.ndarray:
        """Macro index of each slot, of shape (n_slots,)."""
        return _fixed([macro for macro, _ in self.slots])

    @cached_property
    def slot_class(self) -> np.ndarray:
        """Index into `classes` of each slot, of shape (n_slots,)."""
        position = {name: index for index, name in enumerate(self.classes)}
        return _fixed([position[name] for _, name in self.slots])

    @cached_property
    def blocks(self) -> tuple[slice, ...]:
        """For each macro its columns in `within_probs`."""
        ends = np.cumsum(self.sizes).tolist()
        return tuple(slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes in each macro."""
        return tuple(len(names) for names in self.members)

    @property
    def n_macros(self) -> int:
        """Number of macros."""
        return len(self.macros)

    @property
    def n_classes(self) -> int:
        """Number of different classes."""
        return len(self.classes)

    @property
    def n_slots(self) -> int:
        """Number of (macro, class) pairs; equal to `n_classes` unless macros overlap."""
        return len(self.slots)

    @property
    def overlapping(self) -> bool:
        """Whether some class stands in more than one macro."""
        return self.n_slots > self.n_classes

    @property
    def degenerate(self) -> str | None:
        """Why routing along this hierarchy can't differ from a flat model, in half a sentence; None if it can."""
        if self.n_macros == 1:
            return f"there is one macro, {self.macros[0]!r}, with all {self.n_classes} classes: nothing to route to"
        if max(self.sizes) == 1:
            return f"each of the {self.n_macros} macros holds a single class: nothing to tell apart inside"
        return None

    @cached_property
    def macro_of(self) -> np.ndarray:
        """Macro index of each class of `classes`, of shape (n_classes,).

        Raises
        ------
        ValueError
            If a class stands in several macros.
        """
        if self.overlapping:
            counts = Counter(name for _, name in self.slots)
            shared = sorted(name for name, count in counts.items() if count > 1)
            raise ValueError(
                f"Every class must stand in exactly one macro here. In several macros: {shared}. "
                "Keep each in one, or use a rule that allows overlap (such as soft)."
            )
        return _fixed(self.slot_macro[np.argsort(self.slot_class)])

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse a hierarchy whose classes are not exactly those given.

        Raises
        ------
        ValueError
            Naming the classes that only one of the two sides has.
        """
        given, ours = set(classes), set(self.classes)
        if given == ours:
            return
        sides = {"manifest": sorted(given - ours), "hierarchy": sorted(ours - given)}
        found = "; ".join(f"only in the {side}: {names}" for side, names in sides.items() if names)
        raise ValueError(
            f"The hierarchy and the manifest disagree on classes; {found}. Edit either until both agree."
        )

    def same_sizes_at_random(self, seed: int) -> Hierarchy:
        """Deal the same classes into random macros of the same sizes: the control.

        Raises
        ------
        ValueError
            If a class stands in several macros.
        """
        if self.overlapping:
            _ = self.macro_of
        shuffled = np.random.default_rng(seed).permutation(self.classes).tolist()
        members = tuple(tuple(sorted(shuffled[block])) for block in self.blocks)
        return Hierarchy(tuple(f"RANDOM_{index + 1}" for index in range(self.n_macros)), members)

    @classmethod
    def of(cls, given: Hierarchy | Mapping[Any, Sequence[Any]] | str | Path) -> Hierarchy:
        """Return a hierarchy, whichever way it is given: itself, classes by macro, or a JSON file.

        In a mapping, macros and classes may be of any type; they are named by `str`.

        Raises
        ------
        ValueError
            If it is something else, or no valid hierarchy.
        FileNotFoundError
            If there is no such file.
        """
        if isinstance(given, Hierarchy):
            return given
        if isinstance(given, str | Path):
            return cls.read(given)
        if not isinstance(given, Mapping):
            raise ValueError(
                "A hierarchy is an aisles.Hierarchy, a mapping of macros to their classes, or the path of a JSON file. "
                f"Received: {type(given).__name__}."
            )
        for macro, members in given.items():
            if isinstance(members, str) or not hasattr(members, "__iter__"):
                raise ValueError(f"Macro {macro!r} must hold a list of classes. Received: {members!r:.60}.")
        return cls(tuple(map(str, given)), tuple(tuple(map(str, members)) for members in given.values()))

    def only(self, classes: Sequence[str]) -> Hierarchy:
        """Return the hierarchy of some of the classes; macros that keep none are left out.

        Raises
        ------
        ValueError
            If a class isn't in the hierarchy, or none is given.
        """
        wanted = set(classes)
        unknown = sorted(wanted - set(self.classes))
        if unknown:
            raise ValueError(f"The hierarchy has no class {unknown}. Add it to a macro.")
        left = [tuple(name for name in names if name in wanted) for names in self.members]
        kept = [(macro, names) for macro, names in zip(self.macros, left, strict=True) if names]
        return Hierarchy(tuple(macro for macro, _ in kept), tuple(names for _, names in kept))

    @classmethod
    def from_labels(cls, classes: Sequence[str], macro_labels: Sequence[str]) -> Hierarchy:
        """Read a hierarchy off two columns: each row's class and each row's macro.

        Parameters
        ----------
        classes, macro_labels
            Of equal length, one entry per image (or class); macros and classes come out sorted.

        Raises
        ------
        ValueError
            If the lengths differ, or a class comes with two macros.
        """
        if len(classes) != len(macro_labels):
            raise ValueError(
                "`classes` and `macro_labels` must have one entry per row each. "
                f"Received: {len(classes)} and {len(macro_labels)}."
            )
        found: dict[str, set[str]] = {}
        for name, macro in zip(classes, macro_labels, strict=True):
            found.setdefault(str(name), set()).add(str(macro))
        for name, macros in sorted(found.items()):
            if len(macros) > 1:
                raise ValueError(
                    f"Class {name!r} comes with several macro labels: {sorted(macros)}. Correct the rows, "
                    "or write a hierarchy file if the class belongs to all of them."
                )
        macro_names = sorted({macro for macros in found.values() for macro in macros})
        return cls(
            tuple(macro_names),
            tuple(tuple(sorted(n for n, m in found.items() if macro in m)) for macro in macro_names),
        )

    def to_json(self) -> str:
        """Write as text that a person can edit, in the shape `{"macros": {"NAME": ["A", "B"]}}`."""
        macros = dict(zip(self.macros, map(list, self.members), strict=True))
        return json.dumps({"macros": macros}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Hierarchy:
        """Read the text that `to_json` writes; the order in the text is kept.

        Raises
        ------
        ValueError
            If it is no JSON, names a macro twice, has another shape, or is no valid hierarchy.
        """
        try:
            content = json.loads(text, object_pairs_hook=_without_duplicates)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(
                f"A hierarchy must be JSON of the shape {_SHAPE}. Reading failed: {error}."
            ) from error
        macros = content.get("macros") if isinstance(content, dict) else None
        if not isinstance(macros, dict) or set(content) != {"macros"}:
            raise ValueError(
                f"A hierarchy must be JSON of the shape {_SHAPE}. Received: {text.strip()[:80]!r}."
            )
        for name, members in macros.items():
            if not isinstance(members, list) or not all(isinstance(item, str) for item in members):
                raise ValueError(
                    f"Macro {name!r} must hold a list of quoted class names. Received: {str(members)[:60]!r}."
                )
        return cls(tuple(macros), tuple(tuple(members) for members in macros.values()))

    @classmethod
    def read(cls, path: str | Path) -> Hierarchy:
        """Read a hierarchy file.

        Raises
        ------
        ValueError
            As `from_json`, with the file's name.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"The hierarchy file {str(path)!r} cannot be used. {error}") from error

    def write(self, path: str | Path) -> None:
        """Write a hierarchy file; it appears whole or not at all."""
        path = Path(path)
        aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
        try:
            aside.write_text(self.to_json(), encoding="utf-8")
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def _check(macros: tuple[str, ...], members: tuple[tuple[str, ...], ...]) -> None:
    """Refuse what is no hierarchy."""
    if not macros:
        raise ValueError(
            "A hierarchy needs at least one macro. Received: none. Name one and list its classes."
        )
    if len(macros) != len(members):
        raise ValueError(
            "`macros` and `members` must be of equal length. "
            f"Received: {len(macros)} macros and {len(members)} groups of members."
        )
    _check_names(macros, "macro", "Give every macro another name.")
    for macro, names in zip(macros, members, strict=True):
        if not names:
            raise ValueError(
                f"Every macro needs at least one class. Macro {macro!r} is empty. Remove or fill it."
            )
        _check_names(names, f"class in macro {macro!r}", "List it once.")


def _check_names(names: tuple[str, ...], what: str, next_step: str) -> None:
    """Refuse names that are empty, no text, or repeated."""
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"Every {what} needs a name that is a text and not blank. Received: {name!r}.")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"Every {what} must be named once. Named more than once: {repeated}. {next_step}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, refusing the repeated keys that JSON would silently drop."""
    repeated = sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    if repeated:
        raise ValueError(
            f"Every name may stand once in a hierarchy. Repeated: {repeated}. Rename or merge them."
        )
    return dict(pairs)


def _fixed(indices: Any) -> np.ndarray:
    """Make an index array that nobody can change, since instances share it."""
    array = np.array(indices, dtype=np.intp)
    array.setflags(write=False)
    return array
