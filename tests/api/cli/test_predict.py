"""`aisles predict` and `aisles export`, from the outside."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import keras
import pytest
from click.testing import CliRunner
from keras import layers
from PIL import Image

from aisles.cli.main import main
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.prediction.two_stage import TwoStageClassifier

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A bundle of three networks, and three images beside a broken one."""
    root = tmp_path_factory.mktemp("predict")

    def network(n):
        # Larger weights would make every answer certain, for pixels go up to 255.
        small = keras.initializers.RandomNormal(stddev=0.01, seed=1)
        dense = layers.Dense(n, activation="softmax", kernel_initializer=small)
        return keras.Sequential([keras.Input((6, 6, 3)), layers.GlobalAveragePooling2D(), dense])

    hierarchy = Hierarchy(("m", "n"), (("a", "b"), ("c", "d")))
    parts = {name: (network(2), list(members)) for name, members in zip("mn", hierarchy.members, strict=True)}
    save_bundle(TwoStageClassifier.from_models((network(2), ["m", "n"]), parts, hierarchy), root / "bundle")
    (root / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (9, 7), (80 * i, 10, 10)).save(root / "photos" / f"{i}.png")
    (root / "photos" / "broken.png").write_bytes(b"\x89PNG")
    return root


def run(*arguments, expect=0, **options):
    result = CliRunner().invoke(main, list(map(str, arguments)), **options)
    assert result.exit_code == expect, result.output
    return result


def test_a_folder_gives_json_lines_and_a_count_of_what_was_unreadable(place, caplog):
    result = run(
        "predict", place / "bundle", place / "photos", "--json", "--rule", "climb:0", "--resident", 1
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [os.path.basename(row["file_name"]) for row in rows] == ["0.png", "1.png", "2.png"]
    assert all(row["answered"] == "class" for row in rows)
    assert "1 of 4 images could not be read" in caplog.text


def test_names_from_standard_input_give_csv(place):
    listed = "\n".join(str(place / "photos" / f"{i}.png") for i in range(3))
    result = run("predict", place / "bundle", "-", "--csv", "--top", 1, input=listed)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 3 and all(len(json.loads(row["top"])) == 1 for row in rows)


def test_exit_codes_tell_bad_images_bad_bundles_and_bad_usage_apart(place, tmp_path, caplog):
    run("predict", place / "bundle", place / "photos" / "broken.png", expect=3)
    run("predict", place / "bundle", tmp_path, expect=3)
    assert "No images found" in caplog.text
    run("predict", place / "bundle", "nowhere/*.png", expect=3)
    assert "nowhere/*.png can't be read" in caplog.text
    photo = place / "photos" / "0.png"
    assert "0.png: " in run("predict", place / "bundle", photo, "nowhere/*.png").stdout
    run("predict", tmp_path, place / "photos", expect=3)
    run("predict", place / "bundle", expect=2)
    run("predict", place / "bundle", place / "photos", "--rule", "best", expect=2)


def test_explain_writes_a_page(place, tmp_path):
    run("predict", place / "bundle", place / "photos" / "0.png", "--explain", tmp_path / "why.html")
    assert "<section>" in (tmp_path / "why.html").read_text()


def test_no_image_that_can_be_read_leaves_no_page(place, tmp_path, caplog):
    run(
        "predict",
        place / "bundle",
        place / "photos" / "broken.png",
        "--explain",
        tmp_path / "why.html",
        expect=3,
    )
    assert not list(tmp_path.iterdir())
    assert "why.html was not written" in caplog.text


def test_uncalibrated_holds_for_the_page_too(place, tmp_path):
    classifier = load_bundle(place / "bundle")
    classifier.router = replace(classifier.router, temperature=500.0)
    bundle, photo = save_bundle(classifier, tmp_path / "bundle"), place / "photos" / "2.png"
    shown = []
    for options in ([], ["--uncalibrated"]):
        told = run("predict", bundle, photo, "--json", "--explain", tmp_path / "why.html", *options).stdout
        macro, share = (json.loads(told)[key] for key in ("macro", "macro_probability"))
        shown.append(f"{share:.1%}")
        page = (tmp_path / "why.html").read_text()
        assert f"<b>{macro}</b> {shown[-1]}" in page
        assert re.search(f'class="name">{macro}</td>[^\\n]*?class="value">{shown[-1]}</td>', page)
    assert shown[0] != shown[1]


def test_export_writes_one_model_and_says_how_far_it_differs(place, tmp_path):
    shutil.copytree(place / "bundle", tmp_path / "bundle")
    result = run("export", tmp_path / "bundle", "--format", "keras", "--json")
    told = json.loads(result.stdout)
    assert told["largest_difference"] < 1e-4 and told["path"] == str(tmp_path / "bundle.keras")
    assert "differs from the bundle" in run("export", tmp_path / "bundle", "--format", "keras").stdout
    run("export", tmp_path / "bundle", "--format", "keras", "--output", tmp_path / "m.h5", expect=1)
    run("export", tmp_path / "bundle", "--format", "torch", expect=2)


def test_a_reader_who_has_seen_enough_ends_the_run_quietly(place, tmp_path):
    (tmp_path / "names.txt").write_text(f"{place / 'photos' / '0.png'}\n" * 20_000)
    command = [sys.executable, "-m", "aisles", "predict", str(place / "bundle"), "-"]
    with (
        open(tmp_path / "names.txt") as names,
        open(tmp_path / "talk.txt", "w+") as talk,
        subprocess.Popen(command, stdin=names, stdout=subprocess.PIPE, stderr=talk) as process,
    ):
        assert process.stdout is not None
        assert b"0.png: " in process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 1
        talk.seek(0)
        said = talk.read()
    assert "Traceback" not in said and "Broken pipe" not in said


def test_only_names_what_is_possible_for_all_images_or_for_each(place, tmp_path):
    result = run("predict", place / "bundle", place / "photos", "--json", "--only", "n", "--only", "a")
    for row in map(json.loads, result.stdout.splitlines()):
        assert {name for name, _ in row["top"]} == {"a", "c", "d"}
        assert sum(probability for _, probability in row["top"]) == pytest.approx(1)
    table = place / "photos" / "shelves.csv"
    table.write_text("file_name,shelf\n0.png,a|b\n1.png,c\n2.png,\nbroken.png,\n")
    result = run(
        "predict",
        place / "bundle",
        place / "photos",
        "--json",
        "--only-from",
        table,
        "--only-column",
        "shelf",
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(row["top"]) for row in rows] == [2, 1, 4] and rows[1]["label"] == "c"
    table.write_text("file_name,only\n0.png,a\n")
    assert (
        "1.png has no row"
        in run("predict", place / "bundle", place / "photos", "--only-from", table, expect=3).output
    )
    arguments = ["predict", place / "bundle", place / "photos", "--only"]
    assert "Unknown: ['shoe']" in run(*arguments, "shoe", expect=1).output
    run(*arguments, "a", "--only-from", table, expect=2)


def started(arguments, **options):
    command = [sys.executable, "-m", "aisles", "predict", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no such device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_answers_that_cannot_be_written_are_no_success(place, unbuffered):
    with open("/dev/full", "w") as full:
        ended = started(
            [place / "bundle", place / "photos" / "0.png", "--quiet"],
            stdout=full,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert ended.returncode == 1
    assert "No space left on device: standard output can't be written, the answers from here" in ended.stderr
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell that closes files")
def test_a_closed_standard_output_is_said_before_anything_is_done(place):
    line = f"{sys.executable} -m aisles predict {place / 'bundle'} {place / 'photos' / '0.png'} >&-"
    ended = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1 and "Standard output is closed" in ended.stderr


def test_names_of_print0_are_read_with_the_option_and_refused_without(place):
    listed = "\0".join(str(place / "photos" / f"{i}.png") for i in range(3)) + "\0"
    result = run("predict", place / "bundle", "-", "-0", "--json", input=listed)
    assert [json.loads(line)["file_name"][-5:] for line in result.stdout.splitlines()] == [
        "0.png",
        "1.png",
        "2.png",
    ]
    assert "Give -0" in run("predict", place / "bundle", "-", input=listed, expect=2).output
    assert "give - among IMAGES" in run("predict", place / "bundle", place / "photos", "-0", expect=2).output


@pytest.mark.parametrize("error", [MemoryError, type("ResourceExhaustedError", (Exception,), {})])
def test_too_little_memory_is_said_with_what_to_lower(place, monkeypatch, error):
    def fail(*_arguments, **_options):
        raise error("no room")

    monkeypatch.setattr("aisles.cli.lines.print_predictions", fail)
    ended = run("predict", place / "bundle", place / "photos", expect=1)
    assert "too little memory. Lower --batch-size" in ended.output


def test_the_engine_onnx_gives_the_same_answers(place, tmp_path, monkeypatch):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("AISLES_CACHE", str(tmp_path))
    arguments = ["predict", place / "bundle", place / "photos", "--json"]
    before = [json.loads(line) for line in run(*arguments).stdout.splitlines()]
    after = [json.loads(line) for line in run(*arguments, "--engine", "onnx").stdout.splitlines()]
    assert len(list((tmp_path / "converted").glob("*.onnx"))) == 3
    for one, two in zip(before, after, strict=True):
        assert dict(two["top"]) == pytest.approx(dict(one["top"]), abs=1e-4) and one["label"] == two["label"]
    monkeypatch.setattr("aisles.models.backbones.engines._missing", lambda: ["onnxruntime"])
    assert "pip install '.[onnx]'" in run(*arguments, "--engine", "onnx", expect=1).output
