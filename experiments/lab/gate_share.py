"""Why a gate sends another share of images than stated: scores of the wrong model, or images of another kind.

    python -m experiments.lab.gate_share DATA experiments/lab/results/gate-share.json

The gate by margin on the cheap network alone. With the data set's own splits: thresholds from cross-fitted scores of
validation images, the final head having learned from these too (what methods do); and from the one head of training
images alone, which then predicts too. Beside them all images dealt anew, so that nothing shifts: what is left of the
difference there would be the method's. And training and validation images dealt anew, the test images being as they
are: photographs of one visit on both sides, of which none is in the test images.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
from aisles.experiments.methods.second_look import HEAD, Look, threshold_for
from aisles.experiments.methods.sent import Budget, sent_shares
from aisles.experiments.settings.benchmark import BackboneSettings, BenchmarkSettings
from aisles.models.heads.registry import HEADS
from aisles.models.heads.tuning import Parts, Tuned, tune

from .map.data import DIRECTIONS, reduced
from .second_look import CHEAP, SHARES

DRAWS = 40


def margins(probs: np.ndarray) -> np.ndarray:
    """Return best less second probability, (n_images, n_classes) to (n_images,)."""
    return Look(probs, np.zeros(len(probs), int)).margin


def measured(found: Tuned, rows: Mapping[str, np.ndarray], truth: np.ndarray) -> dict[str, Any]:
    """Return what thresholds at every stated share send, with intervals, and the accuracies."""
    val, test = -margins(found.val_probs[rows["val"]]), -margins(found.probs[rows["test"]])
    shares = {}
    for share in SHARES:
        threshold = threshold_for(val, share)
        one = sent_shares(Budget(share), val >= threshold, test >= threshold)
        shares[str(share)] = {
            "measured": round(one.measured, 4),
            "interval": [round(bound, 4) for bound in one.interval],
            "as_stated": one.as_stated,
        }
    said = {"val": found.val_probs[rows["val"]], "test": found.probs[rows["test"]]}
    right = {split: round(float((p.argmax(1) == truth[rows[split]]).mean()), 4) for split, p in said.items()}
    return {"accuracy": right, "sent": shares}


def _over(draws: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarize dealings: mean and standard deviation of each share, and how often its interval holds it."""
    shares = {}
    for share in map(str, SHARES):
        values = np.array([draw["sent"][share]["measured"] for draw in draws])
        kept = np.mean([draw["sent"][share]["as_stated"] for draw in draws])
        shares[share] = {
            "mean": round(float(values.mean()), 4),
            "sd": round(float(values.std(ddof=1)), 4),
            "as_stated": round(float(kept), 3),
        }
    accuracy = {
        split: round(float(np.mean([d["accuracy"][split] for d in draws])), 4) for split in ("val", "test")
    }
    return {"dealings": len(draws), "accuracy": accuracy, "sent": shares}


def measure(data: Path, cache: Path | None, draws: int = DRAWS) -> dict[str, Any]:
    """Measure the shares on the data set's own splits and on images dealt anew.

    Returns
    -------
    dict
        `as methods do`, `training images alone`: `accuracy` by split; `sent`, by stated share: `measured`, `interval`,
        `as_stated`. `all dealt anew`, `training and validation dealt anew`: the same over `dealings`.
    """
    settings = BenchmarkSettings()
    prepared = prepare_data(data, settings.data)
    manifest = prepared.manifest
    rows = {split: prepared.rows(split) for split in ("train", "val", "test")}
    _, vectors = prepare_features(prepared, BackboneSettings(name=CHEAP), cache)
    features = reduced(vectors, manifest.splits == "train")
    truth = np.searchsorted(np.array(manifest.classes), manifest.labels.astype(str))
    n = len(manifest.classes)

    def fitted(parts: Mapping[str, np.ndarray], head: Any = HEADS[HEAD], refit: bool = True) -> Tuned:
        return tune(
            head, Parts(features, truth, parts["train"], parts["val"], manifest.products), n, refit=refit
        )

    ours = fitted(rows)
    settled = {key: value for key, value in ours.chosen.items() if key != "temperature"}
    head = replace(HEADS[HEAD], grid=lambda _background: [settled])
    found = {
        "chosen": settled,
        "as methods do": measured(ours, rows, truth),
        "training images alone": measured(fitted(rows, refit=False), rows, truth),
    }
    rng, sizes = np.random.default_rng(0), np.cumsum([len(rows["train"]), len(rows["val"])])
    for name, pool, fixed in (
        ("all dealt anew", np.arange(len(truth)), None),
        ("training and validation dealt anew", np.concatenate([rows["train"], rows["val"]]), rows["test"]),
    ):
        dealt = []
        for _ in range(draws):
            train, val, rest = np.split(rng.permutation(pool), sizes)
            parts = {"train": train, "val": val, "test": rest if fixed is None else fixed}
            dealt.append(measured(fitted(parts, head), parts, truth))
        found[name] = _over(dealt)
    return {"images": {split: len(some) for split, some in rows.items()}, "directions": DIRECTIONS, **found}


def main(arguments: list[str] | None = None) -> None:
    """Measure and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args(arguments)
    result = {
        "command": "python -m experiments.lab.gate_share DATA experiments/lab/results/gate-share.json",
        "date": date.today().isoformat(),
        **measure(given.data, given.cache),
    }
    write_whole(given.output, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
