"""Kill commands at random moments, start them again, and compare everything that they leave.

`python -m experiments.lab.reliability --kills 100` kills `benchmark`, `train` (frozen, fine-tuned, separate),
`data index`, `data curate`, `compare` and the saving of a bundle with SIGKILL, starts each again until it ends, and
compares the files with those of runs that nobody killed. Each command runs twice undisturbed first: what differs
between those two (times, dates, names of layers) can't be compared, and is listed. Nothing unfinished may lie about at
the end.
About 40 seconds a kill on two processors; `--only NAME` takes some of the commands.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aisles.data_prep.io.arrays import read_arrays
from aisles.data_prep.io.files import sha256_of

MOST_KILLS = 3
"""A command is killed so many times at most before it may end."""
_FAST = (
    "--backbone", "efficientnet_lite0", "--weights", "none", "--macros", "2", "--set", "backbone.input_size=[32, 32]",
)  # fmt: skip
_TRAIN = (
    "--deterministic", "--set", "fine_tuning.frozen_epochs=3", "--set", "fine_tuning.tuned_epochs=3",
    "--precision", "float32",
)  # fmt: skip
_SAVE = """
import sys
from pathlib import Path
from aisles.models.bundles.bundle import load_bundle, save_bundle
source, target = map(Path, sys.argv[1:])
for number in range(8):
    save_bundle(load_bundle(source), target, facts={"data": {"number": number}})
"""


@dataclass(frozen=True)
class Job:
    """A command whose work must survive a kill.

    Attributes
    ----------
    command : callable
        From the folder of inputs and the output folder to the command line.
    """

    command: Callable[[Path, Path], list[str]]


def _aisles(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "aisles", *map(str, arguments), "--quiet"]


def _train(sharing: str, *more: str) -> Job:
    def command(inputs: Path, output: Path) -> list[str]:
        return _aisles("train", inputs / "images", "-o", output, *_FAST, "--sharing", sharing, *_TRAIN, *more)

    return Job(command)


JOBS: dict[str, Job] = {
    "benchmark": Job(
        lambda inputs, output: _aisles(
            "benchmark", inputs / "images", "-o", output, *_FAST, "--seeds", 2, "--set", "training.epochs=5"
        )
    ),
    "train-frozen": _train("frozen"),
    "train-fine-tuned": _train("fine-tuned"),
    "train-separate": _train("separate", "--start", "flat"),
    "index": Job(lambda inputs, output: _aisles("data", "index", inputs / "shop", "-o", output, "--jobs", 1)),
    "curate": Job(
        lambda inputs, output: _aisles(
            "data",
            "curate",
            inputs / "shop",
            "-o",
            output,
            "--recipe",
            "sample",
            "--backbone",
            "efficientnet_lite0",
        )
    ),
    "compare": Job(
        lambda inputs, output: _aisles("compare", inputs / "a.csv", inputs / "b.csv", "-o", output)
    ),
    "save": Job(
        lambda inputs, output: [sys.executable, "-c", _SAVE, str(inputs / "bundle"), str(output / "bundle")]
    ),
}


def make_inputs(folder: Path, names: tuple[str, ...]) -> None:
    """Make what the commands read: images in class folders, a catalogue, predictions, a bundle."""
    rng = np.random.default_rng(0)
    for label, color in enumerate(rng.integers(40, 215, (5, 3))):
        place = folder / "images" / f"class-{label}"
        place.mkdir(parents=True)
        for number in range(24):
            pixels = rng.normal(color, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number:02d}.png")
    truth = rng.integers(0, 3, 400)
    for name, share in (("a", 0.6), ("b", 0.7)):
        answers = np.where(rng.random(400) < share, truth, rng.integers(0, 3, 400))
        rows = [f"{i}.jpg,{truth[i]},{answers[i]}" for i in range(400)]
        (folder / f"{name}.csv").write_text("\n".join(["file_name,truth,answer", *rows]) + "\n")
    if {"index", "curate"} & set(names):
        _finish(_aisles("data", "sample", folder / "shop", "--products", 8), _environment(folder))
    if "save" in names:
        job = JOBS["train-frozen"]
        _finish(job.command(folder, folder / "trained"), _environment(folder))
        shutil.copytree(folder / "trained" / "bundle", folder / "bundle")


def _environment(place: Path) -> dict[str, str]:
    return {**os.environ, "AISLES_CACHE": str(place / "cache"), "TF_NUM_INTRAOP_THREADS": "1"}


def _finish(command: list[str], environment: dict[str, str]) -> float:
    """Run a command to its end; return the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - started


def _kill_after(command: list[str], environment: dict[str, str], seconds: float) -> bool:
    """Start a command and kill it with all that it started; return False if it was done before."""
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    said = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"{command[3]} ended with {process.returncode}: {said.decode()[-2000:]}")
    return False


# ---- what a command leaves -------------------------------------------------------------------


def content_of(folder: Path) -> dict[str, Any]:
    """List everything in a folder by where it stands: values of JSON, arrays, weights, other files by their hash."""
    found: dict[str, Any] = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            found |= dict(_leaves(name, json.loads(path.read_text(encoding="utf-8"))))
        elif path.suffix == ".npz":
            for key, value in read_arrays(path).items():
                found[f"{name}#{key}"] = (value.shape, str(value.dtype), hash(value.tobytes()))
        elif path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                for key in ("config.json", "model.weights.h5"):
                    found[f"{name}#{key}"] = hash(archive.read(key))
        else:
            found[name] = sha256_of(path)
    return found


def _leaves(name: str, content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _leaves(f"{name}#{key}", value)
    elif isinstance(content, list) and content:
        for number, value in enumerate(content):
            yield from _leaves(f"{name}#{number}", value)
    else:
        yield name, content


def differences(expected: dict[str, Any], found: dict[str, Any], varying: set[str]) -> list[str]:
    """Name what is missing, what is there in addition, and what has another value, apart from what varies anyway."""
    told = [f"missing: {name}" for name in sorted(set(expected) - set(found) - varying)]
    told += [f"in addition: {name}" for name in sorted(set(found) - set(expected) - varying)]
    both = sorted((set(expected) & set(found)) - varying)
    return told + [
        f"{name}: {found[name]!r} for {expected[name]!r}" for name in both if found[name] != expected[name]
    ]


def left_over(folder: Path) -> list[str]:
    """Name unfinished files and folders."""
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*") if re.match(r"\.(part|old)-", path.name)
    ]


@dataclass(frozen=True)
class Reference:
    """What a command leaves when nobody kills it."""

    content: dict[str, Any]
    varying: set[str]
    seconds: float


def reference(job: Job, inputs: Path, place: Path) -> Reference:
    """Run a command twice undisturbed."""
    contents, seconds = [], []
    for number in (0, 1):
        folder = place / str(number)
        folder.mkdir(parents=True)
        seconds.append(_finish(job.command(inputs, folder / "output"), _environment(folder)))
        contents.append(content_of(folder / "output"))
        shutil.rmtree(folder)
    first, second = contents
    varying = {name for name in {*first, *second} if first.get(name) != second.get(name)}
    return Reference(first, varying, float(np.mean(seconds)))


def trial(
    job: Job, expected: Reference, inputs: Path, place: Path, kills: int, rng: np.random.Generator
) -> list[str]:
    """Kill a command `kills` times at random moments, let it end, and name what is not as it should be."""
    command, environment = job.command(inputs, place / "output"), _environment(place)
    place.mkdir(parents=True)
    for _ in range(kills):
        if not _kill_after(command, environment, float(rng.uniform(0.02, 1.0) * expected.seconds)):
            break
    _finish(command, environment)
    found = differences(expected.content, content_of(place / "output"), expected.varying)
    found += [f"left over: {name}" for name in left_over(place / "output")]
    shutil.rmtree(place)
    return found


def run(kills: int, seed: int = 0, names: tuple[str, ...] = tuple(JOBS)) -> dict[str, Any]:
    """Kill the commands in turn, at least `kills` times in all.

    Returns
    -------
    dict
        For each command its kills, what was compared, what varies without a kill, and the faults.
    """
    rng, told = np.random.default_rng(seed), {}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        make_inputs(inputs, names)
        for place, name in enumerate(names):
            wanted = kills // len(names) + (place < kills % len(names))
            expected = reference(JOBS[name], inputs, Path(folder) / name)
            facts: dict[str, Any] = {
                "kills": 0,
                "compared": len(set(expected.content) - expected.varying),
                "varying": sorted(expected.varying),
                "seconds": round(expected.seconds, 1),
                "faults": [],
            }
            # As deep as the undisturbed runs, for some files hold paths from one to another.
            trials = Path(folder) / name / "trial"
            while facts["kills"] < wanted:
                times = int(min(rng.integers(1, MOST_KILLS + 1), wanted - facts["kills"]))
                facts["faults"] += trial(JOBS[name], expected, inputs, trials, times, rng)
                facts["kills"] += times
            told[name] = facts
    return told


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=JOBS, action="append")
    options = parser.parse_args()
    told = run(options.kills, options.seed, tuple(options.only or JOBS))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    return 1 if any(facts["faults"] for facts in told.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
