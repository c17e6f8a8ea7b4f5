"""Two networks and a gate: accuracy against mean cost on photographs.

    python -m experiments.lab.second_look DATA experiments/lab/results/second-look.json

EfficientNet-Lite0 looks at every image and -Lite2 at those sent, by every gate at every share, beside the cheap network
alone, the same share sent by margin with no macros, all networks for every image, and two crops of the cheap network
(its center crop and the squashed image, distributions averaged). Shares are measured on test images, and each second
look is judged against exactly as many images sent by margin. Cost is time: the networks are timed in turn on the same
batches, 20 times each, so that other load falls on all alike; the median ratio counts. Verdicts are paired by image and
corrected together (Holm). Why measured shares are not the stated ones: `gate_share`.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.experiments.benchmark.preparation import find_hierarchy, prepare_data, prepare_features
from aisles.experiments.curves.points import MemoryTrainer
from aisles.experiments.methods.registry import Context, find_method
from aisles.experiments.methods.second_look import first_look_of
from aisles.experiments.reproduction.preflight import PARAMETERS
from aisles.experiments.settings.benchmark import BackboneSettings, BenchmarkSettings
from aisles.experiments.stats.verdict import apply_holm, as_json, compare
from aisles.models.heads.registry import HEADS
from aisles.models.heads.tuning import Parts, tune

from .map.data import DIRECTIONS, reduced

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


def looked_at(data: Path, folder: Path, cache: Path | None) -> tuple[Context, np.ndarray]:
    """Return what methods are given on the two networks' features, and those of the cheap network's second view.

    Features are reduced as in the map: roots, in the directions in which training images spread most.
    """
    settings = BenchmarkSettings.model_validate({"comparison": {"seeds": 1}, "hierarchy": {"bootstraps": 2}})
    prepared = prepare_data(data, settings.data)
    training = prepared.manifest.splits == "train"
    views = ((CHEAP, "published"), (STRONG, "published"), (CHEAP, "squash"))
    cheap, strong, squashed = (
        reduced(prepare_features(prepared, BackboneSettings(name=name, fit=fit), cache)[1], training)  # type: ignore[arg-type]
        for name, fit in views
    )
    parts = tuple(
        SimpleNamespace(dimension=x.shape[1], n_parameters=int(PARAMETERS[name]))
        for name, x in ((CHEAP, cheap), (STRONG, strong))
    )
    both = np.hstack([cheap, strong])
    backbone: Any = SimpleNamespace(parts=parts, n_parameters=sum(part.n_parameters for part in parts))
    hierarchy = find_hierarchy(prepared, cheap, settings.hierarchy).hierarchy
    trainer = MemoryTrainer(folder, prepared, both, "two networks", settings.training)
    given = Context(prepared, both, backbone, hierarchy, settings, trainer, folder, lambda _name: hierarchy)
    return given, squashed


def measure(data: Path, folder: Path, cache: Path | None) -> dict[str, Any]:
    """Judge every gate at every share.

    Returns
    -------
    dict
        `seconds`: of a network in those of the cheap one. `methods`: by name `accuracy`, `share` of test images sent,
        `cost` in passes of the cheap network. `comparisons`: second looks against the same share with no macros,
        against two crops, and against all networks for every image. `stated`: shares by name, with the interval in
        which the measured one lies if test images are like validation images.
    """
    context, squashed = looked_at(data, folder, cache)
    test, products = context.rows("test"), context.prepared.manifest.products
    truth = context.targets[test]
    seconds = relative_seconds((CHEAP, STRONG))
    methods: dict[str, dict[str, Any]] = {}
    correct: dict[str, np.ndarray] = {}

    def add(name: str, probs: np.ndarray, share: float, cost: float) -> None:
        correct[name] = (probs.argmax(1) == truth)[None]
        methods[name] = {
            "accuracy": float(correct[name].mean()),
            "share": round(share, 4),
            "cost": round(cost, 3),
        }

    stated: dict[str, Any] = {}

    def fit(name: str) -> float:
        result = find_method(name).fit(context)
        share = 0.0 if result.sent is None else result.sent.measured
        add(name, result.probs[0], share, 1 + share * seconds[STRONG])
        if result.sent is not None and not result.sent.in_batch:
            stated[name] = asdict(result.sent)
        return share

    looks = [f"second-look:{gate}@{share}" for gate in GATES for share in SHARES]
    for name in ("first-look", *(f"second-look-flat:{share}" for share in SHARES)):
        fit(name)
    baselines = {name: f"second-look-flat:{fit(name)!r}/batch" for name in looks}
    for baseline in dict.fromkeys(baselines.values()):
        fit(baseline)
    everyone = context.trainer.flat(0, head="lda")
    add("all networks for every image", everyone.probs[test], 1.0, 1 + seconds[STRONG])
    first = first_look_of(context)
    own = Parts(squashed, context.targets, context.rows("train"), context.rows("val"), products)
    second = tune(HEADS["lda"], own, len(context.classes))
    add("two crops of the cheap network", (first.probs[test] + second.probs[test]) / 2, 0.0, 2.0)
    pairs = [
        (baseline, name)
        for name in looks
        for baseline in (
            baselines[name],
            "two crops of the cheap network",
            "all networks for every image",
        )
    ]
    judged = apply_holm(
        [compare(correct[a], correct[b], products[test], names=(a, b), n_resamples=2_000) for a, b in pairs]
    )
    kept = ("a", "b", "difference", "interval", "p_corrected", "verdict", "sentence")
    return {
        "date": date.today().isoformat(),
        "command": "python -m experiments.lab.second_look DATA experiments/lab/results/second-look.json",
        "images": len(test),
        "classes": len(context.classes),
        "macros": context.hierarchy.n_macros,
        "directions": DIRECTIONS,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "methods": methods,
        "stated": stated,
        "comparisons": [{key: as_json(one)[key] for key in kept} for one in judged],
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.data, Path(folder), given.cache)
    write_whole(given.output, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
