from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import DataFrame

from aisles.data_prep.images.columns import complete_table
from aisles.data_prep.images.manifest import Manifest
from aisles.data_prep.images.splitting import (
    SHARES,
    connected_products,
    crossing_products,
    ensure_splits,
    split_by_image,
    split_by_product,
)
from aisles.data_prep.io.errors import DataError


def counts(splits):
    return dict(Counter(splits.tolist()))


def make_manifest(labels, splits=None, products=None):
    frame = {"file_name": [f"{i}.jpg" for i in range(len(labels))], "label": list(labels)}
    if splits is not None:
        frame["split"] = list(splits)
    if products is not None:
        frame["product"] = list(products)
    table, notes, _ = complete_table(DataFrame(frame))
    return Manifest(table, Path("."), tuple(notes))


def test_single_image_products_get_exact_shares_in_every_class():
    labels = np.repeat(["a", "b", "c"], 100)
    splits = split_by_product(labels, np.arange(300).astype(str))
    for name in "abc":
        assert counts(splits[labels == name]) == {"train": 64, "val": 16, "test": 20}


def test_totals_are_exact_where_every_class_must_round():
    labels = np.repeat([f"c{i:02d}" for i in range(81)], 33)
    splits = split_by_product(labels, np.arange(len(labels)).astype(str))
    for name, share in SHARES.items():
        assert abs((splits == name).sum() - share * len(labels)) <= 1
    for label in set(labels):
        got = counts(splits[labels == label])
        assert all(abs(got[name] - 33 * share) < 1 for name, share in SHARES.items())


def test_groups_come_as_near_as_worked_out_by_hand():
    products = np.repeat([f"p{i}" for i in range(10)], 5)
    assert counts(split_by_product(["a"] * 50, products)) == {"train": 30, "val": 10, "test": 10}


def test_one_large_product_goes_to_train_and_small_ones_fill_the_rest():
    products = ["big"] * 64 + [f"p{i}" for i in range(36)]
    splits = split_by_product(["a"] * 100, products)
    assert set(splits[:64]) == {"train"}
    assert counts(splits) == {"train": 64, "val": 16, "test": 20}


@pytest.mark.parametrize(
    ("n_products", "expected"), [(1, {"train"}), (2, {"train", "test"}), (3, {"train", "val", "test"})]
)
@pytest.mark.parametrize("size", [1, 7])
def test_a_class_of_few_products_reaches_the_splits_it_needs_most(n_products, expected, size):
    products = np.repeat([f"p{i}" for i in range(n_products)], size)
    for seed in range(5):
        assert set(split_by_product(["a"] * len(products), products, seed=seed)) == expected


graphs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), min_size=1, max_size=120)


@settings(max_examples=60, deadline=None)
@given(graphs, st.integers(0, 3))
def test_no_product_is_ever_in_two_splits(images, seed):
    labels = [f"c{c}" for c, _ in images]
    products = [f"p{p}" for _, p in images]
    splits = split_by_product(labels, products, seed=seed)
    assert crossing_products(products, splits) == {}
    assert set(splits) <= set(SHARES)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=60), st.integers(0, 3))
def test_each_class_of_three_products_is_in_every_split(products, seed):
    labels = np.concatenate([[f"c{c}"] * n for c, n in products])
    names = np.concatenate([[f"p{i}"] * n for i, (_, n) in enumerate(products)])
    splits = split_by_product(labels, names, seed=seed)
    for label in set(labels):
        n_products = len(set(names[labels == label]))
        assert len(set(splits[labels == label])) == min(3, n_products)
        assert "train" in splits[labels == label]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=40))
def test_products_that_share_an_image_never_cross(edges):
    products = np.array([f"p{p}" for p, _ in edges])
    images = np.array([f"i{i}" for _, i in edges])
    groups = connected_products(products, images)
    shown = {product: set(images[products == product]) for product in products.tolist()}
    for product, group in zip(products.tolist(), groups.tolist(), strict=True):
        assert group == min(_reached({product}, shown))
    splits = split_by_product(["a"] * len(edges), groups)
    assert crossing_products(images, splits) == {}


def _reached(own: set[str], shown: dict[str, set[str]]) -> set[str]:
    """Return all products that share an image with some of `own`, or with one that does, and so on."""
    seen = set().union(*(shown[name] for name in own))
    more = {name for name, images in shown.items() if images & seen}
    return own if more == own else _reached(more, shown)


def test_row_order_does_not_matter_but_the_seed_does():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 400)
    products = np.array([f"p{i}" for i in rng.integers(0, 150, 400)])
    order = rng.permutation(400)
    splits = split_by_product(labels, products, seed=1)
    assert (split_by_product(labels[order], products[order], seed=1) == splits[order]).all()
    assert (split_by_product(labels, products, seed=1) == splits).all()
    assert (split_by_product(labels, products, seed=2) != splits).any()


def test_shares_are_checked():
    with pytest.raises(ValueError, match="`shares` must be positive numbers"):
        split_by_product(["a"], ["p"], {"train": -1, "test": 2})
    with pytest.raises(ValueError, match="equally long. Received: 1 and 2"):
        split_by_product(["a"], ["p", "q"])
    assert set(split_by_product(["a"] * 9, list("abcdefghi"), {"train": 2, "test": 1, "val": 0})) == {
        "train",
        "test",
    }
    assert len(split_by_product([], [])) == 0


def test_the_studys_split_counts_images_only():
    splits = split_by_image(25_835)
    assert counts(splits) == {"train": 20_668, "test": 5_167}
    products = np.repeat(np.arange(12_918), 2)[:25_835].astype(str)
    assert crossing_products(products, splits)


def test_without_splits_all_three_are_made():
    done = ensure_splits(make_manifest("ab" * 50))
    assert counts(done.splits) == {"train": 64, "val": 16, "test": 20}
    assert "Split by product with seed 0: 64 train, 16 val, 20 test" in done.notes[-1]
    assert counts(ensure_splits(make_manifest("ab" * 50, ["train"] * 100)).splits) == counts(done.splits)


def test_missing_validation_images_come_from_train_by_product():
    products = [f"p{i // 4}" for i in range(100)]
    given_splits = ["train"] * 80 + ["test"] * 20
    done = ensure_splits(make_manifest("a" * 40 + "b" * 60, given_splits, products))
    assert set(done.splits[80:]) == {"test"}
    assert counts(done.splits) == {"train": 64, "val": 16, "test": 20}
    assert crossing_products(done.products, done.splits) == {}


def test_a_held_out_val_becomes_test():
    done = ensure_splits(make_manifest("ab" * 50, ["train"] * 80 + ["val"] * 20))
    assert set(done.splits[80:]) == {"test"}
    assert "There is no test split" in done.notes[1]


def test_complete_splits_are_left_alone():
    whole = make_manifest("ab" * 6, ["train"] * 6 + ["val"] * 2 + ["test"] * 4)
    assert ensure_splits(whole).splits.tolist() == whole.splits.tolist()


def test_a_class_of_one_image_can_not_be_split():
    with pytest.raises(DataError, match="at least 2 images.*With one image: 'c'"):
        ensure_splits(make_manifest("aabbc"))


def test_given_splits_are_checked():
    splits = ["train", "test", "train", "test"]
    with pytest.raises(DataError, match="may be in one split only. 1 are in several; the first is 'p'"):
        ensure_splits(make_manifest("aabb", splits, ["p", "p", "q", "r"]))
    with pytest.raises(DataError, match="Classes without: 'c'"):
        ensure_splits(make_manifest("aabbc", [*splits, "test"]))
    with pytest.raises(DataError, match="no training images; found only: 'test', 'val'"):
        ensure_splits(make_manifest("aabb", ["val", "test", "val", "test"]))
    done = ensure_splits(make_manifest("aabbcc", [*splits, "train", "train"]))
    assert "Classes without a test image: 'c'." in done.notes
