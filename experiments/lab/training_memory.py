"""What training several models in turn costs in memory, over training one."""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .performance import Ratio, as_ratio

MEMORY_LIMIT = 1.1


@dataclass(frozen=True)
class Task:
    """What one measuring process trains.

    Attributes
    ----------
    n_models : int
        In turn.
    own_process : bool
        Whether each is trained in a subprocess of its own.
    backbone : str
        With random weights.
    side, n_images, frozen_epochs, tuned_epochs : int
        Pixels a side; training images a model, half as many for validation; epochs of the phases.
    """

    n_models: int
    own_process: bool
    backbone: str
    side: int
    n_images: int
    frozen_epochs: int
    tuned_epochs: int


def memory_ratios(
    backbone: str = "efficientnet_lite0",
    n_models: int = 6,
    side: int = 128,
    n_images: int = 64,
    tuned_epochs: int = 2,
    rounds: int = 2,
    same_process: bool = True,
) -> list[Ratio]:
    """Compare the peak memory of fine-tuning `n_models` models in turn with that of fine-tuning one.

    The peak is the resident memory of the process that starts the trainings, at its highest, and of its largest
    child. All models have their networks, weights and optimizer to themselves and train on the same images.
    `same_process` adds what it would be without processes of their own, which has no limit.

    Parameters
    ----------
    backbone : str
        With random weights.
    """
    values: dict[str, list[float]] = {"own": [], "same": []}
    ways = [("own", True), ("same", False)][: 1 + same_process]
    for _ in range(rounds):
        for name, own in ways:
            many, one = (
                _peak(Task(n, own, backbone, side, n_images, 1, tuned_epochs)) for n in (n_models, 1)
            )
            values[name].append(many / one)
    ratios = [
        as_ratio(f"peak memory, {n_models} models in turn over one", np.array(values["own"]), MEMORY_LIMIT)
    ]
    if same_process:
        ratios.append(as_ratio("the same, all in one process", np.array(values["same"])))
    return ratios


def _peak(task: Task) -> float:
    command = [sys.executable, "-m", __name__, json.dumps(asdict(task))]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _train(task: Task, folder: Path) -> None:
    from aisles.data_prep.io.files import sha256_of
    from aisles.models.backbones.registry import build_backbone
    from aisles.models.fine_tuning.loop import LabeledImages
    from aisles.models.fine_tuning.settings import FineTuningSettings
    from aisles.models.fine_tuning.subprocess import train_in_subprocess
    from aisles.models.fine_tuning.two_phase import train_on_images
    from aisles.models.prediction.stored import StoredBackbone, StoredNetwork

    from .prediction_speed import write_images

    files = write_images(folder, task.n_images + task.n_images // 2, 400)
    train, val = (
        LabeledImages(some, np.arange(len(some)) % 2, [sha256_of(file) for file in some])
        for some in (files[: task.n_images], files[task.n_images :])
    )
    backbone = build_backbone(task.backbone, weights="none", input_size=(task.side, task.side))
    path = folder / "start.keras"
    backbone.model.save(path)
    start = StoredBackbone(
        StoredNetwork(path, sha256_of(path)),
        name=backbone.name,
        preprocessing=backbone.preprocessing,
        color="rgb",
        weights="none",
        precision="float32",
        fitting=backbone.fitting,
    )
    training = FineTuningSettings(
        frozen_epochs=task.frozen_epochs, tuned_epochs=task.tuned_epochs, precision="float32"
    )
    for number in range(task.n_models):
        where, cache = folder / f"submodel-{number:02d}", folder / "cache"
        if task.own_process:
            train_in_subprocess(start, train, val, ("a", "b"), training, where, seed=number, cache=cache)
        else:
            train_on_images(start.load(), train, val, ("a", "b"), training, where, seed=number, cache=cache)


def _main(text: str) -> None:
    import resource

    with tempfile.TemporaryDirectory() as folder:
        _train(Task(**json.loads(text)), Path(folder))
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    sys.stdout.write(f"{sum(peaks)}\n")


if __name__ == "__main__":
    _main(sys.argv[1])
