"""Several backbones as one, and an ONNX file as a backbone."""

import keras
import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.fitting import Fitting
from aisles.models.backbones.definitions import BACKBONES
from aisles.models.backbones.joined import LENGTH, JoinedBackbone
from aisles.models.backbones.onnx_file import OnnxBackbone
from aisles.models.backbones.registry import build_backbone, in_precision, wrap_backbone
from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.bundles.soft_network import soft_network
from aisles.models.features import extract
from aisles.models.heads.building import build_head
from aisles.models.heads.variants import HeadVariant
from aisles.models.prediction.label_model import LabelModel
from aisles.models.prediction.stored import BundleError
from aisles.models.prediction.two_stage import FlatClassifier

pytestmark = pytest.mark.keras
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def small(seed, size, fit):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((size, size, 3))
    network = keras.Model(pixels, keras.layers.Conv2D(3 + seed, 3, activation="relu")(pixels))
    return wrap_backbone(
        network, f"small{seed}", preprocessing="symmetric", fitting=Fitting((size, size), fit)
    )


@pytest.fixture(scope="module")
def joined():
    return JoinedBackbone((small(0, 8, "crop"), small(1, 12, "squash")))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("images"), []
    for i, size in enumerate([(20, 10), (9, 31), (16, 16), (100, 12)]):
        made.append(folder / f"{i}.png")
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)).save(made[-1])
    return made


def by_hand(joined, paths):
    blocks = []
    for part in joined.parts:
        pixels = np.stack([part.fitting.pixels(Image.open(path)) for path in paths])
        block = part.forward(pixels).numpy()
        blocks.append(LENGTH * block / np.linalg.norm(block, axis=1, keepdims=True))
    return np.hstack(blocks)


def test_joined_features_are_the_parts_scaled_to_one_length_side_by_side(joined, paths, tmp_path):
    got = extract(joined, paths, cache=tmp_path)
    assert got.vectors.shape == (4, joined.dimension) == (4, 7)
    np.testing.assert_allclose(got.vectors, by_hand(joined, paths), rtol=1e-4, atol=1e-5)
    assert extract(joined, paths, cache=tmp_path).from_cache == 4
    assert extract(joined.parts[0], paths, cache=tmp_path).from_cache == 4


def test_a_block_of_zeros_stays_zeros(joined):
    got = joined.join([np.zeros((1, 3)), np.ones((1, 4))])
    np.testing.assert_allclose(got, [[0, 0, 0, 8, 8, 8, 8]])


def test_joined_precision_is_every_parts(joined):
    assert in_precision(joined, "float32") is joined
    assert {part.precision for part in in_precision(joined, "float16").parts} == {"float16"}


def classifier_on(backbone, seed=0):
    head = build_head(
        HeadVariant((), batch_norm=False, dropout=0.0, augmentation=False), backbone.dimension, 3, seed=seed
    )
    return FlatClassifier(LabelModel(("a", "b", "c"), backbone, head)), head


def test_a_classifier_on_joined_backbones_predicts_from_files_and_from_its_bundle(joined, paths, tmp_path):
    classifier, head = classifier_on(joined)
    probs = classifier.predict_proba(paths)
    np.testing.assert_allclose(probs, head.predict(by_hand(joined, paths), verbose=0), atol=1e-5)
    save_bundle(classifier, tmp_path / "bundle")
    np.testing.assert_allclose(load_bundle(tmp_path / "bundle").predict_proba(paths), probs, atol=1e-6)
    assert "small1" in (tmp_path / "bundle/README.md").read_text()


def test_what_joined_backbones_can_not_do_is_said(joined):
    with pytest.raises(ValueError, match=r"small0\+small1 can't become part of one model"):
        soft_network(classifier_on(joined)[0])
    with pytest.raises(ValueError, match="several networks, which are neither fine-tuned"):
        _ = joined.network


@pytest.fixture
def onnx_backbone(tmp_path):
    """Make a file with tokens (n, 5, 4) before a last layer, whose weights are known, and register it."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, (3 * 8 * 8, 20)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "shape"], ["tokens"]),
        helper.make_node("ReduceSum", ["tokens"], ["total"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([-1, 5, 4]), "shape")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    backbone = OnnxBackbone(
        "my_onnx", tmp_path / "net.onnx", "tokens", Fitting((8, 8), "crop"), "symmetric", pool="class+mean"
    )
    yield backbone, weights
    BACKBONES._known.pop("my_onnx", None)


def test_onnx_features_are_the_named_tensors(onnx_backbone, paths, tmp_path):
    backbone, weights = onnx_backbone
    pixels = np.stack([backbone.fitting.pixels(Image.open(path)) for path in paths])
    tokens = ((pixels / 127.5 - 1).transpose(0, 3, 1, 2).reshape(4, -1) @ weights).reshape(4, 5, 4)
    wanted = np.hstack([tokens[:, 0], tokens[:, 1:].mean(1)])
    got = extract(backbone, paths, cache=tmp_path / "cache")
    np.testing.assert_allclose(got.vectors, wanted, rtol=1e-4, atol=1e-4)
    assert backbone.dimension == 8 and backbone.n_parameters == weights.size + 3


def test_a_bundle_names_an_onnx_backbone_and_checks_that_it_is_the_same(
    onnx_backbone, joined, paths, tmp_path
):
    from dataclasses import replace

    from aisles.models.backbones.definitions import register_backbone

    backbone, _ = onnx_backbone
    classifier, _ = classifier_on(JoinedBackbone((joined.parts[0], backbone)))
    probs = classifier.predict_proba(paths)
    save_bundle(classifier, tmp_path / "bundle")
    assert not list((tmp_path / "bundle").glob("*.onnx"))
    with pytest.raises(BundleError, match="'my_onnx', which is not registered here"):
        load_bundle(tmp_path / "bundle").predict_proba(paths)
    current = [backbone]
    register_backbone("my_onnx", input_size=(8, 8), normalization="symmetric")(lambda size: current[0])
    np.testing.assert_allclose(load_bundle(tmp_path / "bundle").predict_proba(paths), probs, atol=1e-6)
    current[0] = replace(backbone, pool="mean")
    with pytest.raises(BundleError, match="my_onnx.* the bundle's heads were trained on"):
        load_bundle(tmp_path / "bundle").predict_proba(paths)


def test_an_onnx_file_without_the_named_tensor_is_refused(onnx_backbone):
    from dataclasses import replace

    with pytest.raises(
        ValueError, match="computes no 'logits'. The last it computes: flat, mixed, tokens, total"
    ):
        replace(onnx_backbone[0], output="logits").runner()
    with pytest.raises(ValueError, match="in float32 only"):
        in_precision(onnx_backbone[0], "bfloat16")


def test_joined_backbones_are_built_by_name():
    built = build_backbone("vgg16+MobileNetV2", weights="none", input_size=(32, 32))
    assert built.name == "vgg16+MobileNetV2" and built.dimension == 512 + 1280
    with pytest.raises(ValueError, match="A weights file is one network's"):
        build_backbone("vgg16+MobileNetV2", weights="some.h5")


def test_an_answer_on_joined_backbones_is_explained_without_a_heat_map(joined, paths, tmp_path):
    from aisles.models.prediction.explanation import TrainingImages, explain

    classifier, _ = classifier_on(joined)
    training = TrainingImages(joined, paths, ["a", "b", "c", "a"], cache=tmp_path)
    explained = explain(classifier, paths[2], training=training)
    assert explained.stages[0].heat is None
    cosines = training.vectors @ training.vectors[2]
    others = [i for i in np.argsort(-cosines, kind="stable") if i != 2]  # an image is not its own neighbor
    assert [neighbor.path for neighbor in explained.neighbors] == [paths[i] for i in others]
    found = [neighbor.cosine for neighbor in explained.neighbors]
    np.testing.assert_allclose(found, cosines[others], atol=1e-5)
