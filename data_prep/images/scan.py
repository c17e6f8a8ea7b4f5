"""Every image looked at once: can it be decoded, and is it the same file as another."""

import hashlib
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.io.errors import UnreadableImage
from aisles.data_prep.io.progress import progress

from .decoding import check_image, image_size, read_image_bytes
from .manifest import Manifest

TINY = 8  # pixels


@dataclass(frozen=True, eq=False)
class ImageScan:
    """What a look at every image of a manifest has shown.

    Attributes
    ----------
    readable : ndarray of bool, of shape (n_images,)
        Which images can be decoded, in the manifest's order; for `Manifest.keep`.
    reasons : DataFrame
        The others: file_name, label, reason.
    sha256 : ndarray of str, of shape (n_images,)
        Each file's hash; "" where the file can't be read at all.
    leaks : DataFrame
        Readable files that are equal byte for byte and have different splits or labels, one row per
        group of copies: sha256, file_names, labels, splits (tuples), across_splits, across_labels.
    tiny : ndarray of bool, of shape (n_images,)
        Readable images with a side of fewer than `TINY` pixels: placeholders, not photographs.
    """

    readable: np.ndarray
    reasons: pd.DataFrame
    sha256: np.ndarray
    leaks: pd.DataFrame
    tiny: np.ndarray


def scan_images(
    manifest: Manifest, jobs: int | None = None, strict: bool = False, sound: Collection[str] = ()
) -> ImageScan:
    """Decode every image once.

    Parameters
    ----------
    manifest : Manifest
        Whose images.
    jobs : int, optional
        Threads; by default one per processor.
    strict : bool
        Whether an unreadable image is an error.
    sound : collection of str
        SHA-256 of files that are known to be readable and no placeholders; these are hashed and not decoded.

    Returns
    -------
    ImageScan
        In the manifest's order. Unreadable images are listed, not raised, unless `strict`.

    Raises
    ------
    UnreadableImage
        If `strict` and an image can't be decoded.
    """
    paths = manifest.paths
    with ThreadPoolExecutor(jobs or processors()) as pool:
        looks = pool.map(partial(_look, sound=frozenset(sound)), paths)
        results = list(progress(looks, "Checking images", len(paths)))
    sha256 = np.array([digest for digest, _, _ in results], dtype=object)
    reasons = np.array([reason for _, reason, _ in results], dtype=object)
    tiny = np.array([0 < side < TINY for _, _, side in results], dtype=bool)
    readable = reasons == ""
    table = manifest.table.loc[~readable, ["file_name", "label"]].assign(reason=reasons[~readable])
    table = table.reset_index(drop=True)
    if strict and len(table):
        first = table.iloc[0]
        raise UnreadableImage(
            f"{len(table):,} of {len(paths):,} images can't be read; the first is "
            f"{first['file_name']!r}, which {first['reason']}. "
            "Repair or remove them, or scan without `strict`."
        )
    return ImageScan(readable, table, sha256, find_leaks(manifest, np.where(readable, sha256, "")), tiny)


def find_leaks(manifest: Manifest, sha256: np.ndarray) -> pd.DataFrame:
    """Find equal files with different splits or labels.

    Parameters
    ----------
    manifest : Manifest
        With splits, if leaks between them are asked for.
    sha256 : ndarray of str, of shape (n_images,)
        Each image's hash; "" to leave an image out.

    Returns
    -------
    DataFrame
        As `ImageScan.leaks`, sorted by the first file name.
    """
    table = manifest.table[["file_name", "label", "split"]].assign(sha256=sha256)
    table = table[(table["sha256"] != "") & table["sha256"].duplicated(keep=False)]
    rows = []
    for digest, group in table.groupby("sha256", sort=False):
        labels, splits = set(group["label"]), set(group["split"])
        if len(labels) > 1 or len(splits) > 1:
            texts = [tuple(group[name]) for name in ("file_name", "label", "split")]
            rows.append((digest, *texts, len(splits) > 1, len(labels) > 1))
    names = ["sha256", "file_names", "labels", "splits", "across_splits", "across_labels"]
    return pd.DataFrame(sorted(rows, key=lambda row: row[1]), columns=names)


def _look(path: Path, sound: frozenset[str]) -> tuple[str, str, int]:
    """Return the hash, the reason why the image can't be decoded ("" if it can), and its shorter side (0)."""
    digest = ""
    try:
        data = read_image_bytes(path)
        digest = hashlib.sha256(data).hexdigest()
        if digest in sound:
            return digest, "", 0
        check_image(data)
        return digest, "", min(image_size(data))
    except UnreadableImage as error:
        return digest, str(error), 0


def processors() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
