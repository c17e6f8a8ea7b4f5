"""A small run on drawn images, run once for all tests that read it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

if TYPE_CHECKING:
    from aisles.experiments.benchmark.run import BenchmarkResult

COLORS = {
    "apple": (200, 40, 40), "cherry": (170, 30, 60), "grape": (120, 30, 120), "lime": (60, 190, 60),
    "moss": (40, 150, 50), "pear": (160, 190, 60), "sea": (40, 70, 190), "sky": (80, 110, 220),
}  # fmt: skip
AISLES = {"apple": "fruit", "cherry": "fruit", "grape": "fruit", "lime": "fruit", "pear": "fruit"}
EVERYBODY = (
    "flat", "ensemble", "hard", "soft", "beam:2", "threshold:0.1", "implied", "hie", "masked", "random",
    "flat-logistic", "flat-lda", "soft:lda", "hiclass", "discriminant", "flat-discriminant", "column:aisle",
)  # fmt: skip
FAST = (
    "hierarchy.macros=3", "training.epochs=12", "training.learning_rate=0.01", "training.batch_size=16",
    "comparison.seeds=2", "comparison.random_partitions=2", "hierarchy.bootstraps=3",
)  # fmt: skip


@pytest.fixture(scope="session")
def small_run() -> "Callable[..., BenchmarkResult]":
    """Return a function that runs a benchmark with six filters for a backbone, quickly; its settings can be changed."""
    import keras

    from aisles.experiments.benchmark.run import run_benchmark
    from aisles.experiments.settings.reading import read_settings
    from aisles.models.backbones.registry import wrap_backbone

    inputs = keras.Input((8, 8, 3))
    kernel = keras.initializers.GlorotUniform(0)
    x = keras.layers.Conv2D(6, 3, activation="relu", kernel_initializer=kernel)(inputs)
    backbone = wrap_backbone(keras.Model(inputs, x), "tiny", preprocessing="symmetric")

    def run(data: Path, folder: Path, *changes: str, **more: Any) -> "BenchmarkResult":
        settings = read_settings(None, [*FAST, *changes])
        given = {"backbone": backbone, "jobs": 1} | more
        return run_benchmark(data, folder, settings, cache=folder.parent / "cache", **given)

    run.backbone = backbone
    return run


@pytest.fixture(scope="session")
def drawn_goods(tmp_path_factory) -> Path:
    """Draw 8 classes of 16 images that are hard to tell apart, two images a product, with an aisle each."""
    root, rng, rows = tmp_path_factory.mktemp("goods"), np.random.default_rng(5), []
    for name, color in COLORS.items():
        for product in range(8):
            own = rng.normal(0, 28, 3)
            for view in range(2):
                file = f"{name}-{product}-{view}.png"
                image = np.array(color) + own + rng.normal(0, 30, (8, 8, 3)) + rng.normal(0, 12, 3)
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / file)
                rows.append((file, name, f"{name}-{product}", AISLES.get(name, "outside")))
    table = pd.DataFrame(rows, columns=["file_name", "label", "product", "aisle"])
    table.to_csv(root / "metadata.csv", index=False)
    return root


@pytest.fixture(scope="session")
def full_run(tmp_path_factory, drawn_goods, small_run) -> Path:
    """Run a run with everybody in it, and a sweep."""
    folder = tmp_path_factory.mktemp("compared") / "run"
    names = json.dumps(EVERYBODY)
    small_run(drawn_goods, folder, f"comparison.methods={names}", "sweep.macros=[2, 3, 4]", sweep=True)
    return folder
