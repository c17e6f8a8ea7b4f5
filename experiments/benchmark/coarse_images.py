"""Images whose macro-category is known and whose class is not: methods may learn from them what they can."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import complete_table
from aisles.data_prep.images.manifest import Manifest
from aisles.data_prep.images.scan import scan_images

logger = logging.getLogger(__name__)
NEVER = ("val", "test")


@dataclass(frozen=True, eq=False)
class CoarseImages:
    """Training images that are known by their macro alone.

    Attributes
    ----------
    vectors : ndarray of shape (n, dimension)
        Their features; without rows until they are extracted.
    macros : ndarray of str of shape (n,)
        Their macro-categories by name.
    paths : tuple of Path
        Where the images are; empty where features were given.
    sha256 : tuple of str
        Of each image's bytes, beside `paths`.
    """

    vectors: np.ndarray
    macros: np.ndarray
    paths: tuple[Path, ...] = ()
    sha256: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.macros)


def scan_coarse(manifest: Manifest, column: str | None, sha256: Collection[str]) -> CoarseImages | None:
    """Return the images of a manifest that are known by their macro alone and may be learned from.

    Left out, and said: images that can't be read, that belong to validation or test by their split or product, and
    that are equal to an image of those.

    Parameters
    ----------
    manifest : Manifest
        Split; with `coarse_only`.
    column : str or None
        Of macro-categories.
    sha256 : collection of str
        Of the manifest's images, in order.

    Returns
    -------
    CoarseImages or None
        Without vectors; None if there are no such images.
    """
    table = manifest.coarse_only
    if column is None or table is None or table.empty:
        return None
    complete = complete_table(table.assign(label=table[column]), "images without a class").table
    alone = Manifest(complete, manifest.root)
    scan = scan_images(alone)
    held = np.isin(manifest.splits, NEVER)
    seen = set(np.asarray(sha256, dtype=object)[held])
    kept = scan.readable & learnable(complete, set(manifest.products[held]))
    kept &= np.array([digest not in seen for digest in scan.sha256], dtype=bool)
    if not kept.all():
        logger.warning(
            "%d of %d images known by their macro alone are left out: unreadable, or of validation or test.",
            int((~kept).sum()), len(kept),
        )  # fmt: skip
    chosen = alone.keep(kept)
    hashes = tuple(map(str, scan.sha256[kept]))
    return CoarseImages(np.empty((0, 0), np.float32), chosen.labels.astype(str), tuple(chosen.paths), hashes)


def learnable(table: pd.DataFrame, held: Collection[str]) -> np.ndarray:
    """Return which rows are neither of validation or test nor of a product that is."""
    splits, products = table["split"].astype(str), table["product"].astype(str)
    return (~splits.isin(NEVER) & ~products.isin(list(held))).to_numpy(dtype=bool)


def with_vectors(images: CoarseImages, vectors: np.ndarray) -> CoarseImages:
    """Return the images with their features."""
    return replace(images, vectors=vectors)
