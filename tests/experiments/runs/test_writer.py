"""What a run folder tells: one run, whole, of the backbone that was used; and what is refused before it begins."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.io.errors import DataError
from aisles.experiments.benchmark.run import run_benchmark
from aisles.experiments.label_audit.audited_run import audit_run
from aisles.experiments.runs.schema import RESULTS
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.settings.training import TrainSettings
from aisles.experiments.training.runs import train_classifier
from aisles.models.backbones.registry import in_precision

pytestmark = pytest.mark.keras
SHORT = ("comparison.seeds=1", "training.epochs=3")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, drawn_goods, small_run):
    folder = tmp_path_factory.mktemp("finished") / "run"
    small_run(drawn_goods, folder, *SHORT)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of the finished run, to be spoiled."""
    return shutil.copytree(finished, tmp_path / "run")


def test_a_replacement_that_fails_leaves_nothing_of_the_run_before(run, drawn_goods, small_run, monkeypatch):
    def failing(*_):
        raise ValueError("training failed")

    monkeypatch.setattr("aisles.experiments.methods.head_jobs._write_head", failing)
    with pytest.raises(ValueError, match="training failed"):
        small_run(drawn_goods, run, "comparison.seeds=1", "training.epochs=4", replace=True)
    assert tomllib.loads((run / "settings.toml").read_text())["training"]["epochs"] == 4
    assert not [name for name in RESULTS if (run / name).exists()]


def test_costs_are_those_of_the_run_that_replaced_another(run, drawn_goods, small_run):
    small_run(drawn_goods, run, "comparison.seeds=1", "training.epochs=4", replace=True)
    told = json.loads((run / "costs.json").read_text())["stages"]
    measured = {name: json.loads((run / "models" / name / "budget.json").read_text()) for name in told}
    assert told == {name: budget["seconds"] for name, budget in measured.items()}


def test_a_rerun_of_the_same_settings_keeps_its_results_until_the_end(
    run, drawn_goods, small_run, monkeypatch
):
    before = (run / "metrics.json").read_bytes()
    monkeypatch.setattr("aisles.experiments.benchmark.run.evaluate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small_run(drawn_goods, run, *SHORT)
    assert (run / "metrics.json").read_bytes() == before


def test_other_images_under_the_same_names_are_other_test_images(finished, drawn_goods, small_run, tmp_path):
    goods = shutil.copytree(drawn_goods, tmp_path / "goods")
    told = {"kept": json.loads((finished / "metrics.json").read_text())["data"]}
    manifest = pd.read_csv(finished / "manifest.csv")
    for split in ("train", "test"):
        name = Path(manifest.loc[manifest["split"] == split, "file_name"].iloc[0]).name
        Image.new("RGB", (8, 8), "white").save(goods / name)
        told[split] = small_run(goods, tmp_path / split, *SHORT).metrics["data"]
    assert told["train"]["test_images"] == told["kept"]["test_images"]
    assert told["test"]["test_images"] != told["kept"]["test_images"]
    assert len({facts["fingerprint"] for facts in told.values()}) == 3


def test_settings_that_cant_be_read_are_another_run(run, drawn_goods, small_run):
    (run / "settings.toml").write_text('{"training": {"epoc')
    with pytest.raises(ValueError, match="settings.toml, which can't be read.*--replace"):
        small_run(drawn_goods, run, *SHORT)


def test_tables_of_what_was_left_out_are_written_whole(run, drawn_goods, small_run, monkeypatch):
    (run / "unreadable.csv").write_text("old")

    real = pd.DataFrame.to_csv

    def cut(self, path=None, **options):
        if path is None:
            return real(self, **options)
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", cut)
    with pytest.raises(OSError, match="disk full"):
        small_run(drawn_goods, run, *SHORT)
    assert (run / "unreadable.csv").read_text() == "old"


def test_a_head_that_was_cut_short_is_trained_again(run, finished, drawn_goods, small_run):
    for name in ("fitted.npz", "head.keras"):
        for file in (run / "models").rglob(name):
            file.write_bytes(file.read_bytes()[:-100])
    small_run(drawn_goods, run, *SHORT)
    assert (run / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()


def test_a_backbone_of_ones_own_is_used_as_it_is_and_no_other_is_named(tmp_path, drawn_goods, small_run):
    own = in_precision(small_run.backbone, "bfloat16")
    before = own.model.get_weights()
    result = run_benchmark(
        drawn_goods, tmp_path / "run", read_settings(None, SHORT), cache=tmp_path / "cache", backbone=own
    )
    assert result.metrics["backbone"] == own.key and "bfloat16" in own.key
    assert all(np.array_equal(a, b) for a, b in zip(before, own.model.get_weights(), strict=True))
    assert "backbone" not in tomllib.loads((tmp_path / "run" / "settings.toml").read_text())
    assert "efficientnet" not in (tmp_path / "run" / "report.md").read_text()
    with pytest.raises(DataError, match="backbone of its own.*audit_run"):
        audit_run(tmp_path / "run")


def test_another_backbone_of_ones_own_is_another_run(run, drawn_goods, small_run):
    other = in_precision(small_run.backbone, "bfloat16")
    with pytest.raises(ValueError, match="differs in.*backbone: tiny"):
        small_run(drawn_goods, run, *SHORT, backbone=other)


def test_bundles_hold_the_tree_of_classes(finished):
    trees = [finished / "tree.json", *finished.glob("bundles/*/tree.json")]
    assert (
        len(trees) == 1 + len(list(finished.glob("bundles/*"))) >= 3
        and len({path.read_text() for path in trees}) == 1
    )


@pytest.fixture
def one_macro(tmp_path, drawn_goods):
    classes = sorted({path.name.partition("-")[0] for path in drawn_goods.glob("*.png")})
    (tmp_path / "one.json").write_text(json.dumps({"macros": {"ALL": classes}}))
    return f"hierarchy.file={tmp_path / 'one.json'}"


def test_a_hierarchy_of_one_macro_is_refused_before_anything_takes_long(
    tmp_path, drawn_goods, small_run, one_macro
):
    told = r"at least 2 macros.*Received: 1, 'ALL', with all 8 classes. Divide it"
    with pytest.raises(DataError, match=told):
        small_run(drawn_goods, tmp_path / "run", one_macro)
    settings = read_settings(None, [one_macro], kind=TrainSettings)
    with pytest.raises(DataError, match=told):
        train_classifier(drawn_goods, tmp_path / "run", settings, backbone=small_run.backbone)
    assert not (tmp_path / "run").exists()


def test_a_grouping_that_is_not_there_is_refused_before_anything_takes_long(tmp_path, drawn_goods, small_run):
    with pytest.raises(DataError, match="no column 'nonsense'"):
        small_run(drawn_goods, tmp_path / "run", "hierarchy.independent=nonsense")


def test_sub_models_without_validation_images_are_named_in_metrics_and_report(
    tmp_path, drawn_goods, small_run
):
    table = pd.read_csv(drawn_goods / "metadata.csv")
    number = table["product"].str.rpartition("-")[2].astype(int)
    fruit = table["aisle"] == "fruit"
    table["split"] = np.select(
        [number < 5, (number < 6) & ~fruit, number >= 6], ["train", "val", "test"], "train"
    )
    table["file_name"] = [str(drawn_goods / name) for name in table["file_name"]]
    table.to_csv(tmp_path / "metadata.csv", index=False)
    result = small_run(tmp_path / "metadata.csv", tmp_path / "run", *SHORT, "hierarchy.column=aisle")
    assert result.metrics["hierarchy"]["without_validation"] == ["fruit"]
    report = (tmp_path / "run" / "report.md").read_text()
    assert "Sub-models without validation images" in report and "overfitted: fruit." in report
