"""Time and memory of a benchmark with closed-form heads at many classes and images.

    python -m experiments.lab.scale --sizes 100x10000 316x31600 1000x100000 --output experiments/lab/results/scale.json

Draws a features table with a planted hierarchy (normal classes around the centers of their macros, these around one
another), runs `aisles benchmark` on it in a process of its own with heads in closed form (the mission's trained heads,
which no benchmark does without, for two epochs), and measures wall time, processor time and the largest
resident memory. Growth is the exponent b of time = a images^b between neighboring sizes. A size that is in the output
file is not measured again.

`--heads` measures the closed-form methods alone, fitted in memory as a curve fits them: no trained heads, no metrics,
no report. Processor time tells more than wall time where a machine is shared.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole

METHODS = ("flat-lda", "flat-knn", "soft:lda", "implied:lda")
CHANGES = (
    'comparison.methods=["flat-lda","soft:lda","implied:lda"]',
    "comparison.seeds=1", "hierarchy.column=macro", "hierarchy.bootstraps=5",
    "training.epochs=2", "training.batch_size=512", "training.refit=false",
)  # fmt: skip


def planted_table(
    path: Path, n_classes: int, n_images: int, *, dimension: int = 128, per_macro: int = 0, seed: int = 0
) -> Path:
    """Write a features table: classes normal around their macro's center.

    Parameters
    ----------
    path : Path
        An .npz file.
    n_classes, n_images : int
        n_images is rounded down to a multiple of n_classes.
    dimension, per_macro, seed : int
        Of the features; classes of a macro, by default as many as there are macros.
    """
    rng, each = np.random.default_rng(seed), n_images // n_classes
    n_macros = max(n_classes // per_macro if per_macro else round(n_classes**0.5), 2)
    macro = np.arange(n_classes) % n_macros
    centers = 1.5 * rng.normal(size=(n_macros, dimension))[macro] + 0.6 * rng.normal(
        size=(n_classes, dimension)
    )
    label = np.repeat(np.arange(n_classes), each)
    features = (centers[label] + 1.5 * rng.normal(size=(len(label), dimension))).astype(np.float32)
    share = np.tile((np.arange(each) + 0.5) / each, n_classes)
    np.savez(
        path,
        features=features,
        label=np.array([f"class {c:05d}" for c in range(n_classes)])[label],
        macro=np.array([f"macro {m:04d}" for m in range(n_macros)])[macro[label]],
        split=np.where(share < 0.8, "train", np.where(share < 0.9, "val", "test")),
    )
    return path


@dataclass
class Memory:
    """Watches a process and all that it started.

    Attributes
    ----------
    peak : int
        Most bytes that they held at once and that can't be read again from a file: what a machine must have.
    """

    peak: int = 0

    def watch(self, process: subprocess.Popen) -> None:
        """Look twice a second until it ends."""
        while process.poll() is None:
            self.peak = max(self.peak, sum(held_bytes(pid) for pid in family(process.pid)))
            time.sleep(0.5)


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it; Linux."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it ended
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def held_bytes(pid: int) -> int:
    """Return a process's resident memory that is no file's; 0 if it ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssShmem")))


def measured(n_classes: int, n_images: int, work: Path, changes: tuple[str, ...] = CHANGES) -> dict[str, Any]:
    """Run the benchmark at one size in a process of its own.

    Returns
    -------
    dict
        `classes`, `images`, `wall_seconds`, `processor_seconds`, `gigabytes` (what all processes together held at
        once), `gigabytes_resident` (of the largest process, pages of files that the system may drop among them),
        `gigabytes_on_disk` (the run folder), `report_megabytes`, `load` (mean number of processes that wanted a
        processor in the last minutes), `accuracy` by method.
    """
    work.mkdir(parents=True, exist_ok=True)
    table = planted_table(work / f"{n_classes}x{n_images}.npz", n_classes, n_images)
    run = work / f"run-{n_classes}x{n_images}"
    code = "import sys; from aisles.cli.main import main; main()"
    command = [sys.executable, "-c", code, "benchmark", str(table), "--output", str(run)]
    command += [part for change in changes for part in ("--set", change)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    memory = Memory()
    memory.watch(process)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {
        "classes": n_classes,
        "images": n_images,
        "wall_seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "gigabytes": round(memory.peak / 1e9, 2),
        "gigabytes_resident": round(after.ru_maxrss / 1e6, 2),
        "gigabytes_on_disk": round(sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) / 1e9, 2),
        "load": round(os.getloadavg()[2], 1),
        "report_megabytes": round((run / "report.html").stat().st_size / 1e6, 2),
        "accuracy": {name: round(m["accuracy"][0], 4) for name, m in metrics["methods"].items()},
    }


def measured_heads(n_classes: int, n_images: int, work: Path) -> dict[str, Any]:
    """Fit the closed-form methods at one size in a process of its own.

    Returns
    -------
    dict
        `classes`, `images`, `wall_seconds`, `processor_seconds`, `gigabytes`, `accuracy` and `seconds` (processor time)
        by method.
    """
    work.mkdir(parents=True, exist_ok=True)
    table = planted_table(work / f"{n_classes}x{n_images}-64.npz", n_classes, n_images, dimension=64)
    code = "import sys; from experiments.lab.scale import fit_heads; fit_heads(*sys.argv[1:])"
    found = work / f"heads-{n_classes}x{n_images}.json"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(table), str(found)], check=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})  # fmt: skip
    facts = json.loads(found.read_text(encoding="utf-8"))
    seconds = round(time.perf_counter() - start, 1)
    return {"classes": n_classes, "images": n_images, "wall_seconds": seconds, **facts}


def fit_heads(table: str, output: str) -> None:
    """Fit every method of `METHODS` on a features table and write what it took."""
    from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
    from aisles.experiments.curves.points import measure
    from aisles.experiments.curves.run import world_of
    from aisles.experiments.settings.benchmark import BenchmarkSettings

    settings = BenchmarkSettings.model_validate({"hierarchy": {"column": "macro"}})
    prepared = prepare_data(table, settings.data, "macro")
    _, features = prepare_features(prepared, settings.backbone, None, None)
    world = world_of(prepared, features, settings)
    seconds, accuracy = {}, {}
    for name in METHODS:
        start = time.process_time()
        draw = measure(world, [name], Path(output).parent)
        seconds[name] = round(time.process_time() - start, 1)
        accuracy[name] = round(float(draw.answers[name].correct.mean()), 4)
    facts = {
        "processor_seconds": round(time.process_time(), 1),
        "gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "seconds": seconds,
        "accuracy": accuracy,
    }
    write_whole(Path(output), json.dumps(facts))


def growth(sizes: list[dict[str, Any]], key: str) -> list[float]:
    """Return the exponents b of key = a images^b between neighboring sizes."""
    pairs = zip(sizes, sizes[1:], strict=False)
    return [round(float(np.log(b[key] / a[key]) / np.log(b["images"] / a["images"])), 2) for a, b in pairs]


def main(arguments: list[str] | None = None) -> None:
    """Measure the sizes that are missing and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["100x10000", "316x31600", "1000x100000"])
    parser.add_argument("--work", type=Path, default=Path("scale-runs"))
    parser.add_argument("--output", type=Path, default=Path("experiments/lab/results/scale.json"))
    parser.add_argument("--heads", action="store_true", help="The closed-form methods alone.")
    given = parser.parse_args(arguments)
    measure_one = measured_heads if given.heads else measured
    known = json.loads(given.output.read_text(encoding="utf-8"))["sizes"] if given.output.is_file() else []
    found = {(row["classes"], row["images"]): row for row in known}
    for text in given.sizes:
        n_classes, n_images = (int(part) for part in text.split("x"))
        if (n_classes, n_images) not in found:
            found[n_classes, n_images] = measure_one(n_classes, n_images, given.work)
        sizes = [found[key] for key in sorted(found, key=lambda key: key[1])]
        facts = {
            "command": f"python -m experiments.lab.scale --sizes {' '.join(given.sizes)}"
            + (" --heads" if given.heads else ""),
            "date": date.today().isoformat(),
            "processors": os.cpu_count(),
            "load": [round(x, 1) for x in os.getloadavg()],
            "settings": list(METHODS if given.heads else CHANGES),
            "sizes": sizes,
            "growth": {key: growth(sizes, key) for key in ("processor_seconds", "gigabytes")},
        }
        write_whole(given.output, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
