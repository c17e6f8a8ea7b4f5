"""What the images tell about a data set before anything is trained: what is left out, joined, refused and said."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.io.errors import DataError

from .columns import shortened
from .duplicates import crowded, duplicates_across, hash_images, near_duplicates
from .manifest import Manifest, Strict
from .scan import TINY, ImageScan
from .splitting import connected_products

HELD_OUT = ("train", "val", "test")
"""Splits, the one whose images are kept last."""


def readable_images(manifest: Manifest, scan: ImageScan, strict: Strict = "classes") -> Manifest:
    """Leave out what can't be read, and warn of it and of placeholders.

    Raises
    ------
    DataError
        If a class loses all its images and `strict` is not "no", or fewer than 2 classes are left.
    """
    kept = manifest.keep(scan.readable)
    lost = sorted(set(manifest.classes) - set(kept.classes))
    if len(manifest.classes) < 2:
        raise DataError(
            f"There must be at least 2 classes. All {len(manifest):,} images are of {shortened(manifest.classes)}."
        )
    if len(kept.classes) < 2:
        raise DataError(
            f"There must be at least 2 classes with readable images. {len(scan.reasons)} of {len(manifest)} images "
            "can't be read. Repair them (the messages above say what is wrong)."
        )
    if lost and strict != "no":
        reasons = scan.reasons["reason"].to_numpy(dtype=object)[(scan.reasons["label"] == lost[0]).to_numpy()]
        raise DataError(
            f"No image can be read of {len(lost)} of {len(manifest.classes)} classes: {shortened(lost)}. "
            f"{lost[0]!r}: the first {reasons[0]}. Repair them, or go on without these classes: --strict no."
        )
    if len(scan.reasons):
        classes = f", among them all of the classes {shortened(lost)}" if lost else ""
        kept = kept.with_warnings(
            f"{len(scan.reasons):,} of {len(manifest):,} images can't be read and are left out{classes}."
        )
    tiny = scan.tiny[scan.readable]
    if tiny.any():
        whole = sorted(set(kept.classes) - set(kept.labels[~tiny]))
        classes = f", among them all of {shortened(whole)}" if whole else ""
        kept = kept.with_warnings(
            f"{int(tiny.sum()):,} images have a side of fewer than {TINY} pixels{classes}: placeholders are "
            f"told apart by their size alone. The first: {kept.table['file_name'].to_numpy(dtype=object)[tiny][0]!r}."
        )
    return kept


def without_contradictions(
    manifest: Manifest, sha256: np.ndarray, strict: Strict = "classes"
) -> tuple[Manifest, np.ndarray]:
    """Leave out images that stand under several classes byte for byte: neither label can be believed.

    Returns
    -------
    tuple of (Manifest, ndarray of str)
        The other images, and their hashes.

    Raises
    ------
    DataError
        If there are any and `strict` is "images", or a class loses all its images and it is not "no".
    """
    names = manifest.table["file_name"].to_numpy(dtype=object)
    several = pd.Series(manifest.labels).groupby(np.asarray(sha256)).nunique()
    contradicting = several.index[several.to_numpy() > 1]
    bad = np.isin(np.asarray(sha256, dtype=object), contradicting)
    if not bad.any():
        return manifest, sha256
    told = (
        f"{len(contradicting):,} images stand under several classes byte for byte, for example "
        f"{shortened(names[sha256 == sha256[bad][0]].tolist())}"
    )
    kept = manifest.keep(~bad)
    lost = sorted(set(manifest.classes) - set(kept.classes))
    if strict == "images" or len(kept.classes) < 2 or (lost and strict != "no"):
        classes = f", and nothing else is there of the classes {shortened(lost)}" if lost else ""
        raise DataError(f"{told}{classes}. An image can have one class: delete the wrong ones.")
    return kept.with_warnings(f"{told}: all {int(bad.sum()):,} files are left out."), sha256[~bad]


def without_repeated_tests(manifest: Manifest, sha256: np.ndarray) -> tuple[Manifest, np.ndarray]:
    """Leave out training and validation images that stand in a split that is held out from them, byte for byte.

    Test images stay, as they are what others report on.

    Returns
    -------
    tuple of (Manifest, ndarray of str)
        The other images, and their hashes.

    Raises
    ------
    DataError
        If a class has no training images but those of its test or validation images.
    """
    rank = np.array([HELD_OUT.index(split) if split in HELD_OUT else 0 for split in manifest.splits])
    table = manifest.table.assign(sha256=sha256, rank=rank)
    repeated = (table.groupby("sha256")["rank"].transform("max") > table["rank"]).to_numpy()
    if not repeated.any():
        return manifest, sha256
    kept = manifest.keep(~repeated)
    train = manifest.splits == "train"
    told = (
        f"{int((repeated & train).sum()):,} of {int(train.sum()):,} training images are validation or test images "
        "byte for byte"
    )
    untrained = sorted(set(manifest.labels[train]) - set(kept.labels[kept.splits == "train"]))
    if untrained:
        raise DataError(
            f"{told}, and nothing else is there to train {shortened(untrained)} on. Leave the splits out to have new "
            "ones made (data.resplit=true), or measure how much they flatter with data.split_by=image."
        )
    others = int((repeated & ~train).sum())
    more = f", and {others:,} validation images are test images" if others else ""
    return kept.with_warnings(f"{told}{more}: they are left out, the test images stay."), sha256[~repeated]


def joined_copies(
    manifest: Manifest, sha256: np.ndarray, paths: Sequence[Path] | None, *, join: bool
) -> Manifest:
    """Find copies and near-duplicates; make one product of them, or say how many cross the splits that there are.

    Near-duplicates are the same photograph saved, scaled, mirrored or relit again (`duplicates.near_duplicates`).
    Groups so large that they are boilerplate are said and not joined.

    Parameters
    ----------
    manifest : Manifest
    sha256 : ndarray of str
        Of each image.
    paths : sequence of Path, optional
        Where the images are; near-duplicates are not looked for without.
    join : bool
        Whether products can still be joined, as the splits are to be made.
    """
    copies = len(sha256) - len(set(sha256))
    if join and copies:
        note = (
            f"{copies} files are copies of others; copies count as one product, so that none crosses a split."
        )
        manifest = manifest.with_columns(note, product=connected_products(manifest.products, sha256))
    if paths is None:
        return manifest
    found = near_duplicates(hash_images(paths), augmented=True)
    a, b = found.pairs[:, 0], found.pairs[:, 1]
    if not join:
        across = duplicates_across(manifest, found)
        across = across[across["across_splits"]]
        if across.empty:
            return manifest
        first = across.iloc[0]
        return manifest.with_warnings(
            f"{len(across):,} pairs of near-duplicates (the same photograph saved, scaled, mirrored or relit again) "
            f"stand in different splits, which flatters every accuracy; the first: {first['file_a']!r} and "
            f"{first['file_b']!r}. data.resplit=true makes splits that none crosses."
        )
    crowds = crowded(found)
    if crowds.any():
        manifest = manifest.with_warnings(
            f"{int(crowds.sum()):,} images are near-duplicates of more than 50 others each, or plain: they are not "
            "joined into products."
        )
    new = (manifest.products[a] != manifest.products[b]) & ~crowds[a]
    if not new.any():
        return manifest
    groups = np.where(crowds, np.arange(len(manifest)), found.groups)
    joined = connected_products(manifest.products, groups.astype(str))
    first = np.flatnonzero(new)[0]
    names = manifest.table["file_name"]
    crossing = int((manifest.labels[a[new]] != manifest.labels[b[new]]).sum())
    labels = f", {crossing:,} of them under different classes" if crossing else ""
    return manifest.with_columns(product=joined).with_warnings(
        f"{int(new.sum()):,} pairs of near-duplicates{labels} (the same photograph saved, scaled, mirrored or relit "
        f"again) count as one product each, so that none crosses a split; the first: {names[a[first]]!r} and "
        f"{names[b[first]]!r}."
    )
