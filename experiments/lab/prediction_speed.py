"""What prediction costs: routing rules against the flat model, and files against the bare network."""

import json
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import Backbone, build_backbone
from aisles.models.heads.building import build_head
from aisles.models.prediction.label_model import LabelModel
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

from .performance import Ratio, as_ratio, ratios_of

logger = logging.getLogger(f"aisles.{__name__}")  # heard with the rest
N_MACROS, N_MEMBERS = 3, 8
SOFT_LIMIT, HARD_LIMIT, FILES_LIMIT = 1.05, 2.1, 0.85


def routing_ratios(
    backbone: str = "inception_v3",
    batches: dict[int, int] | None = None,
    input_size: tuple[int, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Ratio]:
    """Time each rule against the flat model, with a shared backbone and with separate networks.

    Parameters
    ----------
    backbone : str
        With random weights.
    batches : dict of int to int
        Batch size to rounds; {1: 15, 64: 3} unless given.
    input_size : (height, width), optional
    """
    batches = batches or {1: 15, 64: 3}
    backbones = [
        build_backbone(backbone, weights="none", input_size=input_size, seed=seed) for seed in range(5)
    ]
    images = drawn_pixels(max(batches), backbones[0].input_size)
    shared, flat = _classifiers([backbones[0]] * 5, images)
    separate, _ = _classifiers(backbones, images)
    ratios = []
    for batch_size, rounds in batches.items():
        some = images[:batch_size]

        def work(classifier, rule, some=some, batch_size=batch_size):
            return lambda: classifier.predict(some, rule=rule, batch_size=batch_size)

        tasks = {"flat": work(flat, None)}
        tasks |= {f"{rule}, shared backbone": work(shared, rule) for rule in ("soft", "beam:2", "climb:0.6")}
        tasks |= {
            f"{rule}, separate networks": work(separate, rule) for rule in ("hard", "beam:2", "climb:0.6")
        }
        # Tracing depends on no batch size, so the first size warms up for the others.
        found = ratios_of(tasks, "flat", rounds, warm_up=not ratios, clock=clock)
        ratios += [
            as_ratio(f"{name}, batch {batch_size}", values, _limit(name))
            for name, values in found.items()
            if name != "flat"
        ]
        logger.info("Batches of %d are measured: %s", batch_size, ratios[-len(found) + 1 :])
    return ratios


def file_ratios(
    backbone: str = "efficientnet_lite0",
    n_files: int = 2000,
    block: int = 250,
    side: int = 400,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Ratio]:
    """Compare predicting JPEG files, JSON included, with the bare network on the same pixels in memory.

    Blocks of files alternate with the same number of images from memory, in batches of 32 both.
    """
    network = build_backbone(backbone, weights="none")
    images = drawn_pixels(block, network.input_size)
    classifier, _ = _classifiers([network] * 5, images[:64])
    with tempfile.TemporaryDirectory() as folder:
        files = write_images(Path(folder), n_files, side)
        blocks = [files[start : start + block] for start in range(0, n_files, block)]
        turns = iter([blocks[0], *blocks])

        def from_memory():
            for start in range(0, block, 32):
                network.forward(images[start : start + 32]).numpy()

        def from_files():
            answers: Any = classifier.iter_predict(next(turns))
            return [json.dumps(asdict(answer)) for answer in answers]

        found = ratios_of({"memory": from_memory, "files": from_files}, "memory", len(blocks), clock=clock)
    return [as_ratio(f"rate from files over bare {backbone}", 1 / found["files"], FILES_LIMIT, at_least=True)]


def _limit(name: str) -> float | None:
    if name.endswith("shared backbone"):
        return SOFT_LIMIT
    return HARD_LIMIT if name.startswith(("hard", "climb")) else None


def drawn_pixels(n: int, size: tuple[int, int]) -> np.ndarray:
    """Draw soft images: uint8 (n, height, width, 3)."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(p).resize((size[1], size[0]), Image.Resampling.BICUBIC)) for p in base]
    )


def _classifiers(backbones: list[Backbone], images: np.ndarray) -> tuple[TwoStageClassifier, FlatClassifier]:
    """Make a two-stage and a flat classifier; backbones for the router, three sub-models and the flat model."""
    names = [f"class{i:02d}" for i in range(N_MACROS * N_MEMBERS)]
    members = tuple(tuple(names[i * N_MEMBERS : (i + 1) * N_MEMBERS]) for i in range(N_MACROS))
    hierarchy = Hierarchy(tuple(f"macro{i}" for i in range(N_MACROS)), members)
    models = [
        _model(backbone, labels)
        for backbone, labels in zip(backbones, (hierarchy.macros, *members, names), strict=True)
    ]
    router = _spread(models[0], images)
    return TwoStageClassifier(router, models[1:4], hierarchy), FlatClassifier(models[4])


def _model(backbone: Backbone, labels: tuple[str, ...] | list[str]) -> LabelModel:
    return LabelModel(tuple(labels), backbone, build_head("v1.3", backbone.dimension, len(labels)), 1.2)


def _spread(router: LabelModel, images: np.ndarray) -> LabelModel:
    """Return the router a linear head that sends the images to all macros in turn, sure of two in three."""
    backbone = router.backbone
    assert isinstance(backbone, Backbone)
    features = np.concatenate(
        [backbone.forward(images[i : i + 16]).numpy() for i in range(0, len(images), 16)]
    )
    center = features.mean(0)
    wanted = 6 * np.eye(N_MACROS)[np.arange(len(features)) % N_MACROS]
    wanted[::3] /= 8
    kernel = np.linalg.lstsq(features - center, wanted, rcond=1e-3)[0].astype(np.float32)
    from aisles.models.heads.variants import HeadVariant

    head = build_head(
        HeadVariant((), batch_norm=False, dropout=0.0, augmentation=False), backbone.dimension, N_MACROS
    )
    head.set_weights([kernel, (-center @ kernel).astype(np.float32)])
    return replace(router, head=head)


def write_images(folder: Path, n: int, side: int) -> list[Path]:
    """Write JPEG files of textured noise, as heavy to decode as photographs of that size."""
    rng = np.random.default_rng(1)
    paths = []
    for number in range(n):
        small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
        paths.append(folder / f"{number:04d}.jpg")
        small.resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(paths[-1], quality=88)
    return paths
