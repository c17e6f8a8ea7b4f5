import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import DataFrame
from PIL import Image, ImageDraw

from aisles.data_prep.images.columns import complete_table
from aisles.data_prep.images.decoding import decode_image
from aisles.data_prep.images.duplicates import (
    HashedImages,
    ImageHashes,
    crowded,
    duplicates_across,
    hash_images,
    hash_pixels,
    near_duplicates,
)
from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.images.manifest import Manifest


def drawn(seed, color=(180, 40, 40)):
    """Draw a few shapes on white."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (256, 192), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(5):
        x, y = rng.integers(0, 200), rng.integers(0, 150)
        w, h = rng.integers(20, 110, 2)
        pen.ellipse((x, y, x + w, y + h), fill=tuple((np.array(color) * rng.uniform(0.3, 1)).astype(int)))
    return image


def saved_again(image, quality=50):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return decode_image(stream.getvalue())


def hashed(images):
    return hash_pixels(np.array([np.asarray(Fitting((32, 32)).apply(image)) for image in images]))


def groups_of(images, **options):
    return near_duplicates(hashed(images), **options).groups.tolist()


@pytest.mark.parametrize(
    "change",
    [
        saved_again,
        lambda image: image.resize((128, 96)),
        lambda image: image.resize((300, 230)),
        lambda image: image.crop((2, 2, 254, 190)),
        lambda image: image.point(lambda value: min(255, int(value * 1.04))),
    ],
    ids=["recompressed", "halved", "enlarged", "cropped", "brightened"],
)
def test_a_changed_copy_is_a_near_duplicate(change):
    originals = [drawn(seed) for seed in range(8)]
    copies = [change(image) for image in originals]
    assert groups_of(originals + copies) == [*range(8), *range(8)]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: saved_again(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).resize((128, 96)),
        lambda image: image.point(lambda value: int(value * 0.8)),
        lambda image: image.point(lambda value: min(255, value + 25)),
    ],
    ids=["mirrored", "mirrored and recompressed", "darker", "lighter"],
)
def test_an_augmented_copy_is_a_near_duplicate_if_asked_for(change):
    originals = [drawn(seed) for seed in range(8)]
    copies = [change(image) for image in originals]
    assert groups_of(originals + copies, augmented=True) == [*range(8), *range(8)]
    assert groups_of(originals + copies) != [*range(8), *range(8)]


def test_augmentation_joins_no_different_images_color_variants_or_plain_ones():
    plain = [Image.new("RGB", (64, 64), color) for color in ("white", "black", (128, 128, 128), "blue")]
    variants = [drawn(100, (180, 40, 40)), drawn(100, (40, 40, 180))]
    images = [*(drawn(seed) for seed in range(60)), *variants, *plain]
    assert groups_of(images, augmented=True) == list(range(len(images)))


def test_the_hash_of_a_mirrored_image_is_told_without_mirroring():
    images = [drawn(seed) for seed in range(12)]
    turned = hashed([image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images])
    differing = np.bitwise_xor(hashed(images).mirrored, turned.bits)
    assert max(bin(int(bits)).count("1") for bits in differing) <= 1


def test_different_images_are_not():
    assert groups_of([drawn(seed) for seed in range(60)]) == list(range(60))


def test_color_variants_of_one_shape_are_kept_apart():
    assert groups_of([drawn(3, (180, 40, 40)), drawn(3, (40, 40, 180))]) == [0, 1]


def test_plain_images_are_compared_by_color_and_do_not_all_collide():
    colors = ["white", "black", "red", (235, 0, 0), "blue", (128, 128, 128), (248, 248, 248)]
    plain = [Image.new("RGB", (64, 64), color) for color in colors]
    assert groups_of(plain) == list(range(len(plain)))
    assert hashed(plain).flat.all()
    noisy = [saved_again(image, 75) for image in plain]
    assert groups_of(plain + noisy) == [*range(len(plain)), *range(len(plain))]


def test_a_plain_image_is_no_duplicate_of_a_small_thing_on_it():
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).rectangle((20, 20, 30, 30), fill="black")
    assert groups_of([Image.new("RGB", (64, 64), "white"), image]) == [0, 1]


def test_thousands_of_equal_images_make_no_millions_of_pairs():
    one = hashed([drawn(1), Image.new("RGB", (8, 8), "white")])
    many = ImageHashes(
        *(np.repeat(part, 5000, axis=0) for part in (one.bits, one.colors, one.flat, one.mirrored))
    )
    found = near_duplicates(many)
    assert len(found.pairs) == 9998
    assert set(found.groups) == {0, 5000}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=0, max_size=30), st.integers(0, 8))
def test_pairs_equal_brute_force(values, distance):
    bits = np.array(values, dtype=np.uint64)
    n = len(values)
    colors = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3)) // 128
    hashes = ImageHashes(bits, colors.astype(np.uint8), np.zeros(n, dtype=bool), bits)
    found = near_duplicates(hashes, distance)
    expected = {
        (i, j): bin(values[i] ^ values[j]).count("1")
        for i in range(n)
        for j in range(i + 1, n)
        if bin(values[i] ^ values[j]).count("1") <= distance
    }
    pairs = zip(map(tuple, found.pairs.tolist()), found.distances.tolist(), strict=True)
    assert dict(pairs) == expected


def test_the_number_of_bits_is_checked():
    with pytest.raises(ValueError, match="between 0 and 64 bits. Received: 65"):
        near_duplicates(hashed([drawn(0)]), 65)


def test_files_are_hashed_in_order(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        drawn(i % 3).save(path)
    assert near_duplicates(hash_images(paths)).groups.tolist() == [0, 1, 2, 0, 1, 2]
    assert len(hash_images([])) == 0
    assert near_duplicates(hash_images([])).groups.tolist() == []


def test_pairs_across_splits_and_labels_are_listed():
    table, _, _ = complete_table(
        DataFrame(
            {
                "file_name": list("abcdef"),
                "label": ["x", "x", "y", "x", "y", "y"],
                "split": ["train", "train", "train", "test", "test", "test"],
            }
        )
    )
    duplicates = near_duplicates(hashed([drawn(i) for i in (0, 0, 1, 0, 2, 2)]))
    listed = duplicates_across(Manifest(table, Path(".")), duplicates)
    assert listed[["file_a", "file_b"]].to_numpy().tolist() == [["a", "d"]]
    assert listed["across_splits"].tolist() == [True]
    assert listed["across_labels"].tolist() == [False]


def test_large_groups_are_found():
    hashes = hashed([drawn(i) for i in (0, 1, 0, 1, 2, 0, 3)])
    duplicates = near_duplicates(hashes)
    assert crowded(duplicates, 2).tolist() == [True, False, True, False, False, True, False]
    assert not crowded(duplicates, 3).any() and crowded(duplicates, 1).sum() == 5


def test_files_are_hashed_once_and_given_in_any_order(tmp_path, monkeypatch):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        drawn(i).save(path)
    hashes = HashedImages()
    assert len(hashes.of([])) == 0
    hashes.of(paths[:3])
    seen = []
    whole = hash_images(paths)
    monkeypatch.setattr(
        "aisles.data_prep.images.duplicates.hash_images",
        lambda paths: seen.append(paths) or hash_images(paths),
    )
    again = hashes.of(paths[::-1])
    assert seen == [paths[3:]]
    for name in ("bits", "colors", "flat"):
        assert getattr(again, name).tolist() == getattr(whole, name)[::-1].tolist()


def test_bits_are_counted_the_same_without_numpys_own_function(monkeypatch):
    hashes = hashed([drawn(i % 5) for i in range(12)])
    expected = near_duplicates(hashes, 20)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    again = near_duplicates(hashes, 20)
    assert again.pairs.tolist() == expected.pairs.tolist()
    assert again.distances.tolist() == expected.distances.tolist()
