"""Images of which only the macro-category is known, from the manifest to the methods that learn from them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.images.features_table import read_features_table
from aisles.data_prep.images.manifest import read_manifest
from aisles.experiments.benchmark.coarse_images import scan_coarse
from aisles.experiments.benchmark.preparation import prepare_data
from aisles.experiments.benchmark.run import run_benchmark
from aisles.experiments.settings.benchmark import BenchmarkSettings, DataSettings


def test_images_known_by_their_macro_are_kept_unless_they_are_seen_in_validation_or_test(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(7):
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "4.png").write_bytes((tmp_path / "2.png").read_bytes())  # a test image again
    (tmp_path / "6.png").write_bytes(b"nothing")
    table = pd.DataFrame(
        {
            "file_name": [f"{i}.png" for i in range(7)],
            "label": ["a", "b", "a", "", "", "", ""],
            "aisle": ["x", "y", "x", "x", "y", "y", "x"],
            "split": ["train", "train", "test", "", "", "", ""],
            "product": ["p0", "p1", "p2", "p3", "p4", "p2", "p6"],
        }
    )
    table.to_csv(tmp_path / "metadata.csv", index=False)
    manifest = read_manifest(tmp_path, hierarchy_column="aisle")
    found = scan_coarse(manifest, "aisle", ["", "", _sha(tmp_path / "2.png")])
    assert found is not None
    assert [path.name for path in found.paths] == ["3.png"] and found.macros.tolist() == ["x"]
    assert scan_coarse(manifest, None, ["", "", ""]) is None


def _sha(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def coarse_table(path, n_coarse=40):
    rng = np.random.default_rng(0)
    centers = np.repeat(3.0 * rng.normal(size=(2, 12)), 3, axis=0) + 0.7 * rng.normal(size=(6, 12))
    each = 30 + n_coarse
    place = np.repeat(np.arange(6), each)
    inside = np.tile(np.arange(each), 6)
    label = np.where(inside < 30, np.array([f"C{i}" for i in place]), "")
    split = np.where(inside < 2, "train", np.where(inside < 6, "val", np.where(inside < 30, "test", "")))
    np.savez(
        path, features=centers[place] + rng.normal(size=(len(place), 12)), label=label, split=split,
        aisle=np.array(["first", "second"])[place // 3],
    )  # fmt: skip
    return path


def test_rows_of_a_features_table_without_a_class_are_kept_apart_with_their_vectors(tmp_path):
    path = coarse_table(tmp_path / "given.npz")
    given = read_features_table(path, hierarchy_column="aisle")
    assert len(given.manifest) == 180 and given.coarse is not None
    table, vectors = given.coarse
    with np.load(path) as arrays:
        alone = arrays["label"] == ""
        np.testing.assert_array_equal(vectors, arrays["features"][alone].astype(np.float32))
        assert table["label"].tolist() == arrays["aisle"][alone].tolist()
    prepared = prepare_data(path, DataSettings(), "aisle")
    assert prepared.coarse is not None and len(prepared.coarse) == 240


@pytest.mark.keras
def test_a_benchmark_with_coarse_labels_compares_both_sides_fair_share_with_fine_labels_alone(tmp_path):
    settings = BenchmarkSettings.model_validate(
        {
            "hierarchy": {"column": "aisle"},
            "training": {"epochs": 2},
            "comparison": {"seeds": 1, "methods": ["soft:lda"]},
        }
    )
    result = run_benchmark(coarse_table(tmp_path / "given.npz"), tmp_path / "run", settings)
    methods = result.metrics["methods"]
    assert result.metrics["failed"] == {}
    assert {"flat-coarse", "flat-coarse-lda", "coarse:soft", "coarse:hie", "flat-lda", "soft:lda"} <= set(
        methods
    )
    assert "flat-coarse-lda" in result.metrics["best_flat"]["val_accuracy"]
    judged = {(c["a"], c["b"]) for c in result.metrics["comparisons"]}
    assert ("flat-coarse-lda", "coarse:soft") in judged and ("flat", "flat-coarse-lda") in judged
    alone = {(c["a"], c["b"]): c for c in result.metrics["coarse_labels"]}
    assert set(alone) == {
        ("soft:lda", "coarse:soft"), ("hie:lda", "coarse:hie"),
        ("flat-lda", "flat-coarse-lda"), ("flat-logistic", "flat-coarse"),
    }  # fmt: skip
    for (a, b), found in alone.items():
        gained = np.mean(methods[b]["accuracy"]) - np.mean(methods[a]["accuracy"])
        assert found["difference"] == pytest.approx(gained)
    table = pd.read_csv(tmp_path / "run" / "tables" / "coarse_labels.csv")
    assert len(table) == 4 and "known" in (tmp_path / "run" / "report.md").read_text()
    assert "coarse:soft" in (tmp_path / "run" / "settings.toml").read_text(encoding="utf-8")
