"""The command line on good and bad input."""

import json
import re
import shutil
from typing import get_args

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from aisles.cli.main import main


def run(*arguments, expect=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == expect, (result.exit_code, result.output, result.exception)
    return result


def commands():
    with click.Context(main) as context:
        return {name: main.get_command(context, name) for name in main.list_commands(context)}


@pytest.mark.parametrize("name", commands())
def test_every_help_ends_with_an_example_that_parses(name):
    command = commands()[name]
    for words, leaf in _leaves(name, command):
        text = (leaf.help or "").strip()
        assert re.search(r"Example: aisles (.+)$", text), f"{words} lacks an example"
        for example in re.findall(r"^Example: aisles (.+)$", text, re.M):
            typed = example.split()
            assert typed[: len(words.split())] == words.split()
            leaf.make_context(words, typed[len(words.split()) :], resilient_parsing=True)
            options = {option for parameter in leaf.params for option in parameter.opts}
            assert {word for word in typed if word.startswith("--")} <= options


def _leaves(words, command):
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _leaves(f"{words} {name}", child)
    else:
        yield words, command


def test_weights_lists_what_is_here_and_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    rows = json.loads(run("weights", "--json").stdout)
    states = {row["backbone"]: row["state"] for row in rows}
    known = {"efficientnet_lite0": "present", "inception_v3": "missing", "vgg16": "missing"}
    assert known.items() <= states.items()
    assert "bcbd6486424b2319ff4ef7d526e38f63" in run("weights").stdout


def benchmark_refuses(data, tmp_path, match, *more, expect=3):
    result = run("benchmark", data, "--output", tmp_path / "run", *more, expect=expect)
    assert re.search(match, result.stderr), result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("option", ["--sweep", "--resume", "--replace"])
def test_a_curve_refuses_options_that_it_has_no_use_for(option, tmp_path):
    match = f"{option} takes no part in --curve.*Leave {option} out"
    benchmark_refuses(tmp_path, tmp_path, match, "--curve", "1,2", option, expect=2)
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    benchmark_refuses(tmp_path / "data", tmp_path, "no folders|no images")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    benchmark_refuses(tmp_path / "nowhere", tmp_path, "does not exist")


def test_one_class_only_is_refused(tmp_path, image_folder):
    shutil.copytree(image_folder / "lime", tmp_path / "data" / "lime")
    benchmark_refuses(tmp_path / "data", tmp_path, "at least 2 classes")


def test_a_class_with_one_image_is_refused_by_name(tmp_path, image_folder):
    shutil.copytree(image_folder, tmp_path / "data")
    for path in sorted((tmp_path / "data" / "sky").iterdir())[1:]:
        path.unlink()
    benchmark_refuses(tmp_path / "data", tmp_path, "sky")


def test_a_manifest_with_a_missing_column_is_refused(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,kind\na.jpg,x\n")
    benchmark_refuses(tmp_path / "metadata.csv", tmp_path, r"missing: \['label'\]")


def test_only_unreadable_images_are_refused(tmp_path):
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "x.jpg").write_text("no image")
    benchmark_refuses(tmp_path / "data", tmp_path, "readable images")


def test_strict_refuses_one_unreadable_image(tmp_path, image_folder):
    shutil.copytree(image_folder, tmp_path / "data")
    (tmp_path / "data" / "sky" / "text.jpg").write_text("no image")
    benchmark_refuses(tmp_path / "data", tmp_path, "text.jpg", "--strict", "images")


def test_missing_weights_exit_with_4(tmp_path, image_folder, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    benchmark_refuses(image_folder, tmp_path, "missing.*MD5", "--backbone", "inception_v3", expect=4)


def test_a_bad_setting_is_wrong_usage(tmp_path, image_folder):
    benchmark_refuses(
        image_folder, tmp_path, r"training.epochs.*Received: -1", "--set", "training.epochs=-1", expect=2
    )
    benchmark_refuses(image_folder, tmp_path, "section.key=value", "--set", "epochs=3", expect=2)


@pytest.mark.parametrize("command", ["benchmark", "train"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("hierarchy.linkag=ward", "hierarchy.linkag is unknown. Did you mean hierarchy.linkage?"),
        ("hierachy.linkage=ward", "hierachy is unknown. Did you mean hierarchy?"),
        ("backbone.xyz=1", "backbone.xyz is unknown. There are: batch_size, color, "),
    ],
)
def test_a_setting_that_is_spelled_wrong_is_named_right(tmp_path, image_folder, command, change, told):
    result = run(command, image_folder, "-o", tmp_path / "run", "--set", change, expect=2)
    assert told in result.stderr
    assert "Extra inputs" not in result.stderr


def test_epoch_means_epochs(tmp_path, image_folder):
    result = run("benchmark", image_folder, "-o", tmp_path / "run", "--set", "training.epoch=3", expect=2)
    assert "training.epoch is unknown. Did you mean training.epochs?" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predict", "b", "x.jpg", "--rule", "sofft"), "Did you mean 'soft'?"),
        (("predict", "b", "x.jpg", "--rule", "beam"), "Write beam:2"),
        (("evaluate", "b", "d", "--rule", "hrad"), "Did you mean 'hard'?"),
        (("train", "d", "-o", "r", "--rule", "sofft"), "Did you mean 'soft'?"),
        (("train", "d", "-o", "r", "--head", "v9"), "'v9' is not one of"),
        (("data", "curate", "d", "-o", "r", "--set", "split.methd=leaky"), "Did you mean split.method?"),
        (("data", "stats", "d", "--recipe", "abo66"), "one of abo65, sample"),
    ],
    ids=" ".join,
)
def test_what_is_typed_wrong_is_wrong_usage_before_anything_is_read(words, told):
    assert told in run(*words, expect=2).stderr


@pytest.mark.keras
@pytest.mark.parametrize("macros", [6, 20])
def test_more_macros_than_classes_are_refused_by_train_too(tmp_path, image_folder, macros):
    result = run("train", image_folder, "-o", tmp_path / "run", "--macros", macros, expect=3)
    assert f"number of classes (6). Received: {macros}. Give a smaller --macros" in result.stderr


def test_names_of_backbones_and_heads_are_known_before_anything_is_read(tmp_path):
    from aisles.experiments.settings.benchmark import BackboneSettings, TrainingSettings
    from aisles.models.backbones.definitions import BACKBONES
    from aisles.models.heads.variants import VARIANTS

    assert [BackboneSettings(name=name).name for name in BACKBONES] == list(BACKBONES)
    assert get_args(TrainingSettings.model_fields["head"].annotation) == tuple(VARIANTS)
    benchmark_refuses(tmp_path, tmp_path, "backbone.name", "--backbone", "resnet", expect=2)
    benchmark_refuses(tmp_path, tmp_path, "training.head", "--set", "training.head=v9", expect=2)


def test_more_macros_than_classes_are_refused(tmp_path, image_folder):
    benchmark_refuses(image_folder, tmp_path, r"number of classes \(6\).*--macros", "--macros", "6")


def test_a_run_folder_among_the_class_folders_is_refused(image_folder):
    result = run("benchmark", image_folder, "--output", image_folder / "run", expect=3)
    assert "inside the data folder" in result.stderr
    assert not (image_folder / "run").exists()


def test_an_unwritable_output_is_refused(tmp_path, image_folder):
    (tmp_path / "taken").write_text("mine")
    result = run("benchmark", image_folder, "--output", tmp_path / "taken" / "run", expect=1)
    assert "can't be written" in result.stderr


def test_an_output_that_is_a_file_is_refused(tmp_path, image_folder):
    (tmp_path / "taken").write_text("mine")
    result = run("benchmark", image_folder, "--output", tmp_path / "taken", expect=1)
    assert "can't be written" in result.stderr
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, image_folder):
    """Run a benchmark on drawn images, some of them odd, in a folder with spaces and accents."""
    data = tmp_path_factory.mktemp("données à moi") / "images"
    shutil.copytree(image_folder, data)
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).convert("CMYK").save(data / "sea" / "cmyk.jpg")
    Image.fromarray(rng.integers(0, 2**16, (20, 20), dtype=np.uint16)).save(data / "sea" / "sixteen.png")
    Image.fromarray(noise).save(data / "sea" / "truncated.jpg")
    whole = (data / "sea" / "truncated.jpg").read_bytes()
    (data / "sea" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "sea" / "text.jpg").write_text("no image")
    output = tmp_path_factory.mktemp("résultats") / "run"
    cache = tmp_path_factory.mktemp("cache")
    result = run("benchmark", data, "-o", output, "--macros", "3", "--seeds", "2", "--cache", cache)
    return data, output, result, cache


@pytest.mark.keras
def test_benchmark_prints_the_verdict_and_leaves_the_run(finished):
    _, output, result, _ = finished
    assert "Verdict: " in result.stdout and "router accuracy" in result.stdout
    metrics = json.loads((output / "metrics.json").read_text())
    assert {"flat", "hard", "soft"} <= set(metrics["methods"])
    assert len(metrics["methods"]["soft"]["accuracy"]) == 2
    assert len(metrics["macros"]) == 3
    for name in (
        "report.html",
        "dendrogram.svg",
        "dendrogram.png",
        "hierarchy.json",
        "predictions.csv",
        "settings.toml",
    ):
        assert (output / name).stat().st_size > 0


@pytest.mark.keras
def test_unreadable_images_are_listed_and_left_out_others_are_read(finished):
    _, output, _, _ = finished
    unreadable = pd.read_csv(output / "unreadable.csv")
    assert sorted(unreadable["file_name"]) == ["sea/text.jpg", "sea/truncated.jpg"]
    manifest = pd.read_csv(output / "manifest.csv")
    kept = {name.rsplit("/", 1)[1] for name in manifest["file_name"]}
    assert {"cmyk.jpg", "sixteen.png"} <= kept and "text.jpg" not in kept


@pytest.mark.keras
def test_a_second_benchmark_trains_nothing_and_finds_the_same(finished):
    data, output, _, cache = finished
    before = (output / "metrics.json").read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in output.rglob("step.json")}
    run("benchmark", data, "-o", output, "--macros", "3", "--seeds", "2", "--cache", cache)
    assert stamps == {path: path.stat().st_mtime_ns for path in output.rglob("step.json")}
    assert (output / "metrics.json").read_bytes() == before


@pytest.mark.keras
def test_predict_prints_the_path_a_person_reads(finished):
    data, output, _, _ = finished
    result = run(
        "predict", output / "bundles" / "two-stage", data / "lime" / "00.png", data / "sky" / "01.png"
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r".*00\.png: .+ [01]\.\d\d > lime [01]\.\d\d", lines[0]), lines


@pytest.mark.keras
def test_predict_json_is_one_object_a_line(finished):
    data, output, _, _ = finished
    for bundle in ("two-stage", "flat"):
        result = run("predict", output / "bundles" / bundle, data / "lime" / "00.png", "--json", "--top", "2")
        row = json.loads(result.stdout)
        assert row["label"] == "lime" and len(row["top"]) == 2


def test_predict_prints_one_form(tmp_path):
    result = run("predict", tmp_path, tmp_path / "a.png", "--json", "--csv", expect=2)
    assert "exclude each other" in result.stderr


@pytest.mark.keras
def test_predict_says_when_nothing_can_be_read(finished):
    data, output, _, _ = finished
    result = run("predict", output / "bundles" / "two-stage", data / "sea" / "text.jpg", expect=3)
    assert result.stdout == ""


@pytest.mark.keras
def test_a_hierarchy_of_ones_own_is_used_and_checked(finished, tmp_path):
    data, output, _, cache = finished
    mine = {"macros": {"green": ["lime", "moss"], "others": ["apple", "cherry", "sea", "sky"]}}
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    options = ("--hierarchy", tmp_path / "mine.json", "--seeds", "1", "--cache", cache)
    run("benchmark", data, "-o", tmp_path / "run", *options)
    assert json.loads((tmp_path / "run" / "hierarchy.json").read_text()) == mine
    mine["macros"]["others"].remove("sky")
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    result = run("benchmark", data, "-o", tmp_path / "other", *options, expect=3)
    assert "only in the manifest: ['sky']" in result.stderr


@pytest.mark.keras
def test_a_bundle_with_a_flipped_byte_is_refused(finished, tmp_path):
    data, output, _, _ = finished
    shutil.copytree(output / "bundles" / "two-stage", tmp_path / "bundle")
    file = tmp_path / "bundle" / "router.keras"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    result = run("predict", tmp_path / "bundle", data / "lime" / "00.png", expect=3)
    assert "router.keras has changed" in result.stderr


@pytest.mark.keras
def test_a_folder_that_is_no_bundle_is_refused(tmp_path, image_folder):
    result = run("predict", tmp_path, image_folder / "lime" / "00.png", expect=3)
    assert "is no bundle" in result.stderr
