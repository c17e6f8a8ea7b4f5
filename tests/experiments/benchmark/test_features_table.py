"""A benchmark from features that were computed elsewhere, beside the same from images."""

import json
import tomllib

import numpy as np
import pandas as pd
import pytest

from aisles.data_prep.images.features_table import read_features_table
from aisles.data_prep.io.errors import DataError
from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
from aisles.experiments.benchmark.run import run_benchmark
from aisles.experiments.settings.benchmark import BenchmarkSettings, DataSettings


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
        ({"label": np.array(["A", 1, None] * 60, dtype=object)}, "can't be read"),
    ],
)
def test_features_tables_that_do_not_fit_are_refused(tmp_path, change, message):
    np.savez(tmp_path / "given.npz", **(arrays() | change))
    with pytest.raises(DataError, match=message):
        read_features_table(tmp_path / "given.npz")
