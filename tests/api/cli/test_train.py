"""The commands `train`, `evaluate` and `ablate heads`, as a person types them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from aisles.cli.main import main

pytestmark = pytest.mark.keras
TINY = [
    "--weights", "none", "--set", "backbone.input_size=[32, 32]", "--set", "fine_tuning.frozen_epochs=2",
]  # fmt: skip


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def run(image_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    result = call(
        "train", image_folder, "-o", output, "--sharing", "frozen", "--macros", "2", "--cache", output / "cache",
        "--seed", "1", "--tensorboard", *TINY,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return output, result


def test_train_prints_metrics_and_the_next_step(run):
    output, result = run
    assert "macro-F1" in result.stdout
    assert f"aisles evaluate {output}/bundle {output}/manifest.csv" in result.stdout


def test_train_leaves_curves_and_event_files_of_every_model(run):
    models = run[0] / "models"
    assert {file.parent.name for file in models.glob("*/curves.csv")} >= {
        "flat-on-frozen",
        "router-on-frozen",
    }
    for name in ("flat-on-frozen", "router-on-frozen"):
        assert list((models / name / "tensorboard/validation").glob("events.out.tfevents.*"))


def test_evaluate_prints_the_classes_and_writes_the_page(run, tmp_path):
    output, _ = run
    result = call("evaluate", output / "bundle", output / "manifest.csv", "--rule", "hard", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split() == ["class", "precision", "recall", "f1", "support"]
    assert "macro average precision" in result.stdout
    assert (tmp_path / "evaluation.html").exists()


def test_evaluate_gives_json(run):
    output, _ = run
    result = call("evaluate", output / "bundle", output / "manifest.csv", "--json")
    content = json.loads(result.stdout)
    assert content["rule"] == "soft"
    assert {row["class"] for row in content["classes"]} <= {"apple", "cherry", "lime", "moss", "sea", "sky"}


@pytest.mark.slow
def test_an_update_prints_before_and_after_and_the_next_step_shows_each_class(run, image_folder, tmp_path):
    from PIL import Image

    output, _ = run
    (tmp_path / "new").mkdir()
    for i in range(3):
        Image.new("RGB", (24, 24), (250, 250 - i, 240)).save(tmp_path / "new" / f"{i}.png")
    lines = ["file_name,label", *(f"{i}.png,snow" for i in range(3))]
    (tmp_path / "new" / "metadata.csv").write_text("\n".join(lines) + "\n")
    cache = ["--cache", output / "cache"]
    result = call("train", tmp_path / "new", "--update", output / "bundle", "-o", tmp_path / "better", *cache)
    assert result.exit_code == 0, result.output
    assert "3 new or corrected images; changed files: flat.keras" in result.stdout
    assert "new class snow in " in result.stdout and "the same test images after" in result.stdout
    step = result.stdout.splitlines()[-1].removeprefix("See more: aisles ")
    shown = call(*step.split())
    assert shown.stdout.splitlines()[0].endswith("f1 before")
    assert f"that {output / 'bundle'} knows: accuracy" in shown.stdout
    content = json.loads(call(*step.split(), "--json").stdout)
    assert 0 <= content["accuracy_on_the_same_images"] <= 1 and "f1_before" in content["classes"][0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--update", "b", "--sharing", "frozen"], "--sharing takes no part in --update"),
        (["--update", "b", "--macros", "3"], "--macros takes no part in --update"),
        (["--macro", "reds"], "--old and --macro go with --update BUNDLE"),
    ],
)
def test_options_that_an_update_does_not_have_are_refused(words, told):
    result = call("train", "nowhere", "-o", "run", *words)
    assert result.exit_code == 2 and told in result.output


def test_rename_says_what_changed_and_gives_json(run, tmp_path):
    output, _ = run
    result = call("rename", output / "bundle", "apple", "zebra", "-o", tmp_path / "named")
    assert result.exit_code == 0, result.output
    assert "the class 'apple' is now called 'zebra'; changed: flat.keras" in result.stdout
    content = json.loads(call("rename", tmp_path / "named", "zebra", "pear", "--json").stdout)
    assert content["kind"] == "class" and content["new"] == "pear"
    refused = call("rename", tmp_path / "named", "zebra", "pear")
    assert refused.exit_code == 1 and "no macro or class 'zebra'" in refused.output


def test_an_evaluation_without_published_classes_prints_no_mean_of_nothing():
    import pandas as pd

    from aisles.cli.train import _summary

    found = SimpleNamespace(
        accuracy=0.5, truth=[0, 1], published_f1={"CHAIR": 0.76}, measured_on="test images, split by product",
        on_absent="",
    )  # fmt: skip
    table = pd.DataFrame({"precision": [0.5], "recall": [0.5], "f1": [0.5], "published_f1": [np.nan]})
    told = _summary(found, table)
    assert "none of these classes has a published F1" in told and "nan" not in told
    told = _summary(found, table.assign(published_f1=[0.76]))
    assert "published: validation images, split by image; measured: test images, split by product" in told


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["train", "nowhere", "-o", "run"], 3, "nowhere"),
        (["train", "nowhere", "-o", "run", "--config", "abo66"], 2, "There is no settings file abo66"),
        (["train", "nowhere", "-o", "run", "--set", "fine_tuning.epochs=3"], 2, "fine_tuning.epochs"),
        (["evaluate", "nowhere", "nowhere"], 3, "is no bundle"),
        (["ablate", "heads", "nowhere", "-o", "run", "--heads", "v9"], 2, "Heads are v1.1"),
    ],
    ids=["no data", "no recipe", "no setting", "no bundle", "no head"],
)
def test_mistakes_are_explained(words, code, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*words)
    assert result.exit_code == code, result.output
    assert told in result.output
