"""Features of augmented views: k changed copies of each image, through the backbone once, kept on disk."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aisles.data_prep.images.decoding import read_image_bytes
from aisles.data_prep.io.files import features_cache
from aisles.data_prep.io.progress import Progress
from aisles.models.backbones.registry import Backbone
from aisles.models.batches import pixel_batches
from aisles.models.features import BATCH_SIZE, FeatureCache, passes

from .augmentation import changer
from .settings import Augmentation

logger = logging.getLogger(__name__)


def extract_views(
    backbone: Backbone,
    paths: Sequence[str | Path],
    augmentation: Augmentation,
    n_views: int,
    *,
    images: Sequence[str] | None = None,
    cache: str | Path | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Return the features of augmented views, from the cache where they are known.

    Parameters
    ----------
    backbone : Backbone
    paths : sequence of path
        Image files; a path may lead into a tar archive.
    augmentation : Augmentation
    n_views : int
        Views of each image. A view depends on the image's bytes, the augmentation and the view's number.
    images : sequence of str, optional
        SHA-256 of each file's bytes where known; read and computed otherwise.
    cache : path, optional
        Folder of the cache; see `features_cache`.
    batch_size : int
        Images a pass.

    Returns
    -------
    ndarray of shape (n_images, n_views, dimension)
        float32, for `train_head`.
    """
    if n_views < 1:
        raise ValueError(f"There must be at least 1 view of an image. Received: n_views={n_views}.")
    store = FeatureCache(features_cache(cache), backbone.key, backbone.dimension)
    if images is None:
        images = [hashlib.sha256(read_image_bytes(path)).hexdigest() for path in paths]
    path_of = dict(zip(images, paths, strict=True))
    vectors = np.empty((len(images), n_views, backbone.dimension), np.float32)
    for view in range(n_views):
        names = {image: f"{image}:{augmentation.key}:{view}" for image in path_of}
        found = store.get(list(names.values()))
        todo = [image for image in path_of if names[image] not in found]
        logger.info("View %d of %d images: %d from the cache.", view, len(path_of), len(path_of) - len(todo))
        numbers = np.array([int(image[:15], 16) for image in todo], np.int64)
        batches = pixel_batches(
            [Path(path_of[image]) for image in todo],
            backbone.fitting,
            batch_size,
            change=changer(augmentation, 0, view, numbers),
        )
        with Progress(f"view {view + 1}/{n_views}", len(todo)) as bar:
            for number, computed in enumerate(passes(backbone, batches)):
                some = [names[image] for image in todo[number * batch_size :][:batch_size]]
                store.put(some, computed)
                found.update(zip(some, computed, strict=True))
                bar.update(len(some))
        vectors[:, view] = [found[names[image]] for image in images]
    return vectors
