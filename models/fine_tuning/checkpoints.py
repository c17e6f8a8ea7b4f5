"""How far training has come, as one file that is replaced whole after every epoch."""

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.arrays import read_arrays
from aisles.data_prep.io.files import whole_file

from .curves import Epoch

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """The state of stopping and of the rate, and what was observed so far.

    Attributes
    ----------
    phase : str
        `frozen` or `tuned`.
    epoch : int
        Finished epochs of the phase.
    best : float
        Lowest validation loss of this phase and those before.
    waited : int
        Epochs since then.
    factor : float
        What plateaus have made of the rate.
    epochs : list of Epoch
        All of both phases.
    """

    phase: str = "frozen"
    epoch: int = 0
    best: float = float("inf")
    waited: int = 0
    factor: float = 1.0
    epochs: list[Epoch] = field(default_factory=list)


def write_checkpoint(
    path: Path, key: str, progress: Progress, state: dict[str, np.ndarray], best: list[np.ndarray]
) -> None:
    """Write everything that going on needs.

    Parameters
    ----------
    path : Path
        `.npz`; replaced once the new file is whole.
    key : str
        What the training depends on: a checkpoint of another training is not taken up.
    progress : Progress
    state : dict of ndarray
        `ImageTrainer.state()`.
    best : list of ndarray
        `ImageTrainer.weights()` of the best epoch so far.
    """
    arrays: dict[str, Any] = {f"best/{i:04d}": value for i, value in enumerate(best)} | state
    facts = json.dumps({"key": key, "progress": asdict(progress), "arrays": sorted(arrays)})
    arrays["facts"] = np.array(facts)
    with whole_file(path) as part:
        np.savez(part, **arrays)


def read_checkpoint(path: Path, key: str) -> tuple[Progress, dict[str, np.ndarray], list[np.ndarray]] | None:
    """Return what `write_checkpoint` wrote, or None if there is nothing of this training.

    A damaged file is nothing, too: the log says so, and training starts anew.
    """
    if not path.exists():
        return None
    try:
        return _read(path, key)
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error) or type(error).__name__
        logger.warning("%s is damaged (%s); this model's training starts anew.", path, reason)
        return None


def _read(path: Path, key: str) -> tuple[Progress, dict[str, np.ndarray], list[np.ndarray]] | None:
    arrays = read_arrays(path)
    facts: dict[str, Any] = json.loads(str(arrays["facts"]))
    if facts["key"] != key:
        logger.warning("%s belongs to other settings or images; training starts anew.", path)
        return None
    names: list[str] = facts["arrays"]
    every = {name: arrays[name] for name in names}
    state = {name: value for name, value in every.items() if not name.startswith("best/")}
    best = [every[name] for name in names if name.startswith("best/")]
    progress = Progress(**facts["progress"])
    progress.epochs = [Epoch(**epoch) for epoch in facts["progress"]["epochs"]]
    return progress, state, best
