"""Training curves: what each epoch of both phases gave, as CSV and as the published study's figure of two panels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import pandas as pd

from aisles.data_prep.io.files import whole_file, write_whole
from aisles.models.heads.training import History

PHASES = ("frozen", "tuned")


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Attributes
    ----------
    phase : str
        `frozen` (the head alone) or `tuned` (the network too).
    loss, accuracy : float
        Means over the epoch's training images, as they were seen: augmented, with dropout.
    val_loss, val_accuracy : float
        At the epoch's end, without label smoothing.
    seconds : float
        That training and validation took; no part of what makes two epochs equal.
    """

    phase: str
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float = field(default=0.0, compare=False)


def epochs_of(phase: str, history: History, seconds: float = 0.0) -> tuple[Epoch, ...]:
    """Return a head's history as epochs of a phase, each with its share of the seconds that all of them took."""
    each = seconds / max(1, len(history.loss))
    rows = zip(history.loss, history.accuracy, history.val_loss, history.val_accuracy, strict=True)
    return tuple(Epoch(phase, *row, each) for row in rows)


def best_accuracy(epochs: Sequence[Epoch], phase: str) -> float | None:
    """Return the validation accuracy of a phase's best epoch (lowest validation loss), None without epochs."""
    own = [epoch for epoch in epochs if epoch.phase == phase]
    return min(own, key=lambda epoch: epoch.val_loss).val_accuracy if own else None


def write_curves(epochs: Sequence[Epoch], path: str | Path) -> Path:
    """Write one line an epoch: epoch (from 1), phase, loss, accuracy, val_loss, val_accuracy, seconds."""
    columns = [field.name for field in fields(Epoch)]
    table = pd.DataFrame([asdict(epoch) for epoch in epochs], columns=columns)
    table.index = pd.RangeIndex(1, len(table) + 1, name="epoch")
    return write_whole(path, table.to_csv())


def draw_curves(epochs: Sequence[Epoch], path: str | Path, title: str = "") -> Path:
    """Draw accuracy and loss of training and validation, with a line between the phases."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    numbers = range(1, len(epochs) + 1)
    border = sum(epoch.phase == "frozen" for epoch in epochs)
    for panel, name in zip(panels, ("accuracy", "loss"), strict=True):
        panel.plot(numbers, [getattr(epoch, name) for epoch in epochs], label="training")
        panel.plot(numbers, [getattr(epoch, f"val_{name}") for epoch in epochs], label="validation")
        if 0 < border < len(epochs):
            panel.axvline(border + 0.5, color="0.5", linestyle="--", label="fine-tuning starts")
        panel.set(xlabel="epoch", title=name)
        panel.grid(alpha=0.3)
    panels[0].legend()
    figure.suptitle(title)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)
    return Path(path)
