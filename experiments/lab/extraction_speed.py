"""What extracting features costs: files against the bare network, bfloat16 against float32."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from aisles.data_prep.images.decoding import IMAGE_SUFFIXES, load_pixels
from aisles.models.backbones.registry import Backbone, build_backbone, in_precision, offers_bfloat16
from aisles.models.features import BATCH_SIZE, extract, passes
from aisles.models.fine_tuning.two_phase import gains_from_bfloat16

from .performance import Ratio, as_ratio, ratios_of
from .prediction_speed import write_images

logger = logging.getLogger(f"aisles.{__name__}")  # heard with the rest
EXTRACTION_LIMIT, BFLOAT16_LIMIT, COSINE_LIMIT = 0.9, 1.4, 0.999


def extraction_ratios(
    backbones: tuple[str, ...] = ("efficientnet_lite0", "inception_v3"),
    n_files: int = 256,
    rounds: int = 5,
    input_size: tuple[int, int] | None = None,
    photos: Path | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Ratio]:
    """Compare extraction from JPEG files into an empty cache with the bare network on the same pixels in memory.

    Parameters
    ----------
    backbones : tuple of str
        With random weights.
    n_files : int
        Drawn images of 400 x 300 pixels, or photographs.
    photos : Path, optional
        Folder of photographs, evenly sampled.
    """
    ratios = []
    for name in backbones:
        backbone = build_backbone(name, weights="none", input_size=input_size)
        with _images(n_files, photos) as files, tempfile.TemporaryDirectory() as folder:
            pixels = _pixels(files, backbone)
            caches = (Path(folder) / f"{i}" for i in range(1000))
            tasks = {
                "memory": lambda backbone=backbone, pixels=pixels: _vectors(backbone, pixels),
                "files": lambda backbone=backbone, files=files, caches=caches: extract(
                    backbone, files, cache=next(caches)
                ),
            }
            found = ratios_of(tasks, "memory", rounds, clock=clock)
        label = f"rate of extraction over bare {name}"
        ratios.append(as_ratio(label, 1 / found["files"], EXTRACTION_LIMIT, at_least=True))
    return ratios


def bfloat16_ratios(
    backbones: tuple[tuple[str, str], ...] = (
        ("inception_v3", "none"),
        ("vgg16", "none"),
        ("efficientnet_lite0", "imagenet"),
    ),
    n_images: int = 64,
    rounds: int = 5,
    input_size: tuple[int, int] | None = None,
    photos: Path | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Ratio]:
    """Compare networks in bfloat16 with themselves in float32, on pixels in memory; nothing where it isn't in hardware.

    A network with depthwise convolutions, for which training never chooses bfloat16 by itself, has no limit of
    speed. Cosines say more for trained weights than for random ones, whose features are alike for all images.

    Parameters
    ----------
    backbones : tuple of (name, weights)
    photos : Path, optional
        Folder of photographs, evenly sampled.
    """
    if not offers_bfloat16():
        logger.info("This processor has neither AVX512-BF16 nor AMX: bfloat16 is not measured.")
        return []
    ratios = []
    for name, weights in backbones:
        backbone = build_backbone(name, weights=weights, input_size=input_size)
        half = in_precision(backbone, "bfloat16")
        with _images(n_images, photos) as files:
            pixels = _pixels(files, backbone)
        tasks = {
            "bfloat16": lambda half=half, pixels=pixels: _vectors(half, pixels),
            "float32": lambda backbone=backbone, pixels=pixels: _vectors(backbone, pixels),
        }
        found = ratios_of(tasks, "float32", rounds, clock=clock)
        limit = BFLOAT16_LIMIT if gains_from_bfloat16(backbone.network) else None
        ratios.append(as_ratio(f"rate in bfloat16, {name}", 1 / found["bfloat16"], limit, at_least=True))
        cosines = _cosines(_vectors(half, pixels), _vectors(backbone, pixels))
        lowest, highest = float(cosines.min()), float(cosines.max())
        label = f"lowest cosine, {name}, weights {weights}"
        ratios.append(Ratio(label, lowest, lowest, highest, COSINE_LIMIT, at_least=True))
    return ratios


@contextmanager
def _images(n: int, photos: Path | None) -> Iterator[list[Path]]:
    """Return `n` files: photographs from all over a folder, or drawn ones."""
    if photos is None:
        with tempfile.TemporaryDirectory() as folder:
            yield write_images(Path(folder), n, 400)
        return
    files = sorted(file for file in photos.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if len(files) < n:
        raise ValueError(f"At least {n} photographs are needed. {photos} holds {len(files)}.")
    yield [files[i] for i in np.linspace(0, len(files) - 1, n).astype(int)]


def _pixels(files: list[Path], backbone: Backbone) -> np.ndarray:
    return np.stack([load_pixels(file, backbone.input_size) for file in files])


def _vectors(backbone: Backbone, pixels: np.ndarray) -> np.ndarray:
    starts = range(0, len(pixels), BATCH_SIZE)
    return np.concatenate(list(passes(backbone, (pixels[i : i + BATCH_SIZE] for i in starts))))


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
