"""Near-duplicate images: the same photograph saved, scaled or retouched again.

Two images are near-duplicates if their perceptual hashes differ in few bits AND their colors agree
on a coarse grid. The second condition keeps apart color variants of one silhouette, and plain
images, whose hash is noise.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aisles.data_prep.io.progress import progress

from .decoding import load_pixels
from .manifest import Manifest
from .scan import processors

HASH_SIDE = 32  # pixels that the hash looks at
GRID_SIDE = 8  # low frequencies that it keeps, and cells of the color grid
FLAT_CONTRAST = 3.0  # standard deviation of the gray values, 0-255, under which there is nothing to hash
MAX_DISTANCE = 6  # of 64 bits
MAX_COLOR_DIFFERENCE = 10.0  # mean absolute difference of the color grids, 0-255
CONTRAST_SHARE = 0.25  # the same as a share of the grid's own mean deviation: pale images must agree better
NOISE_DIFFERENCE = 1.5  # what saving again may change in any image
RELIT = 1.6  # how much more contrast an image may have than the one that it was made from
MAX_GROUP = 50  # images; larger groups are boilerplate, as images that more products share
_GRAY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
_CHUNK_CELLS = 1 << 24  # pairs compared at once


@dataclass(frozen=True, eq=False)
class ImageHashes:
    """What near-duplicates are recognized by.

    Attributes
    ----------
    bits : ndarray of uint64, of shape (n_images,)
        pHash; 0 for flat images.
    colors : ndarray of uint8, of shape (n_images, 8, 8, 3)
        The image on a grid of 8 x 8 cells, RGB.
    flat : ndarray of bool, of shape (n_images,)
        Images without contrast: compared by color alone, and only with each other.
    mirrored : ndarray of uint64, of shape (n_images,)
        pHash of the image turned left to right; 0 for flat images.
    """

    bits: np.ndarray
    colors: np.ndarray
    flat: np.ndarray
    mirrored: np.ndarray

    def __len__(self) -> int:
        return len(self.bits)


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of near-duplicates, and the groups that they connect.

    Attributes
    ----------
    pairs : ndarray of int64, of shape (n_pairs, 2)
        Image numbers, the smaller first, in sorted order. Of images whose hash and grid are equal,
        each is paired with the first only.
    distances : ndarray of int64, of shape (n_pairs,)
        Differing bits of each pair; with mirrored images, of the better way round.
    groups : ndarray of int64, of shape (n_images,)
        Each image's group: the smallest image number that pairs connect it with (its own if none).
    """

    pairs: np.ndarray
    distances: np.ndarray
    groups: np.ndarray


def hash_images(paths: Sequence[str | Path], jobs: int | None = None) -> ImageHashes:
    """Hash images from their files.

    Parameters
    ----------
    paths : sequence of str or Path
        Readable images, as for `images.load_pixels`.
    jobs : int, optional
        Threads; by default one per processor.

    Returns
    -------
    ImageHashes
        In the order of `paths`.
    """
    with ThreadPoolExecutor(jobs or processors()) as pool:
        loaded = pool.map(lambda path: load_pixels(path, (HASH_SIDE, HASH_SIDE)), paths)
        pixels = list(progress(loaded, "Hashing images", len(paths)))
    return hash_pixels(np.array(pixels, dtype=np.uint8).reshape(-1, HASH_SIDE, HASH_SIDE, 3))


class HashedImages:
    """Hashes of images' files, each made when it is first asked for and then remembered."""

    def __init__(self):
        self._known: dict[Path, tuple[np.uint64, np.ndarray, np.bool_, np.uint64]] = {}

    def of(self, paths: Sequence[Path]) -> ImageHashes:
        """Return the hashes of images, in the order of `paths`."""
        new = [path for path in dict.fromkeys(paths) if path not in self._known]
        if new:
            made = hash_images(new)
            self._known |= zip(
                new, zip(made.bits, made.colors, made.flat, made.mirrored, strict=True), strict=True
            )
        known = [self._known[path] for path in paths]
        bits, colors, flat, mirrored = zip(*known, strict=True) if known else ((), (), (), ())
        return ImageHashes(
            np.array(bits, dtype=np.uint64),
            np.array(colors, dtype=np.uint8).reshape(-1, GRID_SIDE, GRID_SIDE, 3),
            np.array(flat, dtype=bool),
            np.array(mirrored, dtype=np.uint64),
        )


def hash_pixels(pixels: np.ndarray) -> ImageHashes:
    """Hash images of 32 x 32 pixels.

    The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
    2010): the signs of the 8 x 8 lowest cosine coefficients of the gray values against their median.

    Parameters
    ----------
    pixels : ndarray of uint8, of shape (n_images, 32, 32, 3)
        RGB, 0-255.

    Returns
    -------
    ImageHashes
        In the same order.
    """
    gray = pixels @ _GRAY
    frequencies = np.asarray(dctn(gray, axes=(1, 2), norm="ortho"))
    low = frequencies[:, :GRID_SIDE, :GRID_SIDE]
    flat = gray.std(axis=(1, 2)) < FLAT_CONTRAST
    turned = low * np.where(
        np.arange(GRID_SIDE) % 2, -1, 1
    )  # mirroring changes the sign of the odd frequencies
    cell = HASH_SIDE // GRID_SIDE
    cells = pixels.reshape(len(pixels), GRID_SIDE, cell, GRID_SIDE, cell, 3)
    colors = cells.mean(axis=(2, 4)).round().astype(np.uint8)
    return ImageHashes(_signs(low, flat), colors, flat, _signs(turned, flat))


def _signs(low: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Pack the signs of frequencies (n_images, 8, 8) against their median, without the constant, into 64 bits."""
    low = low.reshape(len(low), GRID_SIDE * GRID_SIDE)
    signs = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.where(flat, np.uint64(0), np.packbits(signs, axis=1).view(np.uint64).reshape(-1))


def near_duplicates(
    hashes: ImageHashes,
    max_distance: int = MAX_DISTANCE,
    max_color_difference: float = MAX_COLOR_DIFFERENCE,
    augmented: bool = False,
) -> NearDuplicates:
    """Find all pairs of near-duplicates.

    All pairs are compared, in blocks: about two seconds for 25,800 images.

    Parameters
    ----------
    hashes : ImageHashes
        Of all images.
    max_distance : int
        Most differing bits, 0 to 64.
    max_color_difference : float
        Largest mean absolute difference of the color grids, 0 to 255; in images of low contrast a
        quarter of the contrast, but 1.5 are always allowed.
    augmented : bool
        Whether images that were turned left to right, or made lighter or darker, count too.

    Returns
    -------
    NearDuplicates
        Groups are transitive: two images of a group need not be near each other.
    """
    if not 0 <= max_distance <= 64:
        raise ValueError(f"`max_distance` must be between 0 and 64 bits. Received: {max_distance}.")
    first_of, distinct = _first_of_equals(hashes)
    copies = np.flatnonzero(first_of != np.arange(len(hashes)))
    pairs = [np.stack([first_of[copies], copies], axis=1)]
    for flat in (False, True):
        rows = distinct[hashes.flat[distinct] == flat]
        changed = (
            augmented and not flat
        )  # there is nothing to mirror in a plain image, and lightness is all it has
        pairs.append(_close_pairs(hashes, rows, max_distance, max_color_difference, relit=changed))
        if changed:
            pairs.append(_close_pairs(hashes, rows, max_distance, max_color_difference, True, mirrored=True))
    found = np.unique(np.concatenate(pairs).astype(np.int64), axis=0)
    a, b = found[:, 0], found[:, 1]
    distances = _count_bits(hashes.bits[a] ^ hashes.bits[b])
    if augmented:
        distances = np.minimum(distances, _count_bits(hashes.bits[a] ^ hashes.mirrored[b]))
    return NearDuplicates(found, distances.astype(np.int64), _groups(found, len(hashes)))


def duplicates_across(manifest: Manifest, duplicates: NearDuplicates) -> pd.DataFrame:
    """List the near-duplicates with different splits or different labels.

    Parameters
    ----------
    manifest : Manifest
        Whose images were hashed, in its order.
    duplicates : NearDuplicates
        Their pairs.

    Returns
    -------
    DataFrame
        One row per pair: file_a, file_b, label_a, label_b, split_a, split_b, distance, across_splits,
        across_labels.
    """
    a, b = duplicates.pairs[:, 0], duplicates.pairs[:, 1]
    columns: dict[str, np.ndarray] = {}
    for name, short in (("file_name", "file"), ("label", "label"), ("split", "split")):
        values = manifest.table[name].to_numpy(dtype=object)
        columns[f"{short}_a"], columns[f"{short}_b"] = values[a], values[b]
    table = pd.DataFrame({**columns, "distance": duplicates.distances})
    table["across_splits"] = columns["split_a"] != columns["split_b"]
    table["across_labels"] = columns["label_a"] != columns["label_b"]
    return table.loc[table["across_splits"] | table["across_labels"]].reset_index(drop=True)


def crowded(duplicates: NearDuplicates, most: int = MAX_GROUP) -> np.ndarray:
    """Find the images in groups so large that they are boilerplate.

    Size charts and the like would make one product of half a catalogue; they are to be dropped before products
    that have near-duplicates are joined and split.

    Returns
    -------
    ndarray of bool, of shape (n_images,)
        Whether an image is in a group of more than `most`.
    """
    sizes = np.bincount(duplicates.groups, minlength=len(duplicates.groups))
    return sizes[duplicates.groups] > most


# ---- comparing ----------------------------------------------------------------------------------


def _first_of_equals(hashes: ImageHashes) -> tuple[np.ndarray, np.ndarray]:
    """For each image the first one with equal hash and grid; and those first ones, sorted.

    Thousands of equal images would otherwise give millions of pairs.
    """
    if not len(hashes):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    keys = np.concatenate(
        [
            hashes.bits.view(np.uint8).reshape(-1, 8),
            hashes.colors.reshape(len(hashes), GRID_SIDE * GRID_SIDE * 3),
        ],
        axis=1,
    )
    _, first, inverse = np.unique(
        np.ascontiguousarray(keys).view(f"V{keys.shape[1]}").ravel(), return_index=True, return_inverse=True
    )
    return first[inverse], np.sort(first)


def _close_pairs(
    hashes: ImageHashes,
    rows: np.ndarray,
    max_distance: int,
    max_color: float,
    relit: bool = False,
    mirrored: bool = False,
) -> np.ndarray:
    """Compare the images `rows` with each other; pairs of image numbers, of shape (n_pairs, 2)."""
    bits = hashes.bits[rows]
    others = hashes.mirrored[rows] if mirrored else bits
    grids = hashes.colors[rows]
    contrast = np.abs(grids - _mean_color(grids)).mean(axis=(1, 2, 3))
    allowed = np.clip(CONTRAST_SHARE * contrast, NOISE_DIFFERENCE, max(max_color, NOISE_DIFFERENCE))
    cells = GRID_SIDE * GRID_SIDE * 3
    colors = grids.astype(np.int16).reshape(len(rows), cells)
    turned = grids[:, :, ::-1].astype(np.int16).reshape(len(rows), cells) if mirrored else colors
    step = max(1, _CHUNK_CELLS // max(1, len(rows)))
    found = [np.zeros((0, 2), dtype=np.int64)]
    for start in range(0, len(rows), step):
        block = bits[start : start + step, None] ^ others[None, start:]
        a, b = np.nonzero(_count_bits(block) <= max_distance)
        keep = b > a
        a, b = a[keep] + start, b[keep] + start
        close = _color_difference(colors, turned, a, b, relit) <= np.minimum(allowed[a], allowed[b])
        found.append(np.stack([a[close], b[close]], axis=1))
    return rows[np.concatenate(found)]


def _mean_color(colors: np.ndarray) -> np.ndarray:
    return colors.mean(axis=(1, 2), keepdims=True, dtype=np.float32)


def _color_difference(
    colors: np.ndarray, turned: np.ndarray, a: np.ndarray, b: np.ndarray, relit: bool
) -> np.ndarray:
    """Compare grids `colors[a]` with `turned[b]`; of images that may be relit, lightness and contrast apart."""
    difference = np.zeros(len(a))
    for start in range(0, len(a), 50_000):
        part = slice(start, start + 50_000)
        one, other = colors[a[part]], turned[b[part]]
        difference[part] = np.abs(one - other).mean(axis=1)
        if relit:
            one, other = (grid - grid.mean(axis=1, keepdims=True, dtype=np.float32) for grid in (one, other))
            gain = np.abs(one).mean(axis=1) / np.maximum(np.abs(other).mean(axis=1), 1e-6)
            alike = np.abs(one - np.clip(gain, 1 / RELIT, RELIT)[:, None] * other).mean(axis=1)
            difference[part] = np.minimum(difference[part], alike)
    return difference


def _count_bits(values: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    as_bytes = np.ascontiguousarray(values).view(np.uint8).reshape(*values.shape, 8)
    return _BYTE_BITS[as_bytes].sum(axis=-1, dtype=np.uint8)


_BYTE_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def _groups(pairs: np.ndarray, n_images: int) -> np.ndarray:
    if not n_images:
        return np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_images, n_images))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component]
