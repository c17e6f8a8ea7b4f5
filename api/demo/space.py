"""A demonstration as a folder that runs as a Hugging Face Space, or anywhere else, without aisles installed."""

import json
import shutil
from importlib import import_module
from importlib.metadata import requires, version
from pathlib import Path

import numpy as np

from aisles.data_prep.io.errors import DataError

from .demo import Demo, warm_up
from .judging import Stages
from .levels import Levels
from .networks import Networks
from .run_facts import Example, RunFacts
from .why import Why

PARTS = ("aisles", "aisles.data_prep", "aisles.hierarchy", "aisles.models", "aisles.experiments")
"""The packages that are copied; `experiments.lab` is in no installation."""
APP = '''"""Serve this folder: python app.py"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from aisles.demo.server import serve
from aisles.demo.space import open_space

if __name__ == "__main__":
    serve(open_space(Path(__file__).parent), "0.0.0.0", int(os.environ.get("PORT", "7860")))
'''
CARD = """---
title: Which aisle, which shelf?
emoji: 🛒
colorFrom: green
colorTo: blue
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
pinned: false
license: apache-2.0
---

# Which aisle, which shelf?

A page that classifies photographs of products as deep into a tree of {macros} macro-categories and {classes} classes as
it is sure, and compares a two-stage classifier with a flat one. Written by `aisles demo --export` (aisles {aisles}).

It runs anywhere: `python -m pip install -r requirements.txt && python app.py`.
"""


def write_space(demo: Demo, bundle: str | Path, flat: str | Path | None, folder: str | Path) -> Path:
    """Write a demonstration as a folder of its own.

    The folder gets the bundles, aisles itself, what it needs (`requirements.txt`), what the networks said
    of calibration images, and of the run the verdict, the report and the example images; no other image.

    Parameters
    ----------
    demo : Demo
    bundle : path
    flat : path, optional
    folder : path
        New or empty.

    Raises
    ------
    DataError
        If the folder has something in it, or this installation doesn't say what aisles needs.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not empty. Choose another folder, or empty this one.")
    needed = _requirements()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(bundle, folder / "bundle")
    if flat is not None:
        shutil.copytree(flat, folder / "flat")
    _copy_packages(folder)
    hierarchy, gradio = demo.networks.hierarchy, version("gradio")
    card = CARD.format(
        gradio=gradio, aisles=version("aisles"), macros=hierarchy.n_macros, classes=hierarchy.n_classes
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / "requirements.txt").write_text(
        "\n".join([*needed, f"gradio=={gradio}"]) + "\n", encoding="utf-8"
    )
    _write_calibration(demo.levels, folder / "calibration.npz")
    if demo.facts is not None:
        _write_facts(demo.facts, folder / "run")
    return folder


def open_space(folder: str | Path) -> Demo:
    """Open what `write_space` has written."""
    folder = Path(folder)
    flat = folder / "flat"
    networks = Networks(folder / "bundle", flat if flat.is_dir() else None)
    found = _read_calibration(folder / "calibration.npz")
    confidence = networks.classifier.confidence
    levels = Levels(networks.hierarchy, *found, stored=None if confidence is None else confidence.climb)
    why = Why(networks, None)
    warm_up(networks, why)
    return Demo(networks, levels, why, _read_facts(folder / "run"))


def _requirements() -> list[str]:
    needed = [line.partition(";")[0].strip() for line in requires("aisles") or () if "extra ==" not in line]
    if not needed:
        raise DataError(
            "This installation doesn't say what aisles needs. Install aisles with pip, and export again."
        )
    return needed


def _copy_packages(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "lab", ".*")
    for name in PARTS:
        source = Path(next(iter(import_module(name).__path__)))
        shutil.copytree(source, folder.joinpath(*name.split(".")), ignore=ignored, dirs_exist_ok=True)


def _write_calibration(levels: Levels, path: Path) -> None:
    if levels.stages is None or levels.truth is None:
        return
    arrays = {name: part for name, part in vars(levels.stages).items() if part is not None}
    with open(path, "wb") as file:
        np.savez_compressed(file, truth=levels.truth, **arrays)


def _read_calibration(path: Path) -> tuple[Stages | None, np.ndarray | None]:
    if not path.is_file():
        return None, None
    with np.load(path, allow_pickle=False) as found:
        stages = Stages(**{name: found.get(name) for name in ("router", "within", "flat")})
        return stages, found["truth"]


def _write_facts(facts: RunFacts, folder: Path) -> None:
    (folder / "examples").mkdir(parents=True)
    listed = []
    for index, example in enumerate(facts.examples):
        name = f"{index:02d}{Path(example.name).suffix.lower()}"
        (folder / "examples" / name).write_bytes(example.data)
        listed.append({"kind": example.kind, "label": example.label, "name": example.name, "file": name})
    (folder / "examples.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(facts.metrics, default=str), encoding="utf-8")
    if facts.report is not None:
        shutil.copy(facts.report, folder / "report.html")
        for name in ("plots", "tables"):
            if (facts.folder / name).is_dir():
                shutil.copytree(facts.folder / name, folder / name)


def _read_facts(folder: Path) -> RunFacts | None:
    if not (folder / "metrics.json").is_file():
        return None
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    listed = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    examples = [
        Example(
            entry["kind"], entry["label"], entry["name"], (folder / "examples" / entry["file"]).read_bytes()
        )
        for entry in listed
    ]
    return RunFacts(folder, metrics, examples)
