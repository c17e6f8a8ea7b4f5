"""The search for a two-stage design that beats flat, flat being searched with the same care.

    python -m experiments.lab.design_search DATA FOLDER experiments/lab/results/NAME.json

Every candidate is trained on training images and chosen by validation images, over 5 seeds. Two leagues: `light`, whose
heads have at most twice the flat head's parameters, and `heavy`, with at most eight of its heads. In each the best
flat and the best two-stage candidate by validation accuracy (then likelihood) meet on test images; so do the best of
each family, which were given the same trick. Whatever was tried is reported, losers included: in the JSON file, and in
the note of its name beside it, between two marker lines.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.experiments.benchmark.preparation import class_tree, prepare_data, prepare_features
from aisles.experiments.methods.head_jobs import Trainer
from aisles.experiments.metrics.probabilistic import nll
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.stats.verdict import as_json, compare

from .design_candidates import FIRST, SEEDS, Candidate, Search
from .design_further import further_candidates
from .readme_table import write_between

LEAGUES = {"light": 2.0, "heavy": 8.0}
DESIGN = "flat's macros, a discriminant each, 5 macros"
STANDING = tuple(
    (baseline, DESIGN) for baseline in ("flat", "flat times one discriminant", "6 flat heads, mean")
)
"""Comparisons with as many macros as the study has by default, whatever validation images say of other numbers."""


def run_search(data: str | Path, folder: str | Path, cache: str | Path | None = None) -> dict[str, Any]:
    """Search, and give everything that was tried.

    Returns
    -------
    dict
        `standing`: the comparisons of `STANDING`. `candidates`: `name`, `kind`, `family`, `cost` (head parameters
        against flat's), `val_accuracy`, `val_nll`, `test_accuracy`, `test_sd` (over seeds), `against_flat` (difference
        in accuracy, low, high). `leagues`: by name the two that validation images chose, how they compare on test
        images, and the two-stage one against one flat head. `families`: the same for each trick, with flat itself as
        baseline where flat can't be given it.
    """
    settings, folder = BenchmarkSettings(), Path(folder)
    prepared = prepare_data(data, settings.data)
    backbone, features = prepare_features(prepared, settings.backbone, cache)
    trainer = Trainer(folder / "models", prepared, features, backbone.key, settings.training)
    search = Search(prepared, trainer, class_tree(prepared, features, "ward"), folder)
    search.train()
    candidates = [*search.candidates(), *further_candidates(search)]
    products = prepared.manifest.products[prepared.rows("test")]
    return report(candidates, search.truth, products)


def report(candidates: list[Candidate], truth: dict[str, np.ndarray], products: np.ndarray) -> dict[str, Any]:
    """Choose by validation images, and set the chosen beside each other on test images."""
    right = {c.name: c.tables[1].argmax(2) == truth["test"] for c in candidates}
    rows = {c.name: _row(c, truth, right, products) for c in candidates}

    def meet(found: Sequence[Candidate]) -> dict[str, Any]:
        chosen = {kind: _best([c for c in found if c.kind == kind], rows) for kind in ("flat", "two-stage")}
        baseline, design = (name or "flat" for name in chosen.values())
        chosen["flat"] = baseline
        judged = compare(right[baseline], right[design], products, names=(baseline, design))
        alone = compare(right["flat"], right[design], products, names=("flat", design))
        return {"chosen": chosen, "comparison": as_json(judged), "against_flat_alone": as_json(alone)}

    leagues = {
        league: {"most_head_parameters": most} | meet([c for c in candidates if c.cost <= most])
        for league, most in LEAGUES.items()
    }
    families = {name: meet([c for c in candidates if c.family == name]) for name in _families(candidates)}
    standing = [
        as_json(compare(right[a], right[b], products, names=(a, b))) for a, b in STANDING if b in right
    ]
    return {
        "candidates": list(rows.values()),
        "leagues": leagues,
        "families": families,
        "standing": standing,
        "seeds": len(SEEDS),
    }


def note_table(found: dict[str, Any]) -> str:
    """Write what validation images chose, and all that was tried, as Markdown."""
    lines = [f"- With the study's own 5 macros: {one['sentence']}" for one in found["standing"]]
    for league, met in found["leagues"].items():
        most = f"heads of at most {met['most_head_parameters']:g} flat heads' parameters"
        lines += [f"- The {league} league ({most}): {met['comparison']['sentence']}"]
        lines += [f"  Against one flat head: {met['against_flat_alone']['sentence']}"]
    lines += ["", "The best of each family by validation images:", ""]
    lines += [f"- {name}: {met['comparison']['sentence']}" for name, met in found["families"].items()]
    heads = (
        "design",
        "kind",
        "family",
        "head parameters against flat's",
        "val accuracy",
        "val NLL",
        "test accuracy",
    )
    heads += ("against flat, points",)
    lines += ["", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for row in sorted(found["candidates"], key=lambda row: (-row["val_accuracy"], row["val_nll"])):
        points, low, high = (100 * value for value in row["against_flat"])
        cells = (
            row["name"], row["kind"], row["family"], f"{row['cost']:.2f}", f"{row['val_accuracy']:.3f}",
            f"{row['val_nll']:.2f}", f"{row['test_accuracy']:.3f} ± {row['test_sd']:.3f}",
            f"{points:+.1f} ({low:+.1f} to {high:+.1f})",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _best(candidates: Sequence[Candidate], rows: dict[str, dict]) -> str | None:
    """Name the best candidate by validation images; None if there is none."""
    names = [candidate.name for candidate in candidates]
    return max(names, key=lambda n: (rows[n]["val_accuracy"], -rows[n]["val_nll"]), default=None)


def _families(candidates: Sequence[Candidate]) -> list[str]:
    known = dict.fromkeys(candidate.family for candidate in candidates if candidate.kind == "two-stage")
    return [name for name in known if name != FIRST]


def _row(candidate: Candidate, truth, right, products) -> dict[str, Any]:
    val, _ = candidate.tables
    against = compare(right["flat"], right[candidate.name], products, names=("flat", candidate.name))
    shares = right[candidate.name].mean(axis=1)
    return {
        "name": candidate.name,
        "kind": candidate.kind,
        "family": candidate.family,
        "cost": round(candidate.cost, 3),
        "val_accuracy": round(float((val.argmax(2) == truth["val"]).mean()), 6),
        "val_nll": round(float(np.mean([nll(probs, truth["val"]) for probs in val])), 4),
        "test_accuracy": round(float(shares.mean()), 6),
        "test_sd": round(float(shares.std(ddof=1)), 6),
        "against_flat": [round(v, 6) for v in (against.difference, *against.interval)],
    }


def main(arguments: list[str] | None = None) -> None:
    """Search and write the result; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("data", "folder", "result"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = run_search(given.data, given.folder)
    write_whole(given.result, json.dumps(found, indent=1) + "\n")
    if (note := given.result.with_suffix(".md")).exists():
        write_between(note, note_table(found))


if __name__ == "__main__":
    main()
