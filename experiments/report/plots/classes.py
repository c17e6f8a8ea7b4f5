"""The drawings of the classes: the tree with what changes at each leaf, and the confusion matrix."""

from collections import Counter
from typing import Protocol

import numpy as np

from aisles.experiments.report.changes import ClassChanges
from aisles.experiments.report.names import macro_tag
from aisles.experiments.report.render.document import signed
from aisles.experiments.runs.reader import Run
from aisles.hierarchy.dendrogram import PALETTE

from .drawing import WIDTH, Drawing, Scale, cut, text_width

_LINE = 14
_CELL = 10
_TAG = 11


class GroupedClasses(Protocol):
    """Classes, the macro of each, and the order in which they are drawn (macro by macro, as indices)."""

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def macro_of(self) -> np.ndarray: ...  # noqa: D102

    @property
    def order(self) -> np.ndarray: ...  # noqa: D102


def tree_plot(run: Run, changes: ClassChanges, method: str, macro: int | None = None) -> Drawing:
    """Draw the tree of classes, root on the left, with the images won or lost at each leaf.

    Branches carry the color and the number of their macro; gray ones join several. Without a tree the classes are
    listed macro by macro.

    Parameters
    ----------
    run : Run
    changes : ClassChanges
        Of the method.
    method : str
    macro : int, optional
        List this macro's classes alone, without branches.
    """
    order = run.order if run.tree is None else np.array(run.tree.leaves)
    order = order if macro is None else order[run.macro_of[order] == macro]
    branches = run.tree is not None and macro is None
    longest = min(max(len(run.classes[i]) for i in order), 30)
    stem = 96 if branches else 24
    names_at = stem + 12
    bars_at = names_at + text_width("n" * longest, 9.5) + 6
    top, bottom = 30, 30 + _LINE * len(order)
    best = max(float(np.abs(changes.net).max()), 1.0)
    x = Scale(-best, best, bars_at + 18, WIDTH - 26)
    won, lost = int((changes.net[order] > 0).sum()), int((changes.net[order] < 0).sum())
    drawing = Drawing(
        WIDTH,
        bottom + 10,
        "Tree of classes with the change of each",
        f"{method} wins images in {won} classes and loses images in {lost} of {len(order)}; largest gains: "
        f"{_extremes(run, changes, -1, order)}; largest losses: {_extremes(run, changes, 1, order)}.",
    )
    drawing.text(x(0), 12, "images won or lost", "soft small", "middle")
    drawing.text(x(0), 23, f"by {cut(method, 18)}, a seed", "soft small", "middle")
    if branches:
        _branches(drawing, run, stem, top)
    drawing.line(x(0), top - 3, x(0), bottom + 3, "axis")
    for row, index in enumerate(order.tolist()):
        _leaf(drawing, run, changes, index, (names_at, top + _LINE * (row + 0.5)), x)
    return drawing


def _leaf(
    drawing: Drawing, run: Run, changes: ClassChanges, index: int, at: tuple[float, float], x: Scale
) -> None:
    left, y = at
    macro, net = int(run.macro_of[index]), float(changes.net[index])
    drawing.rect(
        left - 11,
        y - 3.5,
        7,
        7,
        f"m{macro % len(PALETTE)}",
        f"{macro_tag(macro)}: {run.hierarchy.macros[macro]}",
    )
    drawing.text(left, y + 3.4, cut(run.classes[index], 30), "small")
    hint = (
        f"{run.classes[index]}: {changes.corrected[index]:.1f} corrected, {changes.broken[index]:.1f} lost "
        f"of {changes.support[index]}"
    )
    drawing.rect(min(x(0), x(net)), y - 4, abs(x(net) - x(0)), 8, "good" if net > 0 else "bad", hint)
    if abs(net) >= 0.05:
        beside = 3 if net > 0 else -3
        drawing.text(x(net) + beside, y + 3, signed(net), "tiny", "start" if net > 0 else "end")


def macros_plot(run: Run, changes: ClassChanges, method: str) -> Drawing:
    """Draw the tree of classes folded to its macros, with the images won or lost in each.

    Branches above the macros are drawn where every macro is one branch of the tree, as it is where they were cut from
    it.

    Parameters
    ----------
    run : Run
    changes : ClassChanges
        Of the method.
    method : str
    """
    n_macros = run.hierarchy.n_macros
    order = run.order if run.tree is None else np.array(run.tree.leaves)
    rows = list(dict.fromkeys(run.macro_of[order].tolist()))
    net = np.bincount(run.macro_of, changes.net, minlength=n_macros)
    sizes = np.bincount(run.macro_of, minlength=n_macros)
    top, bottom = 30, 30 + _LINE * len(rows)
    names_at = 108
    x = Scale(
        -max(float(np.abs(net).max()), 1.0), max(float(np.abs(net).max()), 1.0), names_at + 176, WIDTH - 26
    )
    drawing = Drawing(
        WIDTH, bottom + 10, "Tree of macros with the change of each",
        f"{method} wins images in {int((net > 0).sum())} macros and loses images in {int((net < 0).sum())} of "
        f"{len(rows)}.",
    )  # fmt: skip
    drawing.text(x(0), 12, "images won or lost", "soft small", "middle")
    drawing.text(x(0), 23, f"by {cut(method, 18)}, a seed", "soft small", "middle")
    places = {macro: top + _LINE * (row + 0.5) for row, macro in enumerate(rows)}
    _upper_branches(drawing, run, places)
    drawing.line(x(0), top - 3, x(0), bottom + 3, "axis")
    for macro, y in places.items():
        name, change = run.hierarchy.macros[macro], float(net[macro])
        drawing.rect(names_at - 11, y - 3.5, 7, 7, f"m{macro % len(PALETTE)}", f"{macro_tag(macro)}: {name}")
        drawing.text(names_at, y + 3.4, f"{macro_tag(macro)} {cut(name, 22)} ({sizes[macro]})", "small")
        hint = f"{name}, {sizes[macro]} classes: {signed(change)} images"
        drawing.rect(
            min(x(0), x(change)), y - 4, abs(x(change) - x(0)), 8, "good" if change > 0 else "bad", hint
        )
        if abs(change) >= 0.05:
            beside = 3 if change > 0 else -3
            drawing.text(x(change) + beside, y + 3, signed(change), "tiny", "start" if change > 0 else "end")
    return drawing


def _upper_branches(drawing: Drawing, run: Run, places: dict[int, float]) -> None:
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
    x = Scale(0, float(tree.linkage[-1, 2]) or 1.0, 96, 8)
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
    x = Scale(0, float(tree.linkage[-1, 2]) or 1.0, stem, 8)
    macros: list[int | None] = [int(macro) for macro in run.macro_of]
    places = [top + _LINE * (place + 0.5) for place in np.argsort(tree.leaves).tolist()]
    heights = [0.0] * n
    tags = []
    for left, right, height, _ in tree.linkage.tolist():
        left, right = int(left), int(right)
        joined = macros[left] if macros[left] == macros[right] else None
        for child in (left, right):
            drawing.path(
                [(x(heights[child]), places[child]), (x(height), places[child])], _stroke(macros[child])
            )
            if macros[child] is not None and joined is None:
                tags.append(((x(heights[child]) + x(height)) / 2, places[child], macros[child]))
        drawing.path([(x(height), places[left]), (x(height), places[right])], _stroke(joined))
        macros.append(joined)
        heights.append(height)
        places.append((places[left] + places[right]) / 2)
    for at, y, macro in tags:
        drawing.rect(at - 9, y - 6, 18, 12, "tag", run.hierarchy.macros[macro], rx=3)
        drawing.text(at, y + 3.3, macro_tag(macro), "small strong", "middle")


def _stroke(macro: int | None) -> str:
    return "l lm" if macro is None else f"l s{macro % len(PALETTE)}"


def confusion_plot(run: GroupedClasses, confusion: np.ndarray, method: str) -> Drawing:
    """Draw a confusion matrix in the hierarchy's order, macros framed; a cell holds its images, mean over seeds.

    Parameters
    ----------
    run : Run, or anything else with classes in an order
    confusion : ndarray of shape (n_classes, n_classes)
        Row true class, column answered, in class order.
    method : str
    """
    order = run.order
    table = confusion[np.ix_(order, order)]
    names = [run.classes[i] for i in order.tolist()]
    edge = text_width("n" * min(max(map(len, names)), 30), 8) + 6 + _TAG
    size = edge + _CELL * len(order) + 6
    drawing = Drawing(
        size,
        size,
        f"Confusion matrix of {method}",
        f"Rows are true classes, columns answers, both macro by macro. Most frequent: {_worst_pairs(names, table)}.",
    )
    for i, name in enumerate(names):
        middle = edge + _CELL * (i + 0.5)
        drawing.text(edge - 4, middle + 2.8, cut(name, 30), "tiny", "end")
        above = edge - _TAG  # the first frame's tag stands beneath
        turned = f"rotate(-90 {middle + 2.8:.1f} {above:.1f})"
        drawing.text(middle + 2.8, above, cut(name, 30), "tiny", transform=turned)
    drawing.rect(edge, edge, _CELL * len(order), _CELL * len(order), "band")
    _cells(drawing, names, table, edge)
    _frames(drawing, run, order, edge)
    return drawing


def _cells(drawing: Drawing, names: list[str], table: np.ndarray, edge: float) -> None:
    support = np.maximum(table.sum(axis=1), 1e-9)
    for i, j in np.argwhere(table > 0).tolist():
        share = table[i, j] / support[i]
        x, y = edge + _CELL * j, edge + _CELL * i
        hint = f"{names[i]} answered as {names[j]}: {table[i, j]:.3g} of {support[i]:.0f} images"
        opacity = round(0.12 + 0.88 * share, 2)
        drawing.rect(x, y, _CELL, _CELL, "two" if i == j else "bad", hint, fill_opacity=opacity)
        if table[i, j] >= 0.5:
            drawing.text(
                x + _CELL / 2, y + 7, f"{table[i, j]:.0f}", "dark" if share < 0.5 else "pale", "middle"
            )


def _frames(drawing: Drawing, run: GroupedClasses, order: np.ndarray, edge: float) -> None:
    sizes = Counter(run.macro_of[order].tolist())
    start = edge
    for macro in sorted(sizes):
        side = _CELL * sizes[macro]
        drawing.rect(start, start, side, side, "frame")
        drawing.text(start + side - 2, start - 1.5, macro_tag(macro), "tiny strong", "end")
        start += side


def _worst_pairs(names: list[str], table: np.ndarray, most: int = 5) -> str:
    wrong = table - np.diag(np.diag(table))
    cells = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(names)) for cell in cells if wrong.flat[cell] > 0]
    return "; ".join(f"{names[i]} as {names[j]} {wrong[i, j]:.1f}" for i, j in pairs) or "no confusion"
