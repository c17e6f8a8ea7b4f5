"""Backbones: weights, preprocessing, refusals."""

from pathlib import Path

import keras
import matplotlib
import numpy as np
import pytest
import sklearn.datasets

from aisles.data_prep.images.decoding import load_pixels
from aisles.models.backbones.registry import BACKBONES, build_backbone, in_precision, wrap_backbone
from aisles.models.backbones.torch_file import read_tensors
from aisles.models.backbones.weights import WeightsMissingError, find_weights, weights_files
from aisles.models.fine_tuning.loop import copied

pytestmark = pytest.mark.keras


def images() -> dict[int, Path]:
    """Return photographs that libraries ship, by the ImageNet class of each (652 military uniform, 985 daisy)."""
    return {
        652: Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
        985: Path(sklearn.datasets.__file__).parent / "images" / "flower.jpg",
    }


@pytest.fixture(scope="module")
def lite():
    return build_backbone("efficientnet_lite0")


@pytest.mark.parametrize("label", images())
def test_lite0_names_what_a_known_photograph_shows(lite, label):
    pixels = load_pixels(images()[label], lite.input_size)[None]
    tensors = read_tensors(find_weights("efficientnet_lite0"))
    logits = lite.forward(pixels).numpy() @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert logits.argmax() == label


def test_lite0_features_have_the_announced_shape_and_key(lite):
    assert lite.input_size == (224, 224) and lite.dimension == 1280
    assert lite.key.startswith("efficientnet_lite0-lite-224x224-")
    assert build_backbone("efficientnet_lite0").key == lite.key
    assert build_backbone("efficientnet_lite0", color="gray").key != lite.key


def test_bfloat16_features_point_the_same_way(lite):
    pixels = np.stack([load_pixels(path, lite.input_size) for path in images().values()])
    exact, rough = lite.forward(pixels).numpy(), in_precision(lite, "bfloat16").forward(pixels).numpy()
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosine.min() > 0.999
    assert rough.dtype == np.float32


def _two_channels(size=8):
    inputs = keras.Input((size, size, 3))
    return keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))


def _identity_features(preprocessing, color="rgb", pixel=(10, 20, 30)):
    inputs = keras.Input((4, 4, 3))
    network = keras.Model(inputs, keras.layers.Identity()(inputs))
    backbone = wrap_backbone(network, "identity", preprocessing=preprocessing, color=color)
    return backbone.forward(np.full((1, 4, 4, 3), pixel, np.uint8)).numpy()[0]


def test_preprocessing_by_hand():
    np.testing.assert_allclose(_identity_features("none"), [10, 20, 30])
    np.testing.assert_allclose(
        _identity_features("symmetric"), [10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1], rtol=1e-5
    )
    np.testing.assert_allclose(_identity_features("lite"), [-117 / 128, -107 / 128, -97 / 128], rtol=1e-5)
    np.testing.assert_allclose(
        _identity_features("caffe"), [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-5
    )


def test_preprocessing_agrees_with_keras():
    rng = np.random.default_rng(0)
    pixel = rng.integers(0, 256, 3)
    for ours, theirs in (
        ("caffe", keras.applications.vgg16.preprocess_input),
        ("symmetric", keras.applications.inception_v3.preprocess_input),
    ):
        wanted = theirs(np.array(pixel, np.float32)[None, None, None].copy())[0, 0, 0]
        np.testing.assert_allclose(_identity_features(ours, pixel=pixel), wanted, rtol=1e-4, atol=1e-4)


def test_gray_is_luma_three_times():
    luma = 0.299 * 10 + 0.587 * 20 + 0.114 * 30
    np.testing.assert_allclose(_identity_features("none", "gray"), [luma] * 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "dimension"), [("inception_v3", (75, 75), 2048), ("vgg16", (32, 32), 512)]
)
def test_the_study_networks_build_with_random_weights(name, size, dimension):
    backbone = build_backbone(name, weights="none", input_size=size)
    assert backbone.dimension == dimension
    assert backbone.forward(np.zeros((2, *size, 3), np.uint8)).shape == (2, dimension)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_network_with_operations_that_are_no_layers_is_converted_and_copied(precision):
    inputs = keras.Input((4, 4, 3))
    backbone = wrap_backbone(
        keras.Model(inputs, inputs + keras.ops.relu(keras.layers.Conv2D(3, 1)(inputs))), "sum"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    exact = backbone.forward(pixels).numpy()
    for other in (in_precision(backbone, precision), copied(backbone, precision)):
        np.testing.assert_allclose(other.forward(pixels).numpy(), exact, rtol=0.02, atol=1)


def test_missing_weights_are_explained_before_keras_tries_anything(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: pytest.fail("a download was tried"))
    wanted = (
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5 with MD5 bcbd6486424b2319ff4ef7d526e38f63"
    )
    with pytest.raises(WeightsMissingError, match=wanted) as caught:
        build_backbone("inception_v3")
    assert str(tmp_path / "models") in str(caught.value)
    assert "--weights none" in str(caught.value)


def test_damaged_weights_are_told_from_missing_ones(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    (tmp_path / "models" / name).write_bytes(b"half a file")
    states = {file.backbone: file.state for file in weights_files()}
    assert states["efficientnet_lite0"] == "present"
    assert (states["inception_v3"], states["vgg16"]) == ("missing", "damaged")
    with pytest.raises(WeightsMissingError, match="are damaged"):
        build_backbone("vgg16")
    assert (tmp_path / "models" / name).read_bytes() == b"half a file"


def test_weights_from_a_file_are_the_weights(tmp_path):
    one = build_backbone("vgg16", weights="none", input_size=(32, 32), seed=1)
    one.network.save_weights(tmp_path / "mine.weights.h5")
    other = build_backbone("vgg16", weights=tmp_path / "mine.weights.h5", input_size=(32, 32), seed=2)
    assert other.key == one.key and other.weights == "mine.weights.h5"
    assert build_backbone("vgg16", weights="none", input_size=(32, 32), seed=2).key != one.key


def test_a_foreign_weights_file_is_refused(tmp_path):
    _two_channels().save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match="doesn't fit the network vgg16"):
        build_backbone("vgg16", weights=tmp_path / "other.weights.h5", input_size=(32, 32))
    with pytest.raises(WeightsMissingError, match="There is no file"):
        build_backbone("vgg16", weights=tmp_path / "nowhere.h5")


def test_refusals():
    with pytest.raises(ValueError, match=f"Choose one of: {', '.join(BACKBONES)}"):
        build_backbone("resnet")
    with pytest.raises(ValueError, match="at least 75 pixels"):
        build_backbone("inception_v3", weights="none", input_size=(64, 64))
    with pytest.raises(ValueError, match="color must be"):
        build_backbone("vgg16", weights="none", input_size=(32, 32), color="sepia")
    with pytest.raises(ValueError, match="fixed size"):
        wrap_backbone(keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 1)]), "any")
