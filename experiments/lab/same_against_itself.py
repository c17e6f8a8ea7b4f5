"""How often is a difference claimed between a design and itself with other training seeds.

    python -m experiments.lab.same_against_itself DATA FOLDER experiments/lab/results/NAME.json
    python -m experiments.lab.same_against_itself --networks results.zip experiments/lab/results/NAME.json

Trains a pool of flat heads that differ in their seeds alone, then deals them out again and again as two "methods" of K
seeds each, judged on a random half of the test images. Every "better" or "worse" is a false claim. A stopped run goes
on: trained heads stay in FOLDER. With `--networks` the pool is the fine-tuned flat networks of an accelerator study
(experiments/lab/accelerator_study): fewer of them, so draws have more models in common.
"""

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.experiments.stats.verdict import compare

SEEDS = (1, 3, 5)


def false_claims(
    correct: np.ndarray, n_seeds: int, n_draws: int = 400, *, seed: int = 0, n_resamples: int = 500
) -> dict[str, Any]:
    """Deal a pool of equal models into two methods, again and again.

    Parameters
    ----------
    correct : ndarray of bool of shape (n_models, n_images)
        Which answers are right; n_models is at least 2 n_seeds.
    n_seeds : int
        Models per method.
    n_draws : int
    seed, n_resamples : int

    Returns
    -------
    dict
        `n_seeds`, `n_draws`, `n_images` of each draw, and the shares `better`, `worse` and `claimed` (both), in [0, 1].

    Raises
    ------
    ValueError
        If the pool is too small.
    """
    if len(correct) < 2 * n_seeds:
        raise ValueError(
            f"{2 * n_seeds} models are needed for {n_seeds} seeds each. Received: {len(correct)}."
        )
    rng, verdicts = np.random.default_rng(seed), []
    half = correct.shape[1] // 2
    for draw in range(n_draws):
        models = rng.permutation(len(correct))[: 2 * n_seeds]
        images = rng.permutation(correct.shape[1])[:half]
        a, b = correct[np.ix_(models[:n_seeds], images)], correct[np.ix_(models[n_seeds:], images)]
        verdicts.append(compare(a, b, n_resamples=n_resamples, seed=draw).verdict)
    better, worse = (verdicts.count(word) / n_draws for word in ("better", "worse"))
    return {
        "n_seeds": n_seeds, "n_draws": n_draws, "n_images": half, "better": better, "worse": worse,
        "claimed": better + worse,
    }  # fmt: skip


def pool_of_heads(data: Path, folder: Path, n_models: int) -> np.ndarray:
    """Train flat heads of different seeds on one data set; return which test answers are right, (n_models, n_test)."""
    from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
    from aisles.experiments.methods.head_jobs import Trainer, flat_job
    from aisles.experiments.settings.benchmark import BenchmarkSettings

    settings = BenchmarkSettings()
    prepared = prepare_data(data, settings.data)
    backbone, features = prepare_features(prepared, settings.backbone)
    trainer = Trainer(folder, prepared, features, backbone.key, settings.training)
    classes, test = prepared.manifest.classes, prepared.rows("test")
    trainer.train([flat_job(classes, seed) for seed in range(n_models)])
    truth = np.searchsorted(np.array(classes), prepared.manifest.labels[test].astype(str))
    return np.stack([trainer.flat(seed).probs[test].argmax(1) == truth for seed in range(n_models)])


def pool_of_networks(results: Path) -> np.ndarray:
    """Return which test answers of an accelerator study's flat networks are right, (n_models, n_test)."""
    from experiments.lab.accelerator_study.store import Results

    found = Results(results)
    images = found.arrays("images")
    flats = sorted(name for name in found.names if name.startswith("flat-"))
    tested, truth = images["is_test"], images["labels"][images["is_test"]]
    return np.stack([found.arrays(name)["classes"][tested].argmax(1) == truth for name in flats])


def main(arguments: list[str] | None = None) -> None:
    """Train the pool, or read it, deal it out, and write the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("result", type=Path)
    parser.add_argument("--networks", type=Path, metavar="RESULTS", help="results of an accelerator study")
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--draws", type=int, default=400)
    given = parser.parse_args(arguments)
    if given.networks is None and given.folder is None:
        parser.error("Give DATA and FOLDER, or --networks.")
    if given.networks is not None:
        correct, source = pool_of_networks(given.networks), "--networks RESULTS RESULT"
    else:
        correct = pool_of_heads(given.data, given.folder, given.models)
        source = f"DATA FOLDER RESULT --models {given.models}"
    accuracy = correct.mean(axis=1)
    found = {
        "command": f"python -m experiments.lab.same_against_itself {source} --draws {given.draws}",
        "date": date.today().isoformat(),
        "n_models": len(correct),
        "n_test": correct.shape[1],
        "accuracy_mean": round(float(accuracy.mean()), 4),
        "accuracy_sd": round(float(accuracy.std(ddof=1)), 4),
        "draws": [false_claims(correct, k, given.draws) for k in SEEDS if 2 * k <= len(correct)],
    }
    write_whole(given.result, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
