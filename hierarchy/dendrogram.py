"""An image of the tree of classes, colored by macro."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from .class_tree import MANY, ClassTree
from .hierarchy import Hierarchy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9",
    "#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#661100",
)  # fmt: skip
"""Twelve colors for the color-blind: Okabe and Ito's without black and yellow, then some of Tol's muted."""
MIXED = "#8c8c8c"
_INK = "#222222"
_INCHES_A_CLASS = 0.185


def draw_dendrogram(
    tree: ClassTree, hierarchy: Hierarchy, path: str | Path | Iterable[str | Path]
) -> tuple[Path, ...]:
    """Draw the tree with its root on the left, one line a class, branches in the color of their macro.

    Branches that join several macros are gray. Numbers tie branches to the legend, so that color is not the
    only cue; from the thirteenth macro on colors repeat. Of more than `class_tree.MANY` classes, macros are
    drawn in their place. The cut is a dashed line where the hierarchy is a cut of this tree. Under one version
    of matplotlib the same input gives the same SVG, byte for byte.

    Parameters
    ----------
    tree
        Of the classes.
    hierarchy
        Of the same classes, each in one macro; a cut of the tree or a person's own.
    path
        One path without suffix, which gets `.svg` and `.png` appended, or several complete paths.

    Returns
    -------
    tuple of pathlib.Path
        The files written; each appears whole or not at all.

    Raises
    ------
    ValueError
        If the classes of the tree and of the hierarchy differ, or a class stands in several macros.
    """
    if tree.classes != hierarchy.classes:
        differing = sorted(set(tree.classes) ^ set(hierarchy.classes))
        raise ValueError(f"The tree and the hierarchy must have the same classes. Only in one: {differing}.")
    if isinstance(path, str | Path):
        targets = tuple(Path(f"{path}{suffix}") for suffix in (".svg", ".png"))
    else:
        targets = tuple(Path(item) for item in path)
    leaves = of_macros(tree, hierarchy) if len(tree.classes) > MANY else (tree, hierarchy)
    _save(_figure(*leaves, hierarchy), targets)
    return targets


def of_macros(tree: ClassTree, hierarchy: Hierarchy) -> tuple[ClassTree, Hierarchy]:
    """Return a tree whose leaves are the macros, by the mean distance of their classes, and these as its hierarchy."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    order = np.argsort(hierarchy.macro_of, kind="stable")
    starts = np.searchsorted(hierarchy.macro_of[order], np.arange(hierarchy.n_macros))
    sums = np.add.reduceat(squareform(tree.distances)[:, order], starts, axis=1)
    sums = np.add.reduceat(sums[order], starts, axis=0)
    sizes = np.array(hierarchy.sizes)
    means = sums / np.outer(sizes, sizes)
    np.fill_diagonal(means, 0.0)
    named = [f"{name} ({size} classes)" for name, size in zip(hierarchy.macros, sizes.tolist(), strict=True)]
    by_name = np.argsort(named)
    distances = squareform((means + means.T)[np.ix_(by_name, by_name)] / 2, checks=False)
    macros = ClassTree(tuple(sorted(named)), linkage(distances, "average"), distances, "average", tree.metric)
    return macros, Hierarchy(tuple(named), tuple((name,) for name in named))


def macro_color(macro: int) -> str:
    """Return the color of a macro by its index in `hierarchy.macros`; colors repeat after twelve."""
    return PALETTE[macro % len(PALETTE)]


def _figure(tree: ClassTree, hierarchy: Hierarchy, whole: Hierarchy | None = None) -> Figure:
    """Lay out tree, names and legend on a page that grows with the leaves; `whole` has the classes of leaf macros."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n, whole = len(tree.classes), whole or hierarchy
    columns = 1 if max(map(len, whole.macros)) > 48 else 2
    legend_rows = -(-whole.n_macros // columns)
    height = 1.1 + _INCHES_A_CLASS * max(n, 6) + 0.22 * legend_rows
    figure = Figure(figsize=(10, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_branches(axes, tree, hierarchy)
    _draw_cut(axes, tree, hierarchy)
    _label_classes(axes, tree, hierarchy)
    _add_legend(figure, whole, columns)
    return figure


def _draw_branches(axes: Axes, tree: ClassTree, hierarchy: Hierarchy) -> None:
    """Draw each node's stem towards its parent, and the bar that joins its two children."""
    from matplotlib.collections import LineCollection

    macro, height, place, parents = _nodes(tree, hierarchy)
    root = len(height) - 1
    top = height[root] or 1.0
    lines, colors = [], []
    for node, joint in enumerate(parents):
        color = MIXED if macro[node] is None else macro_color(macro[node])
        end = height[root] + 0.02 * top if node == root else height[joint]
        lines.append([(height[node], place[node]), (end, place[node])])
        colors.append(color)
        if node >= len(tree.classes):
            left, right = (int(child) for child in tree.linkage[node - len(tree.classes), :2])
            lines.append([(height[node], place[left]), (height[node], place[right])])
            colors.append(color)
        if macro[node] is not None and (node == root or macro[joint] is None):
            _number(axes, (height[node] + end) / 2, place[node], macro[node])
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=1.6, capstyle="round"))
    axes.set_xlim(top * 1.04, -0.012 * top)
    axes.set_ylim(len(tree.classes) - 0.4, -0.6)


def _nodes(tree: ClassTree, hierarchy: Hierarchy) -> tuple[list, list[float], list[float], list[int]]:
    """Return for each leaf, then each merge: its macro (None if several), height, place and parent."""
    n = len(tree.classes)
    macro: list = [int(index) for index in hierarchy.macro_of]
    height = [0.0] * n
    place = [float(position) for position in np.argsort(tree.leaves)]
    parents = [0] * (2 * n - 1)
    for node, (left, right, distance, _) in enumerate(tree.linkage.tolist(), start=n):
        left, right = int(left), int(right)
        macro.append(macro[left] if macro[left] == macro[right] else None)
        height.append(distance)
        place.append((place[left] + place[right]) / 2)
        parents[left] = parents[right] = node
    return macro, height, place, parents


def _number(axes: Axes, x: float, y: float, macro: int) -> None:
    """Write a macro's number on its stem."""
    box = {
        "boxstyle": "round,pad=0.18",
        "facecolor": "white",
        "edgecolor": macro_color(macro),
        "linewidth": 1,
    }
    axes.text(x, y, str(macro + 1), ha="center", va="center", fontsize=7, color=_INK, bbox=box, zorder=4)


def _shown(name: str) -> str:
    """Put U+FFFD for control characters and the like, which no XML may hold."""
    return "".join(character if character.isprintable() else "\ufffd" for character in name)


def _draw_cut(axes: Axes, tree: ClassTree, hierarchy: Hierarchy) -> None:
    """Draw where the tree was cut, if it was."""
    if not 2 <= hierarchy.n_macros <= len(tree.classes):
        return
    ours = {frozenset(names) for names in hierarchy.members}
    cut = {frozenset(tree.classes[i] for i in group) for group in tree.groups(hierarchy.n_macros)}
    if ours == cut:
        axes.axvline(tree.cut_height(hierarchy.n_macros), color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))


def _label_classes(axes: Axes, tree: ClassTree, hierarchy: Hierarchy) -> None:
    """Write class names on the right, each behind a square in its macro's color."""
    order = list(tree.leaves)
    colors = [macro_color(macro) for macro in hierarchy.macro_of[order].tolist()]
    axes.scatter(
        np.zeros(len(order)), np.arange(len(order)), c=colors, marker="s", s=16, zorder=3, clip_on=False
    )
    axes.yaxis.tick_right()
    axes.set_yticks(range(len(order)), [_shown(tree.classes[leaf]) for leaf in order], fontsize=8, color=_INK)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.tick_params(axis="x", labelsize=8, colors=_INK)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    metric = tree.metric.replace("euclidean", "Euclidean")
    axes.set_xlabel(f"height of the merge ({tree.method} linkage, {metric} distance)", fontsize=8, color=_INK)


def _add_legend(figure: Figure, hierarchy: Hierarchy, columns: int) -> None:
    """List the macros with number, name and size above the tree."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=macro_color(index), linewidth=4, label=f"{index + 1}  {_shown(name)} ({size})")
        for index, (name, size) in enumerate(zip(hierarchy.macros, hierarchy.sizes, strict=True))
    ]
    title = f"{hierarchy.n_macros} macros of {hierarchy.n_classes} classes"
    legend = figure.legend(
        handles=handles, loc="outside upper left", ncols=columns, fontsize=8, title=title, frameon=False
    )
    legend.set_alignment("left")
    for text in legend.get_texts():
        text.set_parse_math(False)


def _save(figure: Figure, targets: tuple[Path, ...]) -> None:
    """Write the figure to each path, without a date and with fixed ids; glyphs a font lacks show as boxes."""
    import matplotlib

    for target in targets:
        aside = target.with_name(f".{uuid4().hex[:8]}-{target.name}")
        metadata = {"Date": None} if target.suffix.lower() == ".svg" else None
        try:
            with matplotlib.rc_context({"svg.hashsalt": "aisles"}), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
                figure.savefig(aside, dpi=150, metadata=metadata)
            os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)
