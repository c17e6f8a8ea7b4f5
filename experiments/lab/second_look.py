"""Two networks and a gate: accuracy against mean cost on photographs.

    python -m experiments.lab.second_look DATA RUN experiments/lab/results/second-look.json

Runs a benchmark on EfficientNet-Lite0 and -Lite2 joined, with every gate at every share, beside the cheap network
alone, the same share sent by margin with no macros, all networks for every image, and two crops of the cheap network
(its center crop and the squashed image, distributions averaged). Cost is time: the networks are timed in turn on the
same batches, 20 times each, so that other load falls on all alike; the median ratio counts. Verdicts are paired by
image and corrected together (Holm).
"""

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
from aisles.experiments.benchmark.run import run_benchmark
from aisles.experiments.runs.reader import read_run
from aisles.experiments.settings.benchmark import BackboneSettings
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.stats.verdict import apply_holm, as_json, compare
from aisles.models.heads.registry import HEADS
from aisles.models.heads.tuning import Parts, tune

CHEAP, STRONG = "efficientnet_lite0", "efficientnet_lite2"
SHARES = (0.2, 0.4, 0.6)
GATES = ("macro", "margin", "both")


def relative_seconds(names: tuple[str, ...], *, batch: int = 16, repeats: int = 20) -> dict[str, float]:
    """Time networks on noise, one after the other again and again; in multiples of the first (medians of ratios)."""
    from aisles.models.backbones.registry import build_backbone

    rng, runs, pixels = np.random.default_rng(0), {}, {}
    for name in names:
        backbone = build_backbone(name)
        runs[name] = backbone.runner()
        pixels[name] = [rng.integers(0, 256, (batch, *fit.size, 3), np.uint8) for fit in backbone.fittings]
        runs[name](*pixels[name])
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            start = time.process_time()
            runs[name](*pixels[name])
            seconds[name].append(time.process_time() - start)
    return {name: float(np.median(np.divide(seconds[name], seconds[names[0]]))) for name in names}


def two_crops(data: Path, settings: Any, cache: Path | None) -> np.ndarray:
    """Return the test images' class distribution, averaged over two views of the cheap network."""
    prepared = prepare_data(data, settings.data)
    classes = prepared.manifest.classes
    targets = np.searchsorted(np.array(classes), prepared.manifest.labels.astype(str))
    probs = []
    for fit in ("published", "squash"):
        _, features = prepare_features(prepared, BackboneSettings(name=CHEAP, fit=fit), cache)
        parts = Parts(
            features, targets, prepared.rows("train"), prepared.rows("val"), prepared.manifest.products
        )
        probs.append(tune(HEADS["lda"], parts, len(classes)).probs[prepared.rows("test")])
    return np.mean(probs, axis=0)


def study(data: Path, run: Path, cache: Path | None) -> dict[str, Any]:
    """Run the benchmark and return accuracy, cost and verdicts.

    Returns
    -------
    dict
        `seconds`: of a network in those of the cheap one. `methods`: by name `accuracy`, `share` of test images sent,
        `cost` in passes of the cheap network. `comparisons`: second looks against the same share with no macros,
        against two crops, and against all networks for every image.
    """
    names = [f"second-look:{gate}@{share}" for gate in GATES for share in SHARES]
    names += [f"second-look-flat:{share}" for share in SHARES]
    changes = {
        "backbone.name": f"{CHEAP}+{STRONG}", "comparison.methods": names, "comparison.seeds": 1,
        "training.epochs": 2, "hierarchy.bootstraps": 2,
    }  # fmt: skip
    settings = read_settings(None, changes)
    run_benchmark(data, run, settings, cache=cache)
    found = read_run(run)
    seconds = relative_seconds((CHEAP, STRONG))
    methods: dict[str, dict[str, float]] = {}
    correct: dict[str, np.ndarray] = {}
    for name in ("first-look", "flat-lda", "second-look-flat", *names):
        passes = found.metrics["methods"][name]["cost"]["backbone_passes"]
        share = 2 * passes - 1
        correct[name] = found.correct(name)[:1]
        methods[name] = {
            "accuracy": float(correct[name].mean()),
            "share": round(share, 4),
            "cost": round(1 + share * seconds[STRONG], 3),
        }
    correct["two crops"] = (two_crops(data, settings, cache).argmax(1) == found.truth)[None]
    methods["two crops"] = {"accuracy": float(correct["two crops"].mean()), "share": 0.0, "cost": 2.0}
    pairs = [
        (baseline, name)
        for name in names[: len(GATES) * len(SHARES)]
        for baseline in (f"second-look-flat:{name.rpartition('@')[2]}", "two crops", "flat-lda")
    ]
    judged = apply_holm(
        [compare(correct[a], correct[b], found.products, names=(a, b), n_resamples=2_000) for a, b in pairs]
    )
    return {
        "date": date.today().isoformat(),
        "command": "python -m experiments.lab.second_look DATA RUN experiments/lab/results/second-look.json",
        "images": len(found.truth),
        "macros": len(found.hierarchy.macros),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "methods": methods,
        "comparisons": [
            {key: value for key, value in as_json(one).items() if key in ("a", "b", "difference", "interval",
                                                                          "p_corrected", "verdict", "sentence")}
            for one in judged
        ],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run the study and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args(arguments)
    write_whole(given.output, json.dumps(study(given.data, given.run, given.cache), indent=1) + "\n")


if __name__ == "__main__":
    main()
