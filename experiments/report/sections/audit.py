"""The label audit in the report, if one was made: suspects, and accuracy with and without them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.io.tables import restored_table
from aisles.experiments.label_audit.confident_learning import accuracy_without
from aisles.experiments.report.names import is_control
from aisles.experiments.report.render.document import (
    Block,
    Bullets,
    Card,
    Column,
    Gallery,
    Section,
    Table,
    Text,
)
from aisles.experiments.runs.reader import Run

from .gallery import thumbnail

_SHOWN = 18


def audit_section(run: Run, most: int = _SHOWN) -> Section | None:
    """Return the audit that lies in the run folder's `audit`, or None."""
    try:
        facts = json.loads((run.folder / "audit" / "audit.json").read_text(encoding="utf-8"))
        suspects = restored_table(pd.read_csv(run.folder / "audit" / "suspects.csv", keep_default_na=False))
    except (OSError, ValueError):
        return None
    splits = tuple(
        f"{split}: {part['n_suspected']} of {part['n_images']} images suspected; the auditing models agree with "
        f"{_percent(part['all_images'])} of the labels, {_percent(part['without'])} without the suspects"
        for split, part in facts["splits"].items()
    )
    blocks: list[Block] = [
        Text(
            f"Models trained on the other of {facts['n_folds']} folds, no product in two of them, judged all "
            f"{facts['n_images']} images. {facts['n_suspected']} confidently belong to another class than their label "
            "says (confident learning). They are suspects for a person to look at; nothing was changed."
        ),
        Bullets(splits),
        _accuracies(run, suspects),
    ]
    if len(suspects):
        caption = (
            f"The {min(most, len(suspects))} most suspicious of {len(suspects)}; suspects.csv lists all."
        )
        blocks.append(
            Gallery(caption, tuple(_card(run.folder, row) for row in suspects.head(most).to_dict("records")))
        )
    return Section("audit", "Suspected labels", tuple(blocks))


def _accuracies(run: Run, suspects: pd.DataFrame) -> Table:
    """Set accuracies with and without the suspected test images side by side, of this run's answers as they are now."""
    doubted = {run.folder / name for name in suspects["file_name"]}
    suspected = np.array([path in doubted for path in run.paths], dtype=bool)
    columns = (
        Column("method"),
        Column("all test images", "share"),
        Column("without suspects", "share"),
        Column("among suspects", "share"),
    )
    found = {
        name: accuracy_without(run.correct(name), suspected)
        for name in run.answers_by
        if not is_control(name, run.metrics)
    }
    rows = tuple((name, part.all_images, part.without, part.suspected) for name, part in found.items())
    caption = (
        "Accuracy with and without the suspected test images. Auditor and methods may fail on the same hard "
        "photographs, so accuracy rises without them even where every label is right; what counts is whether the "
        "order of the methods changes."
    )
    return Table("audit", caption, columns, rows)


def _card(folder: Path, row: dict[Any, Any]) -> Card:
    lines = (
        ("labelled", f"{row['label']} {100 * row['p_label']:.0f}\u00a0%"),
        ("looks like", f"{row['suggested']} {100 * row['p_suggested']:.0f}\u00a0%"),
        ("split", str(row["split"])),
    )
    name = str(row["file_name"])
    shown = re.sub(r"^(\.\./)+", "", name)
    return Card(thumbnail(folder / name), f"{row['suggested']}?", shown, lines)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
