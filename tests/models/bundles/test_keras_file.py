"""`.keras` files of bundles: what runs code, reads other files or takes memory is refused before Keras sees it."""

import importlib
import io
import json
import math
import os
import resource
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from aisles.data_prep.io.files import sha256_of
from aisles.models.bundles.bundle import BundleError, _own_hash, load_bundle, save_bundle
from aisles.models.bundles.keras_file import check_keras_file, load_keras_file
from aisles.models.prediction.two_stage import FlatClassifier

pytestmark = pytest.mark.keras


@pytest.fixture
def network(tmp_path):
    """A file of a network from images of 8 x 8 pixels to three probabilities."""
    pixels = keras.Input((8, 8, 3))
    maps = layers.Conv2D(2, 3, activation="relu")(layers.Resizing(8, 8)(pixels / 255))
    pooled = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(maps))
    keras.Model(pixels, layers.Dense(3, activation="softmax")(pooled)).save(tmp_path / "flat.keras")
    return tmp_path / "flat.keras"


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def with_config(path, change):
    members = members_of(path)
    config = json.loads(members["config.json"])
    change(config["config"]["layers"])
    written(path, {**members, "config.json": json.dumps(config)})


def with_weights(path, change):
    members = members_of(path)
    data = io.BytesIO(members["model.weights.h5"])
    with h5py.File(data, "r+") as file:
        change(file)
    written(path, {**members, "model.weights.h5": data.getvalue()})


def layer_of(stack, class_name):
    return next(layer for layer in stack if layer["class_name"] == class_name)


def test_an_honest_file_loads_and_answers_as_before(network, images):
    assert check_keras_file(network) == 3 * 3 * 3 * 2 + 2 + 2 * 3 + 3
    pixels = images.astype(np.float32)
    expected = keras.saving.load_model(network)(pixels)
    np.testing.assert_array_equal(load_keras_file(network)(pixels), expected)


@pytest.mark.parametrize("number", range(4))
def test_every_common_kind_of_image_network_is_accepted(tmp_path, number):
    pixels = keras.Input((8, 8, 3))
    patches = layers.Reshape((4, 12))(layers.Conv2D(12, 4, strides=4)(pixels))
    x = [
        lambda: keras.Sequential([layers.Resizing(16, 16), layers.DepthwiseConv2D(3), layers.Flatten()])(
            pixels
        ),
        lambda: layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 6)(patches, patches)),
        lambda: keras.ops.mean(
            keras.ops.relu(keras.ops.subtract(pixels, np.float32([1, 2, 3]))), axis=(1, 2)
        ),
        lambda: layers.Flatten()(
            layers.Concatenate()([layers.BatchNormalization()(pixels), pixels[..., ::-1]])
        ),
    ][number]()
    keras.Model(pixels, layers.Dense(2, kernel_regularizer="l2")(x)).save(tmp_path / "n.keras")
    assert load_keras_file(tmp_path / "n.keras").output_shape == (None, 2)


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("convnext", "LayerScale", (0.1, 3)),
        ("convnext", "StochasticDepth", (0.1,)),
        ("inception_resnet_v2", "CustomScaleLayer", (0.5,)),
    ],
)
def test_the_layers_that_keras_own_networks_bring_along_are_accepted(tmp_path, module, name, arguments):
    layer = getattr(importlib.import_module(f"keras.src.applications.{module}"), name)(*arguments)
    pixels = keras.Input((8, 8, 3))
    scaled = layer([pixels, pixels] if name == "CustomScaleLayer" else pixels)
    keras.Model(pixels, layers.GlobalAveragePooling2D()(scaled)).save(tmp_path / "n.keras")
    assert load_keras_file(tmp_path / "n.keras").output_shape == (None, 3)


def lambda_layer(stack):
    code = {"class_name": "__lambda__", "config": {"value": "4wEA", "defaults": None, "closure": None}}
    layer_of(stack, "Dropout").update(class_name="Lambda", config={"name": "dropout", "function": code})


def saved_model(stack):
    layer_of(stack, "Dropout").update(class_name="TFSMLayer", config={"filepath": "/tmp/evil"})


def torch_module(stack):
    layer_of(stack, "Dropout").update(class_name="TorchModuleWrapper", config={"module": "gASV"})


def hidden_lambda(stack):
    layer_of(stack, "Conv2D")["config"]["activation"] = {
        "class_name": "__lambda__",
        "config": {"value": "4wEA"},
    }


def other_module(stack):
    layer_of(stack, "Dropout").update(module="os", class_name="system", registered_name=None)


def table_from_a_file(stack):
    layer_of(stack, "Dropout").update(class_name="StringLookup", config={"vocabulary": "/etc/passwd"})


def other_function(stack):
    function = {"module": "keras.utils", "class_name": "function", "config": "get_file"}
    layer_of(stack, "Conv2D")["config"]["activation"] = function


def from_nothing(stack):
    for node in layer_of(stack, "Dropout")["inbound_nodes"]:
        node["args"] = [{"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "float32"}}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda_layer, "holds '(Lambda|__lambda__)'"),
        (saved_model, "holds 'TFSMLayer' of 'keras.layers'"),
        (torch_module, "holds 'TorchModuleWrapper'"),
        (hidden_lambda, "holds '__lambda__'"),
        (other_module, "holds 'system' of 'os'"),
        (table_from_a_file, "holds 'StringLookup'"),
        (other_function, "holds 'function' of 'keras.utils'"),
        (from_nothing, "computes something from no input"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_layers_that_may_run_code_or_read_files_are_refused(network, change, message):
    with_config(network, change)
    with pytest.raises(ValueError, match=message):
        check_keras_file(network)


def external(file):
    group = next(iter(file["layers/dense"].values()))
    del group["0"]
    group.create_dataset("0", (2, 3), "f4", external=[("/etc/passwd", 0, 24)])


def linked(file):
    group = next(iter(file["layers/dense"].values()))
    del group["0"]
    group["0"] = h5py.ExternalLink("/tmp/other.h5", "/x")


def promised(file):
    group = next(iter(file["layers/dense"].values()))
    del group["0"]
    group.create_dataset("0", (10**6, 10**6), "f4")


def packed(file):
    group = next(iter(file["layers/dense"].values()))
    del group["0"]
    group.create_dataset("0", data=np.zeros((500, 500), "f4"), compression="gzip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "don't lie in model.weights.h5"),
        (linked, "is a link to elsewhere"),
        (promised, "don't lie in model.weights.h5"),
        (packed, "don't lie in model.weights.h5"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_weights_lie_in_the_file_itself(network, change, message):
    with_weights(network, change)
    with pytest.raises(ValueError, match=message):
        check_keras_file(network)


def test_a_group_that_holds_itself_ends_and_one_array_under_two_names_counts_once(network):
    def looped(file):
        file["layers/again"] = file["layers"]
        file["layers/dense/twice"] = file["layers/dense"]

    n_weights = check_keras_file(network)
    with_weights(network, looped)
    assert check_keras_file(network) == n_weights


def compressed(path):
    written(path, members_of(path), zipfile.ZIP_DEFLATED)


def with_asset(path):
    written(path, {**members_of(path), "assets/vocabulary.txt": b"a"})


def without_weights(path):
    written(path, {"config.json": members_of(path)["config.json"]})


def hdf5(path):
    path.write_bytes(members_of(path)["model.weights.h5"])


def nested(path):
    written(path, {**members_of(path), "config.json": "[" * 100_000 + "]" * 100_000})


def no_json(path):
    written(path, {**members_of(path), "config.json": "{"})


def no_model(path):
    written(path, {**members_of(path), "config.json": '{"class_name": "Dense"}'})


def no_hdf5(path):
    written(path, {**members_of(path), "model.weights.h5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100})


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (compressed, "is compressed, which Keras never does"),
        (with_asset, "each once, and nothing else"),
        (without_weights, "each once, and nothing else"),
        (hdf5, "not a whole .keras file"),
        (nested, "nested too deeply"),
        (no_json, "is not JSON"),
        (no_model, "describes no model"),
        (no_hdf5, "can't be read"),
        (cut, "not a whole .keras file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_of_another_kind_is_refused_whatever_its_name(network, change, message):
    change(network)
    with pytest.raises(ValueError, match=message):
        check_keras_file(network)


def test_special_files_and_other_names_are_refused(network, tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    with pytest.raises(ValueError, match="must be a file whose name ends in .keras"):
        check_keras_file(tmp_path / "pipe.keras")
    network.rename(tmp_path / "flat.h5")
    with pytest.raises(ValueError, match="must be a file whose name ends in .keras"):
        check_keras_file(tmp_path / "flat.h5")


def wide(stack):
    layer_of(stack, "Dense")["config"]["units"] = 1_000_000_000


def many_filters(stack):
    layer_of(stack, "Conv2D")["config"]["filters"] = 1_000_000_000


def tall(stack):
    layer_of(stack, "Dropout").update(class_name="RepeatVector", config={"name": "dropout", "n": 10**9})


def enlarged(stack):
    layer_of(stack, "Resizing")["config"].update(height=30_000, width=30_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wide, r"wants weights of \(2, 1000000000\), and model.weights.h5 holds 65 numbers"),
        (many_filters, r"wants weights of \(3, 3, 3, 1000000000\)"),
        (tall, "holds 'RepeatVector'"),
        (enlarged, "gives 2700000000 numbers for each image"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_memory_that_the_file_does_not_fill_is_never_taken(network, change, message):
    with_config(network, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message):
        load_keras_file(network)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert keras.layers.Layer.add_weight.__name__ == "add_weight"


def test_a_bundle_whose_hashes_are_right_is_checked_all_the_same(tmp_path, images):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    folder = save_bundle(FlatClassifier.from_model(model, ["a", "b"]), tmp_path / "bundle")
    with_config(folder / "flat.keras", lambda stack: stack[-1].update(class_name="TFSMLayer"))
    content = json.loads((folder / "bundle.json").read_text())
    content["files"]["flat.keras"] = sha256_of(folder / "flat.keras")
    content["sha256"] = _own_hash(content)
    (folder / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"flat\.keras can't be loaded: .* holds 'TFSMLayer'"):
        load_bundle(folder).predict(images)


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    doubled = layers.Lambda(lambda x: x * 2)
    model = keras.Sequential([keras.Input((8, 8, 3)), doubled, layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match="not on the list of layers that a bundle may hold"):
        save_bundle(FlatClassifier.from_model(model, ["a", "b"]), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable(package="shop")
class Doubled(layers.Layer):
    """A layer of the user's own program."""

    def call(self, inputs):
        """Double."""
        return inputs * 2


def test_a_layer_that_the_program_itself_registered_is_accepted(tmp_path, images):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), Doubled(), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    given = FlatClassifier.from_model(model, ["a", "b"])
    save_bundle(given, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle").predict_proba(images)
    np.testing.assert_allclose(loaded, given.predict_proba(images), atol=1e-6)
    assert math.isclose(loaded.sum(), len(images))
