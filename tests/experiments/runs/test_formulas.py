"""Classes, products and files whose names are formulas: no CSV of a run holds one, and the run is read as it was."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest

import aisles
from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.io.escaping import formula_safe
from aisles.experiments.label_audit.audited_run import audit_run
from aisles.experiments.report.writing import write_report
from aisles.experiments.runs.reader import read_run

pytestmark = pytest.mark.keras
COMMAND = "=cmd|' /C calc'!A0"


@pytest.fixture(scope="module")
def goods(tmp_path_factory, drawn_goods):
    folder = shutil.copytree(drawn_goods, tmp_path_factory.mktemp("formulas") / "goods")
    table = pd.read_csv(folder / "metadata.csv")
    first, second = sorted(set(table["label"]))[:2]
    table["label"] = table["label"].replace({first: COMMAND, second: "@home"})
    table["product"] = "-" + table["product"]
    named = [f"+{name}" for name in table["file_name"]]
    for old, new in zip(table["file_name"], named, strict=True):
        (folder / old).rename(folder / new)
    table.assign(file_name=named).to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(goods, small_run):
    folder = goods.parent / "run"
    small_run(goods, folder, "comparison.seeds=1", "training.epochs=3")
    rng = np.random.default_rng(0)
    manifest = read_manifest(folder / "manifest.csv")
    audit_run(folder, rng.normal(size=(len(manifest.labels), 5)).astype(np.float32))
    write_report(folder)
    return folder


def test_no_table_of_a_run_holds_a_formula(run):
    tables = sorted(run.rglob("*.csv"))
    assert {"predictions.csv", "manifest.csv", "suspects.csv"} <= {path.name for path in tables}
    for path in tables:
        with open(path, encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert [cell for cell in cells if formula_safe(cell) != cell and not cell.startswith("'")] == [], path


def test_the_run_is_read_with_the_names_as_they_are(run, goods):
    before, after = read_manifest(goods), read_manifest(run / "manifest.csv")
    assert {COMMAND, "@home"} < set(after.classes) == set(before.classes)
    assert set(after.products) == set(before.products)
    told = read_run(run)
    assert set(told.hierarchy.classes) == set(before.classes)
    assert all(path is not None and path.is_file() for path in told.paths)


def test_predictions_are_compared_with_the_names_as_they_are(run):
    table = pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)
    assert {f"'{COMMAND}", "'@home"} < set(table["label"])
    one = table[table["method"] == "flat"][["file_name", "label", "answer"]]
    one.to_csv(run.parent / "one.csv", index=False)
    names = [name.removeprefix("./") for name in one["file_name"]]
    other = one.assign(file_name=names, label=[label.lstrip("'") for label in one["label"]])
    other = other.assign(answer=[label.lstrip("'") for label in one["answer"]])
    judged = aisles.compare({"marked": run.parent / "one.csv", "raw": other})
    accuracy = {name: each["accuracy"] for name, each in judged.metrics["methods"].items()}
    assert accuracy["marked"] == accuracy["raw"]
