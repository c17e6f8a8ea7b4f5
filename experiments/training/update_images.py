"""Old and new images together: what an update of a bundle learns from."""

import hashlib
import logging
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.images.decoding import read_image_bytes
from aisles.data_prep.images.manifest import Manifest, read_manifest
from aisles.data_prep.images.scan import scan_images
from aisles.data_prep.images.splitting import split_by_product
from aisles.data_prep.io.errors import DataError, UnreadableImage
from aisles.data_prep.io.files import path_from
from aisles.experiments.settings.benchmark import DataSettings

logger = logging.getLogger(__name__)
FEW = 5
"""Products of a new class, below which all of its images are trained on."""
LISTED = "manifest.csv"


@dataclass(frozen=True, eq=False)
class UpdateImages:
    """Old and new images.

    Attributes
    ----------
    manifest : Manifest
        With splits; file names are relative to the updated run's folder.
    sha256 : ndarray of str
    new : ndarray of bool
        Training and validation images that the bundle has not learned from, or learned under another class.
    taken_from : frozenset of str
        Classes that such images were learned under.
    """

    manifest: Manifest
    sha256: np.ndarray
    new: np.ndarray
    taken_from: frozenset[str]

    @property
    def learned(self) -> np.ndarray:
        """Row numbers of training and validation images."""
        return np.flatnonzero(np.isin(self.manifest.splits, ("train", "val")))


def gather_images(
    data: str | Path,
    old: Path | None,
    output: Path,
    settings: DataSettings,
    *,
    hierarchy_column: str | None,
    classes: Collection[str],
    learned_from: Collection[str],
    seed: int,
) -> UpdateImages:
    """Put new images and old ones together, each file once.

    Parameters
    ----------
    data : path
        New images. Of one that is among the old ones its new label counts; where it has no split and its label is the
        old one, it keeps its split.
    old : Path, optional
        The manifest of the old images.
    output : Path
        The folder that file names shall be relative to.
    settings : DataSettings
    hierarchy_column : str, optional
    classes : collection of str
        What the bundle knows already.
    learned_from : collection of str
        SHA-256 of the images that it learned from.
    seed : int
        Of the split of new classes.

    Raises
    ------
    DataError
        If equal files have different labels in `data`, or nothing can be read.
    """
    fresh, hashes = _read(data, settings, hierarchy_column, learned_from)
    fresh, hashes = _each_once(fresh, hashes)
    was = pd.DataFrame(columns=["label", "split", "product"])
    parts, digests = [_placed_in(fresh, output)], [hashes]
    if old is not None:
        known, known_hashes = _read(
            old, settings.model_copy(update={"label_column": "label"}), None, learned_from
        )
        was = known.table.assign(sha256=known_hashes).drop_duplicates("sha256").set_index("sha256")
        rest = ~np.isin(known_hashes.astype(str), hashes.astype(str))
        parts.append(_placed_in(known.keep(rest), output))
        digests.append(known_hashes[rest])
    table, sha256 = parts[0], np.concatenate(digests).astype(object)
    labels = table["label"].to_numpy(dtype=object)
    before = [was["label"].get(digest) for digest in hashes]
    changed = np.array([b is not None and b != now for b, now in zip(before, labels, strict=True)], bool)
    kept = [str(was["split"].get(d, "")) if not c else "" for d, c in zip(hashes, changed, strict=True)]
    split = np.array([own or k for own, k in zip(table["split"], kept, strict=True)], dtype=object)
    parts[0] = table.assign(split=_filled(split, table, classes, seed))
    if len(parts) > 1:
        parts[1] = parts[1].assign(split=parts[1]["split"].replace("", "train"))
    whole = pd.concat(parts, ignore_index=True)
    text = [name for name in whole.columns if name != "similarity"]
    whole[text] = whole[text].fillna("")
    manifest = Manifest(whole, output, fresh.notes)
    n = len(hashes)
    new = ~np.isin(sha256.astype(str), list(learned_from))
    new[:n] |= changed
    new[n:] = False
    new &= np.isin(manifest.splits, ("train", "val"))
    return UpdateImages(
        manifest, sha256, new, frozenset(b for b, c in zip(before, changed, strict=True) if c and b)
    )


def find_old(bundle: str | Path, learned_from: Collection[str]) -> Path | None:
    """Return the manifest of the run that a bundle lies in, if it lists images that the bundle learned from."""
    folder = Path(bundle).absolute()
    for place in (folder.parent, folder.parent.parent):
        path = place / LISTED
        if path.is_file() and _holds_one_of(path, learned_from):
            logger.info("Old images: %s.", path)
            return path
    return None


def _holds_one_of(path: Path, learned_from: Collection[str]) -> bool:
    """Whether a manifest lists a file of these hashes; reads no further than the first."""
    known = frozenset(learned_from)
    for image in read_manifest(path, min_classes=1).paths:
        with suppress(UnreadableImage):
            if hashlib.sha256(read_image_bytes(image)).hexdigest() in known:
                return True
    return False


def _read(
    data: str | Path, settings: DataSettings, hierarchy_column: str | None, learned_from: Collection[str]
) -> tuple[Manifest, np.ndarray]:
    """Read what can be decoded, with hashes; what a bundle learned from could be."""
    manifest = read_manifest(
        data, label_column=settings.label_column, hierarchy_column=hierarchy_column, min_classes=1
    )
    scan = scan_images(manifest, strict=settings.strict == "images", sound=learned_from)
    for file_name, reason in zip(scan.reasons["file_name"], scan.reasons["reason"], strict=True):
        logger.warning("Left out %s: %s", file_name, reason)
    if not scan.readable.any():
        raise DataError(f"None of the {len(manifest)} images of {data} can be read.")
    return manifest.keep(scan.readable), scan.sha256[scan.readable]


def _each_once(manifest: Manifest, hashes: np.ndarray) -> tuple[Manifest, np.ndarray]:
    """Keep the first of equal files; refuse those with different labels."""
    table = pd.DataFrame(
        {"sha256": hashes, "label": manifest.labels, "file_name": manifest.table["file_name"]}
    )
    several = table.drop_duplicates(["sha256", "label"])["sha256"]
    torn = table["file_name"][np.isin(hashes.astype(str), several[several.duplicated()].tolist())].tolist()
    if torn:
        raise DataError(
            f"Equal files have different labels: {shortened(torn)}. Keep the right label of each."
        )
    first = ~table["sha256"].duplicated().to_numpy()
    return manifest.keep(first), hashes[first]


def _placed_in(manifest: Manifest, output: Path) -> pd.DataFrame:
    """Return the table with file names relative to `output`."""
    root, here = os.path.abspath(manifest.root), os.path.abspath(output)
    names = [path_from(os.path.join(root, name), here) for name in manifest.table["file_name"]]
    return manifest.table.assign(file_name=names)


def _filled(split: np.ndarray, table: pd.DataFrame, classes: Collection[str], seed: int) -> np.ndarray:
    """Assign a split to images without one: known classes train, new ones are split by product if enough."""
    split, labels = split.copy(), table["label"].to_numpy(dtype=object)
    products = table["product"].to_numpy(dtype=object)
    for label in sorted(set(labels)):
        rows = np.flatnonzero((labels == label) & (split == ""))
        few = len(set(products[rows])) < FEW
        split[rows] = (
            "train" if label in classes or few else split_by_product(labels[rows], products[rows], seed=seed)
        )
    return split
