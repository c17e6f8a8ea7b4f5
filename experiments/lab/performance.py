"""Performance: ratios of times measured side by side in one run, which mean the same on every machine.

`python -m experiments.lab.performance` runs every benchmark, `--only NAME` some of them, `--json` prints JSON.
A benchmark alternates between the things that it compares, so that a busy machine slows all of them alike. On a very
busy one `--clock cpu` compares processor time in place of elapsed time. `--photos FOLDER` takes photographs in place of
drawn images where a benchmark can: extraction, bfloat16, engines and growth.
"""

import argparse
import inspect
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """One measured ratio.

    Attributes
    ----------
    name : str
    value : float
        Median over rounds.
    lowest, highest : float
        Over rounds.
    limit : float or None
        What it may be at most; None where it is only reported.
    at_least : bool
        Whether `limit` is a lowest value instead.
    """

    name: str
    value: float
    lowest: float
    highest: float
    limit: float | None = None
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Benchmark:
    """What is measured, and the function that measures it.

    Attributes
    ----------
    name : str
    measures : str
    place : str
        `module:function` inside experiments.lab, imported when it runs; the function gives a list of `Ratio`.
    """

    name: str
    measures: str
    place: str

    def run(self, **options: Any) -> list[Ratio]:
        """Measure, with those of the options that the function takes: `clock`, `photos`.

        `clock` gives elapsed time or this process's processor time. What works in other processes takes none.
        """
        module, _, name = self.place.partition(":")
        function = getattr(import_module(f"{__package__}.{module}"), name)
        known = inspect.signature(function).parameters
        return function(**{key: value for key, value in options.items() if key in known})


BENCHMARKS = (
    Benchmark(
        "index",
        "indexing a catalogue of ABO's full size over a bare loop of gzip and json.loads, and its memory",
        "data_speed:index_ratios",
    ),
    Benchmark("tar", "rate of random reads through a tar's index over loose files", "data_speed:tar_ratios"),
    Benchmark(
        "curation",
        "growth of curation's time with the catalogue, features apart",
        "data_speed:curation_ratios",
    ),
    Benchmark(
        "routing",
        "time an image of each routing rule over flat's, Inception-v3 at 299 pixels, batches of 1 and of 64",
        "prediction_speed:routing_ratios",
    ),
    Benchmark(
        "predict-files",
        "rate of predicting 2,000 JPEG files over the rate of the bare network fed from memory",
        "prediction_speed:file_ratios",
    ),
    Benchmark(
        "engines",
        "rate of predicting JPEG files in onnxruntime and in TensorFlow over a plain onnxruntime script, and how far "
        "probabilities are apart",
        "engine_speed:engine_ratios",
    ),
    Benchmark(
        "growth",
        "processor time an image and peak memory of predicting 10,000 images over 1,000, with either engine",
        "growth:growth_ratios",
    ),
    Benchmark(
        "frozen",
        "seven models trained by `fit` through the frozen network (a few steps, scaled) over the same heads trained "
        "on features, extraction included",
        "training_speed:frozen_ratios",
    ),
    Benchmark(
        "heads",
        "time of `fit` with its defaults over head training on the same arrays, and the accuracy of both",
        "training_speed:head_ratios",
    ),
    Benchmark(
        "update",
        "processor time of teaching a bundle one new class over training anew, with features cached for both",
        "update_speed:update_ratios",
    ),
    Benchmark(
        "extraction",
        "rate of extracting features from JPEG files over the rate of the bare network fed from memory",
        "extraction_speed:extraction_ratios",
    ),
    Benchmark(
        "bfloat16",
        "rate of extraction in bfloat16 over float32, and the cosine between the features",
        "extraction_speed:bfloat16_ratios",
    ),
    Benchmark(
        "memory",
        "peak memory of training six models in turn, each in a subprocess of its own, over training one",
        "training_memory:memory_ratios",
    ),
)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def time_of(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds that `work` takes."""
    start = clock()
    work()
    return clock() - start


def ratios_of(
    tasks: dict[str, Callable[[], object]],
    base: str,
    rounds: int,
    *,
    warm_up: bool = True,
    clock=time.perf_counter,
) -> dict[str, np.ndarray]:
    """Time tasks in turns and give each one's time over the base's, one value a round."""
    if warm_up:
        for work in tasks.values():
            work()
    times = {name: [] for name in tasks}
    for number in range(rounds):
        names = list(tasks) if number % 2 == 0 else list(tasks)[::-1]
        for name in names:
            times[name].append(time_of(tasks[name], clock))
    return {name: np.array(times[name]) / np.array(times[base]) for name in tasks}


def as_ratio(name: str, values: np.ndarray, limit: float | None = None, *, at_least: bool = False) -> Ratio:
    """Summarize the values of several rounds."""
    return Ratio(name, float(np.median(values)), float(values.min()), float(values.max()), limit, at_least)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks; give 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(prog="python -m experiments.lab.performance", description=__doc__)
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="wall (elapsed time) or cpu")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photographs in place of drawn images")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    found = {
        b.name: b.run(clock=CLOCKS[options.clock], photos=options.photos)
        for b in BENCHMARKS
        if not options.only or b.name in options.only
    }
    if options.json:
        rows = {
            name: [asdict(ratio) | {"kept": ratio.kept} for ratio in ratios] for name, ratios in found.items()
        }
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    else:
        for ratios in found.values():
            sys.stdout.writelines(f"{_line(ratio)}\n" for ratio in ratios)
    return int(not all(ratio.kept for ratios in found.values() for ratio in ratios))


def _line(ratio: Ratio) -> str:
    limit = "" if ratio.limit is None else f"  {'at least' if ratio.at_least else 'at most'} {ratio.limit:g}"
    mark = "" if ratio.kept else "  NOT KEPT"
    return f"{ratio.name:<44} {ratio.value:7.3f}  ({ratio.lowest:.3f} to {ratio.highest:.3f}){limit}{mark}"


if __name__ == "__main__":
    sys.exit(main())
