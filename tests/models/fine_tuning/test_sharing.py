"""Backbones: what router and sub-models share, in which processes they are trained, and that nothing is done twice."""

import hashlib
import subprocess
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import wrap_backbone
from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.fine_tuning import subprocess as own_process
from aisles.models.fine_tuning.settings import FineTuningSettings
from aisles.models.fine_tuning.sharing import ClassifierTrainer, ImageTable

pytestmark = pytest.mark.keras
HIERARCHY = Hierarchy(("cold", "warm"), (("blue", "green"), ("red",)))
TRAINING = FineTuningSettings(
    frozen_epochs=3, tuned_epochs=2, tuned_rate=1e-2, frozen_rate=1e-2, batch_size=8, precision="float32"
)
SPLITS = ("train", "train", "val", "test")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageTable:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths, labels = [], []
    for i in range(48):
        pixels = rng.normal(100, 20, (8, 8, 3))
        pixels[..., i % 3] += 60
        paths.append(folder / f"{i:02d}.png")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1])
        labels.append(("red", "green", "blue")[i % 3])
    splits = np.array([SPLITS[(i // 3) % 4] for i in range(48)], dtype=object)
    hashes = np.array([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
    return ImageTable(paths, np.array(labels, dtype=object), splits, hashes)


@pytest.fixture(scope="module")
def trainer(images, tmp_path_factory) -> ClassifierTrainer:
    inputs = keras.Input((8, 8, 3))
    kernel = keras.initializers.GlorotUniform(0)
    network = keras.Model(
        inputs, keras.layers.Conv2D(4, 3, activation="relu", kernel_initializer=kernel)(inputs)
    )
    backbone = wrap_backbone(network, "small", preprocessing="symmetric")
    folder = tmp_path_factory.mktemp("models")
    return ClassifierTrainer(backbone, images, TRAINING, folder, cache=folder / "cache")


@pytest.fixture(scope="module")
def tuned(trainer):
    return trainer.two_stage(HIERARCHY, "fine-tuned")


@pytest.fixture(scope="module")
def separate(trainer, tuned):
    return trainer.two_stage(HIERARCHY, "separate", start="flat")


def test_a_shared_backbone_is_the_pretrained_network_itself(trainer):
    classifier = trainer.two_stage(HIERARCHY, "frozen")
    assert classifier.router.backbone is trainer.backbone
    assert classifier.submodels[0].backbone is trainer.backbone
    assert classifier.submodels[1].constant
    assert classifier.flat.backbone is trainer.backbone
    assert not list(trainer.folder.glob("router*/trained"))
    assert (trainer.folder / "router-on-frozen/curves.png").exists()


def test_heads_on_features_repeat_bit_for_bit_in_deterministic_training(trainer, monkeypatch):
    asked = []
    monkeypatch.setattr("tensorflow.config.experimental.enable_op_determinism", lambda: asked.append(True))
    replace(trainer, training=TRAINING.changed(deterministic=True)).two_stage(HIERARCHY, "frozen")
    assert asked


def test_a_tuned_backbone_is_the_flat_models_and_one_pass_serves_all(trainer, tuned):
    backbone = tuned.router.backbone
    assert tuned.submodels[0].backbone is backbone
    assert tuned.flat.backbone is backbone
    assert backbone.key != trainer.backbone.key
    assert backbone.weights == "given, fine-tuned"
    assert (trainer.folder / "flat/trained/curves.png").exists()


def test_separate_backbones_are_fine_tuned_on_from_the_flat_model(trainer, tuned, separate):
    router, submodel = separate.router.backbone.load(), separate.submodels[0].backbone.load()
    assert len({router.key, submodel.key, tuned.router.backbone.key}) == 3
    assert router.weights == "given, fine-tuned, fine-tuned"
    assert separate.submodels[1].constant
    assert separate.submodels[0].labels == ("blue", "green")


def test_flat_is_trained_on_from_its_own_network_with_as_many_epochs(trainer, tuned, separate):
    again = trainer.flat_again().model
    assert again.backbone.load().weights == "given, fine-tuned, fine-tuned"
    assert again.labels == ("blue", "green", "red")
    curves = [
        (trainer.folder / name / "trained/curves.csv").read_text().count("\n")
        for name in ("flat-from-flat", "router-from-flat")
    ]
    assert curves[0] == curves[1]


def test_all_of_them_learn_and_a_bundle_keeps_their_answers(images, tuned, separate, tmp_path):
    rows = np.flatnonzero(images.splits == "test")
    paths = [images.paths[i] for i in rows]
    for name, classifier in {"tuned": tuned, "separate": separate}.items():
        probs = classifier.predict_proba(paths)
        right = classifier.classes_[probs.argmax(1)] == images.labels[rows]
        assert right.mean() > 0.7, name
        save_bundle(classifier, tmp_path / name)
        np.testing.assert_allclose(load_bundle(tmp_path / name).predict_proba(paths), probs, atol=1e-6)


def test_what_is_finished_is_not_trained_again(trainer, tuned, separate, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    again = trainer.two_stage(HIERARCHY, "separate", start="flat")
    assert again.router.backbone.network.sha256 == separate.router.backbone.network.sha256
    assert trainer.flat().model.backbone.network.sha256 == separate.flat.backbone.network.sha256


def test_a_damaged_network_to_start_from_is_written_again(trainer, tmp_path, caplog):
    fresh = replace(trainer, folder=tmp_path)
    path = fresh._stored_start().network.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    start = fresh._stored_start()
    assert "is written anew" in caplog.text
    pixels = np.zeros((1, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(start.load().model(pixels), trainer.backbone.model(pixels))


def test_a_process_that_fails_says_so_and_the_next_step(trainer, images, tmp_path, monkeypatch):
    monkeypatch.setattr(own_process.sys, "executable", "false")
    other = ClassifierTrainer(trainer.backbone, images, TRAINING, tmp_path)
    with pytest.raises(
        ChildProcessError, match="trained router-from-imagenet ended with exit code 1.*go on from"
    ):
        other.two_stage(HIERARCHY, "separate")


@pytest.mark.parametrize("choice", [{"sharing": "own"}, {"sharing": "separate", "start": "nothing"}])
def test_unknown_sharing_and_starts_are_refused(trainer, choice):
    with pytest.raises(ValueError, match="must be one of"):
        trainer.two_stage(HIERARCHY, **choice)


def test_images_of_a_macro_without_validation_images_check_themselves(images):
    only = images.of_split("val", ("blue", "green"), images.labels)
    assert set(only.targets) == {0, 1}
    assert len(images.of_split("val", ("mauve",), images.labels)) == 0
