"""A benchmark from features that were computed elsewhere, beside the same from images."""

import json
import tomllib
from unittest import mock

import numpy as np
import pandas as pd
import pytest

import aisles
from aisles.data_prep.images.features_table import FeaturesTable, read_features_table
from aisles.data_prep.io.errors import DataError
from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
from aisles.experiments.benchmark.run import run_benchmark
from aisles.experiments.settings.benchmark import BenchmarkSettings, DataSettings
from aisles.experiments.training.runs import train_classifier


def arrays(n_classes=6, each=30):
    rng = np.random.default_rng(0)
    label = np.repeat([f"C{i}" for i in range(n_classes)], each)
    centers = np.repeat(rng.normal(size=(n_classes, 16)), each, axis=0)
    return {
        "features": np.abs(centers + rng.normal(0, 0.7, (len(label), 16))),
        "label": label,
        "file_name": np.array([f"{i}.jpg" for i in range(len(label))]),
        "product": np.array([f"P{i // 2}" for i in range(len(label))]),
        "split": np.tile(["train"] * 4 + ["val"] * 2 + ["test"] * 4, len(label) // 10),
    }


def test_features_follow_their_rows_through_split_and_file_kind(tmp_path):
    given = arrays()
    np.savez(tmp_path / "given.npz", **given)
    frame = pd.DataFrame(
        {**{k: v for k, v in given.items() if k != "features"}, "features": list(given["features"])}
    )
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "given.parquet")
    for name in ("given.npz", "given.parquet"):
        prepared = prepare_data(tmp_path / name, DataSettings())
        _, vectors = prepare_features(prepared, BenchmarkSettings().backbone)
        place = [int(file.removesuffix(".jpg")) for file in prepared.manifest.table["file_name"]]
        np.testing.assert_array_equal(vectors, given["features"].astype(np.float32)[place])
        assert list(prepared.manifest.splits) == list(given["split"][place])
        assert list(prepared.manifest.products) == list(given["product"][place])


@pytest.mark.keras
def test_a_benchmark_from_a_features_table_gives_a_verdict_and_no_bundle(tmp_path):
    np.savez(tmp_path / "given.npz", **arrays())
    settings = BenchmarkSettings.model_validate({"hierarchy": {"macros": 2}, "comparison": {"seeds": 1}})
    result = run_benchmark(tmp_path / "given.npz", tmp_path / "run", settings)
    assert result.metrics["backbone"] == "given features"
    assert result.metrics["methods"]["flat"]["accuracy_mean"] > 0.5
    assert not (tmp_path / "run" / "bundles").exists() and (tmp_path / "run" / "report.html").exists()
    costs = json.loads((tmp_path / "run" / "costs.json").read_text(encoding="utf-8"))
    assert costs["backbone"]["images_per_second"] is None
    assert isinstance(result.table, pd.DataFrame) and "<table" in result._repr_html_()


@pytest.mark.keras
def test_a_features_table_gives_the_same_verdict_as_the_images_it_was_made_from(
    tmp_path, drawn_goods, small_run
):
    short = ("comparison.seeds=1", "training.epochs=3")
    images = small_run(drawn_goods, tmp_path / "images", *short)
    settings = BenchmarkSettings.model_validate(
        tomllib.loads((tmp_path / "images" / "settings.toml").read_text(encoding="utf-8"))
    )
    prepared = prepare_data(drawn_goods, settings.data)
    _, vectors = prepare_features(prepared, settings.backbone, backbone=small_run.backbone)
    table = prepared.manifest.table
    columns = {name: table[name].to_numpy(str) for name in ("file_name", "label", "product", "split")}
    np.savez(tmp_path / "given.npz", features=vectors, **columns)
    given = small_run(tmp_path / "given.npz", tmp_path / "given", *short)
    assert given.metrics["comparisons"] == images.metrics["comparisons"]
    assert given.metrics["macros"] == images.metrics["macros"]
    for name, facts in images.metrics["methods"].items():
        for key in ("accuracy", "macro_f1", "calibration"):
            assert given.metrics["methods"][name][key] == facts[key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"features": np.full((180, 16), np.nan)},
            "180 rows have NaN or infinite features, the first is row 0",
        ),
        ({"features": np.ones(180)}, r"numbers of shape \(n, d\)"),
        ({"product": np.array(["P"])}, "one value per row"),
        (
            {"label": np.array(["A", 1, None] * 60, dtype=object)},
            r"can't be read: label holds Python objects.*Write texts as np.asarray\(label, dtype=str\)",
        ),
    ],
)
def test_features_tables_that_do_not_fit_are_refused(tmp_path, change, message):
    np.savez(tmp_path / "given.npz", **(arrays() | change))
    with pytest.raises(DataError, match=message):
        read_features_table(tmp_path / "given.npz")


def test_a_single_class_is_refused_by_its_name():
    given = FeaturesTable.from_arrays(np.eye(12), ["lime"] * 12)
    with pytest.raises(DataError, match="at least 2 classes. All 12 images are of 'lime'"):
        prepare_data(given, DataSettings())


def test_arrays_make_the_table_that_their_file_makes(tmp_path):
    given = arrays()
    np.savez(tmp_path / "given.npz", **given, aisle=np.char.add("of ", given["label"]))
    read = read_features_table(tmp_path / "given.npz")
    made = FeaturesTable.from_arrays(
        pd.DataFrame(given["features"]),
        pd.Series(given["label"]),
        products=list(given["product"]),
        splits=given["split"],
        file_names=given["file_name"],
        columns={"aisle": [f"of {label}" for label in given["label"]]},
    )
    pd.testing.assert_frame_equal(made.manifest.table, read.manifest.table)
    np.testing.assert_array_equal(made.vectors, read.vectors)
    np.testing.assert_array_equal(made.scan.sha256, read.scan.sha256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": ["A"] * 179}, "one value per row"),
        ({"y": [None] * 180}, "180 rows have no class, the first is row 0"),
        ({"X": [["a", "b"]] * 180}, "features must be numbers"),
        ({"X": np.full((180, 3), 1e300)}, "NaN or infinite"),
        ({"products": ["P"]}, "one value per row"),
        ({"splits": ["somewhere"] * 180}, "split"),
        ({"file_names": ["a.jpg"] * 180}, "a.jpg"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    given = {"X": np.ones((180, 3)), "y": np.repeat(list("ABC"), 60)} | change
    with pytest.raises(DataError, match=message):
        FeaturesTable.from_arrays(given.pop("X"), given.pop("y"), **given)


def test_training_on_a_features_table_is_refused_with_what_does_it(tmp_path):
    np.savez(tmp_path / "given.npz", **arrays())
    with pytest.raises(DataError, match="predicts images.*aisles benchmark.*HierarchicalEstimator"):
        train_classifier(tmp_path / "given.npz", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.keras
def test_python_benchmarks_arrays_and_another_k_is_refused_before_anything_is_made(tmp_path):
    given = arrays()
    words = {"y": given["label"], "products": given["product"], "splits": given["split"]}
    options = {"seeds": 1, "methods": ["soft"], "settings": {"training.epochs": 2, "hierarchy.macros": 2}}
    result = aisles.benchmark(given["features"], tmp_path / "run", **words, **options)
    assert result.metrics["backbone"] == "given features" and result.metrics["data"]["images"]["test"] == 72
    options["settings"] |= {"hierarchy.macros": 3}
    with (
        mock.patch(
            "aisles.experiments.benchmark.run.prepare_features", side_effect=AssertionError("too late")
        ),
        pytest.raises(ValueError, match="holds a run that differs in .*macros"),
    ):
        aisles.benchmark(given["features"], tmp_path / "run", **words, **options)


def test_python_says_what_goes_with_what(tmp_path):
    with pytest.raises(ValueError, match="no y"):
        aisles.benchmark(np.ones((5, 2)), tmp_path / "run")
    with pytest.raises(ValueError, match="`y` goes with features as an array"):
        aisles.benchmark("photos", tmp_path / "run", y=["A"])
