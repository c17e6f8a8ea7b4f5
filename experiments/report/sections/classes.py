"""The sections of the classes: the tree with changes, the confusion matrix, and the table of all classes."""

from dataclasses import dataclass

import numpy as np

from aisles.experiments.report.changes import ClassChanges, class_changes, mean_confusion
from aisles.experiments.report.names import macro_tag
from aisles.experiments.report.plots.classes import FEW, confusion_plots, macros_plots, tree_plots
from aisles.experiments.report.render.document import (
    Block,
    Bullets,
    Column,
    Folded,
    Plot,
    Section,
    Table,
    Text,
    shown,
    signed,
)
from aisles.experiments.runs.reader import FLAT, Run

_PAIRS = 20
MANY = 150
"""Classes from which on tree and confusion matrix are folded by macro."""


def tree_section(run: Run, changes: ClassChanges | None = None) -> Section:
    """Return the hierarchy with the images that each class wins or loses against flat."""
    changes = changes or class_changes(run, run.primary)
    macros = tuple(
        f"{macro_tag(i)}: {name} ({len(members)} {'class' if len(members) == 1 else 'classes'}, "
        f"{signed(float(changes.net[run.macro_of == i].sum()))} images)"
        for i, (name, members) in enumerate(zip(run.hierarchy.macros, run.hierarchy.members, strict=True))
    )
    origin = run.metrics["hierarchy"]["origin"]
    caption = (
        f"Bars: images corrected less images broken by {run.primary} against flat, mean over seeds; over all classes "
        f"they sum to {signed(float(changes.net.sum()))} of {len(run.truth)}. Branches and squares have "
        "their macro's color."
    )
    blocks: tuple[Block, ...] = (
        Text(f"{len(run.classes)} classes in {run.hierarchy.n_macros} macros ({origin}):"),
        Bullets(macros),
        *_tree_blocks(run, changes, caption),
    )
    return Section("tree", "The hierarchy, and what it changes", blocks)


def _tree_blocks(run: Run, changes: ClassChanges, caption: str) -> tuple[Block, ...]:
    """Return the tree; of many classes the tree of macros, and each macro's classes folded away."""
    if len(run.classes) < MANY:
        return (Plot("tree", caption, *tree_plots(run, changes, run.primary)),)
    folded = (
        Folded(
            f"{macro_tag(i)} {name}: {len(members)} classes",
            (Plot(f"tree-{i}", f"The classes of {name}.", *tree_plots(run, changes, run.primary, i)),),
        )
        for i, (name, members) in enumerate(zip(run.hierarchy.macros, run.hierarchy.members, strict=True))
    )
    overview = Plot("tree", f"{caption} Folded by macro; open one to see its classes.",
                    *macros_plots(run, changes, run.primary))  # fmt: skip
    return (overview, *folded)


@dataclass(frozen=True, eq=False)
class _Some:
    """Classes, or macros, as a confusion matrix wants them."""

    classes: tuple[str, ...]
    macro_of: np.ndarray
    order: np.ndarray


def _matrices(run: Run, tables: dict[str, np.ndarray]) -> tuple[Block, ...]:
    """Return both systems' matrices; of many classes those of macros, and inside each macro folded away."""
    names, n_macros = (run.primary, FLAT), run.hierarchy.n_macros
    if len(run.classes) < MANY:
        said = (
            "rows are true classes, columns answers; frames are macros; cells hold images (mean over seeds, from 0.5 "
            "up), darker for a larger share of the row."
        )
        return tuple(
            Plot(
                f"confusion-{i}",
                f"{name}: {said}",
                *confusion_plots(run, tables[name], name),
                zoomable=len(run.classes) > FEW,
            )
            for i, name in enumerate(names)
        )
    member = np.eye(n_macros)[run.macro_of]
    macros = _Some(run.hierarchy.macros, np.arange(n_macros), np.arange(n_macros))
    blocks: list[Block] = [
        Plot(
            f"confusion-{i}",
            f"{name}: rows are true macros, columns those of the answers; cells hold images, mean over seeds.",
            *confusion_plots(macros, member.T @ tables[name] @ member, name),
            zoomable=n_macros > FEW,
        )
        for i, name in enumerate(names)
        if n_macros < MANY
    ]
    for i, macro in enumerate(run.hierarchy.macros):
        rows = run.order[run.macro_of[run.order] == i]
        if 1 < len(rows) < MANY:
            inside = _Some(
                tuple(run.classes[row] for row in rows), np.full(len(rows), i), np.arange(len(rows))
            )
            drawings = confusion_plots(inside, tables[run.primary][np.ix_(rows, rows)], run.primary)
            caption = f"{run.primary} inside {macro}; answers of other macros are left out."
            blocks.append(
                Folded(f"{macro_tag(i)} {macro}: {len(rows)} classes",
                       (Plot(f"confusion-in-{i}", caption, *drawings, zoomable=len(rows) > FEW),))
            )  # fmt: skip
    return tuple(blocks)


def confusion_section(run: Run) -> Section:
    """Return both systems' confusion matrices in the hierarchy's order, and the most frequent confusions."""
    tables = {name: mean_confusion(run, name) for name in (run.primary, FLAT)}
    columns = (
        Column("true class"),
        Column("answered as"),
        Column(run.primary, "count"),
        Column(FLAT, "count"),
        Column("same macro", "word"),
    )
    caption = (
        f"The {_PAIRS} most frequent confusions of {run.primary} and flat together; images, mean over seeds."
    )
    pairs = Table("confusions", caption, columns, _frequent(run, tables), sortable=True)
    return Section("confusion", "Confusions", (pairs, *_matrices(run, tables)))


def _frequent(run: Run, tables: dict[str, np.ndarray]) -> tuple[tuple, ...]:
    both = tables[run.primary] + tables[FLAT]
    np.fill_diagonal(both, 0)
    cells = np.argsort(-both, axis=None, kind="stable")[:_PAIRS]
    rows = []
    for i, j in (divmod(int(cell), len(both)) for cell in cells):
        if both[i, j] > 0:
            same = "yes" if run.macro_of[i] == run.macro_of[j] else "no"
            counts = (float(tables[name][i, j]) for name in (run.primary, FLAT))
            rows.append((run.classes[i], run.classes[j], *counts, same))
    return tuple(rows)


def classes_section(run: Run, changes: ClassChanges | None = None) -> Section:
    """Return the table of classes, the worst first."""
    changes = changes or class_changes(run, run.primary)
    columns = (
        Column("class"),
        Column("macro", "word"),
        Column("images", "count"),
        Column("recall, flat", "share"),
        Column(f"recall, {run.primary}", "share"),
        Column("change", "points"),
        Column("corrected", "count"),
        Column("broken", "count"),
        Column("precision", "share"),
        Column("F1", "share"),
        Column("most often answered instead"),
    )
    order = sorted(
        range(len(run.classes)), key=lambda i: (np.nan_to_num(changes.recall[i], nan=2.0), run.classes[i])
    )
    caption = (
        f"The lowest recall of {run.primary} first; precision and F1 are {run.primary}'s. Means over seeds."
    )
    table = Table(
        "classes", caption, columns, tuple(_class_row(run, changes, i) for i in order), sortable=True
    )
    return Section("classes", "Classes", (table,))


def _class_row(run: Run, changes: ClassChanges, i: int) -> tuple:
    instead = int(changes.confused_with[i])
    confused = "" if instead < 0 else f"{run.classes[instead]} ({shown(changes.confused[i], 'count')})"
    return (
        run.classes[i],
        macro_tag(int(run.macro_of[i])),
        int(changes.support[i]),
        float(changes.recall_flat[i]),
        float(changes.recall[i]),
        float(changes.recall[i] - changes.recall_flat[i]),
        float(changes.corrected[i]),
        float(changes.broken[i]),
        float(changes.precision[i]),
        float(changes.f1[i]),
        confused,
    )
