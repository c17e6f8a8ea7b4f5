"""Any method that can predict can be saved: its bundle gives the probabilities that the run judged."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import aisles
from aisles.cli.main import main
from aisles.data_prep.io.errors import DataError
from aisles.experiments.methods.registry import METHODS, MethodResult, register_method
from aisles.experiments.settings.benchmark import ComparisonSettings
from aisles.models.bundles.bundle import read_bundle

pytestmark = pytest.mark.keras
SAVED = (
    "ensemble", "hard", "beam:2", "implied", "hie", "masked", "flat-lda", "flat-logistic", "flat-knn",
    "flat-tuned-head", "soft:lda", "implied:lda", "discriminant", "flat-discriminant", "column:aisle", "random:1",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, drawn_goods, small_run):
    folder = tmp_path_factory.mktemp("bundles") / "run"
    methods = [name for name in SAVED if name != "random:1"] + ["random", "hiclass"]
    changes = (f"comparison.methods={json.dumps(methods)}", f"comparison.bundles={json.dumps(SAVED)}")
    small_run(drawn_goods, folder, "comparison.seeds=2", "training.epochs=3", *changes)
    return folder


@pytest.mark.parametrize("method", ["flat", "soft", *SAVED])
def test_a_bundle_gives_the_runs_own_test_probabilities(run, method):
    name = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in method)
    classifier = aisles.load(run / "bundles" / ("two-stage" if method == "soft" else name))
    table = pd.read_csv(run / "manifest.csv")
    test = table[table["split"] == "test"]
    with np.load(run / "probabilities" / f"{name}.npz") as arrays:
        judged = arrays["probs"][0]
    paths = [run / file for file in test["file_name"]]
    np.testing.assert_allclose(classifier.predict_proba(paths, calibrated=False), judged, atol=1e-4)
    facts = read_bundle(run / "bundles" / ("two-stage" if method == "soft" else name))["facts"]
    right = (judged.argmax(1) == np.searchsorted(classifier.classes_, test["label"].astype(str))).mean()
    assert facts["settings"]["method"] == method
    assert facts["metrics"]["accuracy without temperatures"] == pytest.approx(right, abs=1e-4)
    answers = classifier.predict_proba(paths).argmax(1)
    with_temperatures = (classifier.classes_[answers] == test["label"].astype(str)).mean()
    assert facts["metrics"]["accuracy"] == pytest.approx(with_temperatures, abs=1e-4)


def test_the_method_that_validation_images_prefer_is_saved_unasked(tmp_path, drawn_goods, small_run):
    small_run(
        drawn_goods, tmp_path / "run", "comparison.seeds=1", 'comparison.methods=["flat-lda", "hiclass"]'
    )
    merit = {}
    for name in ("flat", "soft", "flat-lda"):
        with np.load(tmp_path / "run" / "probabilities" / f"{name}.npz") as arrays:
            probs, truth = arrays["val_probs"][0].astype(float), arrays["val_truth"]
        of_truth = probs[np.arange(len(truth)), truth]
        merit[name] = (
            float((probs.argmax(1) == truth).mean()),
            float(np.log(of_truth).mean()),
        )  # then likelihood
    saved = {path.name for path in (tmp_path / "run" / "bundles").iterdir()}
    unasked = {"flat-lda"} if max(merit, key=merit.__getitem__) == "flat-lda" else set()
    assert saved == {"flat", "two-stage"} | unasked


@pytest.mark.parametrize(
    ("methods", "bundles", "message"),
    [
        (("hiclass",), ("hiclass",), r"'hiclass' can't be saved: it is no Keras network. Those that can: flat, soft"),
        (("flat",), ("flat-knn",), r"'flat-knn' takes no part.*choose among flat, soft"),
        (("random",), ("random",), r"it stands for several, write random:1"),
        (("flat",), ("flat-lad",), r"Unknown method 'flat-lad'.*flat-lda"),
        (("separate",), ("flat-fine-tuned-ensemble",), r"can't be saved.*flat-fine-tuned, "),
    ],
)  # fmt: skip
def test_what_can_not_be_saved_is_refused_with_what_can(methods, bundles, message):
    with pytest.raises(ValueError, match=message):
        ComparisonSettings(methods=methods, bundles=bundles)


def test_a_features_table_has_nothing_to_save(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 30)
    splits = np.tile(["train", "train", "val", "test", "test"], 18)
    np.savez(tmp_path / "x.npz", features=rng.normal(size=(90, 4)), label=labels, split=splits)
    with pytest.raises(DataError, match="Leave out --bundle"):
        aisles.benchmark(tmp_path / "x.npz", tmp_path / "run", macros=2, bundles=["flat"])


def test_a_bundle_more_is_no_other_benchmark(run, drawn_goods, small_run):
    before = (run / "metrics.json").read_bytes()
    methods = [name for name in SAVED if name != "random:1"] + ["random", "hiclass"]
    small_run(
        drawn_goods, run, "comparison.seeds=2", "training.epochs=3", f"comparison.methods={json.dumps(methods)}",
        'comparison.bundles=["random:2"]', resume=True,
    )  # fmt: skip
    assert (run / "bundles" / "random-2" / "bundle.json").is_file()
    assert (run / "metrics.json").read_bytes() == before


def test_the_command_line_repeats_the_option():
    refused = CliRunner().invoke(
        main, ["benchmark", "x", "-o", "y", "--bundle", "flat", "--bundle", "nonsense"]
    )
    assert refused.exit_code == 2 and "Unknown method 'nonsense'" in refused.output
    assert "--bundle NAME" in CliRunner().invoke(main, ["benchmark", "--help"]).output


def test_a_method_from_outside_is_saved_if_it_brings_a_classifier(tmp_path, drawn_goods, small_run):
    from aisles.experiments.methods.head_jobs import flat_job
    from aisles.experiments.methods.savable import flat_classifier

    @register_method(
        "own-flat", description="flat again", role="flat",
        classifier=lambda context: flat_classifier(context, [flat_job(context.classes, 0)]),
    )  # fmt: skip
    def own(context):
        fitted = context.trainer.flat(0)
        return MethodResult(fitted.probs[context.rows("test")], fitted.val_probs[context.rows("val")])

    try:
        changes = ('comparison.methods=["own-flat"]', 'comparison.bundles=["own-flat"]')
        small_run(drawn_goods, tmp_path / "run", "comparison.seeds=1", "training.epochs=3", *changes)
    finally:
        del METHODS._known["own-flat"]
    assert aisles.load(tmp_path / "run" / "bundles" / "own-flat").classes_.tolist()
