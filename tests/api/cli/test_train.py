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


def test_train_prints_figures_and_the_next_step(run):
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
