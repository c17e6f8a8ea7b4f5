"""Calibration images of a run: its test images, from which nothing was learned, as the bundle's networks see them."""

import hashlib
import logging
from pathlib import Path

import numpy as np

from aisles.data_prep.images.decoding import image_size, read_image_bytes
from aisles.data_prep.images.manifest import Manifest, read_manifest
from aisles.data_prep.io.errors import UnreadableImage
from aisles.data_prep.io.files import features_cache, whole_file

from .judging import Stages
from .networks import Networks

logger = logging.getLogger(__name__)
MOST = 4000
"""Calibration images that are looked at; more make the guarantee hardly sharper, and the start slower."""


def calibration_of(
    networks: Networks, run: Path, bundle: Path, flat: Path | None, *, cache: Path | None = None
) -> tuple[Stages, np.ndarray] | None:
    """Look at the test images of a run, one per product, or read what was said of them at the last start.

    Parameters
    ----------
    networks : Networks
    run : Path
        A run folder with `manifest.csv`.
    bundle, flat : Path
        Where the networks came from; their hashes are part of what is remembered.
    cache : Path, optional
        Folder for what is remembered; beside the cached features unless given.

    Returns
    -------
    tuple of Stages and ndarray of int, or None
        What the networks say, and the true classes. None without such images.
    """
    file = run / "manifest.csv"
    if not file.is_file():
        logger.warning("%s has no manifest.csv: nothing can be guaranteed on its test images.", run)
        return None
    paths, truth, digests = _unseen(networks, read_manifest(file, check_files=False))
    if not paths:
        logger.warning("%s has no test images here that the bundle did not learn from.", run)
        return None
    key = hashlib.sha256("\n".join([*_hashes(bundle, flat), *digests]).encode()).hexdigest()[:32]
    kept = (features_cache().parent if cache is None else cache) / "demo" / f"{key}.npz"
    stages = _read(kept)
    if stages is None:
        logger.info("Looking once at %d test images of %s, for the slider.", len(paths), run)
        stages = networks.stages_of(paths, None if cache is None else cache / "features")
        _keep(kept, stages)
    return stages, truth


def _unseen(networks: Networks, manifest: Manifest) -> tuple[list[Path], np.ndarray, list[str]]:
    """Return paths, true classes and SHA-256 of test images that can be read: the first of each product."""
    place = {str(name): i for i, name in enumerate(networks.hierarchy.classes)}
    known = networks.classifier.learned_from | (networks.flat.learned_from if networks.flat else frozenset())
    paths, truth, digests, products = [], [], [], set()
    rows = zip(manifest.paths, manifest.labels, manifest.products, manifest.splits, strict=True)
    for path, label, product, split in rows:
        if split != "test" or str(label) not in place or product in products or len(paths) >= MOST:
            continue
        try:
            data = read_image_bytes(path)
            image_size(data)
        except UnreadableImage:
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest not in known:
            products.add(product)
            paths.append(path)
            truth.append(place[str(label)])
            digests.append(digest)
    return paths, np.array(truth, np.intp), digests


def _hashes(*bundles: Path | None) -> list[str]:
    return [
        "" if bundle is None else hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
        for bundle in bundles
    ]


def _keep(path: Path, stages: Stages) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: part for name, part in vars(stages).items() if part is not None}
    with whole_file(path) as part, open(part, "wb") as file:
        np.savez(file, **arrays)


def _read(path: Path) -> Stages | None:
    try:
        with np.load(path, allow_pickle=False) as found:
            return Stages(**{name: found.get(name) for name in ("router", "within", "flat")})
    except (OSError, ValueError, KeyError):
        return None
