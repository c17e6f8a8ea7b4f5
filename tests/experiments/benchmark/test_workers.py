"""Training heads on a cluster that is there already."""

import sys

import pytest

from aisles.experiments.benchmark.workers import engine


def test_without_a_scheduler_nothing_changes():
    with engine(None) as places:
        assert places is None


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setattr("aisles.experiments.benchmark.workers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"\.\[dask\]"), engine("tcp://127.0.0.1:1"):
        pass


@pytest.mark.keras
@pytest.mark.slow
def test_a_cluster_trains_the_same_heads(tmp_path, drawn_goods, small_run):
    distributed = pytest.importorskip("distributed")
    short = ("comparison.seeds=1", "training.epochs=3")
    here = small_run(drawn_goods, tmp_path / "here", *short)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = small_run(drawn_goods, tmp_path / "there", *short, scheduler=cluster.scheduler_address)
    assert there.metrics == here.metrics


@pytest.mark.slow
def test_nobody_at_the_address_is_said(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("aisles.experiments.benchmark.workers.SECONDS", 1)
    with (
        pytest.raises(ValueError, match="No Dask scheduler answers at tcp://127.0.0.1:9"),
        engine("tcp://127.0.0.1:9"),
    ):
        pass
