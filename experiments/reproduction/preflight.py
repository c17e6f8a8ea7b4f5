"""What doing a study again needs, said before anything begins: weights, disk, time."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aisles.data_prep.abo.recipe import Recipe
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.models.backbones.weights import WeightsMissingError, find_weights

from .studies import Study

MULTIPLICATIONS = {
    "inception_v3": 5.7e9, "vgg16": 15.5e9, "efficientnet_lite0": 0.41e9, "efficientnet_lite1": 0.64e9,
    "efficientnet_lite2": 0.91e9,
}  # fmt: skip
"""Of one image through a backbone at its own size."""
PARAMETERS = {
    "inception_v3": 21.8e6, "vgg16": 14.7e6, "efficientnet_lite0": 3.4e6, "efficientnet_lite1": 4.2e6,
    "efficientnet_lite2": 4.9e6,
}  # fmt: skip
LARGEST = "inception_v3"
"""By which backbones that the tables do not know are counted."""
BACKWARD = 3
"""Passes that count for one training step through a network: forward once, backward twice."""
SHARE_OF_PEAK = 0.3
"""How much of a matrix product's speed a convolutional network reaches on processors; a rule of thumb."""
COPIES = 4
"""Of a network's parameters on disk: checkpoint, optimizer's two moments, final weights."""


@dataclass(frozen=True)
class Preflight:
    """What a reproduction needs.

    Attributes
    ----------
    backbones : tuple of str
        Whose weights it reads.
    missing : tuple of str
        What to do about the weights that are not here.
    download, disk, free : float
        Bytes: to fetch, to hold in the end, and free now.
    networks : int
        That are trained, counted in flat models: each on all training images.
    passes : float
        Images through the network, a training step counting as three.
    cpu_seconds, gpu_seconds : float
        About: on this machine's processors, and on the GPU of the study.
    """

    backbones: tuple[str, ...]
    missing: tuple[str, ...]
    download: float
    disk: float
    free: float
    networks: int
    passes: float
    cpu_seconds: float
    gpu_seconds: float

    @property
    def text(self) -> str:
        """Everything in words."""
        weights = "all here" if not self.missing else " ".join(self.missing)
        return "\n".join(
            [
                f"Weights:  {', '.join(self.backbones) or 'none'}: {weights}",
                f"Download: {_size(self.download)}",
                f"Disk:     {_size(self.disk)} in all; {_size(self.free)} are free",
                f"Training: {self.networks} networks, counted in flat models ({self.passes:,.0f} images through one)",
                f"Time:     about {_time(self.cpu_seconds)} on these {os.cpu_count()} processors, "
                f"about {_time(self.gpu_seconds)} on a GPU such as the study's",
            ]
        )

    def check(self) -> None:
        """Refuse to begin what can't end.

        Raises
        ------
        WeightsMissingError
            If pretrained weights are not here.
        OSError
            If the disk is too small.
        """
        if self.missing:
            raise WeightsMissingError(" ".join(self.missing))
        if self.free < self.disk:
            raise OSError(
                f"About {_size(self.disk)} of disk are needed, and {_size(self.free)} are free. Give another --output."
            )


def preflight(
    study: Study, recipe: Recipe, settings: BenchmarkSettings, output: Path, *, compared_by: str, weights: str
) -> Preflight:
    """Add up what a study needs from here on; what is in `output` already counts as done.

    Parameters
    ----------
    study, recipe, settings
        As they will be run.
    output : Path
    compared_by : str
        The backbone that compares images in curation.
    weights : str
        imagenet, none, or a file.
    """
    name = settings.backbone.name
    backbones = tuple(dict.fromkeys((compared_by, *name.split("+"))))
    missing = []
    for backbone in backbones if weights == "imagenet" else ():
        try:
            find_weights(backbone)
        except WeightsMissingError as error:
            missing.append(str(error))
    tuning, macros = settings.fine_tuning, settings.hierarchy.macros
    n_macros = macros if isinstance(macros, int) else 5
    tuned = [method for method in settings.comparison.everyone if method in ("flat-fine-tuned", "separate")]
    # flat; router and sub-models, which see each image once together; the flat ensemble of their cost
    networks = (1 + (2 + n_macros if "separate" in tuned else 0)) * settings.comparison.seeds if tuned else 0
    steps = settings.data.train_share * (tuning.frozen_epochs + BACKWARD * tuning.tuned_epochs)
    watched = settings.data.val_share * (tuning.frozen_epochs + tuning.tuned_epochs)
    passes = networks * study.n_images * (steps + watched)
    work = passes * _of(MULTIPLICATIONS, name)
    work += study.n_images * _of(MULTIPLICATIONS, name)
    work += study.n_compared * _of(MULTIPLICATIONS, compared_by)
    speed = _multiplications_per_second() * SHARE_OF_PEAK
    here = sum(size for archive, size in study.sizes.items() if (output / "archives" / archive).is_file())
    archives = sum(study.sizes.values())
    disk = archives * 1.15 + (study.n_images + study.n_compared) * 12_000
    disk += (networks + n_macros) * COPIES * 4 * _of(PARAMETERS, name)
    free = shutil.disk_usage(_existing(output)).free
    return Preflight(
        backbones, tuple(missing), archives - here, max(disk - _held(output), 0.0), free, networks, passes,
        work / speed, networks * study.flat_minutes * 60,
    )  # fmt: skip


def _of(table: dict[str, float], name: str) -> float:
    return sum(table.get(part, table[LARGEST]) for part in name.split("+"))


def _multiplications_per_second(n: int = 768) -> float:
    """Measure a matrix product on this machine, for a moment."""
    table = np.ones((n, n), np.float32)
    _ = table @ table
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 0.2:
        _ = table @ table
        count += 1
    return count * float(n) ** 3 / (time.perf_counter() - start)


def _existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)


def _held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _size(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    if seconds >= 172_800:
        return f"{seconds / 86_400:.0f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{max(seconds / 60, 1):.0f} minutes"
