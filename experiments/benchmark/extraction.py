"""Features by the workers of a cluster, in shards of the manifest."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from aisles.data_prep.io.files import features_cache
from aisles.data_prep.io.progress import progress
from aisles.data_prep.io.workers import spread
from aisles.experiments.settings.benchmark import BackboneSettings
from aisles.models.backbones.registry import build_backbone, in_engine, in_precision
from aisles.models.features import FeatureCache, extract
from aisles.models.tensorflow_loading import load_in_worker

logger = logging.getLogger(__name__)
SHARD = 16
"""Batches per shard at most."""


def built(settings: BackboneSettings) -> Any:
    """Build the backbone that the settings name."""
    found = build_backbone(
        settings.name,
        weights=settings.weights,
        input_size=settings.input_size,
        color=settings.color,
        fit=settings.fit,
    )
    return in_engine(in_precision(found, settings.precision), settings.engine)


def extract_by_workers(
    backbone: Any,
    settings: BackboneSettings,
    paths: Sequence[Path],
    images: Sequence[str],
    cache: str | Path | None,
    jobs: int,
) -> None:
    """Put into the cache what it lacks: each worker builds the backbone and passes shards of the images through it.

    Shards are whole batches of the missing images in their order, as one machine would make them.

    Parameters
    ----------
    backbone : Backbone
        What `built` makes of the settings.
    settings : BackboneSettings
    paths, images : sequence
        Files, at the same paths for all workers, and the SHA-256 of their bytes.
    cache : path, optional
    jobs : int
        Workers.
    """
    stores = [FeatureCache(features_cache(cache), part.key, part.dimension) for part in _parts(backbone)]
    known = [store.get(list(dict.fromkeys(images))) for store in stores]
    todo = {i: p for i, p in zip(images, paths, strict=True) if any(i not in of_part for of_part in known)}
    names, files = list(todo), [Path(path).absolute() for path in todo.values()]
    batches = -(-len(names) // settings.batch_size)
    size = settings.batch_size * max(min(batches // (4 * jobs), SHARD), 1)
    calls = [
        (settings, names[start : start + size], files[start : start + size])
        for start in range(0, len(names), size)
    ]
    if not calls:
        return
    logger.info("Features of %d images are extracted in %d shards.", len(names), len(calls))
    for some, tables in progress(spread(_shard, calls, jobs), "Extracting", len(calls), "shards"):
        for store, vectors in zip(stores, tables, strict=True):
            store.put(some, vectors)


def _shard(
    settings: BackboneSettings, images: list[str], paths: list[Path]
) -> tuple[list[str], list[np.ndarray]]:
    """Return the images and each network's features of them. Runs in any process."""
    load_in_worker()
    with TemporaryDirectory() as folder:
        tables = [
            extract(part, paths, images=images, cache=folder, batch_size=settings.batch_size).vectors
            for part in _parts(_built_once(settings.model_dump_json()))
        ]
    return images, tables


@lru_cache(maxsize=1)
def _built_once(settings: str) -> Any:
    """Build the backbone for all shards of a worker."""
    return built(BackboneSettings.model_validate_json(settings))


def _parts(backbone: Any) -> tuple[Any, ...]:
    return getattr(backbone, "parts", (backbone,))
