"""Train, validation and test splits that no product crosses."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aisles.data_prep.io.errors import DataError

from .columns import shortened
from .manifest import Manifest

SHARES: Mapping[str, float] = {"train": 0.64, "val": 0.16, "test": 0.2}


def split_by_product(
    labels: Sequence[str] | np.ndarray,
    products: Sequence[str] | np.ndarray,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
) -> np.ndarray:
    """Split images so that each class is divided by `shares` and no product is divided at all.

    Each class gets whole numbers of images to aim at, rounded so that the totals agree with `shares`
    too. Products are then placed one by one, those of several classes first, then the largest, each
    where it brings the squared distance from those aims down most. A class of one product goes to the first
    split ("train"), one of two products also to "test", one of as many products as there are splits
    to every split; products of several classes may make that impossible.

    Parameters
    ----------
    labels : sequence of str, of length n_images
        Each image's class.
    products : sequence of str, of length n_images
        Each image's product; a product may have images of several classes.
    shares : mapping of str to float
        The share of each split, in any positive scale; a split whose share is 0 gets nothing.
    seed : int
        Which of equally large products go where. The result does not depend on the order of the rows.

    Returns
    -------
    ndarray of str, of shape (n_images,)
        Each image's split.

    Raises
    ------
    ValueError
        If the lengths differ or `shares` are not positive.
    """
    names, fractions = _checked_shares(shares)
    if len(labels) != len(products):
        raise ValueError(
            f"`labels` and `products` must be equally long. Received: {len(labels)} and {len(products)}."
        )
    if len(labels) == 0:
        return np.array([], dtype=object)
    class_of, _ = pd.factorize(np.asarray(labels, dtype=object), sort=True)
    product_of, _ = pd.factorize(np.asarray(products, dtype=object), sort=True)
    chosen = _place_products(class_of, product_of, fractions, _need_order(names), seed)
    return np.array(names, dtype=object)[chosen[product_of]]


def ensure_splits(manifest: Manifest, shares: Mapping[str, float] = SHARES, seed: int = 0) -> Manifest:
    """Return a manifest the splits that it lacks, without moving an image that has a test split.

    - no splits, or everything in train: all images are split by `shares`;
    - train and test: validation images are taken from train, by product;
    - train and val: val is what was held out, so it becomes test, and val is taken from train;
    - all three: only checked.

    Parameters
    ----------
    manifest : Manifest
        With or without splits.
    shares : mapping of str to float
        Of train, val and test.
    seed : int
        Of the split.

    Returns
    -------
    Manifest
        With train, val and test, and notes on what was done.

    Raises
    ------
    DataError
        If a class has too few images to be split or no training image, there is nothing to train on,
        or the given splits have products in common.
    """
    given = set(manifest.splits) - {""}
    if given <= {"train"}:
        done = _split_all(manifest, shares, seed)
    elif "train" not in given:
        raise DataError(
            f"There are no training images; found only: {shortened(sorted(given))}. "
            "Mark some rows as train, or leave the splits out and have them made."
        )
    elif given == {"train", "val"}:
        as_test = np.where(manifest.splits == "val", "test", manifest.splits)
        note = "There is no test split: the given val images are the test images."
        done = _take_validation(manifest.with_columns(note, split=as_test), shares, seed)
    elif given == {"train", "test"}:
        done = _take_validation(manifest, shares, seed)
    else:
        done = manifest
    _check_crossing(done)
    return _check_presence(done)


def split_by_image(n_images: int, shares: Mapping[str, float] | None = None, seed: int = 0) -> np.ndarray:
    """Split images at random, one by one, as the published study did: LEAKY.

    Images of one product land on both sides, so a test plot from this split is too good. It is here
    to measure by how much; everything else uses `split_by_product`.

    Parameters
    ----------
    n_images : int
        How many images to split.
    shares : mapping of str to float, optional
        The share of each split; by default the published study's {"train": 0.8, "test": 0.2}.
    seed : int
        Of the permutation.

    Returns
    -------
    ndarray of str, of shape (n_images,)
        Each image's split; the counts are `shares` rounded by largest remainder.
    """
    names, fractions = _checked_shares(shares or {"train": 0.8, "test": 0.2})
    counts = _whole_targets(np.array([n_images]), fractions)[0]
    ordered = np.repeat(np.array(names, dtype=object), counts)
    return ordered[np.random.default_rng(seed).permutation(n_images)]


def connected_products(
    products: Sequence[str] | np.ndarray, images: Sequence[str] | np.ndarray
) -> np.ndarray:
    """Join products that share an image, directly or through other products.

    Parameters
    ----------
    products, images : sequences of str, of length n_edges
        The edges of the product-image graph: edge i says that product `products[i]` shows image
        `images[i]`. Drop images that very many products share beforehand, or everything is one.

    Returns
    -------
    ndarray of str, of shape (n_edges,)
        For each edge the name of its connected component: the smallest product name in it.
    """
    if len(products) == 0:
        return np.array([], dtype=object)
    product_of, names = pd.factorize(np.asarray(products, dtype=object), sort=True)
    image_of, image_names = pd.factorize(np.asarray(images, dtype=object))
    n_nodes = len(names) + len(image_names)
    edges = (np.ones(len(product_of), dtype=np.int8), (product_of, image_of + len(names)))
    _, component = connected_components(coo_array(edges, shape=(n_nodes, n_nodes)), directed=False)
    # Product names are sorted, so the first of each component is its smallest.
    _, first = np.unique(component[: len(names)], return_index=True)
    by_component = np.zeros(component.max() + 1, dtype=np.int64)
    by_component[component[first]] = first
    return np.asarray(names, dtype=object)[by_component[component[product_of]]]


def crossing_products(
    products: Sequence[str] | np.ndarray, splits: Sequence[str] | np.ndarray
) -> dict[str, tuple[str, ...]]:
    """Find the products that are in more than one split.

    Parameters
    ----------
    products, splits : sequences of str, of length n_images
        Each image's product and split.

    Returns
    -------
    dict of str to tuple of str
        For each crossing product, in sorted order, its splits in sorted order; empty if none cross.
    """
    pairs = pd.DataFrame({"product": products, "split": splits}).drop_duplicates()
    crossing = pairs[pairs["product"].duplicated(keep=False)]
    return {
        str(product): tuple(sorted(group["split"]))
        for product, group in crossing.groupby("product", sort=True)
    }


# ---- the splits of a manifest -------------------------------------------------------------------


def _split_all(manifest: Manifest, shares: Mapping[str, float], seed: int) -> Manifest:
    counts = manifest.table["label"].value_counts()
    single = sorted(str(label) for label, count in counts.items() if count < 2)
    if single:
        raise DataError(
            "Every class needs at least 2 images to be split into train and test. "
            f"With one image: {shortened(single)}. Add images, or remove these classes."
        )
    splits = split_by_product(manifest.labels, manifest.products, shares, seed)
    parts = ", ".join(f"{int((splits == name).sum()):,} {name}" for name in shares)
    return manifest.with_columns(f"Split by product with seed {seed}: {parts}.", split=splits)


def _take_validation(manifest: Manifest, shares: Mapping[str, float], seed: int) -> Manifest:
    _check_crossing(manifest)
    splits = manifest.splits.copy()
    train = np.flatnonzero(splits == "train")
    inner = {name: shares.get(name, 0.0) for name in ("train", "val")}
    splits[train] = split_by_product(manifest.labels[train], manifest.products[train], inner, seed)
    count = int((splits == "val").sum())
    note = f"{count:,} of {len(train):,} training images were set aside for validation, by product."
    return manifest.with_columns(note, split=splits)


def _check_crossing(manifest: Manifest) -> None:
    crossing = crossing_products(manifest.products, manifest.splits)
    if crossing:
        product, where = next(iter(crossing.items()))
        raise DataError(
            f"A product may be in one split only. {len(crossing):,} are in several; the first is "
            f"{product!r}, in {' and '.join(where)}. Correct the splits, leave them out, or measure how much they "
            "flatter with the setting data.split_by=image."
        )


def _check_presence(manifest: Manifest) -> Manifest:
    """Refuse classes without training images; note classes without test images."""
    labels, splits = manifest.labels, manifest.splits
    untrained = sorted(set(labels) - set(labels[splits == "train"]))
    if untrained:
        raise DataError(
            f"Every class needs training images. Classes without: {shortened(untrained)}. "
            "Move some of their images to train, or remove these classes."
        )
    untested = sorted(set(labels) - set(labels[splits == "test"]))
    if untested:
        return manifest.with_columns(f"Classes without a test image: {shortened(untested)}.")
    return manifest


# ---- placing ------------------------------------------------------------------------------------


def _checked_shares(shares: Mapping[str, float]) -> tuple[list[str], np.ndarray]:
    names = [name for name, share in shares.items() if share != 0]
    fractions = np.array([float(shares[name]) for name in names])
    if not names or not np.isfinite(fractions).all() or (fractions < 0).any():
        raise ValueError(f"`shares` must be positive numbers, one for each split. Received: {dict(shares)}.")
    return names, fractions / fractions.sum()


def _need_order(names: list[str]) -> list[int]:
    """Return which splits a class with few products needs first: train, test, then the others."""
    return sorted(range(len(names)), key=lambda i: ({"train": 0, "test": 1}.get(names[i], 2), i))


def _whole_targets(class_sizes: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Round sizes x fractions to whole numbers, of shape (n_classes, n_splits).

    Each row sums to its class's size and each entry is its quota rounded down or up; which of the two
    is decided by what the rows before have left over, so that the columns' sums are right as well.
    """
    targets = np.zeros((len(class_sizes), len(fractions)), dtype=np.int64)
    carry = np.zeros(len(fractions))
    for i, size in enumerate(class_sizes):
        quota = size * fractions
        down = np.floor(quota + 1e-9)
        up = np.argsort(-(quota - down + carry), kind="stable")[: int(size - down.sum())]
        targets[i] = down
        targets[i, up] += 1
        carry += quota - targets[i]
    return targets


def _place_products(
    class_of: np.ndarray, product_of: np.ndarray, fractions: np.ndarray, need_order: list[int], seed: int
) -> np.ndarray:
    """Choose a split for each product; see `split_by_product`."""
    n_classes, n_products, n_splits = class_of.max() + 1, product_of.max() + 1, len(fractions)
    pairs, counts = np.unique(product_of * n_classes + class_of, return_counts=True)
    pair_product, pair_class = pairs // n_classes, pairs % n_classes
    holdings: list[list[tuple[int, int]]] = [[] for _ in range(n_products)]
    for p, c, n in zip(pair_product.tolist(), pair_class.tolist(), counts.tolist(), strict=True):
        holdings[p].append((c, n))

    deficits = _whole_targets(np.bincount(class_of), fractions).tolist()
    remaining = np.bincount(pair_class, minlength=n_classes).tolist()
    needed = [need_order[:left] for left in remaining]  # splits in which the class must still appear
    chosen = np.zeros(n_products, dtype=np.int64)
    for p in _placing_order(holdings, seed):
        holding = holdings[p]
        options = _forced(holding, remaining, needed) or range(n_splits)
        gains = [(sum(n * deficits[c][s] for c, n in holding), -s) for s in options]
        best = -max(gains)[1]
        chosen[p] = best
        for c, n in holding:
            deficits[c][best] -= n
            remaining[c] -= 1
            if best in needed[c]:
                needed[c] = [s for s in needed[c] if s != best]
    return chosen


def _placing_order(holdings: list[list[tuple[int, int]]], seed: int) -> list[int]:
    """Order products: those of several classes, then the largest, equals at random."""
    shuffled = np.random.default_rng(seed).permutation(len(holdings)).tolist()
    return sorted(shuffled, key=lambda p: (-len(holdings[p]), -sum(n for _, n in holdings[p])))


def _forced(holding: list[tuple[int, int]], remaining: list[int], needed: list[list[int]]) -> list[int]:
    """Return the splits that a class of this product must still reach with its last products, if any.

    Where several classes want different splits, those that most of them want.
    """
    votes: dict[int, int] = {}
    for c, _ in holding:
        if len(needed[c]) >= remaining[c]:
            for s in needed[c]:
                votes[s] = votes.get(s, 0) + 1
    return [s for s in sorted(votes) if votes[s] == max(votes.values())]
