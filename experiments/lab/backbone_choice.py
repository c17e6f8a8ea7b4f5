"""The packaged backbone, alone or joined, that validation images choose, and what it reaches.

    python -m experiments.lab.backbone_choice DATA --folder FOLDER --result experiments/lab/results/backbones-NAME.json

Question: how good does a flat discriminant get with the backbones that install from a registry, alone and joined?
Every combination is fitted; validation accuracy (ties: likelihood) chooses among the single ones and among all; test
images are looked at for what was chosen and for the table, and choose nothing. The choice is judged against the best
single backbone and against the default one, both together. A table in Markdown goes beside the JSON.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from aisles.experiments.stats.verdict import accuracy_interval, as_json, compare_family
from aisles.models.backbones.definitions import JOIN

from .each_change import Outcome, Pipeline, outcomes
from .result_files import result_parser, with_origin, write_result

PACKAGED = ("efficientnet_lite0", "efficientnet_lite2", "dinov2_small")


def candidates(names: Sequence[str], head: str) -> list[Pipeline]:
    """List every non-empty combination of backbones, smaller ones first, as pipelines with one head."""
    joined = (JOIN.join(some) for n in range(1, len(names) + 1) for some in combinations(names, n))
    return [Pipeline(name, "published", head) for name in joined]


def chosen(found: Mapping[Pipeline, Outcome]) -> Pipeline:
    """Return what validation images prefer: the highest accuracy, then the highest likelihood, then the first."""
    return max(found, key=lambda pipeline: (found[pipeline].val_accuracy, found[pipeline].val_likelihood))


def judged(found: Mapping[Pipeline, Outcome], products: np.ndarray) -> dict[str, Any]:
    """Choose and judge.

    Returns
    -------
    dict
        `candidates` (backbone, val_accuracy, accuracy and its interval, in the order given), `best_single`, `best`
        and `comparisons` of the best with the best single one and the first one, as far as they differ.
    """
    best = chosen(found)
    single = chosen({p: outcome for p, outcome in found.items() if JOIN not in p.backbone})
    pairs = [(a.backbone, best.backbone) for a in dict.fromkeys((single, next(iter(found)))) if a != best]
    correct = {pipeline.backbone: outcome.correct for pipeline, outcome in found.items()}
    rows = []
    for pipeline, outcome in found.items():
        interval = accuracy_interval(outcome.correct.mean(axis=0), products)
        rows.append(
            {
                "backbone": pipeline.backbone,
                "val_accuracy": outcome.val_accuracy,
                "val_likelihood": outcome.val_likelihood,
                "accuracy": interval.estimate,
                "interval": [interval.low, interval.high],
            }
        )
    compared = [as_json(c) for c in compare_family(pairs, correct, products)]
    return {
        "candidates": rows,
        "best_single": single.backbone,
        "best": best.backbone,
        "comparisons": [{k: v for k, v in c.items() if k != "mcnemar"} for c in compared],
    }


def note(result: Mapping[str, Any]) -> str:
    """Write the result as Markdown."""
    images = result["images"]
    lines = [
        f"# Backbones, alone and joined: {result['name']}",
        "",
        "Question: how good does a flat discriminant get with the backbones that install from a registry?",
        f"Date: {result['date']}. Hardware: {result['processors']} processors, no GPU.",
        f"Command: `{result['command']}`",
        "",
        "| backbone | on validation | on test (95 %) |",
        "| --- | --- | --- |",
    ]
    for row in result["candidates"]:
        marks = {result["best"]: " (chosen)", result["best_single"]: " (best single)"}
        low, high = row["interval"]
        lines.append(
            f"| {row['backbone']}{marks.get(row['backbone'], '')} | {row['val_accuracy']:.3f} "
            f"| {row['accuracy']:.3f} ({low:.3f} to {high:.3f}) |"
        )
    lines += ["", *(f"- {comparison['sentence']}" for comparison in result["comparisons"]), ""]
    lines += [
        f"Head: {result['head']}; trained on {images['train']} + {images['val']} images, tested on {images['test']}. "
        f"{images['val']} validation images chose; so few choose roughly. Published preprocessing of each network."
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Fit, choose, judge, write."""
    parser = result_parser(__doc__)
    parser.add_argument("--backbones", nargs="+", default=list(PACKAGED))
    parser.add_argument("--head", default="lda")
    given = parser.parse_args(arguments)
    found, products, images = outcomes(given.data, given.folder, candidates(given.backbones, given.head), 1)
    facts = {"head": given.head, "images": images, **judged(found, products)}
    options = f"--backbones {' '.join(given.backbones)} --head {given.head}"
    result = with_origin("backbone_choice", given, options, facts)
    write_result(given.result, result, note(result))


if __name__ == "__main__":
    main()
