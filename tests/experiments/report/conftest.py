"""A small run folder whose every plot can be worked out by hand: 4 classes, 2 macros, 8 test images, 2 seeds."""

import json
import shutil
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typing_extensions import is_typeddict

from aisles.experiments.runs.schema import SCHEMA, BenchmarkMetrics
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.embeddings import ClassEmbeddings

CLASSES = ("apple", "cherry", "lime", "moss")
TRUTH = (0, 0, 1, 1, 2, 2, 3, 3)
ANSWERS = {
    "flat": ((0, 1, 1, 1, 2, 3, 3, 0), (0, 1, 1, 1, 2, 3, 3, 0)),
    "soft": ((0, 0, 1, 0, 2, 2, 2, 3), (0, 0, 1, 1, 2, 3, 3, 3)),
}
"""Right of 8: flat 5 and 5; soft 6 and 7. Corrected 3 and 2, lost 2 and 0."""

RunMaker = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path) -> RunMaker:
    """Return a function that writes a run folder."""

    def make(
        name: str = "run", classes: tuple[str, ...] = CLASSES, drop: tuple[str, ...] = (), **changes
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        order = np.argsort(np.array(classes))  # columns are sorted, whatever the names
        names = np.array(classes)[order]
        macros = {"warm": [classes[0], classes[1]], "cool": [classes[2], classes[3]]}
        labels = [classes[i] for i in TRUTH]
        _photographs(folder, labels)
        _predictions(folder, classes, names, labels)
        _json(folder / "hierarchy.json", {"macros": macros})
        given = metrics(names, macros)
        for key, part in changes.items():  # parts of some keys, else whole
            given[key] = given[key] | part if key in ("data", "hierarchy", "forecast") else part
        _json(folder / "metrics.json", completed(given, BenchmarkMetrics))
        (folder / "settings.toml").write_text('[comparison]\nprimary = "soft"\n')
        vectors = np.eye(4)[np.argsort(order)] + 0.5 * (np.arange(4) < 2)[order][:, None]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        tree = cluster_classes(ClassEmbeddings(tuple(names.tolist()), unit))
        (folder / "tree.json").write_text(tree.to_json(), encoding="utf-8")
        for file in drop:
            (folder / file).unlink()
        return folder

    return make


def completed(given, kind):
    """Fill what a test doesn't care for with zeros, empty texts and empty lists, by the schema."""
    if get_origin(kind) is NotRequired:
        kind = get_args(kind)[0]
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        known = {key: hint for key, hint in hints.items() if key in given or key in kind.__required_keys__}
        return given | {
            key: completed(given[key], hint) if key in given else neutral(hint) for key, hint in known.items()
        }
    if given is None or kind is Any:
        return given
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return completed(given, next(part for part in inside if part is not type(None)))
    if origin is list:
        return [completed(each, inside[0]) for each in given]
    if origin is dict:
        return {key: completed(each, inside[1]) for key, each in given.items()}
    return given


def neutral(kind):
    """Return a value of a type that says nothing."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None
    if origin is Literal:
        return inside[0]
    if is_typeddict(kind):
        return completed({}, kind)
    if origin is list:
        return [0.0, 0.0] if inside[0] is float else []
    return {dict: {}, float: 0.0, int: 0, str: "", bool: False}[origin or kind]


def metrics(names, macros) -> dict:
    """Return the parts of `metrics.json` that reports of this run say something of."""
    comparison = {
        "a": "flat", "b": "soft", "accuracy_a": 0.625, "accuracy_b": 0.8125, "about": "the methods",
        "n_seeds": 2, "family": 1, "power": 0.8, "difference": 0.1875, "difference_per_seed": [0.125, 0.25],
        "difference_sd": 0.0884, "interval": [-0.05, 0.4], "p_value": 0.25, "p_corrected": 0.25,
        "mcnemar": [
            {"corrected": 3, "broken": 2, "p_value": 1.0}, {"corrected": 2, "broken": 0, "p_value": 0.5},
        ],
        "corrected": [3, 2], "broken": [2, 0], "equivalence_interval": [-0.02, 0.39], "equivalence_p": 0.9,
        "smallest_detectable": 0.4, "margin": 0.01, "alpha": 0.05, "verdict": "no difference shown",
        "sentence": "No difference shown between soft and flat: +18.8 points.",
    }  # fmt: skip
    flat = {"router_wrong": 1, "within_wrong": 2, "right": 5, "R": 7 / 8, "S": 5 / 7}
    cut = {"linkage": "ward", "macros": 2, "sizes": [2, 2]}
    return {
        "schema": SCHEMA,
        "kind": "benchmark",
        "n_test": 8,
        "n_products": 8,
        "seeds": [0, 1],
        "classes": [str(name) for name in names],
        "macros": macros,
        "methods": {
            "flat": {"role": "flat", "accuracy": [0.625, 0.625], "accuracy_mean": 0.625, "accuracy_sd": 0.0},
            "soft": {
                "role": "two-stage",
                "accuracy": [0.75, 0.875],
                "accuracy_mean": 0.8125,
                "accuracy_sd": 0.0884,
            },
        },
        "error_budget": {
            "flat": [flat, flat],
            "soft": [
                {"router_wrong": 0, "within_wrong": 2, "right": 6, "R": 1.0, "S": 0.75},
                {"router_wrong": 0, "within_wrong": 1, "right": 7, "R": 1.0, "S": 0.875},
            ],
        },
        "comparisons": [comparison],
        "best_flat": {"name": "flat", "sentence": comparison["sentence"]},
        "forecast": {"candidates": [cut]},
        "verdict": comparison["sentence"],
        "data": {
            "fingerprint": "f00d",
            "images": {"train": 20, "val": 4, "test": 8},
            "products": 32,
            "unreadable": 1,
            "equal_files_across_splits_or_classes": 0,
            "notes": ["Every image counts as its own product."],
        },
        "hierarchy": {"origin": "ward, 2 macros", "sizes": [2, 2], "tree_agreement": 1.0},
        "backbone": "drawn",
    }


def _photographs(folder: Path, labels: list[str]) -> None:
    (folder / "images").mkdir()
    for i in range(len(labels)):
        Image.new("RGB", (40, 30), (30 * i, 200 - 20 * i, 90)).save(folder / "images" / f"{i}.png")
    Image.new("RGB", (40, 30), "white").save(folder / "images" / "train.png")
    rows = [("images/train.png", labels[0], "train")]
    rows += [(f"images/{i}.png", label, "test") for i, label in enumerate(labels)]
    table = pd.DataFrame(rows, columns=["file_name", "label", "split"])
    table.to_csv(folder / "manifest.csv", index=False)


def _predictions(folder: Path, classes: tuple[str, ...], names, labels: list[str]) -> None:
    place = {name: i for i, name in enumerate(names)}
    parts = []
    (folder / "probabilities").mkdir()
    for method, seeds in ANSWERS.items():
        probabilities = []
        for seed, answers in enumerate(seeds):
            probs = np.full((8, 4), 0.1)
            probs[np.arange(8), [place[classes[a]] for a in answers]] = 0.7
            facts = pd.DataFrame(
                {
                    "file_name": [f"{i}.png" for i in range(8)],
                    "product": [f"P{i}" for i in range(8)],
                    "label": labels,
                    "macro": ["warm" if i < 2 else "cool" for i in TRUTH],
                    "seed": seed,
                    "method": method,
                    "answer": [classes[a] for a in answers],
                    "router_macro": "" if method == "flat" else "warm",
                }
            )
            parts.append(facts.assign(probability=0.7))
            probabilities.append(probs)
        routed = {} if method == "flat" else {"macro_probs": np.tile([0.9, 0.1], (2, 8, 1))}
        np.savez(folder / "probabilities" / f"{method}.npz", probs=np.stack(probabilities), **routed)
    pd.concat(parts).to_csv(folder / "predictions.csv", index=False)


def _json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    """Open Chromium, or skip."""
    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("No Chromium on this machine.")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()
