"""What teaching a bundle one new class costs beside training anew on old and new images, features cached for both."""

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from aisles.data_prep.images.manifest import read_manifest, write_manifest
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.settings.training import TrainSettings
from aisles.experiments.training.runs import train_classifier
from aisles.experiments.training.updating import update_bundle

from .performance import Ratio, as_ratio, ratios_of

LIMIT = 0.6
CLASSES, PER_CLASS = 24, 30


def update_ratios(
    photos: Path | None = None,
    n_classes: int = CLASSES,
    per_class: int = PER_CLASS,
    rounds: int = 2,
    changes: tuple[str, ...] = (),
) -> list[Ratio]:
    """Compare an update by the last class with training from the beginning, both with the evaluation of test images.

    Parameters
    ----------
    photos : Path, optional
        A manifest or folder with labels; drawn images unless given.
    n_classes, per_class : int
        Of drawn images.
    rounds : int
    changes : tuple of str
        Settings of both, as `fine_tuning.frozen_epochs=5`.
    """
    settings = read_settings(None, ["classifier.sharing=frozen", *changes], kind=TrainSettings)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = photos or _drawn(folder / "drawn", n_classes, per_class)
        manifest = read_manifest(data)
        last = manifest.labels.astype(str) == max(manifest.classes)
        for name, rows in (("old", ~last), ("new", last)):
            (folder / name).mkdir()
            part = manifest.keep(rows)
            write_manifest(part, folder / name / "metadata.csv")
        count = iter(range(10_000))

        def train(data: Path) -> Path:
            return train_classifier(
                data, folder / f"run-{next(count)}", settings, cache=folder / "cache"
            ).bundle

        bundle = train(folder / "old")

        def update() -> None:
            update_bundle(
                bundle, folder / "new", folder / f"run-{next(count)}", settings, cache=folder / "cache"
            )

        tasks = {"anew": lambda: train(Path(data)), "update": update}
        # After a first round that isn't counted, the features of all training images are cached for both.
        found = ratios_of(tasks, "anew", rounds, warm_up=True, clock=time.process_time)
    return [as_ratio("processor time of an update over training anew", found["update"], LIMIT)]


def _drawn(folder: Path, n_classes: int, per_class: int) -> Path:
    """Draw noisy images of one color per class."""
    rng = np.random.default_rng(0)
    for number in range(n_classes):
        place = folder / f"class-{number:02d}"
        place.mkdir(parents=True)
        color = rng.uniform(0, 255, 3)
        for i in range(per_class):
            pixels = (color + rng.normal(0, 30, (48, 48, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{i:03d}.jpg")
    return folder
