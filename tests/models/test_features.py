"""Features: once through the backbone, kept whole, found again."""

import hashlib
import sqlite3
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.errors import UnreadableImage
from aisles.models import features as features_module
from aisles.models.backbones.registry import wrap_backbone
from aisles.models.features import FeatureCache, extract

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def backbone():
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Conv2D(5, 3, kernel_initializer=keras.initializers.GlorotUniform(0))(inputs)
    return wrap_backbone(keras.Model(inputs, outputs), "tiny", preprocessing="symmetric")


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(1)
    made = []
    for i in range(7):
        made.append(tmp_path / f"påth with spaces {i}.png")
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(made[-1])
    return made


def test_features_equal_a_direct_pass_in_the_order_of_the_paths(backbone, paths, tmp_path):
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    got = extract(backbone, paths, cache=tmp_path / "cache", batch_size=3)
    np.testing.assert_allclose(got.vectors, backbone.forward(pixels).numpy(), rtol=1e-5, atol=1e-6)
    assert (got.computed, got.from_cache) == (7, 0)


def test_a_second_run_reads_the_cache_and_computes_nothing(backbone, paths, tmp_path, monkeypatch):
    first = extract(backbone, paths, cache=tmp_path / "cache")
    monkeypatch.setattr(features_module, "pixel_batches", lambda *_: pytest.fail("an image passed again"))
    second = extract(backbone, paths[::-1], cache=tmp_path / "cache")
    np.testing.assert_array_equal(second.vectors, first.vectors[::-1])
    assert (second.computed, second.from_cache) == (0, 7)


def test_equal_bytes_pass_once_whatever_they_are_called(backbone, paths, tmp_path):
    (tmp_path / "copy.png").write_bytes(paths[0].read_bytes())
    got = extract(backbone, [*paths, tmp_path / "copy.png"], cache=tmp_path / "cache")
    assert got.computed == 7
    np.testing.assert_array_equal(got.vectors[7], got.vectors[0])


def test_a_changed_image_is_extracted_again(backbone, paths, tmp_path):
    extract(backbone, paths, cache=tmp_path / "cache")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(paths[2])
    assert extract(backbone, paths, cache=tmp_path / "cache").computed == 1


def test_a_killed_run_goes_on_where_it_stopped(backbone, paths, tmp_path, monkeypatch):
    put, calls = FeatureCache.put, []

    def put_then_die(self, images, vectors):
        put(self, images, vectors)
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(FeatureCache, "put", put_then_die)
    with pytest.raises(KeyboardInterrupt):
        extract(backbone, paths, cache=tmp_path / "cache", batch_size=2)
    monkeypatch.undo()
    resumed = extract(backbone, paths, cache=tmp_path / "cache", batch_size=2)
    assert (resumed.from_cache, resumed.computed) == (4, 3)
    whole = extract(backbone, paths, cache=tmp_path / "other", batch_size=2)
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)


def test_other_weights_have_another_cache(backbone, paths, tmp_path):
    extract(backbone, paths, cache=tmp_path / "cache")
    network = keras.models.clone_model(backbone.network)
    network.set_weights([weight + 1 for weight in backbone.network.get_weights()])
    other = wrap_backbone(network, "tiny", preprocessing="symmetric")
    assert extract(other, paths, cache=tmp_path / "cache").computed == 7


def test_equal_weights_in_another_network_have_another_cache(backbone, paths, tmp_path):
    extract(backbone, paths, cache=tmp_path / "cache")
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Conv2D(5, 3, activation="relu")(inputs)
    network = keras.Model(inputs, outputs)
    network.set_weights(backbone.network.get_weights())
    other = wrap_backbone(network, "tiny", preprocessing="symmetric")
    assert extract(other, paths, cache=tmp_path / "cache").computed == 7


def test_a_network_built_twice_has_one_key(backbone):
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(
        inputs, keras.layers.Conv2D(5, 3, kernel_initializer=keras.initializers.GlorotUniform(0))(inputs)
    )
    network.set_weights(backbone.network.get_weights())
    assert wrap_backbone(network, "tiny", preprocessing="symmetric").key == backbone.key


def test_a_damaged_cache_is_named_with_the_next_step(backbone, paths, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{backbone.key}.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(OSError, match="feature cache .* Delete that file"):
        extract(backbone, paths, cache=tmp_path / "cache")


def test_a_vector_of_another_length_is_not_taken_for_a_feature(backbone, paths, tmp_path):
    extract(backbone, paths, cache=tmp_path / "cache")
    with sqlite3.connect(tmp_path / "cache" / f"{backbone.key}.sqlite") as db:
        image = hashlib.sha256(paths[0].read_bytes()).hexdigest()
        db.execute("UPDATE checked_features SET vector = substr(vector, 1, 8) WHERE image = ?", (image,))
    assert extract(backbone, paths, cache=tmp_path / "cache").computed == 1


def _spoil(folder, backbone, change):
    """Change the stored vectors: image and bytes in, bytes out."""
    with sqlite3.connect(folder / f"{backbone.key}.sqlite") as db:
        for image, blob in db.execute("SELECT image, vector FROM checked_features").fetchall():
            row = (change(image, blob), image)
            db.execute("UPDATE checked_features SET vector = ? WHERE image = ?", row)


def test_every_flipped_bit_of_a_vector_is_noticed_and_mended(backbone, paths, tmp_path, caplog):
    whole = extract(backbone, paths, cache=tmp_path)
    rng = np.random.default_rng(0)

    def flip(_, blob):
        bits = np.unpackbits(np.frombuffer(blob, np.uint8))
        bits[rng.integers(len(bits))] ^= 1
        return np.packbits(bits).tobytes()

    for _ in range(10):
        _spoil(tmp_path, backbone, flip)
        mended = extract(backbone, paths, cache=tmp_path)
        assert (mended.computed, mended.from_cache) == (7, 0)
        np.testing.assert_array_equal(mended.vectors, whole.vectors)
    assert "7 of 7 cached features" in caplog.text and "computed again" in caplog.text


def test_vectors_that_changed_places_or_are_no_numbers_are_computed_again(backbone, paths, tmp_path):
    whole = extract(backbone, paths, cache=tmp_path)
    with sqlite3.connect(tmp_path / f"{backbone.key}.sqlite") as db:
        rows = db.execute("SELECT image, vector, checksum FROM checked_features").fetchall()
        db.execute(
            "UPDATE checked_features SET vector = ?, checksum = ? WHERE image = ?", (*rows[0][1:], rows[1][0])
        )
    mended = extract(backbone, paths, cache=tmp_path)
    assert mended.computed == 1
    np.testing.assert_array_equal(mended.vectors, whole.vectors)
    _spoil(tmp_path, backbone, lambda _, blob: np.full(len(blob) // 4, np.nan, "<f4").tobytes())
    np.testing.assert_array_equal(extract(backbone, paths, cache=tmp_path).vectors, whole.vectors)


def test_a_backbone_that_gives_no_numbers_is_refused_and_nothing_is_kept(backbone, paths, tmp_path):
    network = keras.models.clone_model(backbone.network)
    network.set_weights([weight * np.nan for weight in backbone.network.get_weights()])
    spoiled = wrap_backbone(network, "spoiled")
    with pytest.raises(ValueError, match="spoiled-none-8x8.* not finite"):
        extract(spoiled, paths, cache=tmp_path)
    assert FeatureCache(tmp_path, spoiled.key, spoiled.dimension).get(["a"]) == {}


def test_features_of_an_older_cache_are_not_believed(backbone, paths, tmp_path):
    image = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    with sqlite3.connect(tmp_path / f"{backbone.key}.sqlite") as db:
        db.execute("CREATE TABLE features (image TEXT PRIMARY KEY, vector BLOB) WITHOUT ROWID")
        db.execute("INSERT INTO features VALUES (?, ?)", (image, np.zeros(5, "<f4").tobytes()))
    assert extract(backbone, paths, cache=tmp_path).computed == 7


def test_images_fitted_in_another_way_have_another_cache(backbone, paths, tmp_path):
    extract(backbone, paths, cache=tmp_path)
    keys = {backbone.key}
    for fitting in (
        Fitting((8, 8), "crop", 0.875),
        Fitting((8, 8), "crop"),
        Fitting((8, 8), "pad"),
        Fitting((8, 8), filter="bicubic"),
    ):
        other = replace(backbone, fitting=fitting)
        assert extract(other, paths, cache=tmp_path).computed == 7
        keys.add(other.key)
    assert len(keys) == 5


def test_an_unreadable_image_is_named(backbone, paths, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(UnreadableImage, match="text.jpg"):
        extract(backbone, [*paths, tmp_path / "text.jpg"], cache=tmp_path / "cache")


@pytest.mark.slow
def test_a_program_that_does_not_catch_an_unreadable_image_ends(tmp_path):
    program = (
        "import sys; from pathlib import Path; from aisles.models.backbones.registry import build_backbone\n"
        "from aisles.models.features import extract\n"
        "paths = [Path('nowhere.jpg'), *sorted(Path(sys.argv[1]).iterdir())]\n"
        "backbone = build_backbone('efficientnet_lite0', weights='none', input_size=(32, 32))\n"
        "extract(backbone, paths, images=[str(path) for path in paths], cache=sys.argv[2])\n"
    )
    rng = np.random.default_rng(2)
    (tmp_path / "photos").mkdir()
    for i in range(200):
        pixels = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i:03d}.jpg")
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "photos", tmp_path / "cache"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 1
    assert "nowhere.jpg can't be read: No such file or directory. Repair it, or leave it out." in ended.stderr
