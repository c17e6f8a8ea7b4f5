"""The drawings of the classes: the tree with what changes at each leaf, and the confusion matrix."""

from collections import Counter
from typing import Protocol

import numpy as np

from aisles.experiments.report.changes import ClassChanges
from aisles.experiments.report.names import macro_tag
from aisles.experiments.report.render.document import signed
from aisles.experiments.runs.reader import Run
from aisles.hierarchy.dendrogram import PALETTE

from .drawing import WIDE, WIDTH, Drawing, Scale, text_width

_LINE = 16
_CELL = 10
_LARGEST_CELL = 44
_TAGS = 16
FEW = 15
"""Up to so many classes, a confusion matrix is legible as a whole on a phone."""


class GroupedClasses(Protocol):
    """Classes, the macro of each, and the order in which they are drawn (macro by macro, as indices)."""

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def macro_of(self) -> np.ndarray: ...  # noqa: D102

    @property
    def order(self) -> np.ndarray: ...  # noqa: D102


def tree_plots(
    run: Run, changes: ClassChanges, method: str, macro: int | None = None
) -> tuple[Drawing, Drawing]:
    """Draw the tree of classes, root on the left, with the images won or lost at each leaf.

    Branches and squares carry the color of their macro, each class its macro's number; gray branches join several
    macros. Without a tree the classes are listed macro by macro.

    Parameters
    ----------
    run : Run
    changes : ClassChanges
        Of the method.
    method : str
    macro : int, optional
        List this macro's classes alone, without branches.

    Returns
    -------
    tuple of Drawing
        For a phone's width and for a screen's.
    """
    return _tree(run, changes, method, macro, WIDTH, 130), _tree(run, changes, method, macro, WIDE, 300)


def _tree(
    run: Run, changes: ClassChanges, method: str, macro: int | None, width: int, room: float
) -> Drawing:
    order = run.order if run.tree is None else np.array(run.tree.leaves)
    order = order if macro is None else order[run.macro_of[order] == macro]
    branches = run.tree is not None and macro is None
    stem = width * 0.16 if branches else 6
    tags_at = stem + 14
    names_at = tags_at + text_width(macro_tag(run.hierarchy.n_macros - 1), 9) + 5
    room = min(room, max(text_width(run.classes[i], 11) for i in order))
    top, bottom = 34, 34 + _LINE * len(order)
    best = max(float(np.abs(changes.net).max()), 1.0)
    beside = text_width(signed(-best), 9) + 5
    x = Scale(-best, best, names_at + room + beside + 6, width - beside - 2)
    won, lost = int((changes.net[order] > 0).sum()), int((changes.net[order] < 0).sum())
    drawing = Drawing(
        width,
        bottom + 10,
        "Tree of classes with the change of each",
        f"{method} wins images in {won} classes and loses images in {lost} of {len(order)}; largest gains: "
        f"{_extremes(run, changes, -1, order)}; largest losses: {_extremes(run, changes, 1, order)}.",
    )
    _heading(drawing, method, x(0), (width - names_at - room) / 2 - 8)
    if branches:
        _branches(drawing, run, stem, top)
    drawing.line(x(0), top - 3, x(0), bottom + 3, "axis")
    for row, index in enumerate(order.tolist()):
        y = top + _LINE * (row + 0.5)
        _leaf(drawing, run, index, (tags_at, names_at, y), room)
        hint = (
            f"{run.classes[index]}: {changes.corrected[index]:.1f} corrected, {changes.broken[index]:.1f} broken "
            f"of {changes.support[index]}"
        )
        _change(drawing, float(changes.net[index]), hint, x, y)
    return drawing


def _heading(drawing: Drawing, method: str, zero: float, half: float) -> None:
    words = f"images that {method} wins or loses, a seed"
    drawing.text(drawing.width / 2, 11, words, "soft small", "middle", room=drawing.width)
    drawing.text(zero - 4, 26, "◂ lost", "bad small", "end", room=half)
    drawing.text(zero + 4, 26, "won ▸", "good small", room=half)


def _leaf(drawing: Drawing, run: Run, index: int, at: tuple[float, float, float], room: float) -> None:
    _row(drawing, run, int(run.macro_of[index]), run.classes[index], at, room)


def _row(
    drawing: Drawing, run: Run, macro: int, name: str, at: tuple[float, float, float], room: float
) -> None:
    """Write a macro's square and number, and a name."""
    tags_at, names_at, y = at
    hint = f"{macro_tag(macro)}: {run.hierarchy.macros[macro]}"
    drawing.rect(tags_at - 11, y - 4, 8, 8, f"m{macro % len(PALETTE)}", hint)
    drawing.text(tags_at, y + 3.2, macro_tag(macro), "soft tiny", hint=hint)
    drawing.text(names_at, y + 4, name, "small", room=room)


def _change(drawing: Drawing, net: float, hint: str, x: Scale, y: float) -> None:
    drawing.rect(min(x(0), x(net)), y - 5, abs(x(net) - x(0)), 10, "good" if net > 0 else "bad", hint)
    if abs(net) >= 0.05:
        beside = 3 if net > 0 else -3
        drawing.text(x(net) + beside, y + 3, signed(net), "tiny", "start" if net > 0 else "end")


def macros_plots(run: Run, changes: ClassChanges, method: str) -> tuple[Drawing, Drawing]:
    """Draw the tree of classes folded to its macros, with the images won or lost in each.

    Branches above the macros are drawn where every macro is one branch of the tree, as it is where they were cut from
    it.

    Parameters
    ----------
    run : Run
    changes : ClassChanges
        Of the method.
    method : str

    Returns
    -------
    tuple of Drawing
        For a phone's width and for a screen's.
    """
    return _macros(run, changes, method, WIDTH, 130), _macros(run, changes, method, WIDE, 300)


def _macros(run: Run, changes: ClassChanges, method: str, width: int, room: float) -> Drawing:
    n_macros = run.hierarchy.n_macros
    order = run.order if run.tree is None else np.array(run.tree.leaves)
    rows = list(dict.fromkeys(run.macro_of[order].tolist()))
    net = np.bincount(run.macro_of, changes.net, minlength=n_macros)
    sizes = np.bincount(run.macro_of, minlength=n_macros)
    names = {macro: f"{run.hierarchy.macros[macro]} ({sizes[macro]})" for macro in rows}
    stem = width * 0.16 if run.tree is not None else 6
    tags_at = stem + 14
    names_at = tags_at + text_width(macro_tag(n_macros - 1), 9) + 5
    room = min(room, max(text_width(name, 11) for name in names.values()))
    top, bottom = 34, 34 + _LINE * len(rows)
    best = max(float(np.abs(net).max()), 1.0)
    beside = text_width(signed(-best), 9) + 5
    x = Scale(-best, best, names_at + room + beside + 6, width - beside - 2)
    drawing = Drawing(
        width, bottom + 10, "Tree of macros with the change of each",
        f"{method} wins images in {int((net > 0).sum())} macros and loses images in {int((net < 0).sum())} of "
        f"{len(rows)}.",
    )  # fmt: skip
    _heading(drawing, method, x(0), (width - names_at - room) / 2 - 8)
    places = {macro: top + _LINE * (row + 0.5) for row, macro in enumerate(rows)}
    _upper_branches(drawing, run, places, stem)
    drawing.line(x(0), top - 3, x(0), bottom + 3, "axis")
    for macro, y in places.items():
        _row(drawing, run, macro, names[macro], (tags_at, names_at, y), room)
        hint = f"{run.hierarchy.macros[macro]}, {sizes[macro]} classes: {signed(float(net[macro]))} images"
        _change(drawing, float(net[macro]), hint, x, y)
    return drawing


def _upper_branches(drawing: Drawing, run: Run, places: dict[int, float], stem: float) -> None:
    """Draw the merges that join macros, unless a macro lies in several branches."""
    tree = run.tree
    if tree is None:
        return
    macros: list[int | None] = [int(macro) for macro in run.macro_of]
    at = [places[int(macro)] for macro in run.macro_of]
    heights, merges = [0.0] * len(tree.classes), []
    for left, right, height, _ in tree.linkage.tolist():
        left, right = int(left), int(right)
        joined = macros[left] if macros[left] == macros[right] else None
        if joined is None:
            merges.append((left, right, height))
        macros.append(joined)
        heights.append(height)
        at.append((at[left] + at[right]) / 2 if joined is None else at[left])
    if len(merges) != len(places) - 1:
        return
    x = Scale(0, float(tree.linkage[-1, 2]) or 1.0, stem, 4)
    for left, right, height in merges:
        for child in (left, right):
            drawing.path([(x(heights[child]), at[child]), (x(height), at[child])], _stroke(macros[child]))
        drawing.path([(x(height), at[left]), (x(height), at[right])], _stroke(None))


def _extremes(run: Run, changes: ClassChanges, sign: int, among: np.ndarray, most: int = 3) -> str:
    rows = among[np.argsort(sign * changes.net[among], kind="stable")[:most]]
    told = [f"{run.classes[i]} {signed(float(changes.net[i]))}" for i in rows if sign * changes.net[i] < 0]
    return ", ".join(told) or "none"


def _branches(drawing: Drawing, run: Run, stem: float, top: float) -> None:
    """Draw each node's stem towards its parent and the bar that joins its two children."""
    tree = run.tree
    if tree is None:  # the classes are listed without branches
        return
    n = len(tree.classes)
    x = Scale(0, float(tree.linkage[-1, 2]) or 1.0, stem, 4)
    macros: list[int | None] = [int(macro) for macro in run.macro_of]
    places = [top + _LINE * (place + 0.5) for place in np.argsort(tree.leaves).tolist()]
    heights = [0.0] * n
    for left, right, height, _ in tree.linkage.tolist():
        left, right = int(left), int(right)
        joined = macros[left] if macros[left] == macros[right] else None
        for child in (left, right):
            macro = macros[child]
            hint = "" if macro is None else f"{macro_tag(macro)}: {run.hierarchy.macros[macro]}"
            ends = [(x(heights[child]), places[child]), (x(height), places[child])]
            drawing.path(ends, _stroke(macro), hint)
        drawing.path([(x(height), places[left]), (x(height), places[right])], _stroke(joined))
        macros.append(joined)
        heights.append(height)
        places.append((places[left] + places[right]) / 2)


def _stroke(macro: int | None) -> str:
    return "l lm" if macro is None else f"l s{macro % len(PALETTE)}"


def confusion_plots(
    run: GroupedClasses, confusion: np.ndarray, method: str
) -> tuple[Drawing, Drawing | None]:
    """Draw a confusion matrix in the hierarchy's order, macros framed; a cell holds its images, mean over seeds.

    Parameters
    ----------
    run : Run, or anything else with classes in an order
    confusion : ndarray of shape (n_classes, n_classes)
        Row true class, column answered, in class order.
    method : str

    Returns
    -------
    tuple of Drawing
        For a phone's width and for a screen's; with more than `FEW` classes one drawing and None, to zoom into.
    """
    if len(run.order) > FEW:
        return _matrix(run, confusion, method, WIDE), None
    return _matrix(run, confusion, method, WIDTH), _matrix(run, confusion, method, WIDE // 2)


def _matrix(run: GroupedClasses, confusion: np.ndarray, method: str, width: int) -> Drawing:
    order = run.order
    table = confusion[np.ix_(order, order)]
    names = [run.classes[i] for i in order.tolist()]
    small = 9 if width == WIDTH or len(names) > FEW else 11
    room = min(max(text_width(name, small) for name in names), 0.3 * width if len(names) <= FEW else 210.0)
    cell = min(max((width - room - 10) / len(names), _CELL), _LARGEST_CELL)
    edge, upper = room + 6, room + 6 + _TAGS
    side = cell * len(names)
    drawing = Drawing(
        max(edge + side + 4, float(width)),
        upper + side + 6,
        f"Confusion matrix of {method}",
        f"Rows are true classes, columns answers, both macro by macro. Most frequent: {_worst_pairs(names, table)}.",
    )
    for i, name in enumerate(names):
        middle = cell * (i + 0.5) + 0.3 * small
        drawing.text(edge - 4, upper + middle, name, "", "end", room=room, size=small)
        drawing.text(edge + middle, upper - _TAGS - 2, name, "", room=room, size=small, upwards=True)
    drawing.rect(edge, upper, side, side, "band")
    _cells(drawing, names, table, (edge, upper), cell)
    _frames(drawing, run, order, (edge, upper), cell)
    return drawing


def _cells(
    drawing: Drawing, names: list[str], table: np.ndarray, at: tuple[float, float], cell: float
) -> None:
    """Draw the cells that hold images; all counts have one size, in which the longest fits its cell."""
    support = np.maximum(table.sum(axis=1), 1e-9)
    longest = text_width(_whole(table.max()), 1)
    size = round(min(12.0, 0.9 * cell, (cell - 1) / longest), 1)
    for i, j in np.argwhere(table > 0).tolist():
        share = table[i, j] / support[i]
        x, y = at[0] + cell * j, at[1] + cell * i
        hint = f"{names[i]} answered as {names[j]}: {table[i, j]:.3g} of {support[i]:.0f} images"
        opacity = round(0.12 + 0.88 * share, 2)
        drawing.rect(x, y, cell, cell, "two" if i == j else "bad", hint, fill_opacity=opacity)
        if table[i, j] >= 0.5:
            drawing.text(
                x + cell / 2,
                y + cell / 2 + 0.3 * size,
                _whole(table[i, j]),
                "count" if share < 0.5 else "count pale",
                "middle",
                size=size,
            )


def _whole(images: float) -> str:
    """Round a count, halves upwards."""
    return str(int(images + 0.5))


def _frames(
    drawing: Drawing, run: GroupedClasses, order: np.ndarray, at: tuple[float, float], cell: float
) -> None:
    """Frame the macros, and write their tags between labels and matrix, where they are narrower than the frame."""
    sizes = Counter(run.macro_of[order].tolist())
    start = 0.0
    for macro in sorted(sizes):
        side, tag = cell * sizes[macro], macro_tag(macro)
        drawing.rect(at[0] + start, at[1] + start, side, side, "frame")
        drawing.rect(at[0] + start + 1, at[1] - 5, side - 2, 4, f"m{macro % len(PALETTE)}", tag)
        if text_width(tag, 9, bold=True) <= side - 1:
            drawing.text(at[0] + start + side / 2, at[1] - 7, tag, "tiny strong", "middle")
        start += side


def _worst_pairs(names: list[str], table: np.ndarray, most: int = 5) -> str:
    wrong = table - np.diag(np.diag(table))
    cells = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(names)) for cell in cells if wrong.flat[cell] > 0]
    return "; ".join(f"{names[i]} as {names[j]} {wrong[i, j]:.1f}" for i, j in pairs) or "no confusion"
