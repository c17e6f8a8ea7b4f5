"""Calibration on real photographs with every temperature that could be fitted, and with those that hold.

    python -m experiments.lab.temperatures DATA --folder FOLDER --result experiments/lab/results/temperatures-NAME.json

Question: does it help to keep a temperature only where it holds on validation images that it was not fitted on, and to
cross-fit that of a closed-form head with heads that learned as much as the final one? The rule was chosen on planted
worlds (tests/hierarchy/test_calibration.py); here test images only show what it does. A table in Markdown goes beside
the JSON. A stopped run goes on: trained heads stay in FOLDER.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aisles.experiments.benchmark.preparation import find_hierarchy, prepare_data, prepare_features
from aisles.experiments.methods.head_jobs import Trainer
from aisles.experiments.metrics.probabilistic import ece, nll
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.hierarchy.calibration import (
    apply_temperature,
    fit_composed_temperatures,
    fit_temperature,
    held_temperature,
)
from aisles.hierarchy.rule_functions import soft
from aisles.models.heads.closed_form import fit_lda

from .result_files import result_parser, with_origin, write_result

WAYS = ("none", "fitted", "held")


def flat_ways(
    probs: np.ndarray, val_probs: np.ndarray, val_truth: np.ndarray
) -> dict[str, tuple[np.ndarray, Any]]:
    """Return a flat model's distributions of test images by way, each with its temperature."""
    logs = _log(val_probs)
    found = {
        "none": 1.0,
        "fitted": fit_temperature(logs, val_truth),
        "held": held_temperature(logs, val_truth),
    }
    return {way: (apply_temperature(_whole(probs), t), t) for way, t in found.items()}


def stage_ways(
    stages: Sequence[np.ndarray], val_stages: Sequence[np.ndarray], hierarchy, val_truth: np.ndarray
):
    """Return soft's distributions of test images by way, each with its temperatures."""
    logs = [_log(table) for table in val_stages]
    free = fit_composed_temperatures(*logs, hierarchy, val_truth)
    held = fit_composed_temperatures(*logs, hierarchy, val_truth, held=True)
    macro, within = _whole(stages[0]), stages[1].astype(np.float64)
    ways = {"none": (soft(macro, within, hierarchy), 1.0)}
    for way, t in (("fitted", free), ("held", held)):
        probs = soft(t.apply_router(macro), t.apply_submodels(within, hierarchy), hierarchy)
        ways[way] = (probs, [t.router, *t.submodels])
    return ways


def scores(ways: Mapping[str, tuple[np.ndarray, Any]], truth: np.ndarray) -> dict[str, Any]:
    """Return ECE (15 bins), NLL and temperatures by way."""
    return {
        way: {"ece": ece(probs, truth), "nll": nll(probs, truth), "temperature": t}
        for way, (probs, t) in ways.items()
    }


def measured(data: Path, folder: Path, seeds: int, stage_seeds: int) -> dict[str, Any]:
    """Train, and score every method and seed; closed-form heads have one."""
    settings = BenchmarkSettings()
    prepared = prepare_data(data, settings.data)
    backbone, features = prepare_features(prepared, settings.backbone)
    found = find_hierarchy(prepared, features, settings.hierarchy, lambda: np.empty((0, 0)))
    hierarchy = found.hierarchy
    place = folder / f"{settings.backbone.name}-{settings.backbone.fit}"
    trainer = Trainer(place, prepared, features, backbone.key, settings.training, jobs=1)
    rows = {split: prepared.rows(split) for split in ("train", "val", "test")}
    code = np.searchsorted(np.array(prepared.manifest.classes), prepared.manifest.labels.astype(str))
    truth, val_truth, val, test = code[rows["test"]], code[rows["val"]], rows["val"], rows["test"]
    lda = trainer.flat(0, head="lda")
    setting = {key: lda.chosen[key] for key in ("feature_map", "shrinkage", "share_of_all")}
    (alone,) = fit_lda(features[rows["train"]], code[rows["train"]], len(hierarchy.classes), [setting])
    before = fit_temperature(alone.logits(features[val]) / 10, val_truth) * 10
    now = lda.chosen["temperature"]
    kept = flat_ways(lda.probs[test], lda.val_probs[val], val_truth)
    as_before = apply_temperature(_whole(lda.probs[test]), before / now), before
    methods = {
        "flat": [
            scores(flat_ways(m.probs[test], m.val_probs[val], val_truth), truth)
            for m in map(trainer.flat, range(seeds))
        ],
        "flat-lda": [
            scores(
                {"none": kept["none"], "fitted": as_before, "held": (kept["held"][0], now * kept["held"][1])},
                truth,
            )
        ],
    }
    for name, head, n in (("soft:lda", "lda", 1), ("soft", "", stage_seeds)):
        methods[name] = []
        for seed in range(n):
            tables = [
                _stages(trainer, hierarchy, seed, key, head, some)
                for key, some in (("probs", test), ("val_probs", val))
            ]
            methods[name].append(scores(stage_ways(*tables, hierarchy, val_truth), truth))
    return {"methods": methods, "images": {s: len(r) for s, r in rows.items()}, "hierarchy": found.origin}


def _stages(
    trainer: Trainer, hierarchy, seed: int, key: str, head: str, rows: np.ndarray
) -> list[np.ndarray]:
    from aisles.experiments.methods.head_jobs import router_job, with_head

    router = trainer.fitted(with_head(router_job(hierarchy, seed), head))
    return [getattr(router, key)[rows], trainer.within(hierarchy, seed, rows, key, head)]


def note(result: Mapping[str, Any]) -> str:
    """Write the result as Markdown."""
    images = result["images"]
    lines = [
        f"# Temperatures that hold: {result['name']}",
        "",
        "Question: what do temperatures do to calibration, fitted in any case, and kept only where they hold?",
        f"Date: {result['date']}. Hardware: {result['processors']} processors, no GPU.",
        f"Command: `{result['command']}`",
        "",
        "| method | seeds | ECE without | fitted in any case | kept where it holds | NLL without | fitted in any case "
        "| kept where it holds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, seeds in result["methods"].items():
        cells = [
            f"{np.mean([seed[way][key] for seed in seeds]):.3f}" for key in ("ece", "nll") for way in WAYS
        ]
        lines.append(f"| {name} | {len(seeds)} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{images['val']} validation and {images['test']} test images, {result['hierarchy']}; ECE in 15 bins. flat and "
        "soft: the published softmax head; soft has one temperature for the router and one for each sub-model. A "
        "discriminant always carries the temperature of its own fit, cross-fitted; for flat-lda, `fitted in any "
        "case` is that of the head before the refit, as it was done before.",
    ]
    return "\n".join(lines) + "\n"


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs.astype(np.float64), 1e-12))


def _whole(probs: np.ndarray) -> np.ndarray:
    table = probs.astype(np.float64)
    return table / table.sum(axis=1, keepdims=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure and write."""
    parser = result_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--stage-seeds", type=int, default=2)
    given = parser.parse_args(arguments)
    facts = measured(given.data, given.folder, given.seeds, given.stage_seeds)
    options = f"--seeds {given.seeds} --stage-seeds {given.stage_seeds}"
    result = with_origin("temperatures", given, options, facts)
    write_result(given.result, result, note(result))


if __name__ == "__main__":
    main()
