"""What four worker processes of a Dask cluster do for extraction, heads and points of a curve.

    python -m experiments.lab.cluster_speed PHOTOS --output experiments/lab/results/cluster-speed.json

PHOTOS is a manifest. Each piece of work is done by one process and by a `LocalCluster` of four workers of one thread,
alternately, each in a process of its own: 384 photographs through EfficientNet-Lite0; 48 dense heads of 40 epochs on a
planted features table; 12 points of a curve with heads in closed form. `seconds` are of the work alone, the start of
workers and their first import of TensorFlow included where the work needs it; `processor_seconds` of everything. On a
machine that does other things as well four processes get more of it than one, so the wall's ratio flatters;
`at_most_on_two_cores` is 2 times the ratio of processor times.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole

from .scale import planted_table

WORKERS, REPEATS, PHOTOS = 4, 2, 384


def extraction(photos: Path, folder: Path, scheduler: str | None) -> None:
    """Extract features of photographs."""
    from aisles.data_prep.images.manifest import read_manifest
    from aisles.data_prep.io.workers import engine
    from aisles.experiments.benchmark.extraction import built, extract_by_workers
    from aisles.experiments.settings.benchmark import BackboneSettings
    from aisles.models.features import extract

    settings = BackboneSettings(name="efficientnet_lite0")
    paths = list(read_manifest(photos).paths[:PHOTOS])
    names = [f"{number:064x}" for number in range(len(paths))]
    with engine(scheduler) as places:
        backbone = built(settings)
        if places:
            extract_by_workers(backbone, settings, paths, names, folder, places)
        extract(backbone, paths, images=names, cache=folder, batch_size=settings.batch_size)


def heads(_photos: Path, folder: Path, scheduler: str | None) -> None:
    """Train dense heads: router and sub-models of several seeds."""
    from aisles.data_prep.io.workers import engine
    from aisles.experiments.benchmark.preparation import prepare_data
    from aisles.experiments.methods.head_jobs import Trainer, submodel_job
    from aisles.experiments.settings.benchmark import BenchmarkSettings, TrainingSettings

    table = planted_table(folder / "table.npz", 80, 8000, dimension=64)
    prepared = prepare_data(table, BenchmarkSettings().data, "macro")
    assert prepared.vectors is not None
    with engine(scheduler) as places:
        settings = TrainingSettings(epochs=40)
        trainer = Trainer(folder / "heads", prepared, prepared.vectors, "x", settings, places or 1)
        classes = prepared.manifest.classes
        trainer.train(submodel_job(classes[i : i + 10], s) for s in range(6) for i in range(0, 80, 10))


def curve(_photos: Path, folder: Path, scheduler: str | None) -> None:
    """Measure points of a curve with heads in closed form."""
    from aisles.experiments.curves.run import run_curve
    from aisles.experiments.settings.benchmark import BenchmarkSettings

    settings = BenchmarkSettings.model_validate({"hierarchy": {"column": "macro"}})
    table = planted_table(folder / "table.npz", 60, 6000, dimension=64)
    run_curve(table, folder / "curve", "2,5,10,all", settings, draws=4, jobs=1, scheduler=scheduler)


WORK: dict[str, Callable[[Path, Path, str | None], None]] = {
    "extraction": extraction,
    "heads": heads,
    "curve": curve,
}


def do(name: str, photos: str, workers: str) -> None:
    """Do one piece of work, and print how long it took. Runs in a process of its own."""
    with TemporaryDirectory() as folder, _cluster(int(workers)) as cluster:
        start = time.perf_counter()
        WORK[name](Path(photos), Path(folder), cluster and cluster.scheduler_address)
        seconds = time.perf_counter() - start
    sys.stdout.write(f"\n{seconds}\n")


def _cluster(workers: int) -> Any:
    if workers == 1:
        return nullcontext()
    from distributed import LocalCluster  # pyright: ignore[reportMissingImports]

    return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")


def measured(name: str, photos: Path, workers: int) -> tuple[float, float]:
    """Return the seconds of the work, and the processor time of the whole process and its workers."""
    code = "import sys; from experiments.lab.cluster_speed import do; do(*sys.argv[1:])"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(
        [sys.executable, "-c", code, name, str(photos), str(workers)], check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"},
    ).stdout  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(said.strip().splitlines()[-1]), used


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--output", type=Path, default=Path("experiments/lab/results/cluster-speed.json"))
    given = parser.parse_args(arguments)
    facts: dict[str, Any] = {
        "command": "python -m experiments.lab.cluster_speed PHOTOS",
        "date": date.today().isoformat(),
        "processors": os.cpu_count(),
        "workers": WORKERS,
    }
    for name in WORK:
        found = {n: [] for n in (1, WORKERS)}
        for _ in range(REPEATS):
            for n, times in found.items():
                times.append(measured(name, given.photos, n))
        seconds, used = (
            {str(n): round(float(np.median([t[i] for t in times])), 1) for n, times in found.items()}
            for i in (0, 1)
        )
        facts[name] = {
            "seconds": seconds,
            "processor_seconds": used,
            "wall_ratio": round(seconds["1"] / seconds[str(WORKERS)], 2),
            "at_most_on_two_cores": round(2 * used["1"] / used[str(WORKERS)], 2),
            "load": round(os.getloadavg()[1], 1),
        }
        write_whole(given.output, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
