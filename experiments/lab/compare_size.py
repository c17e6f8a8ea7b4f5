"""How long `aisles compare` takes on large tables, and how much memory.

    python -m experiments.lab.compare_size --folder FOLDER --result experiments/lab/results/compare-size.json

Question: do the tables that people have fit? Two jobs, each a process of its own started as a person starts it, from
files written beforehand: 1,000,000 images by three systems that give answers alone (CSV), with products; and 100,000
images by two systems with probabilities of 1,000 classes (npz). Seconds include Python's start; memory is the largest
resident set of the process, as Linux counts it. On a machine that does other things too, `--clock cpu` holds the
processor seconds against the limit: a comparison runs on one processor, so they are what it takes alone.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.io.files import write_whole

ANSWERS = (("first", 0.80), ("second", 0.805), ("third", 0.80))
LIMITS = {"answers": (60, 2048), "probabilities": (60, 4096)}
"""Seconds and MB that each job may take."""
MEASURED = """
import sys
from aisles.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]
print(peak[0], file=sys.stderr)
sys.exit(code)
"""


def write_answers(folder: Path, n_images: int, n_classes: int = 100) -> list[Path]:
    """Write three systems' answers, rows in different orders, 4 images per product."""
    rng = np.random.default_rng(0)
    classes = np.array([f"class {number:03d}" for number in range(n_classes)])
    truth = rng.integers(n_classes, size=n_images)
    names = np.char.add(np.char.add("folder/", np.arange(n_images).astype(str)), ".jpg")
    files = []
    for name, accuracy in ANSWERS:
        said = np.where(rng.random(n_images) < accuracy, truth, rng.integers(n_classes, size=n_images))
        columns = {"file_name": names, "truth": classes[truth], "answer": classes[said]}
        table = pd.DataFrame(columns | {"product": np.arange(n_images) // 4})
        files.append(folder / f"{name}.csv")
        table.iloc[rng.permutation(n_images)].to_csv(files[-1], index=False)
    return files


def write_probabilities(folder: Path, n_images: int, n_classes: int = 1000) -> list[Path]:
    """Write two systems' probabilities, float32."""
    rng = np.random.default_rng(0)
    classes = np.array([f"class {number:04d}" for number in range(n_classes)])
    truth = rng.integers(n_classes, size=n_images)
    files = []
    for name, strength in (("weak", 3.0), ("strong", 3.2)):
        logits = rng.standard_normal((n_images, n_classes), dtype=np.float32)
        logits[np.arange(n_images), truth] += np.float32(strength)
        probs = np.exp(logits)
        probs /= probs.sum(axis=1, keepdims=True)
        files.append(folder / f"{name}.npz")
        content: dict[str, Any] = {"file_name": np.arange(n_images).astype(str), "truth": classes[truth]}
        np.savez(files[-1], classes=classes, probs=probs, **content)
    return files


def measured(files: list[Path]) -> dict[str, Any]:
    """Compare files in a process of its own; return seconds, the peak of memory in MB and the first verdict."""
    words = [sys.executable, "-c", MEASURED, "compare", *map(str, files), "--json"]
    start, before = time.monotonic(), os.times()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, after = time.monotonic() - start, os.times()
    worked = sum(after[2:4]) - sum(before[2:4])  # by children, for the user and in the system
    peak = int(done.stderr.split()[-1]) / 1024
    verdict = json.loads(done.stdout)["comparisons"][0]["verdict"]
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(worked, 1),
        "memory_mb": round(peak),
        "verdict": verdict,
    }


def main(arguments: list[str] | None = None) -> None:
    """Write tables, measure, say whether the limits hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for the tables; 1 GB")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--answers", type=int, default=1_000_000, help="images of the first job")
    parser.add_argument("--probabilities", type=int, default=100_000, help="images of the second job")
    parser.add_argument("--clock", choices=("elapsed", "cpu"), default="elapsed")
    given = parser.parse_args(arguments)
    clock = "seconds" if given.clock == "elapsed" else "processor_seconds"
    given.folder.mkdir(parents=True, exist_ok=True)
    jobs = {
        "answers": (given.answers, write_answers),
        "probabilities": (given.probabilities, write_probabilities),
    }
    found = {}
    for job, (n_images, write) in jobs.items():
        facts = measured(write(given.folder, n_images))
        seconds, memory = LIMITS[job]
        kept = facts[clock] < seconds and facts["memory_mb"] < memory
        found[job] = {
            "images": n_images,
            **facts,
            "limits": {"seconds": seconds, "memory_mb": memory},
            "kept": kept,
        }
    result = {
        "command": f"python -m experiments.lab.compare_size --folder FOLDER --result RESULT --clock {given.clock}",
        "date": date.today().isoformat(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        **found,
    }
    write_whole(given.result, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
