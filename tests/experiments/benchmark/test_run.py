"""A run from images to metrics.json: killed, gone on with, refused, and with methods that fail."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest

from aisles.data_prep.io.errors import DataError
from aisles.experiments.benchmark.summary import summary
from aisles.experiments.methods.protocol import check_same_protocol
from aisles.models.bundles.bundle import load_bundle

pytestmark = pytest.mark.keras
SHORT = ("comparison.seeds=1", "training.epochs=3")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, drawn_goods, small_run):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return small_run(drawn_goods, folder, *SHORT), folder


def test_a_benchmark_killed_ten_times_gives_the_same_metrics(
    tmp_path, drawn_goods, small_run, whole, monkeypatch
):
    real, folder, kills = os.replace, tmp_path / "run", 0

    class Killed(BaseException):
        pass

    for kill in range(10):
        calls = iter(range(1_000))

        def dying(source, target, kill=kill, calls=calls):
            if next(calls) >= 1 + kill % 2:
                raise Killed
            real(source, target)

        monkeypatch.setattr(os, "replace", dying)
        try:
            small_run(drawn_goods, folder, *SHORT)
        except Killed:
            kills += 1
    monkeypatch.setattr(os, "replace", real)
    small_run(drawn_goods, folder, *SHORT, resume=True)
    assert kills == 10
    assert (folder / "metrics.json").read_bytes() == (whole[1] / "metrics.json").read_bytes()
    assert not list(folder.rglob(".part-*"))


@pytest.mark.parametrize("kind", ["flat", "two-stage"])
def test_bundles_refuse_guarantees_on_images_they_learned_from(whole, kind):
    classifier = load_bundle(whole[1] / "bundles" / kind)
    table = pd.read_csv(whole[1] / "manifest.csv")
    learned = table[table["split"] != "test"]
    hashes = {hashlib.sha256((whole[1] / name).read_bytes()).hexdigest() for name in learned["file_name"]}
    assert classifier.learned_from == hashes and {"train", "val"} == set(learned["split"])
    test = table[table["split"] == "test"]
    mixed = pd.concat([test, learned.head(3)])
    paths = [whole[1] / name for name in mixed["file_name"]]
    with pytest.raises(DataError, match=f"3 of {len(mixed)} are training or validation images"):
        classifier.set_confidence(0.8, paths, mixed["label"])
    classifier.set_confidence(0.8, paths[: len(test)], test["label"])
    assert classifier.confidence.sets.n_images == len(test)


def test_nothing_is_trained_twice(drawn_goods, small_run, whole):
    stamps = {path: path.stat().st_mtime_ns for path in (whole[1] / "models").rglob("head.keras")}
    before = (whole[1] / "metrics.json").read_bytes()
    small_run(drawn_goods, whole[1], *SHORT)
    assert stamps == {path: path.stat().st_mtime_ns for path in (whole[1] / "models").rglob("head.keras")}
    assert (whole[1] / "metrics.json").read_bytes() == before


def test_another_run_in_the_folder_is_not_overwritten_unawares(drawn_goods, small_run, whole):
    with pytest.raises(ValueError, match="training.epochs: 3 -> 4.*--replace"):
        small_run(drawn_goods, whole[1], "comparison.seeds=1", "training.epochs=4")


def test_resuming_needs_a_run(tmp_path, drawn_goods, small_run):
    with pytest.raises(ValueError, match="no run to go on with"):
        small_run(drawn_goods, tmp_path / "run", resume=True)


def test_a_method_that_fails_is_a_row_with_its_reason(tmp_path, drawn_goods, small_run):
    names = '["column:nonsense", "file:nowhere.json", "backbone:inception_v3", "hie"]'
    result = small_run(drawn_goods, tmp_path / "run", *SHORT, f"comparison.methods={names}")
    failed, text = result.metrics["failed"], summary(result)
    assert "no column 'nonsense'" in failed["column:nonsense"]
    assert "nowhere.json" in failed["file:nowhere.json"]
    assert set(result.metrics["methods"]) >= {"flat", "soft", "hie"}
    assert all(f"{name}" in text and "failed: " in text for name in failed)


def test_under_the_verdict_its_two_methods_are_put_in_words(whole):
    result = whole[0]
    lines = summary(result).splitlines()
    verdict = next(i for i, line in enumerate(lines) if line.startswith("Verdict: "))
    baseline = result.metrics["best_flat"]["comparisons"][0]["a"]
    assert lines[verdict + 1].startswith("soft: router times sub-model, over all macros; ")
    assert f"; {baseline}: " in lines[verdict + 1] and ": flat:" not in lines[verdict + 1]


def test_classes_without_test_images_are_named_beside_the_averages(whole, drawn_goods):
    result = whole[0]
    assert "No test image shows" not in summary(result)
    content = json.loads(json.dumps(result.metrics))
    content["methods"]["flat"]["per_class"]["support"][1] = 0
    text = summary(replace(result, metrics=content))
    assert f"No test image shows {content['classes'][1]} (1 of 8 classes): F1 is 0" in text


def test_heads_trained_by_another_protocol_are_found(whole):
    _, folder = whole
    stage = folder / "models" / "seed-0" / "flat" / "step.json"
    kept = stage.read_text()

    class OneJob:
        def made_from(self, job):
            return json.loads((folder / "models" / job.name / "step.json").read_text())["inputs"]

    class Job:
        def __init__(self, name):
            self.name = name

    class Given:
        protocol = None
        deterministic = False

        def __init__(self, name):
            self.jobs = ((Job(f"seed-0/{name}"),),)

    router = next(path.name for path in (folder / "models" / "seed-0").glob("router-*"))
    methods = {"flat": Given("flat"), "soft": Given(router)}
    check_same_protocol(OneJob(), methods)
    other = folder / "models" / "seed-0" / router / "step.json"
    text = other.read_text()
    try:
        content = json.loads(text)
        content["inputs"]["training"]["epochs"] = 99
        other.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="same protocol.*training"):
            check_same_protocol(OneJob(), methods)
    finally:
        other.write_text(text)
    assert stage.read_text() == kept


def test_metrics_hold_no_time_and_costs_do(whole):
    _, folder = whole
    text = (folder / "metrics.json").read_text()
    assert "seconds" not in text and str(time.localtime().tm_year) not in json.dumps(
        json.loads(text)["forecast"]
    )
    costs = json.loads((folder / "costs.json").read_text())
    assert costs["methods"]["soft"]["training_seconds"] > 0
    assert costs["peak_memory_bytes"] > 10_000_000


@pytest.mark.slow
def test_a_benchmark_killed_by_the_system_gives_the_same_metrics(tmp_path, image_folder):
    def start(folder):
        command = [sys.executable, "-m", "aisles", "benchmark", str(image_folder), "-o", str(folder)]
        command += ["--macros", "2", "--weights", "none", "--cache", str(tmp_path / "cache")]
        return subprocess.Popen([*command, "--set", "training.epochs=2"], start_new_session=True)

    assert start(tmp_path / "once").wait() == 0
    for pause in (8, 9, 10, 11, 12, 13, 14, 15, 16, 17):
        process = start(tmp_path / "often")
        time.sleep(pause)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert start(tmp_path / "often").wait() == 0
    once, often = (tmp_path / name / "metrics.json" for name in ("once", "often"))
    assert once.read_bytes() == often.read_bytes()
