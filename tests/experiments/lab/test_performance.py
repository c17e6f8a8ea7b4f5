"""The benchmarks of training run and give metrics; whether times keep their limits is for a quiet machine to say."""

import json
import math
from importlib import import_module

import numpy as np
import pytest

from experiments.lab import extraction_speed, performance, training_memory, training_speed
from experiments.lab.performance import BENCHMARKS, Benchmark, Ratio

pytestmark = pytest.mark.keras
SMALL = (32, 32)


def checked(ratios: list[Ratio], n: int) -> list[Ratio]:
    """Check that there are `n` ratios, all of them numbers inside their spread."""
    assert len(ratios) == n
    for ratio in ratios:
        assert all(
            math.isfinite(value) and value >= 0 for value in (ratio.value, ratio.lowest, ratio.highest)
        )
        assert ratio.lowest <= ratio.value + 1e-9
        assert ratio.value <= ratio.highest + 1e-9
    return ratios


def test_the_frozen_phase_is_measured():
    ratios = training_speed.frozen_ratios(
        n_images=48, epochs=2, steps=2, rounds=1, batch_size=8, input_size=SMALL
    )
    (ratio,) = checked(ratios, 1)
    assert (ratio.limit, ratio.at_least) == (20, True)
    assert ratio.value > 0


def test_head_training_is_measured_with_the_accuracy_of_both_sides():
    ratios = training_speed.head_ratios((64,), n_images=400, n_labels=4, epochs=4, seeds=2)
    times, by_fit, by_us, _ = checked(ratios, 4)
    assert (times.limit, times.at_least) == (4, True)
    assert min(by_fit.value, by_us.value) > 0.5  # both sides learn: chance is a quarter


def test_the_gap_between_accuracies_is_worked_out_by_hand():
    seconds = [[4.0, 8.0], [1.0, 1.0]]
    accuracies = [[0.5, 0.7], [0.6, 0.8]]  # both with a standard deviation of sqrt(0.02)
    times, _, _, gap = training_speed._head_metrics(64, np.array(seconds), np.array(accuracies))
    assert (times.value, times.lowest, times.highest) == (6.0, 4.0, 8.0)
    assert gap.value == pytest.approx(0.1 / math.sqrt(0.02))
    assert gap.kept


def test_extraction_is_measured_on_drawn_images_and_on_photographs(image_folder):
    for photos in (None, image_folder):
        checked(
            extraction_speed.extraction_ratios(
                ("efficientnet_lite0",), n_files=12, rounds=1, input_size=SMALL, photos=photos
            ),
            1,
        )
    with pytest.raises(ValueError, match="At least 1000 photographs are needed.*holds 72"):
        extraction_speed.extraction_ratios(n_files=1000, input_size=(75, 75), photos=image_folder)


def test_bfloat16_is_measured_where_the_processor_has_it_and_said_to_be_missing_elsewhere(
    monkeypatch, caplog
):
    monkeypatch.setattr(extraction_speed, "offers_bfloat16", lambda: True)
    pairs = (("efficientnet_lite0", "none"),)
    speed, cosine = checked(extraction_speed.bfloat16_ratios(pairs, 4, 1, SMALL), 2)
    assert speed.limit is None  # depthwise convolutions gain nothing
    assert cosine.value > 0.99
    monkeypatch.setattr(extraction_speed, "offers_bfloat16", lambda: False)
    with caplog.at_level("INFO", logger="aisles"):
        assert extraction_speed.bfloat16_ratios() == []
    assert "neither AVX512-BF16 nor AMX" in caplog.text


def test_memory_is_compared_in_both_ways(monkeypatch):
    peaks = {(1, True): 4.0, (6, True): 4.2, (1, False): 4.0, (6, False): 8.0}
    monkeypatch.setattr(training_memory, "_peak", lambda task: peaks[task.n_models, task.own_process])
    own, same = training_memory.memory_ratios(rounds=1)
    assert (own.value, own.kept) == (pytest.approx(1.05), True)
    assert (same.value, same.limit) == (2, None)


@pytest.mark.slow
def test_memory_is_measured():
    ratios = training_memory.memory_ratios(
        n_models=1, side=32, n_images=4, tuned_epochs=0, rounds=1, same_process=False
    )
    (ratio,) = checked(ratios, 1)
    assert ratio.value == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_every_benchmark_names_a_function(benchmark):
    module, _, name = benchmark.place.partition(":")
    assert callable(getattr(import_module(f"experiments.lab.{module}"), name))


def test_the_command_hands_options_over_and_fails_when_a_limit_is_not_kept(monkeypatch, capsys, tmp_path):
    heard = {}

    def measure(photos=None, clock=None):
        heard.update(photos=photos, clock=clock)
        return [Ratio("good", 5.0, 4.0, 6.0, 4, at_least=True), Ratio("bad", 1.2, 1.0, 1.3, 1.1)]

    monkeypatch.setattr(training_speed, "frozen_ratios", measure)
    monkeypatch.setattr(performance, "BENCHMARKS", (Benchmark("one", "x", "training_speed:frozen_ratios"),))
    assert performance.main(["--only", "one", "--json", "--photos", str(tmp_path), "--clock", "cpu"]) == 1
    rows = json.loads(capsys.readouterr().out)["one"]
    assert [row["kept"] for row in rows] == [True, False]
    assert heard == {"photos": tmp_path, "clock": performance.CLOCKS["cpu"]}
    assert performance.main(["--only", "one"]) == 1
    assert "NOT KEPT" in capsys.readouterr().out


@pytest.mark.slow
def test_engines_are_measured_beside_a_plain_script_and_agree(image_folder, tmp_path, monkeypatch):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    from experiments.lab import engine_speed

    monkeypatch.setenv("AISLES_CACHE", str(tmp_path))
    ratios = checked(engine_speed.engine_ratios(n_files=40, rounds=1, input_size=SMALL), 5)
    assert [ratio.limit for ratio in ratios] == [1.0, 0.85, None, 1e-4, 1e-4]
    assert all(ratio.kept for ratio in ratios[2:])


@pytest.mark.slow
def test_growth_is_measured_in_processes_of_their_own():
    from experiments.lab.growth import grown, growth_ratios

    few, many = grown(None, (8, 40), ("tensorflow",), (32, 32))
    assert (few.images, many.images) == (8, 40)
    for one in (few, many):
        assert 0 < one.cpu_ms_per_image < 10_000 and 100 < one.peak_mb < 10_000
    time_, memory = checked(growth_ratios(few=8, many=24, engines=("tensorflow",), input_size=(32, 32)), 2)
    assert (time_.limit, memory.limit) == (1.15, 1.1)


@pytest.mark.slow
def test_an_update_is_measured_beside_training_anew():
    from experiments.lab.update_speed import update_ratios

    changes = ("fine_tuning.frozen_epochs=3", "hierarchy.macros=4", "backbone.input_size=[32,32]")
    ratios = update_ratios(None, 9, 10, 1, changes)
    (ratio,) = checked(ratios, 1)
    assert (ratio.limit, ratio.at_least) == (0.6, False)
    assert 0 < ratio.value < 3
