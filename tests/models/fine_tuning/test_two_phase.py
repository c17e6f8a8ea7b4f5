"""Two-phase training on images: it learns, repeats, goes on after a kill, and comes apart again."""

import hashlib
import io
import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.images.decoding import load_fitted, load_pixels
from aisles.models.backbones.registry import build_backbone, wrap_backbone
from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.fine_tuning import two_phase as fine_tuning
from aisles.models.fine_tuning.curves import Epoch, best_accuracy, draw_curves, write_curves
from aisles.models.fine_tuning.loop import LabeledImages, copied, weights_from
from aisles.models.fine_tuning.result import join, load_trained
from aisles.models.fine_tuning.settings import Augmentation, FineTuningSettings
from aisles.models.fine_tuning.two_phase import train_on_images
from aisles.models.prediction.two_stage import FlatClassifier

pytestmark = pytest.mark.keras
LABELS = ("blue", "green", "red")
TRAINING = FineTuningSettings(
    frozen_epochs=2, tuned_epochs=4, tuned_rate=1e-2, batch_size=8, patience=9, precision="float32"
)


def small_backbone(seed: int = 0):
    """Build a network of two filters with batch normalization, at 16 x 16 pixels."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(
        2, 3, strides=2, name="first", kernel_initializer=keras.initializers.GlorotUniform(seed)
    )(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(
        4, 3, name="second", kernel_initializer=keras.initializers.GlorotUniform(seed + 1)
    )(x)
    return wrap_backbone(keras.Model(inputs, x, name="small"), "small", preprocessing="symmetric")


def drawn_images(folder: Path, n_images: int, seed: int, size: int = 16) -> LabeledImages:
    """Draw images whose dominant color is their label, in noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    targets, paths, hashes = np.arange(n_images) % 3, [], []
    for i, target in enumerate(targets):
        pixels = rng.normal(110, 50, (size, size, 3))
        pixels[..., 2 - target] += 25
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
        paths.append(folder / f"{seed}-{i:03d}.png")
        paths[-1].write_bytes(buffer.getvalue())
        hashes.append(hashlib.sha256(buffer.getvalue()).hexdigest())
    return LabeledImages(paths, targets, hashes)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return drawn_images(folder, 42, seed=1), drawn_images(folder, 24, seed=2)


def run(folder, images, training=TRAINING, backbone=None, seed=0):
    backbone = backbone or small_backbone()
    return train_on_images(backbone, *images, LABELS, training, folder, seed=seed, cache=folder / "cache")


def outputs(trained, images) -> np.ndarray:
    pixels = np.stack([load_pixels(path, trained.backbone.input_size) for path in images.paths])
    return trained.network()(pixels.astype(np.float32), training=False).numpy()


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    return run(tmp_path_factory.mktemp("uninterrupted"), images)


def test_fine_tuning_learns_what_the_frozen_network_could_not(images, tmp_path):
    longer = TRAINING.changed(frozen_epochs=3, tuned_epochs=20, patience=20, tuned_rate=3e-2)
    trained = run(tmp_path, images, longer)
    frozen, tuned = trained.accuracy("frozen"), trained.accuracy("tuned")
    assert tuned > 0.85
    assert tuned > frozen + 0.2
    right = outputs(trained, images[1]).argmax(1) == images[1].targets
    assert right.mean() == pytest.approx(tuned)


def test_the_first_network_stays_as_it_is_and_batch_statistics_stay_frozen(images, tmp_path):
    backbone = small_backbone()
    before, key = [w.numpy() for w in backbone.network.weights], backbone.key
    trained = run(tmp_path, images, backbone=backbone)
    for old, new in zip(before, backbone.network.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    tuned = trained.backbone.load()
    assert tuned.key != key
    norm, own = tuned.network.get_layer("norm"), backbone.network.get_layer("norm")
    np.testing.assert_array_equal(norm.moving_mean.numpy(), own.moving_mean.numpy())
    np.testing.assert_array_equal(norm.moving_variance.numpy(), own.moving_variance.numpy())
    assert np.abs(norm.gamma.numpy() - own.gamma.numpy()).max() > 0


def test_fine_tuning_from_a_layer_leaves_the_layers_before_it_alone(images, tmp_path):
    backbone = small_backbone()
    trained = run(tmp_path, images, TRAINING.changed(tuned_epochs=1, tune_from="second"), backbone)
    before, after = backbone.network, trained.backbone.load().network
    change = [
        np.abs(before.get_layer(n).kernel - after.get_layer(n).kernel).max() for n in ("first", "second")
    ]
    assert change[0] == 0
    assert change[1] > 0
    with pytest.raises(ValueError, match="no layer 'third' to fine-tune from.*second"):
        run(tmp_path, images, TRAINING.changed(tune_from="third"))


def test_a_saved_model_predicts_the_same(images, trained, tmp_path):
    backbone, head = trained.backbone.load(), trained.head.load()
    whole = join(backbone, head)
    whole.save(tmp_path / "whole.keras")
    again = keras.saving.load_model(tmp_path / "whole.keras", compile=False)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    expected = head(backbone.forward(pixels)).numpy()
    np.testing.assert_allclose(again(pixels.astype(np.float32)), expected, atol=1e-6)
    assert backbone.weights == "given, fine-tuned"
    classifier = trained.classifier
    assert classifier.labels == LABELS
    np.testing.assert_allclose(
        classifier.from_features(backbone.forward(pixels).numpy()), expected, atol=1e-6
    )


def test_a_finished_model_is_not_trained_again_unless_its_inputs_change(images, tmp_path):
    short = TRAINING.changed(frozen_epochs=1, tuned_epochs=1)
    run(tmp_path, images, short)
    file = tmp_path / "trained/backbone.keras"
    first = file.stat().st_mtime_ns
    run(tmp_path, images, short)
    assert file.stat().st_mtime_ns == first
    run(tmp_path, images, short.changed(label_smoothing=0.1))
    assert file.stat().st_mtime_ns != first


@pytest.mark.parametrize("mode", ["views", "online"])
def test_the_same_seed_gives_the_same_model(images, tmp_path, mode):
    short = TRAINING.changed(tuned_epochs=1, augmentation=Augmentation(), views=2 * (mode == "views"))
    first, second = run(tmp_path / "a", images, short), run(tmp_path / "b", images, short)
    assert len(first.epochs) == 3
    assert first.epochs == pytest.approx(second.epochs) or first.epochs == second.epochs
    np.testing.assert_allclose(outputs(first, images[1]), outputs(second, images[1]), atol=1e-6)


class Killed(Exception):
    pass


def dying_after(n_epochs: int):
    """Write checkpoints, and raise after the last one of `n_epochs`."""
    write, left = fine_tuning.write_checkpoint, [n_epochs]

    def write_and_die(*arguments):
        write(*arguments)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    return write_and_die


@pytest.mark.parametrize("after", [1, 3], ids=["in the frozen phase", "in the second phase"])
def test_training_that_was_stopped_goes_on_to_the_same_result(images, tmp_path, monkeypatch, after):
    # Dropout, augmentation, plateau and cosine all have a state or a schedule that must survive.
    whole = TRAINING.changed(
        augmentation=Augmentation(), cosine=True, plateau=1, optimizer="sgd", tuned_epochs=3
    )
    expected = run(tmp_path / "whole", images, whole)
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "write_checkpoint", dying_after(after))
        with pytest.raises(Killed):
            run(tmp_path / "cut", images, whole)
    resumed = run(tmp_path / "cut", images, whole)
    assert [epoch.phase for epoch in resumed.epochs] == ["frozen"] * 2 + ["tuned"] * 3
    np.testing.assert_allclose(
        [epoch.val_loss for epoch in resumed.epochs], [epoch.val_loss for epoch in expected.epochs], rtol=1e-5
    )
    np.testing.assert_allclose(outputs(resumed, images[1]), outputs(expected, images[1]), atol=1e-6)
    assert not (tmp_path / "cut/checkpoint.npz").exists()


def test_a_damaged_checkpoint_starts_its_model_again_and_says_so(images, tmp_path, monkeypatch, caplog):
    short = TRAINING.changed(tuned_epochs=2)
    expected = run(tmp_path / "whole", images, short)
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "write_checkpoint", dying_after(1))
        with pytest.raises(Killed):
            run(tmp_path / "cut", images, short)
    checkpoint = tmp_path / "cut/checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    with caplog.at_level(logging.WARNING):
        again = run(tmp_path / "cut", images, short)
    assert "checkpoint.npz is damaged" in caplog.text and "starts anew" in caplog.text
    np.testing.assert_allclose(outputs(again, images[1]), outputs(expected, images[1]), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("training.json", b"{", "training.json"),
        ("training.json", b"[]", "training.json"),
        ("training.json", None, "training.json is missing"),
        ("head.keras", b"PK", "head.keras has changed"),
        ("backbone.keras", None, "backbone.keras is missing"),
    ],
)
def test_a_damaged_trained_model_counts_as_none_and_the_log_says_so(
    trained, tmp_path, caplog, name, data, reason
):
    shutil.copytree(trained.backbone.network.path.parent, tmp_path / "trained")
    assert load_trained(tmp_path) is not None
    (tmp_path / "trained" / name).unlink() if data is None else (tmp_path / "trained" / name).write_bytes(
        data
    )
    with caplog.at_level(logging.WARNING):
        assert load_trained(tmp_path) is None
    assert "is damaged" in caplog.text and reason in caplog.text


PROGRAM = """
import logging, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
logging.basicConfig(level=logging.INFO)
from test_two_phase import TRAINING, drawn_images, outputs, run
import numpy as np
from aisles.data_prep.images.decoding import load_pixels
from aisles.models import fine_tuning
from aisles.models.fine_tuning.settings import Augmentation
data = Path(sys.argv[2]) / "images"
images = drawn_images(data, 42, 1), drawn_images(data, 24, 2)
training = TRAINING.changed(tuned_epochs=12, deterministic=True, augmentation=Augmentation())
for name in sys.argv[3:]:
    trained = run(data.parent / name, images, training)
    np.save(data.parent / f"{name}.npy", outputs(trained, images[1]))
"""


@pytest.mark.slow
def test_killed_by_the_system_it_goes_on_bit_for_bit(tmp_path):
    def start(*names):
        command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path), *names]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    victim = start("killed")
    checkpoint = tmp_path / "killed/checkpoint.npz"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed/trained").exists()
    again = start("killed", "whole")
    talk = again.communicate()[1]
    assert again.returncode == 0, talk
    assert talk.count("Going on after epoch") == 1
    np.testing.assert_array_equal(np.load(tmp_path / "killed.npy"), np.load(tmp_path / "whole.npy"))


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        pytest.param("inception_v3", 75, "mixed9", marks=pytest.mark.slow),
        ("vgg16", 32, "block5_conv1"),
    ],
)
def test_the_study_networks_go_through_every_step(name, size, layer, tmp_path, monkeypatch):
    images = drawn_images(tmp_path / "images", 6, 1, size), drawn_images(tmp_path / "images", 3, 2, size)
    training = TRAINING.changed(frozen_epochs=1, tuned_epochs=1, tuned_rate=1e-4, tune_from=layer)
    backbone = build_backbone(name, weights="none", input_size=(size, size))
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "write_checkpoint", dying_after(1))
        with pytest.raises(Killed):
            run(tmp_path, images, training, backbone)
    run(tmp_path, images, training, backbone)
    network = load_trained(tmp_path).network()
    pixels = np.stack([load_fitted(path, backbone.fittings[0]) for path in images[1].paths]).astype(
        np.float32
    )
    before = network(pixels, training=False)
    assert before.shape == (3, 3)
    if name == "inception_v3":
        network.save(tmp_path / "whole.keras")
        again = keras.saving.load_model(tmp_path / "whole.keras", compile=False)
        np.testing.assert_allclose(again(pixels, training=False), before, atol=1e-6)
    save_bundle(FlatClassifier(load_trained(tmp_path).classifier), tmp_path / "bundle")
    np.testing.assert_allclose(
        load_bundle(tmp_path / "bundle").predict_proba(images[1].paths), before, atol=1e-6
    )
    facts = json.loads((tmp_path / "trained/training.json").read_text())
    assert facts["backbone"]["weights"] == "none, fine-tuned"
    assert set(facts["validation_accuracy"]) == {"frozen", "tuned"}


PHASE_ALONE = {
    "frozen": TRAINING.changed(frozen_epochs=3, tuned_epochs=0, frozen_rate=1e-2),
    "tuned": TRAINING.changed(frozen_epochs=0, tuned_epochs=1),
}


@pytest.fixture(scope="module")
def unbalanced(images):
    """Return three images of green and two of red for each of blue's many."""
    train, val = images
    rows = [i for i, target in enumerate(train.targets) if i < (42, 9, 6)[target]]
    few = LabeledImages([train.paths[i] for i in rows], train.targets[rows], [train.sha256[i] for i in rows])
    assert np.bincount(few.targets).tolist() == [14, 3, 2]
    return few, val


@pytest.fixture(scope="module")
def plain(unbalanced, tmp_path_factory):
    """Train each phase alone without any of the settings below."""
    folder = tmp_path_factory.mktemp("plain")
    return {phase: run(folder / phase, unbalanced, training) for phase, training in PHASE_ALONE.items()}


@pytest.mark.parametrize(
    ("phase", "change"),
    [
        ("frozen", {"label_smoothing": 0.5}),
        ("frozen", {"class_weights": True}),
        ("frozen", {}),
        ("tuned", {"label_smoothing": 0.5}),
        ("tuned", {"class_weights": True}),
        ("tuned", {"max_steps": 1}),
        ("tuned", {}),
    ],
    ids=str,
)
def test_each_setting_changes_the_model_and_without_any_it_stays_the_same(
    unbalanced, plain, tmp_path, phase, change
):
    other = run(tmp_path, unbalanced, PHASE_ALONE[phase].changed(**change))
    apart = np.abs(outputs(other, unbalanced[1]) - outputs(plain[phase], unbalanced[1])).max()
    assert apart > 1e-4 if change else apart < 1e-6, apart


def test_class_weights_favor_the_rare_labels(unbalanced, tmp_path):
    longer = TRAINING.changed(frozen_epochs=15, tuned_epochs=0, frozen_rate=1e-2, patience=99)
    given = {}
    for weights in (False, True):
        trained = run(tmp_path / str(weights), unbalanced, longer.changed(class_weights=weights))
        given[weights] = outputs(trained, unbalanced[1]).mean(0)
    assert given[True][0] < given[False][0] - 0.05


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_float32_weights(images, tmp_path, precision):
    trained = run(tmp_path, images, TRAINING.changed(precision=precision, tuned_epochs=1))
    assert trained.backbone.precision == "float32"
    assert outputs(trained, images[1]).dtype == np.float32


def test_gray_is_done_by_the_saved_model_itself(images, tmp_path):
    colored = small_backbone()
    gray = wrap_backbone(colored.network, "small", preprocessing="symmetric", color="gray")
    saved = run(tmp_path, images, TRAINING.changed(frozen_epochs=1, tuned_epochs=1), gray).network()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)
    luma = np.repeat(pixels @ np.array([0.299, 0.587, 0.114], np.float32)[:, None], 3, axis=-1)
    np.testing.assert_allclose(saved(pixels), saved(luma), atol=1e-5)
    scaled = saved.get_layer("backbone").get_layer("small")(luma / 127.5 - 1, training=False).numpy()
    head = saved.get_layer("head")
    np.testing.assert_allclose(head(scaled.mean((1, 2))), saved(pixels), atol=1e-5)


def test_a_copy_has_weights_of_its_own():
    backbone = small_backbone()
    backbone.network.trainable = False
    copy = copied(backbone, "float32")
    assert copy.key == backbone.key
    assert len(weights_from(copy.network, None)) == 6
    copy.network.get_layer("first").kernel.assign(np.zeros((3, 3, 3, 2)))
    assert np.abs(backbone.network.get_layer("first").kernel.numpy()).max() > 0


def test_curves_are_written_as_a_table_and_drawn(tmp_path):
    epochs = [
        Epoch("frozen", 2.0, 0.2, 1.5, 0.4),
        Epoch("frozen", 1.0, 0.5, 1.6, 0.3),
        Epoch("tuned", 0.5, 0.9, 1, 1),
    ]
    table = pd.read_csv(write_curves(epochs, tmp_path / "curves.csv"))
    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["phase"].tolist() == ["frozen", "frozen", "tuned"]
    assert best_accuracy(epochs, "frozen") == 0.4
    assert best_accuracy(epochs[:2], "tuned") is None
    with Image.open(draw_curves(epochs, tmp_path / "curves.png")) as plot:
        assert plot.size == (1200, 480)


def test_impossible_settings_are_refused(images, tmp_path):
    with pytest.raises(ValueError, match="precision"):
        FineTuningSettings(precision="float8")
    with pytest.raises(ValueError, match="views = 3 needs an augmentation"):
        FineTuningSettings(views=3)
    with pytest.raises(ValueError, match="there would be no training"):
        FineTuningSettings(frozen_epochs=0, tuned_epochs=0)
    with pytest.raises(ValueError, match="optimizer must be one of Keras.*adamw"):
        FineTuningSettings(optimizer="adamant")
    nothing = LabeledImages([], np.zeros(0, int), [])
    with pytest.raises(ValueError, match="needs training and validation images"):
        run(tmp_path, (images[0], nothing))
