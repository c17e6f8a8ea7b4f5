"""The sections of the classes: the tree with changes, the confusion matrix, and the table of all classes."""

import numpy as np

from aisles.experiments.report.changes import ClassChanges, class_changes, mean_confusion
from aisles.experiments.report.names import macro_tag
from aisles.experiments.report.plots.classes import FEW, confusion_plots, tree_plots
from aisles.experiments.report.render.document import (
    Block,
    Bullets,
    Column,
    Plot,
    Section,
    Table,
    Text,
    signed,
)
from aisles.experiments.runs.reader import FLAT, Run

_PAIRS = 20


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
        Plot("tree", caption, *tree_plots(run, changes, run.primary)),
    )
    return Section("tree", "The hierarchy, and what it changes", blocks)


def confusion_section(run: Run) -> Section:
    """Return both systems' confusion matrices in the hierarchy's order, and the most frequent confusions."""
    names = (run.primary, FLAT)
    tables = {name: mean_confusion(run, name) for name in names}
    plots = [
        Plot(
            f"confusion-{i}",
            f"{name}: rows are true classes, columns answers; frames are macros; cells hold images (mean over seeds, "
            "from 0.5 up), darker for a larger share of the row.",
            *confusion_plots(run, tables[name], name),
            zoomable=len(run.classes) > FEW,
        )
        for i, name in enumerate(names)
    ]
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
    return Section("confusion", "Confusions", (pairs, *plots))


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
    confused = "" if instead < 0 else f"{run.classes[instead]} ({changes.confused[i]:.3g})"
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
