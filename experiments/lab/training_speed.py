"""What the frozen phase costs: cached features against the network in every step, one graph against `Model.fit`.

Importing TensorFlow counts on neither side. Tracing and compiling count on both: `fit` pays for them with every
model, head training once for all heads of a structure, so only its first round shows it.
"""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aisles.models.backbones.registry import Backbone, build_backbone
from aisles.models.features import extract
from aisles.models.fine_tuning.result import join
from aisles.models.heads.building import build_head
from aisles.models.heads.fitting import fit_labels
from aisles.models.heads.settings import HeadTraining
from aisles.models.heads.training import refit_head

from .performance import Ratio, as_ratio, time_of
from .plain_fit import compile_plainly, fit_plainly
from .prediction_speed import drawn_pixels, write_images

logger = logging.getLogger(f"aisles.{__name__}")  # heard with the rest
N_MACROS, N_MEMBERS = 5, 4
FROZEN_LIMIT, HEADS_LIMIT = 20, 4
RATE = 1e-3


def frozen_ratios(
    backbone: str = "efficientnet_lite0",
    n_images: int = 1000,
    epochs: int = 40,
    steps: int = 10,
    rounds: int = 3,
    batch_size: int = 32,
    input_size: tuple[int, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Ratio]:
    """Compare two ways to train flat model, router and five sub-models of four classes each on a frozen network.

    One extracts the features of JPEG files into an empty cache, trains the seven heads on them and checks them on
    validation images after every epoch. The other calls `fit` on network and head. Of it only `steps` steps of
    the flat model are measured, on pixels in memory, without validation and after tracing; their time is scaled to
    all epochs of the seven models, whose steps cost the same because the network is what costs. All four
    simplifications are in its favor.

    Parameters
    ----------
    backbone : str
        With random weights.
    n_images : int
        For training; an eighth as many for validation.
    """
    network = build_backbone(backbone, weights="none", input_size=input_size)
    flat = [f"class{i:02d}" for i in range(N_MACROS * N_MEMBERS)]
    n_all = n_images + n_images // 8
    classes = np.array([flat[i % len(flat)] for i in range(n_all)], object)
    macros = np.array([f"macro{i % len(flat) // N_MEMBERS}" for i in range(n_all)], object)
    models = [(flat, classes), (sorted(set(macros)), macros)]
    models += [(flat[i : i + N_MEMBERS], classes) for i in range(0, len(flat), N_MEMBERS)]
    splits = np.array(["train"] * n_images + ["val"] * (n_all - n_images), object)
    training = HeadTraining(epochs=epochs, patience=epochs, learning_rate=RATE, batch_size=batch_size)
    total = epochs * sum(
        -(-int(np.isin(labels[:n_images], wanted).sum()) // batch_size) for wanted, labels in models
    )
    with tempfile.TemporaryDirectory() as name:
        files = write_images(Path(name), n_all, 400)
        caches = (Path(name) / f"cache-{i}" for i in range(100))

        def from_features():
            features = extract(network, files, cache=next(caches)).vectors
            for number, (wanted, labels) in enumerate(models):
                fit_labels(features, labels, splits, wanted, training=training, refit=False, name=f"{number}")

        naive = _naive_steps(network, len(flat), steps, batch_size)
        naive()
        # Round by round, because a warm-up of the other side would be an empty cache's worth of extraction.
        times = [
            (time_of(naive, clock) / steps * total, time_of(from_features, clock)) for _ in range(rounds)
        ]
    logger.info("Seconds by `fit` (scaled from %d of %d steps), from features: %s", steps, total, times)
    values = np.array([by_fit / cached for by_fit, cached in times])
    return [as_ratio(f"seven models by fit over features, {backbone}", values, FROZEN_LIMIT, at_least=True)]


def _naive_steps(backbone: Backbone, n_labels: int, steps: int, batch_size: int) -> Callable[[], object]:
    """Return `steps` steps of `fit` through the frozen network."""
    pixels = drawn_pixels(steps * batch_size, backbone.input_size).astype(np.float32)
    targets = np.arange(len(pixels)) % n_labels
    backbone.model.trainable = False
    model = compile_plainly(join(backbone, build_head("v1.3", backbone.dimension, n_labels)), RATE)
    return lambda: model.fit(pixels, targets, batch_size=batch_size, verbose=0)


def head_ratios(
    dimensions: tuple[int, ...] = (1280, 2048),
    n_images: int = 2640,
    n_labels: int = 81,
    epochs: int = 40,
    seeds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Ratio]:
    """Compare head training with `fit` and its defaults: the same arrays, first weights, Adam, epochs, batches of 64.

    Features are drawn: as many as the grocery run has training images and classes, as wide as
    EfficientNet-Lite0's and Inception-v3's. Neither side has validation images or stops early. Accuracy is that
    on as many other images. The gap is the difference of the two means over the standard deviation over seeds
    (pooled); 1 still counts as the same accuracy.

    `fit` runs without a global seed, as it does by default; see `models.plain_fit`.
    """
    ratios = []
    for dimension in dimensions:
        train, test = (_clouds(n_images, n_labels, dimension, seed) for seed in (1, 2))
        sides: dict[str, Callable] = {"fit": _by_fit, "features": _by_us}
        seconds, accuracies = np.zeros((2, seeds)), np.zeros((2, seeds))
        for seed in range(seeds):
            order = list(enumerate(sides.values()))
            for side, work in order if seed % 2 == 0 else order[::-1]:
                head = build_head("v1.3", dimension, n_labels, seed=seed)
                seconds[side, seed] = time_of(lambda: work(head, *train, epochs, seed), clock)  # noqa: B023
                answers = np.argmax(np.asarray(head(test[0], training=False)), 1)
                accuracies[side, seed] = (answers == test[1]).mean()
        logger.info("Seconds by `fit`, from features, %d wide: %s", dimension, seconds.round(2).tolist())
        ratios += _head_metrics(dimension, seconds, accuracies)
    return ratios


def _head_metrics(dimension: int, seconds: np.ndarray, accuracies: np.ndarray) -> list[Ratio]:
    means, spread = accuracies.mean(1), np.sqrt(accuracies.var(1, ddof=1).mean())
    gap = abs(means[0] - means[1]) / spread if spread else 0.0
    logger.info("Accuracy by `fit`, from features: %s; pooled standard deviation %.4f", means, spread)
    return [
        as_ratio(
            f"fit over head training, {dimension} wide", seconds[0] / seconds[1], HEADS_LIMIT, at_least=True
        ),
        *(
            Ratio(f"mean accuracy {side}, {dimension} wide", float(mean), float(row.min()), float(row.max()))
            for side, mean, row in zip(("by fit", "of head training"), means, accuracies, strict=True)
        ),
        as_ratio(f"accuracy gap in sd, {dimension} wide", np.array([gap]), 1.0),
    ]


def _by_us(head: Any, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> None:
    refit_head(head, x, y, epochs, HeadTraining(learning_rate=RATE, batch_size=64), seed=seed)


def _by_fit(head: Any, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> None:
    fit_plainly(head, x, y, epochs=epochs, rate=RATE, batch_size=64)


def _clouds(n: int, n_labels: int, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw features of overlapping classes, none below 0, as a network's averaged maps are."""
    centers = np.random.default_rng(0).normal(size=(n_labels, dimension)) * 7 / np.sqrt(dimension)
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(n) % n_labels)
    return np.maximum(centers[targets] + rng.normal(size=(n, dimension)), 0).astype(np.float32), targets
