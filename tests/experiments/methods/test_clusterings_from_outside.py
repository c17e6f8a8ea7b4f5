"""A clustering from a plugin file, which groups what the flat model confuses, in a whole benchmark."""

import json

import numpy as np
import pytest

from aisles.demo.run_facts import RunFacts
from aisles.demo.texts import texts_in
from aisles.experiments.benchmark.preparation import find_hierarchy, prepare_data
from aisles.experiments.judge.latex import result_sentence
from aisles.experiments.settings.benchmark import DataSettings, HierarchySettings, SweepSettings
from aisles.hierarchy.clustering import CLUSTERINGS
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.registry import load_plugins

SPECTRAL = """
from sklearn.cluster import SpectralClustering

import aisles


@aisles.register_clustering("confusions", description="what flat confuses", makes="partition")
def confusions(context, n_macros):
    mixed = context.validation_confusion / context.validation_confusion.sum(axis=1, keepdims=True)
    model = SpectralClustering(n_macros, affinity="precomputed", random_state=0)
    return model.fit_predict(mixed + mixed.T)
"""


@pytest.fixture
def spectral(tmp_path, monkeypatch):
    monkeypatch.setattr(CLUSTERINGS, "_known", dict(CLUSTERINGS))
    (tmp_path / "spectral.py").write_text(SPECTRAL, encoding="utf-8")
    load_plugins([tmp_path / "spectral.py"])


def test_a_clustering_that_asks_for_nothing_trains_nothing(drawn_goods):
    prepared = prepare_data(drawn_goods, DataSettings())
    features = np.random.default_rng(0).normal(size=(len(prepared.manifest), 6))

    def refuse():
        raise AssertionError("asked")

    found = find_hierarchy(prepared, features, HierarchySettings(), refuse)
    assert found.hierarchy.n_macros in (3, 4) and found.origin.startswith(
        f"ward, {found.hierarchy.n_macros} macros"
    )


def test_spectral_clustering_groups_exactly_what_flat_confuses(spectral, drawn_goods):
    prepared = prepare_data(drawn_goods, DataSettings())
    features = np.random.default_rng(0).normal(size=(len(prepared.manifest), 6))
    classes, asked = prepared.manifest.classes, []

    def confusion():
        asked.append(1)
        return np.kron(np.eye(2), np.ones((4, 4))) + 0.01

    for macros, expected in (("auto", {2, 3, 4}), (2, {2})):
        found = find_hierarchy(
            prepared, features, HierarchySettings(linkage="confusions", macros=macros), confusion
        )
        assert found.hierarchy.n_macros in expected
    assert found.hierarchy.members == (classes[:4], classes[4:]) and len(asked) == 2  # once each time
    with pytest.raises(ValueError, match="only a benchmark has them"):
        find_hierarchy(prepared, features, HierarchySettings(linkage="confusions"))


def test_settings_know_the_registered_clusterings(spectral):
    assert HierarchySettings(linkage="confusions").linkage == "confusions"
    with pytest.raises(ValueError, match="Unknown clustering 'wart'. Did you mean 'ward'"):
        HierarchySettings(linkage="wart")
    with pytest.raises(
        ValueError, match="'confusions' makes no tree. Choose one of: ward, average, complete"
    ):
        SweepSettings(linkages=("confusions",))


@pytest.mark.keras
def test_a_whole_benchmark_runs_on_macros_of_what_flat_confuses(spectral, tmp_path, drawn_goods, small_run):
    changes = (
        'hierarchy.linkage="confusions"',
        "hierarchy.macros=3",
        "comparison.seeds=1",
        "training.epochs=3",
    )
    result = small_run(drawn_goods, tmp_path / "run", *changes)
    assert result.metrics["hierarchy"]["origin"] == "confusions"
    hierarchy = Hierarchy.read(tmp_path / "run" / "hierarchy.json")
    assert hierarchy.n_macros == 3 and hierarchy.degenerate is None
    assert json.loads((tmp_path / "run" / "tree.json").read_text())["method"] == "ward"
    assert "confusions" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    again = small_run(drawn_goods, tmp_path / "run", *changes, resume=True)
    assert again.metrics == result.metrics


@pytest.mark.keras
def test_a_benchmark_of_single_class_macros_gives_a_reason_in_place_of_a_verdict(
    tmp_path, drawn_goods, small_run
):
    alone = Hierarchy.from_labels(*[["apple", "cherry", "grape", "lime", "moss", "pear", "sea", "sky"]] * 2)
    alone.write(tmp_path / "alone.json")
    file = json.dumps(str(tmp_path / "alone.json"))
    result = small_run(
        drawn_goods, tmp_path / "run", f"hierarchy.file={file}", "comparison.seeds=1", "training.epochs=2",
        "sweep.macros=[3,8]", sweep=True,
    )  # fmt: skip
    sweep = result.metrics["sweep"]["cuts"]
    assert {cut["macros"]: cut["comparison"]["verdict"] == "not judged" for cut in sweep} == {
        3: False,
        8: True,
    }
    assert "No verdict on routing: each of the 8 macros holds a single class" in result.metrics["verdict"]
    against = (*result.metrics["comparisons"], *result.metrics["best_flat"]["comparisons"])
    routed = [
        one for one in against if result.metrics["methods"][one["b"]]["role"] in ("two-stage", "hierarchy")
    ]
    assert routed and {one["verdict"] for one in routed} == {"not judged"}
    assert result_sentence(result.metrics).startswith("No verdict on routing")
    assert RunFacts(tmp_path / "run", result.metrics, []).verdict(texts_in("en")).startswith("No verdict on")
    assert {one["verdict"] for one in against if one not in routed}.isdisjoint({"not judged"})
    assert "No verdict on routing" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
