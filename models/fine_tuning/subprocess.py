"""Training one model in a subprocess of its own, so that its memory goes back to the system when it is done.

The process is started afresh, never forked: TensorFlow doesn't survive a fork. It gets its task as a JSON file and
leaves its result in the model's folder, so nothing is pickled.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.files import write_whole
from aisles.data_prep.io.workers import places, spread
from aisles.models.prediction.stored import StoredBackbone, StoredNetwork
from aisles.models.tensorflow_loading import load_in_worker

from .loop import LabeledImages
from .result import TrainedModel, load_trained
from .settings import FineTuningSettings
from .two_phase import log_finished, train_on_images

logger = logging.getLogger(__name__)
QUIETLY = (
    "from aisles.models.tensorflow_loading import load_quietly; load_quietly(); "
    f"from {__name__} import main; main()"
)
"""TensorFlow's start-up lines would stand between those of the progress."""


def train_in_subprocess(
    start: StoredBackbone,
    train: LabeledImages,
    val: LabeledImages,
    labels: tuple[str, ...],
    training: FineTuningSettings,
    folder: str | Path,
    *,
    seed: int = 0,
    cache: str | Path | None = None,
) -> TrainedModel:
    """Do what `train_on_images` does, in a subprocess.

    Parameters
    ----------
    start : StoredBackbone
        The backbone to start from.
    train, val, labels, training, folder, seed, cache
        As in `train_on_images`.

    Returns
    -------
    TrainedModel

    Raises
    ------
    ChildProcessError
        If the process fails; what it said stands on stderr.
    """
    folder = Path(folder)
    about = {**asdict(start), "network": {"path": str(start.network.path), "sha256": start.network.sha256}}
    task = {
        "start": about,
        "train": _as_json(train),
        "val": _as_json(val),
        "labels": labels,
        "training": training.identity(),
        "folder": str(folder),
        "seed": seed,
    }
    key, done = hashlib.sha256(json.dumps(task).encode()).hexdigest(), folder / "finished.sha256"
    if done.exists() and done.read_bytes() == key.encode() and (trained := load_trained(folder)):
        log_finished(trained, training, folder)
        return trained
    logger.info("Training %s: %d labels, %d images.", folder.name, len(labels), len(train))
    task |= {
        "training": training.model_dump(),
        "cache": None if cache is None else str(cache),
        "parent": os.getpid(),
        "log_level": logging.getLogger("aisles").getEffectiveLevel(),
    }
    file = write_whole(folder / "task.json", json.dumps(task))
    code = subprocess.run([sys.executable, "-P", "-c", QUIETLY, str(file)], check=False).returncode
    file.unlink(missing_ok=True)
    trained = load_trained(folder)
    if code or trained is None:
        raise ChildProcessError(
            f"The process that trained {folder.name} ended with exit code {code}; its messages are above. Start "
            "again to go on from the last finished epoch."
        )
    write_whole(done, key)
    return trained


@dataclass(frozen=True)
class NetworkTask:
    """What `train_in_subprocess` is given, to be done anywhere that sees the same files."""

    start: StoredBackbone
    train: LabeledImages
    val: LabeledImages
    labels: tuple[str, ...]
    training: FineTuningSettings
    folder: Path
    seed: int = 0
    cache: str | Path | None = None

    def done(self) -> TrainedModel:
        """Train it unless that is done, and return it."""
        return train_in_subprocess(
            self.start,
            self.train,
            self.val,
            self.labels,
            self.training,
            self.folder,
            seed=self.seed,
            cache=self.cache,
        )


def train_ahead(tasks: Sequence[NetworkTask]) -> None:
    """Have a cluster's workers train networks that do not wait for each other; without a cluster, do nothing.

    Each lies in its folder afterwards, where `NetworkTask.done` finds it.
    """
    if jobs := places():
        for _ in spread(_finish, [(task,) for task in tasks], min(jobs, len(tasks))):
            pass


def _finish(task: NetworkTask) -> None:
    """Train one network. Runs in any process."""
    load_in_worker()
    task.done()


def _as_json(images: LabeledImages) -> dict[str, list]:
    return {
        "paths": [str(path) for path in images.paths],
        "targets": [int(target) for target in images.targets],
        "sha256": list(map(str, images.sha256)),
    }


def _images(task: Mapping[str, Any]) -> LabeledImages:
    return LabeledImages([Path(path) for path in task["paths"]], np.array(task["targets"]), task["sha256"])


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone: its successor will start another."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Train the model of the task file that the command line names."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("aisles").setLevel(task["log_level"])
    _end_with(task["parent"])
    network = task["start"]["network"]
    stored = StoredNetwork(Path(network["path"]), network["sha256"])
    fitting = Fitting.from_dict(task["start"]["fitting"])
    start = StoredBackbone(**{**task["start"], "network": stored, "fitting": fitting})
    train_on_images(
        start.load(),
        _images(task["train"]),
        _images(task["val"]),
        tuple(task["labels"]),
        FineTuningSettings.model_validate(task["training"]),
        task["folder"],
        seed=task["seed"],
        cache=task["cache"],
    )
