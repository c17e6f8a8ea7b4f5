"""One schema for metrics.json: what a benchmark and a comparison write is read back, and every fault is named."""

import json
import shutil

import numpy as np
import pytest

from aisles.data_prep.io.errors import DataError
from aisles.experiments.judge.judgement import compare
from aisles.experiments.runs.reader import read_metrics, read_run
from aisles.experiments.runs.schema import FILES, RESULTS, SCHEMA, check_metrics
from aisles.experiments.runs.writer import write_metrics


@pytest.fixture
def metrics(full_run):
    return json.loads((full_run / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture
def compared(tmp_path):
    truth, first = np.array(["a", "b"] * 20), np.array(["a", "b"] * 20)
    second = np.where(np.arange(40) % 5 == 0, "a", truth)
    return compare({"one": first, "two": second}, truth=truth, output=tmp_path / "compared")


@pytest.mark.keras
def test_a_benchmark_is_read_as_it_was_written(metrics, tmp_path):
    written = write_metrics(tmp_path, metrics)
    assert written == metrics == read_metrics(tmp_path) and metrics["schema"] == SCHEMA


@pytest.mark.keras
def test_a_run_folder_holds_what_the_schema_lists_and_nothing_else(full_run):
    assert {path.name for path in full_run.iterdir()} <= set(FILES) | set(RESULTS)
    run = read_run(full_run)
    assert run.environment is not None and run.environment["packages"]["numpy"]
    assert run.costs is not None and set(run.costs["methods"]) == set(run.metrics["methods"])


def test_a_comparison_of_predictions_has_a_schema_of_its_own(compared, tmp_path):
    metrics = read_metrics(tmp_path / "compared")
    assert metrics["kind"] == "compare" and metrics == json.loads(json.dumps(compared.metrics))
    with pytest.raises(DataError, match="holds a comparison of predictions"):
        read_run(tmp_path / "compared")


@pytest.mark.keras
@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("verdict", None, "verdict is missing"),
        ("methods.soft.accuracy_mean", None, "methods.soft.accuracy_mean is missing"),
        ("comparisons.0.interval", None, "comparisons.0.interval is missing"),
        ("methods.flat.macro_f1", None, "methods.flat.macro_f1 is missing"),
        ("n_test", "many", "n_test should be a valid integer. Received: 'many'"),
        ("methods.flat.accuracy_sd", "0.1", "methods.flat.accuracy_sd should be a valid number. Received: '0.1'"),
        ("methods.soft.role", "rule", "methods.soft.role should be 'flat'"),
        ("methods.soft.top5_accuracy", [0.5], r"top5_accuracy should be 2 numbers, one per seed, or null"),
        ("methods.soft.acuracy", [0.5, 0.5], "methods.soft.acuracy is unknown"),
        ("data.pictures", 3, "data.pictures is unknown"),
        ("kind", "study", "kind must be benchmark or compare. Received: 'study'"),
    ],
)  # fmt: skip
def test_a_missing_unknown_or_mistyped_key_is_named(metrics, path, value, named):
    *parents, last = path.split(".")
    part = metrics
    for parent in parents:
        part = part[int(parent) if parent.isdigit() else parent]
    if value is None:
        del part[last]
    else:
        part[last] = value
    with pytest.raises(ValueError, match=named):
        check_metrics(metrics)


@pytest.mark.keras
@pytest.mark.parametrize("schema", [SCHEMA + 1, str(SCHEMA), True, None])
def test_a_run_of_another_schema_is_refused(full_run, metrics, tmp_path, schema):
    folder = shutil.copytree(full_run, tmp_path / "run", ignore=shutil.ignore_patterns("models", "bundles"))
    (folder / "metrics.json").write_text(json.dumps(metrics | {"schema": schema}), encoding="utf-8")
    with pytest.raises(DataError, match=f"schema {schema!r}; this aisles reads schema {SCHEMA}"):
        read_run(folder)
    (folder / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="names no schema"):
        read_metrics(folder)


@pytest.mark.keras
def test_metrics_that_do_not_fit_are_not_written(metrics, tmp_path):
    del metrics["router"]
    with pytest.raises(ValueError, match="router is missing"):
        write_metrics(tmp_path, metrics)
    assert not (tmp_path / "metrics.json").exists()
