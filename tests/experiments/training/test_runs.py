"""From images to a bundle, to the table of classes, and to the table of heads."""

import json
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from aisles.data_prep.io.errors import DataError
from aisles.experiments.ablations.heads import ablate_heads, training_of
from aisles.experiments.report.bundle_report import write_bundle_report
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.settings.training import TrainSettings
from aisles.experiments.training.bundle_evaluation import evaluate_bundle, published_f1
from aisles.experiments.training.runs import train_classifier
from aisles.models.backbones.registry import wrap_backbone
from aisles.models.bundles.bundle import read_bundle
from aisles.models.heads.variants import VARIANTS

pytestmark = pytest.mark.keras
FEW = (
    "fine_tuning.frozen_epochs=20",
    "fine_tuning.tuned_epochs=1",
    "fine_tuning.frozen_rate=0.01",
    "fine_tuning.batch_size=8",
)


def small_backbone():
    inputs = keras.Input((8, 8, 3))
    kernel = keras.initializers.GlorotUniform(0)
    x = keras.layers.Conv2D(6, 3, activation="relu", kernel_initializer=kernel)(inputs)
    return wrap_backbone(keras.Model(inputs, x), "small", preprocessing="symmetric")


@pytest.fixture(scope="module")
def run(image_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    changes = ["classifier.sharing=frozen", "hierarchy.macros=2", *FEW]
    settings = read_settings(None, changes, kind=TrainSettings)
    result = train_classifier(
        image_folder, output, settings, cache=output / "cache", backbone=small_backbone()
    )
    return output, result


def test_a_run_leaves_a_bundle_a_manifest_and_the_hierarchy(run):
    output, result = run
    content = read_bundle(result.bundle)
    assert content["kind"] == "two-stage"
    assert content["facts"]["settings"]["classifier.sharing"] == "frozen"
    assert set(json.loads((output / "hierarchy.json").read_text())["macros"]) == set(
        content["hierarchy"]["macros"]
    )
    assert result.test.accuracy > 0.6
    table = pd.read_csv(output / "manifest.csv")
    assert set(table["split"]) == {"train", "val", "test"}


def test_the_table_of_classes_has_the_worst_first_and_agrees_with_the_bundle(run):
    _, result = run
    found = evaluate_bundle(result.bundle, result.manifest)
    assert found.accuracy == pytest.approx(result.test.accuracy)
    table = found.per_class()
    assert table["f1"].is_monotonic_increasing
    assert table["support"].sum() == result.test.n_images
    assert found.confusion.sum() == result.test.n_images
    by_name = table.set_index("class")
    for name, (precision, recall, f1, support) in result.test.per_class.items():
        assert by_name.loc[name].tolist() == pytest.approx([precision, recall, f1, support])


def test_answers_on_classes_without_images_stand_in_table_average_and_a_sentence(run):
    found = evaluate_bundle(run[1].bundle, run[1].manifest)
    assert found.on_absent == "" and len(found.per_class()) == 6
    truth, probs = np.array([0, 0, 1]), np.eye(6)[[0, 2, 1]]
    made = replace(found, truth=truth, probs=probs)
    table = made.per_class().set_index("class")
    assert table["support"].to_dict() == {"lime": 0, "apple": 2, "cherry": 1}
    assert table["f1"].mean() == pytest.approx((2 / 3 + 1) / 3)
    assert made.on_absent.startswith(
        "1 of 3 answers are classes of which there is no image ('lime'): F1 is 0"
    )


def test_the_order_of_the_confusion_matrix_keeps_macros_together(run):
    found = evaluate_bundle(run[1].bundle, run[1].manifest)
    macros = found.macro_of[found.order].tolist()
    assert macros == sorted(macros)
    assert sorted(found.order.tolist()) == list(range(6))


def test_mistakes_come_by_confidence(run):
    found = evaluate_bundle(run[1].bundle, run[1].manifest, split="all")
    rows = found.mistakes(10)
    sure = found.probs[rows, found.answers[rows]]
    assert (np.diff(sure) <= 0).all()
    assert (found.answers[rows] != found.truth[rows]).all()


def test_which_images_were_measured_is_told(run, tmp_path):
    bundle, manifest = run[1].bundle, run[1].manifest
    assert evaluate_bundle(bundle, manifest).measured_on == "test images, products not known"
    assert evaluate_bundle(bundle, manifest, split="all").measured_on == "all images"
    table = pd.read_csv(manifest)
    table["product"] = table["label"] + table["split"]
    table.to_csv(manifest.with_name("known.csv"), index=False)
    known = evaluate_bundle(bundle, manifest.with_name("known.csv"))
    assert known.measured_on == "test images, split by product"
    table["product"] = table["label"]
    table.to_csv(manifest.with_name("leaky.csv"), index=False)
    leaky = evaluate_bundle(bundle, manifest.with_name("leaky.csv"), split="val")
    assert leaky.measured_on == "validation images, split by image"


def test_the_page_shows_classes_confusion_and_mistakes(run, tmp_path):
    files = write_bundle_report(
        evaluate_bundle(run[1].bundle, run[1].manifest, split="all"), tmp_path, "small"
    )
    page = files.html.read_text()
    for word in ("Confusion matrix", "lowest F1 first", "mistakes", "cherry"):
        assert word in page
    assert [path.name for path in files.tables] == ["classes.csv", "macros.csv"]


def test_unknown_splits_and_labels_are_refused(run, tmp_path, image_folder):
    with pytest.raises(DataError, match="no images of the split 'holdout'"):
        evaluate_bundle(run[1].bundle, run[1].manifest, split="holdout")
    for name in ("apple", "plum"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes((image_folder / "apple/00.png").read_bytes())
    with pytest.raises(DataError, match="Others: .*plum"):
        evaluate_bundle(run[1].bundle, tmp_path)


def test_a_table_of_heads_has_the_published_columns(image_folder, tmp_path):
    settings = read_settings(
        None, ["fine_tuning.augmentation=true", "classifier.published=abo65", *FEW], kind=TrainSettings
    )
    table = ablate_heads(
        image_folder,
        tmp_path,
        settings,
        heads=("v1.2",),
        cache=tmp_path / "cache",
        backbone=small_backbone(),
    )
    row = table.iloc[0]
    assert [row[name] for name in ("version", "dense_units", "augmentation", "batch_norm", "dropout")] == [
        "v1.2", "256", "no", "yes", "yes",
    ]  # fmt: skip
    assert row["published_val_accuracy"] == 0.86
    assert 0 <= row["val_accuracy"] <= 1
    assert pd.read_csv(tmp_path / "heads.csv").columns.tolist() == table.columns.tolist()


def test_heads_are_trained_with_augmentation_where_the_study_did():
    settings = read_settings(
        None, ["fine_tuning.augmentation=true", "fine_tuning.views=2"], kind=TrainSettings
    )
    assert training_of("v1.1", settings).augmentation is not None
    assert training_of("v1.2", settings).augmentation is None
    assert training_of("v1.1", TrainSettings()).augmentation is None


def test_heads_get_the_epochs_that_the_study_gave_them():
    recipe = read_settings(preset="abo65-flat", kind=TrainSettings)
    epochs = {name: training_of(name, recipe) for name in VARIANTS}
    assert {name: (t.frozen_epochs, t.tuned_epochs) for name, t in epochs.items()} == {
        name: (40, 25) if name == "v1.3" else (20, 15) for name in VARIANTS
    }
    short = training_of(
        "v1.1", read_settings(None, ["fine_tuning.tuned_epochs=0"], TrainSettings, preset="abo65-flat")
    )
    assert (short.frozen_epochs, short.tuned_epochs) == (20, 0)
    own = training_of("v1.1", read_settings(None, ["fine_tuning.frozen_epochs=30"], kind=TrainSettings))
    assert (own.frozen_epochs, own.tuned_epochs) == (30, 25)


@pytest.mark.slow
def test_heads_that_differ_only_in_augmentation_are_trained_once_without_it(image_folder, tmp_path, caplog):
    table = ablate_heads(
        image_folder, tmp_path, read_settings(None, FEW, kind=TrainSettings), heads=("v1.1", "v1.3", "v1.2"),
        cache=tmp_path / "cache", backbone=small_backbone(),
    ).set_index("version")  # fmt: skip
    assert "v1.2 is not trained" in caplog.text and "same model as v1.1" in caplog.text
    assert table.loc["v1.1"].equals(table.loc["v1.2"]) and not table.loc["v1.1"].equals(table.loc["v1.3"])
    assert not (tmp_path / "v1.2").exists()


def test_a_layer_or_optimizer_that_there_is_not_is_refused_before_anything_is_trained(image_folder, tmp_path):
    settings = read_settings(None, ["fine_tuning.tune_from=mixed99", *FEW], kind=TrainSettings)
    for run_it in (train_classifier, ablate_heads):
        with pytest.raises(ValueError, match="no layer 'mixed99' to fine-tune from"):
            run_it(image_folder, tmp_path, settings, backbone=small_backbone())
    assert not [path for path in tmp_path.rglob("*") if path.is_dir()]
    with pytest.raises(ValueError, match="optimizer: the optimizer must be one of Keras.*'adamant'"):
        read_settings(None, ["fine_tuning.optimizer=adamant"], kind=TrainSettings)


@pytest.mark.parametrize(
    ("name", "model", "sharing"),
    [("abo65-flat", "flat", "fine-tuned"), ("abo65-two-stage", "two-stage", "separate")],
)
def test_the_presets_reproduce_the_study(name, model, sharing):
    settings = read_settings(preset=name, kind=TrainSettings)
    assert (settings.classifier.model, settings.classifier.sharing) == (model, sharing)
    training = settings.fine_tuning
    assert (training.head, training.frozen_epochs, training.tuned_epochs) == ("v1.3", 40, 25)
    assert training.augmentation is not None
    assert settings.backbone.name == "inception_v3"
    assert settings.classifier.published == "abo65"


def test_a_folder_that_is_called_after_a_preset_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "abo65-flat").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_settings(preset="abo65-flat", kind=TrainSettings).classifier.published == "abo65"


def test_an_unknown_preset_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="no preset 'abo66'.*Presets of train: abo65-flat, abo65-two-stage"):
        read_settings(preset="abo66", kind=TrainSettings)


def test_published_metrics_are_the_given_ones(shared):
    ours = published_f1("abo65")
    theirs = pd.read_csv(shared / "abo/published/flat_inception_v3_per_class.csv")
    assert ours == dict(zip(theirs["class"], theirs["f1"], strict=True))
    assert published_f1(None) == {}
