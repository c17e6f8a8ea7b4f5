"""Engines: onnxruntime gives what TensorFlow gives, converts once, and never trusts a damaged file."""

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from aisles.models.backbones import engines
from aisles.models.backbones.registry import in_engine
from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.features import extract
from aisles.models.prediction.two_stage import FlatClassifier

pytestmark = pytest.mark.keras
pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AISLES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


@pytest.fixture
def conversions(monkeypatch):
    """The keys that were converted."""
    made, convert = [], engines._convert

    def counted(forward, size, key):
        made.append(key)
        return convert(forward, size, key)

    monkeypatch.setattr(engines, "_convert", counted)
    return made


def test_every_rule_answers_alike_in_both_engines_from_one_conversion(
    hierarchy, make_two_stage, images, tmp_path, conversions
):
    folder = save_bundle(make_two_stage(hierarchy, temperature=1.3), tmp_path / "bundle")
    before = load_bundle(folder)
    other = load_bundle(folder, engine="onnx")
    for rule in ("soft", "hard", "beam:2", "climb:0.6", "implied", "hie", "masked"):
        np.testing.assert_allclose(
            other.predict_proba(images, rule=rule, batch_size=5),
            before.predict_proba(images, rule=rule),
            atol=1e-4,
        )
    again = load_bundle(folder)  # auto: what was converted is used
    assert (again.predict_proba(images) == other.predict_proba(images)).all()
    assert len(conversions) == 1


def test_features_of_each_engine_have_a_key_of_their_own(make_backbone, images, tmp_path):
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    backbone = make_backbone()
    other = in_engine(backbone, "onnx")
    assert backbone.key != other.key and other.key.startswith(backbone.key)
    ours = extract(backbone, paths, cache=tmp_path / "features")
    theirs = extract(other, paths, cache=tmp_path / "features")
    assert theirs.from_cache == 0
    np.testing.assert_allclose(theirs.vectors, ours.vectors, atol=1e-4 * np.abs(ours.vectors).max())
    assert extract(other, paths, cache=tmp_path / "features").from_cache == len(paths)


def test_auto_stays_with_tensorflow_until_there_is_a_conversion(make_backbone, images):
    backbone = make_backbone()
    assert in_engine(backbone, "auto") is backbone
    in_engine(backbone, "onnx").runner()
    assert in_engine(backbone, "auto").engine == "onnx"
    assert in_engine(make_backbone(seed=1), "auto").engine == "tensorflow"


def test_a_damaged_conversion_is_made_again(make_backbone, images, cache, conversions, caplog):
    backbone = in_engine(make_backbone(), "onnx")
    wanted = backbone.runner()(images)
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:-9] + b"different")
    assert (backbone.runner()(images) == wanted).all()
    assert len(conversions) == 2 and "is damaged" in caplog.text and len(list(cache.iterdir())) == 1


def test_a_conversion_that_differs_is_refused(make_backbone, monkeypatch, cache):
    session = engines._session
    monkeypatch.setattr(engines, "_session", lambda path: lambda pixels: session(path)(pixels) + 1)
    with pytest.raises(ValueError, match="differs from Keras'"):
        in_engine(make_backbone(), "onnx").runner()
    assert list(cache.iterdir()) == []


def test_whole_networks_made_elsewhere_run_in_onnxruntime_too(images, conversions):
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3, "softmax")]
    )
    flat = FlatClassifier.from_model(network, ["c", "a", "b"])
    other = FlatClassifier(flat.model, engine="onnx")
    np.testing.assert_allclose(other.predict_proba(images), flat.predict_proba(images), atol=1e-4)
    assert len(conversions) == 1


def test_unknown_and_missing_engines_are_refused(make_backbone, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="auto, tensorflow, onnx"):
        in_engine(make_backbone(), "torch")
    monkeypatch.setattr(engines, "_missing", lambda: ["onnxruntime"])
    with pytest.raises(ImportError, match=r"\.\[onnx\]"):
        load_bundle(tmp_path, engine="onnx")
