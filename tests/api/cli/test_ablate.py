"""`aisles ablate ...` as a person types it, on drawn images."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from aisles.cli.main import main

pytestmark = pytest.mark.keras
STUDY = (
    "--weights", "none", "--seeds", "1", "--set", "backbone.input_size=[32, 32]", "--set", "training.epochs=2",
    "--set", "hierarchy.bootstraps=2", "--set", 'comparison.methods=["flat", "soft"]',
)  # fmt: skip


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def goods(tmp_path_factory):
    """Draw 4 classes of 8 products with a main and a secondary photograph each, told apart by brightness."""
    root, rng = tmp_path_factory.mktemp("goods"), np.random.default_rng(0)
    rows = []
    for number, label in enumerate(("bowl", "cup", "jug", "pan")):
        for product in range(8):
            for source in ("main", "other"):
                name = f"{label}-{product}-{source}.png"
                pixels = rng.normal(40 + 60 * number, 15, (24, 24, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / name)
                similar = "" if source == "main" else f"{rng.uniform(0.5, 0.9):.4f}"
                rows.append((name, label, f"{label} {product}", source, similar))
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "label", "product", "source", "similarity"), *rows])
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    ("name", "values", "tried"),
    [
        pytest.param("color", None, ["rgb", "gray"], marks=pytest.mark.slow),
        pytest.param("macros", None, ["2", "3"], marks=pytest.mark.slow),
        ("linkage", "ward,average", ["ward", "average"]),
        pytest.param("split", None, ["product", "image"], marks=pytest.mark.slow),
        pytest.param(
            "backbone", "efficientnet_lite0,vgg16", ["efficientnet_lite0", "vgg16"], marks=pytest.mark.slow
        ),
    ],
)
def test_an_ablation_of_a_study_prints_its_variants(goods, cache, tmp_path, name, values, tried):
    chosen = ("--values", values) if values else ()
    result = call("ablate", name, goods, "-o", tmp_path / "out", *STUDY, "--cache", cache, "--json", *chosen)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["variant"] for row in rows] == tried
    assert all(0 <= row["flat"] <= 1 and not row.get("failed") for row in rows), rows
    assert [row["same_test_images"] for row in rows] == [True, name != "split"]


@pytest.mark.slow
def test_thresholds_of_similarity_come_from_the_manifest(goods, cache, tmp_path):
    result = call("ablate", "similarity-threshold", goods, "-o", tmp_path / "out", *STUDY, "--cache", cache)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[0] == "variant" and lines.index("") == 6  # below them: what holds together
    kept = [
        sum(row["split"] == "train" for row in csv.DictReader(io.StringIO(file.read_text())))
        for file in sorted((tmp_path / "out").glob("*/manifest.csv"))
    ]
    assert kept == sorted(set(kept), reverse=True) and len(kept) == 5


@pytest.fixture
def embeddings(tmp_path):
    """Write features of 96 rows in 4 classes as a table."""
    rng, labels = np.random.default_rng(0), np.repeat(["bowl", "cup", "jug", "pan"], 24)
    features = np.repeat(np.eye(4, 8), 24, axis=0) + rng.normal(0, 0.3, (96, 8))
    np.savez(tmp_path / "embeddings.npz", features=features, label=labels)
    return tmp_path / "embeddings.npz"


def test_a_features_table_is_ablated_as_images_are(embeddings, tmp_path):
    chosen = ("--seeds", "1", "--set", "training.epochs=2", "--set", 'comparison.methods=["flat", "soft"]')
    values = ("--macros", "2", "--values", "ward,average")
    result = call("ablate", "linkage", embeddings, "-o", tmp_path / "out", *values, *chosen, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["variant"] for row in rows] == ["ward", "average"]
    assert all(0 <= row["flat"] <= 1 and row["same_test_images"] for row in rows)


@pytest.mark.parametrize("name", ["color", "backbone"])
def test_what_takes_pixels_is_refused_for_a_features_table(embeddings, tmp_path, name):
    result = call("ablate", name, embeddings, "-o", tmp_path / "out")
    assert result.exit_code == 3 and "features table has none" in result.output
    assert not (tmp_path / "out").exists()


def test_a_threshold_needs_similarities(image_folder, tmp_path):
    result = call("ablate", "similarity-threshold", image_folder, "-o", tmp_path / "out", *STUDY)
    assert result.exit_code == 3 and "aisles data curate" in result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["macros", "--values", "a,b"], "Macros are a whole number or auto. Received: 'a'"),
        (["backbone", "--values", "resnet"], "'resnet' can't be tried"),
        (["color", "--set", 'comparison.methods=["flat", "sft"]'], "Unknown method 'sft'. Did you mean 'soft'?"),
        (["heads", "--sharing", "frozen"], "No such option"),
        (["heads", "--model", "flat"], "No such option"),
        (["heads", "--macros", "3"], "No such option"),
        (["heads", "--heads", "v9"], "Heads are v1.1, v1.2"),
        (["heads", "--set", "fine_tuning.optimizer=adamant"], "optimizer must be one of Keras"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_can_not_be_tried_is_wrong_usage(goods, tmp_path, words, told):
    name, *others = words
    result = call("ablate", name, goods, "-o", tmp_path / "out", *others)
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_a_printed_table_has_no_none_no_underscores_and_no_long_cells(goods, tmp_path, monkeypatch):
    def given(*_arguments, **_more):
        rows = [
            {"variant": "ward", "flat": 0.5, "flat_sd": None, "verdict": "worse", "n_test": 7},
            {"variant": "average", "failed": "ValueError: " + "words " * 120},
        ]
        return pd.DataFrame(rows)

    monkeypatch.setattr("aisles.experiments.ablations.settings_ablations.run_ablation", given)
    result = call("ablate", "linkage", goods, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    table, _, failure = result.stdout.partition("average failed: ")
    assert table.splitlines()[0].split() == ["variant", "flat", "flat", "sd", "verdict", "n", "test"]
    assert table.splitlines()[1].split() == ["ward", "0.500", "worse", "7"]
    assert not any(word in table for word in ("None", "nan", "NaN", "_"))
    assert max(map(len, table.splitlines())) < 80 and failure.startswith("ValueError: words words")


def test_help_lists_the_values_that_an_ablation_takes():
    told = " ".join(call("ablate", "linkage", "--help").output.split())
    assert "ward, average, complete" in told
