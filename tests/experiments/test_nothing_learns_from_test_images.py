"""Test images choose nothing: with noise in their place everything that is learned stays the same, bit for bit."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytestmark = pytest.mark.keras
SETTINGS = (
    "comparison.seeds=1",
    "training.epochs=4",
    'hierarchy.macros="auto"',
    'comparison.methods=["flat", "soft", "implied", "hie", "discriminant", "flat-discriminant", '
    '"flat-lda", "soft:lda", "hiclass"]',
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, drawn_goods, small_run):
    """Run one run twice: on the drawn goods, and with other images and labels in its test split."""
    root = tmp_path_factory.mktemp("leaks")
    true, false = root / "true" / "data", root / "false" / "data"
    shutil.copytree(drawn_goods, true)
    small_run(true, root / "first", *SETTINGS)
    made = pd.read_csv(root / "first" / "manifest.csv", dtype=str)
    split = dict(zip(made["file_name"].str.rsplit("/", n=1).str[-1], made["split"], strict=True))
    table = pd.read_csv(true / "metadata.csv", dtype=str)
    table["split"] = [split[name] for name in table["file_name"]]
    table.to_csv(true / "metadata.csv", index=False)

    shutil.copytree(true, false)
    rng, classes = np.random.default_rng(9), sorted(set(table["label"]))
    following = dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    test = table["split"] == "test"
    for name in table.loc[test, "file_name"]:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(false / name)
    table.loc[test, "label"] = table.loc[test, "label"].map(following)
    table.to_csv(false / "metadata.csv", index=False)
    for data in (true, false):
        small_run(data, data.parent / "run", *SETTINGS)
    return true.parent / "run", false.parent / "run"


def test_the_two_runs_do_differ_on_test_images(runs):
    first, second = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert first["methods"]["flat"]["accuracy"] != second["methods"]["flat"]["accuracy"]


@pytest.mark.parametrize("name", ["hierarchy.json", "tree.json"])
def test_the_hierarchy_is_the_same(runs, name):
    assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()


def test_what_the_forecast_says_is_the_same(runs):
    first, second = (json.loads((run / "forecast.json").read_text()) for run in runs)
    assert first == second


def test_epochs_and_losses_are_the_same(runs):
    files = sorted(path.relative_to(runs[0]) for path in runs[0].glob("models/**/history.csv"))
    assert len(files) > 3
    for file in files:
        assert (runs[0] / file).read_bytes() == (runs[1] / file).read_bytes(), file


def test_weights_are_the_same(runs):
    import keras

    files = sorted(path.relative_to(runs[0]) for path in runs[0].glob("models/**/head.keras"))
    assert len(files) > 3
    for file in files:
        first, second = (keras.saving.load_model(run / file, compile=False).get_weights() for run in runs)
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=str(file))


def test_what_methods_say_of_validation_images_is_the_same(runs):
    files = sorted(path.name for path in (runs[0] / "probabilities").glob("*.npz"))
    assert {"flat.npz", "soft.npz", "discriminant.npz", "flat-discriminant.npz", "flat-lda.npz"} <= set(files)
    assert {"soft-lda.npz", "hiclass.npz"} <= set(files)
    for file in files:
        with (
            np.load(runs[0] / "probabilities" / file) as one,
            np.load(runs[1] / "probabilities" / file) as other,
        ):
            np.testing.assert_array_equal(one["val_probs"], other["val_probs"], err_msg=file)


def test_settings_of_references_are_the_same(runs):
    first, second = (json.loads((run / "models" / "hiclass" / "budget.json").read_text()) for run in runs)
    assert first["strength"] == second["strength"]


def test_temperatures_are_the_same(runs):
    first, second = (_temperatures(run) for run in runs)
    assert first == second and any(temperature != 1.0 for temperature in first)


def _temperatures(run):
    models = json.loads((run / "bundles" / "two-stage" / "bundle.json").read_text())["models"]
    return [model["temperature"] for model in (models["router"], *models["submodels"], models["flat"])]


@pytest.mark.parametrize(("kind", "method"), [("flat", "flat"), ("two-stage", "soft"), ("two-stage", "hie")])
def test_a_bundle_answers_what_the_run_wrote_down(runs, kind, method):
    import aisles

    rows = pd.read_csv(runs[0] / "predictions.csv", dtype={"file_name": str})
    rows = rows[(rows["method"] == method) & (rows["seed"] == 0)]
    paths = [runs[0].parent / "data" / name for name in rows["file_name"]]
    classifier = aisles.load(runs[0] / "bundles" / kind)
    rule = {} if kind == "flat" else {"rule": method}
    answers = classifier.predict(paths, calibrated=False, **rule)
    assert [answer.label for answer in answers] == rows["answer"].tolist()
    with np.load(runs[0] / "probabilities" / f"{method}.npz") as arrays:
        listed = arrays["probs"][0]
    probs = classifier.predict_proba(paths, calibrated=False, **rule)
    np.testing.assert_allclose(probs, listed, atol=1e-5)
