"""How prediction grows with the number of images: time an image, and memory, of many images over few.

    python -m experiments.lab.growth PHOTOS experiments/lab/results/growth.json --sizes 1000 10000

Each engine and number of images gets a process of its own, since a process's highest memory never falls. Files are
predicted by `iter_predict` from a bundle with EfficientNet-Lite0, again from the first one where there are fewer files
than images; answers are dropped as they come. Time starts after a first batch, when networks are in memory.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np

from aisles.data_prep.io.files import write_whole

from .performance import Ratio, as_ratio

FEW, MANY = 1000, 10000
GROWTH_LIMIT, MEMORY_LIMIT = 1.15, 1.1
ENGINES = ("tensorflow", "onnx")


@dataclass(frozen=True)
class Task:
    """What one process predicts.

    Attributes
    ----------
    engine : str
    n : int
        Images.
    bundle, files : str
        The folder of the bundle, and that of the images.
    """

    engine: str
    n: int
    bundle: str
    files: str


@dataclass(frozen=True)
class Measured:
    """What one process took.

    Attributes
    ----------
    engine : str
    images : int
    cpu_ms_per_image, elapsed_ms_per_image : float
    peak_mb : float
        Largest resident memory, 10^6 bytes, of the whole process: imports and networks too.
    """

    engine: str
    images: int
    cpu_ms_per_image: float
    elapsed_ms_per_image: float
    peak_mb: float


def growth_ratios(
    photos: Path | None = None,
    few: int = FEW,
    many: int = MANY,
    engines: Sequence[str] = ENGINES,
    input_size: tuple[int, int] | None = (96, 96),
) -> list[Ratio]:
    """Compare many images with few: processor time an image, and the largest resident memory."""
    found = grown(photos, (few, many), engines, input_size)
    ratios = []
    for engine in engines:
        small, large = (one for one in found if one.engine == engine)
        time_, memory = large.cpu_ms_per_image / small.cpu_ms_per_image, large.peak_mb / small.peak_mb
        said = f"{many} images over {few}, {engine}"
        ratios.append(as_ratio(f"processor time an image, {said}", np.array([time_]), GROWTH_LIMIT))
        ratios.append(as_ratio(f"peak memory, {said}", np.array([memory]), MEMORY_LIMIT))
    return ratios


def grown(
    photos: Path | None, sizes: Sequence[int], engines: Sequence[str], input_size: tuple[int, int] | None
) -> list[Measured]:
    """Measure every engine at every number of images, one process after the other."""
    with tempfile.TemporaryDirectory() as place:
        given = {"folder": place, "input_size": input_size, "draw": photos is None, "engines": list(engines)}
        _run("_prepare", given)
        files = str(photos or Path(place) / "files")
        return [
            Measured(**_run("_measure", asdict(Task(engine, n, str(Path(place) / "bundle"), files))))
            for engine in engines
            for n in sizes
        ]


def _run(step: str, given: dict) -> dict:
    code = (
        f"import json, sys; from {__package__}.growth import {step}; "
        f"print(json.dumps({step}(**json.loads(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", code, json.dumps(given)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _prepare(folder: str, input_size: list[int] | None, draw: bool, engines: list[str]) -> dict:
    from aisles.models.bundles.bundle import load_bundle, save_bundle

    from .engine_speed import two_stage_of
    from .prediction_speed import write_images

    size = None if input_size is None else (input_size[0], input_size[1])
    bundle = save_bundle(two_stage_of("efficientnet_lite0", size), Path(folder) / "bundle")
    for engine in engines:  # converted once, and not in a process that is measured
        load_bundle(bundle, engine=engine).predict(np.zeros((1, 32, 32, 3), np.uint8))
    if draw:
        (Path(folder) / "files").mkdir()
        write_images(Path(folder) / "files", 200, 200)
    return {}


def _measure(**given) -> dict:
    from aisles.models.bundles.bundle import load_bundle

    task = Task(**given)
    files = sorted(path for path in Path(task.files).rglob("*") if path.suffix in (".jpg", ".png"))
    classifier = load_bundle(task.bundle, engine=task.engine)
    list(classifier.iter_predict(files[:32]))
    cpu, elapsed = time.process_time(), time.perf_counter()
    for _ in classifier.iter_predict(itertools.islice(itertools.cycle(files), task.n)):
        pass
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - elapsed
    return asdict(
        Measured(
            task.engine, task.n, round(1000 * cpu / task.n, 3), round(1000 * elapsed / task.n, 3), _peak_mb()
        )
    )


def _peak_mb() -> float:
    """Return the largest resident memory of this process, and not of the one that started it."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            (line,) = (line for line in file if line.startswith("VmHWM"))
        return round(int(line.split()[1]) * 1024 / 1e6, 1)
    except FileNotFoundError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def main(arguments: list[str] | None = None) -> None:
    """Measure on photographs at the network's own size, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[FEW, MANY])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    given = parser.parse_args(arguments)
    found = grown(given.photos, given.sizes, given.engines, None)
    sizes = " ".join(map(str, given.sizes))
    result = {
        "command": f"python -m experiments.lab.growth PHOTOS experiments/lab/results/growth.json --sizes {sizes}",
        "date": date.today().isoformat(),
        "processors": os.cpu_count(),
        "network": "EfficientNet-Lite0 at 224 pixels, router and three sub-models as heads on it",
        "measured": [asdict(one) for one in found],
    }
    write_whole(given.output, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
