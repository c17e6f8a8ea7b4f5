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


def tree_plot(run: Run, changes: ClassChanges, method: str) -> Drawing:
    """Draw the tree of classes, root on the left, with the images won or lost at each leaf.

    Branches carry the color and the number of their macro; gray ones join several. Without a tree the classes are
    listed macro by macro.

    Parameters
    ----------
    run : Run
    changes : ClassChanges
        Of the method.
    method : str
    """
    order = run.order if run.tree is None else np.array(run.tree.leaves)
    longest = min(max(len(name) for name in run.classes), 30)
    stem = 96 if run.tree is not None else 24
    names_at = stem + 12
    bars_at = names_at + text_width("n" * longest, 9.5) + 6
    top, bottom = 30, 30 + _LINE * len(order)
    best = max(float(np.abs(changes.net).max()), 1.0)
    x = Scale(-best, best, bars_at + 18, WIDTH - 26)
    won = int((changes.net > 0).sum())
    drawing = Drawing(
        WIDTH,
        bottom + 10,
        "Tree of classes with the change of each",
        f"{method} wins images in {won} classes and loses images in {int((changes.net < 0).sum())} of "
        f"{len(order)}; largest gains: {_extremes(run, changes, -1)}; largest losses: {_extremes(run, changes, 1)}.",
    )
    drawing.text(x(0), 12, "images won or lost", "soft small", "middle")
    drawing.text(x(0), 23, f"by {cut(method, 18)}, a seed", "soft small", "middle")
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


def _extremes(run: Run, changes: ClassChanges, sign: int, most: int = 3) -> str:
    rows = np.argsort(sign * changes.net, kind="stable")[:most]
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
