"""`aisles data` from the command line, without any backbone."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from aisles.cli import data as data_commands
from aisles.cli.data import data
from aisles.data_prep.images.decoding import load_pixels


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    run("sample", folder, "--products", 8)
    return folder


@pytest.fixture(autouse=True)
def thumbnails(monkeypatch):
    """Compare images by their thumbnails, so that no network is loaded."""

    def embed(paths):
        pixels = np.stack([load_pixels(path, (8, 8)) for path in paths]).astype(np.float32)
        return (pixels - pixels.mean(axis=(1, 2, 3), keepdims=True)).reshape(len(pixels), -1)

    monkeypatch.setattr(data_commands, "_embedding", lambda name, weights, cache: embed)


def run(*arguments, expect=0):
    result = CliRunner().invoke(data, [str(argument) for argument in arguments])
    assert result.exit_code == expect, (result.exit_code, result.output, result.exception)
    return result


SMALL = ("--recipe", "sample", "--set", "selection.minimum=7", "--set", "selection.cap=12")
LOW = ("--set", "similarity.thresholds.efficientnet_lite0.default=0.2")


def test_a_sample_is_indexed_counted_and_curated(shop, tmp_path):
    assert "2 malformed lines" in run("index", shop).stdout
    told = json.loads(run("index", shop, "--json").stdout)
    assert told["n_malformed"] == 2 and told["reused"]
    assert "SHOES" in run("stats", shop, *SMALL[:2], "--output", tmp_path / "stats").stdout
    first = run("curate", shop, *SMALL, *LOW, "--output", tmp_path / "out", "--no-sheets").stdout
    assert "under two labels" in first and "images of 26 classes" in first
    again = run("curate", shop, *SMALL, *LOW, "--output", tmp_path / "out", "--no-sheets").stdout
    assert "Taken from the last time: select, score, audit, balance, split." in again
    told = json.loads(
        run("curate", shop, *SMALL, *LOW, "--output", tmp_path / "out", "--no-sheets", "--json").stdout
    )
    assert told["classes"] == 26 and told["backbone"] == "efficientnet_lite0"
    with (tmp_path / "out" / "metadata.csv").open() as file:
        assert len(list(csv.DictReader(file))) == told["images"]
    charted = run(
        "stats", shop, *SMALL[:2], "--curated", tmp_path / "out", "--output", tmp_path / "stats", "--json"
    )
    assert len(json.loads(charted.stdout)["files"]) == 3


def test_an_audit_counts_what_it_flags_and_leaves_nothing_out(shop, tmp_path):
    plain, audited = (
        run("curate", shop, *SMALL, *LOW, "--output", tmp_path / name, "--no-sheets", *more).stdout
        for name, more in (("plain", ()), ("audited", ("--audit",)))
    )
    assert "Audited, flagged: " in audited and "Audited" not in plain
    assert (tmp_path / "plain" / "metadata.csv").read_bytes() == (
        tmp_path / "audited" / "metadata.csv"
    ).read_bytes()


def test_calibrate_proposes_a_threshold_with_a_image(shop, tmp_path):
    told = json.loads(run("calibrate", shop, *SMALL, "--output", tmp_path, "--pairs", 100, "--json").stdout)
    assert 0 < told["threshold"] < 1 and (tmp_path / "efficientnet_lite0.png").is_file()
    assert (
        "--set similarity.thresholds.efficientnet_lite0.default="
        in run("calibrate", shop, *SMALL, "--output", tmp_path, "--pairs", 100).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("index", "nowhere"), 3, "neither abo-listings.tar nor"),
        (("curate", "nowhere", "--output", "out", "--recipe", "abo66"), 2, "no recipe 'abo66'"),
        (("curate", "nowhere", "--output", "out", "--set", "selection.cap"), 2, "SECTION.KEY=VALUE"),
        (
            ("curate", "nowhere", "--output", "out", "--set", "selection.cap=0"),
            2,
            "greater than or equal to 1",
        ),
        (("curate", "nowhere"), 2, "--output"),
        (("curate", "nowhere", "--output", "out", "--backbone", "resnet"), 3, "no similarity threshold"),
        (("sample", "out", "--products", "2"), 2, "8"),
        (("fetch", "out", "--base-url", "ftp://example.org"), 3, "http:// or https://"),
    ],
)
def test_mistakes_are_explained_with_their_exit_code(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, expect=code)
    assert message in result.output


def test_missing_weights_have_their_own_exit_code(shop, tmp_path, monkeypatch):
    class WeightsMissingError(FileNotFoundError):
        pass

    def embed(paths):
        raise WeightsMissingError("vgg16 weights are missing")

    monkeypatch.setattr(data_commands, "_embedding", lambda name, weights, cache: embed)
    assert "weights are missing" in run("curate", shop, *SMALL, *LOW, "--output", tmp_path, expect=4).output


def test_fetch_says_what_to_credit(tmp_path, monkeypatch):
    from aisles.data_prep.abo import fetch

    found = fetch.Fetched(tmp_path / "abo-listings.tar", "http://x/", 5, "abc", False)
    asked = {}
    monkeypatch.setattr(fetch, "fetch_archives", lambda folder, **options: asked.update(options) or (found,))
    output = run("fetch", tmp_path, "--only", "listings").stdout
    assert "CC BY 4.0" in output and "SHA-256 abc" in output
    assert asked["sizes"] == {"abo-listings.tar": 87_480_320}
    assert json.loads(run("fetch", tmp_path, "--json").stdout)["archives"][0]["n_bytes"] == 5
