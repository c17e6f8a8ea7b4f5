"""The verdict on a run: two-stage methods against flat ensembles of equal prediction cost, on test images."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.experiments.metrics.probabilistic import nll
from aisles.experiments.stats.verdict import Comparison, apply_holm, as_json, compare

from .specialists import RULES
from .store import Results

SOFT, HARD, SPECIALISTS = "two-stage, soft", "two-stage, hard", "specialists"


@dataclass(frozen=True, eq=False)
class Answers:
    """One method on the test images.

    Attributes
    ----------
    name : str
    probs : ndarray of shape (n_seeds, n_images, n_classes)
    cost : float
        Multiplications for one image, in those of a flat model.
    images : float
        Training images that it was shown, repeats counted; mean over seeds.
    """

    name: str
    probs: np.ndarray
    cost: float
    images: float


def soft(macros: np.ndarray, within: np.ndarray, macro_of_class: np.ndarray) -> np.ndarray:
    """Return P(macro) P(class given macro), of shape (n, n_classes)."""
    return macros.astype(np.float64)[:, macro_of_class] * within


def hard(macros: np.ndarray, within: np.ndarray, macro_of_class: np.ndarray) -> np.ndarray:
    """Return P(class given macro) for the classes of the router's first macro, and 0 for all others."""
    return np.where(macro_of_class == macros.argmax(1)[:, None], within.astype(np.float64), 0.0)


def ensemble_members(seed: int, size: int, n_flats: int) -> list[int]:
    """Return which flat models answer together for a seed: its own and those after it, round."""
    return [(seed + step) % n_flats for step in range(size)]


def read_answers(results: Results) -> tuple[list[Answers], np.ndarray, np.ndarray]:
    """Return every method's answers to the test images, the truth, and the images' products.

    Raises
    ------
    ValueError
        If no seed has all its models yet.
    """
    run, images = results.facts("run"), results.arrays("images")
    test, macro_of_class = images["is_test"], np.array(run["macro_of_class"])
    n_macros = int(macro_of_class.max()) + 1
    flats = [n for n in range(len(results.names)) if f"flat-{n}" in results]
    kinds = ("flat", "again", "separate", "specialists")
    seeds = [seed for seed in flats if all(f"{kind}-{seed}" in results for kind in kinds)]
    if not seeds:
        raise ValueError(f"{results.path} has no seed with all its models. Go on with the command `train`.")

    def arrays(kind: str, key: str) -> np.ndarray:
        return np.stack([results.arrays(f"{kind}-{seed}")[key][test].astype(np.float32) for seed in seeds])

    def shown(kind: str, which=seeds) -> float:
        return float(np.mean([results.facts(f"{kind}-{seed}")["images"] for seed in which]))

    pool = {n: results.arrays(f"flat-{n}")["classes"][test].astype(np.float32) for n in flats}
    flat, share = np.stack([pool[seed] for seed in seeds]), run["cost"]["specialist"] / run["cost"]["flat"]
    rule = run["chosen"]["specialists"]["rule"]
    macros, within, joint = (
        arrays("separate", "macros"),
        arrays("separate", "within"),
        arrays("specialists", "joint"),
    )
    first = shown("flat")
    methods = [
        Answers("flat", flat, 1, first),
        Answers("flat, trained again", arrays("again", "classes"), 1, first + shown("again")),
        Answers(SOFT, _each(soft, macros, within, macro_of_class), 1 + n_macros, first + shown("separate")),
        Answers(HARD, _each(hard, macros, within, macro_of_class), 2, first + shown("separate")),
        Answers(
            SPECIALISTS,
            _each(RULES[rule], flat, joint, macro_of_class),
            1 + n_macros * share,
            first + shown("specialists"),
        ),
    ]
    if all(f"random-{seed}" in results for seed in seeds):
        shuffled = [np.array(results.facts(f"random-{seed}")["macro_of_class"]) for seed in seeds]
        parts = zip(arrays("random", "macros"), arrays("random", "within"), shuffled, strict=True)
        probs = np.stack([soft(*one) for one in parts])
        methods.append(Answers("two-stage, random macros", probs, 1 + n_macros, first + shown("random")))
    for size in sorted({math.ceil(method.cost - 1e-9) for method in methods} - {1}):
        if size <= len(flats):
            members = [[flats[n] for n in ensemble_members(flats.index(s), size, len(flats))] for s in seeds]
            probs = np.stack([np.mean([pool[n] for n in group], axis=0) for group in members])
            methods.append(Answers(_ensemble(size), probs, size, size * shown("flat", flats)))
    return methods, images["labels"][test], images["products"][test]


def judge(results: Results) -> dict[str, Any]:
    """Judge a run.

    Returns
    -------
    dict
        `primary`: the soft two-stage classifier against the flat ensemble of equal cost, or None where there are too
        few flat models. `secondary`: the other comparisons, corrected together (Holm). `methods`: accuracy (mean, by
        seed, standard deviation), balanced accuracy, top-5, nll, macro accuracy, cost and training images of each.
        `n_flats`: from how many ensembles are drawn. `other_networks`: accuracies of flat models of another network.
        `run`: what the run noted.
    """
    methods, truth, products = read_answers(results)
    run = results.facts("run")
    by_name = {method.name: method for method in methods}
    right = {method.name: method.probs.argmax(2) == truth for method in methods}

    def against(baseline: str, name: str) -> Comparison:
        return compare(right[baseline], right[name], products, names=(baseline, name))

    def equal(name: str) -> str:
        return _ensemble(math.ceil(by_name[name].cost - 1e-9))

    pairs = [
        ("flat", SOFT), ("flat, trained again", SOFT), (equal(HARD), HARD),
        ("flat", SPECIALISTS), (equal(SPECIALISTS), SPECIALISTS),
        ("two-stage, random macros", SOFT), ("flat", equal(SOFT)),
    ]  # fmt: skip
    secondary = [against(*pair) for pair in pairs if set(pair) <= set(right)]
    return {
        "primary": as_json(against(equal(SOFT), SOFT)) if equal(SOFT) in right else None,
        "secondary": [as_json(comparison) for comparison in apply_holm(secondary)],
        "methods": [_metrics(method, truth, np.array(run["macro_of_class"])) for method in methods],
        "n_flats": sum(name.startswith("flat-") for name in results.names),
        "other_networks": _other_networks(results, truth),
        "n_test": len(truth),
        "run": run,
    }


def write_verdict(report: dict[str, Any], path: str | Path) -> list[Path]:
    """Write `judge`'s answer as JSON, and as Markdown beside it."""
    path = Path(path).with_suffix(".json")
    write_whole(path, json.dumps(report, indent=1) + "\n")
    return [path, write_whole(path.with_suffix(".md"), as_markdown(report))]


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report for people."""
    run, primary = report["run"], report["primary"]
    n_seeds = len(report["methods"][0]["accuracy_per_seed"])
    lines = [
        "# Fine-tuned on all classes: flat and two-stage on an accelerator",
        "",
        f"{len(run['classes'])} classes in {len(run['macros'])} macros, {report['n_test']} test images, {n_seeds} "
        f"seeds; EfficientNet-{run['settings']['network'].capitalize()}, {run['epochs']} epochs, "
        f"{run['settings']['precision']}, {run['device']}, PyTorch {run['torch']}.",
        "",
        "**"
        + (primary["sentence"] if primary else "Too few flat models for an ensemble of equal cost.")
        + "**",
        "",
        "| method | test accuracy | sd over seeds | balanced | top 5 | NLL | macro right | cost | training images |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(report["methods"], key=lambda row: -row["accuracy"]):
        sd = "" if row["accuracy_sd"] is None else f"{row['accuracy_sd']:.4f}"
        lines.append(
            f"| {row['name']} | {row['accuracy']:.4f} | {sd} | {row['balanced_accuracy']:.4f} | {row['top5']:.4f} | "
            f"{row['nll']:.3f} | {row['macro_accuracy']:.4f} | {row['cost']:.2f} | {row['training_images']:,.0f} |"
        )
    lines += [
        "",
        "Cost: multiplications for one image, in those of one flat model. Training images: repeats counted, mean over "
        f"seeds. Ensembles are drawn from {report['n_flats']} flat models: those of different seeds share members, so "
        "their spread over seeds is too small. Probabilities of 0 count as 1e-7 in the likelihood.",
        "",
        "Other comparisons, corrected together (Holm):",
        "",
        *(f"- {comparison['sentence']}" for comparison in report["secondary"]),
        "",
        "Chosen by validation images, which the first stage did not train on (accuracy, mean log-likelihood):",
        "",
    ]
    for kind, found in run["chosen"]["trials"].items():
        tried = "; ".join(f"{name} {values[0]:.4f}, {values[1]:.3f}" for name, values in found.items())
        lines.append(f"- {kind}: {tried}")
    for name, accuracies in report["other_networks"].items():
        mean = f"{np.mean(accuracies):.4f}"
        lines += ["", f"{name}: {', '.join(f'{value:.4f}' for value in accuracies)} (mean {mean})."]
    for kind in ("training", "prediction"):
        speeds = run.get(f"{kind}_images_per_second", {})
        lines += [
            "",
            f"Images per second, {kind}: " + ", ".join(f"{k} {v:,.0f}" for k, v in speeds.items()) + ".",
        ]
    return "\n".join(lines) + "\n"


def _each(combine, *parts: np.ndarray) -> np.ndarray:
    """Combine seed by seed; the last part is the same for all seeds."""
    *by_seed, macro_of_class = parts
    return np.stack([combine(*one, macro_of_class) for one in zip(*by_seed, strict=True)])


def _ensemble(size: int) -> str:
    return f"ensemble of {size} flat models"


def _metrics(method: Answers, truth: np.ndarray, macro_of_class: np.ndarray) -> dict[str, Any]:
    answers = method.probs.argmax(2)
    right = answers == truth
    accuracy = right.mean(1)
    classes = np.unique(truth)
    balanced = np.mean([right[:, truth == one].mean() for one in classes])
    five = np.argsort(-method.probs, axis=2, kind="stable")[:, :, :5]
    clipped = method.probs.astype(np.float64).clip(1e-7)
    likelihood = [nll(probs / probs.sum(1, keepdims=True), truth) for probs in clipped]
    return {
        "name": method.name,
        "accuracy": float(accuracy.mean()),
        "accuracy_per_seed": accuracy.tolist(),
        "accuracy_sd": float(accuracy.std(ddof=1)) if len(accuracy) > 1 else None,
        "balanced_accuracy": float(balanced),
        "top5": float((five == truth[:, None]).any(2).mean()),
        "nll": float(np.mean(likelihood)),
        "macro_accuracy": float((macro_of_class[answers] == macro_of_class[truth]).mean()),
        "cost": method.cost,
        "training_images": method.images,
    }


def _other_networks(results: Results, truth: np.ndarray) -> dict[str, list[float]]:
    test = results.arrays("images")["is_test"]
    found: dict[str, list[float]] = {}
    for name in results.names:
        network, _, rest = name.partition("-flat-")
        if rest and network != "trial":
            right = results.arrays(name)["classes"][test].argmax(1) == truth
            found.setdefault(f"flat, EfficientNet-{network.capitalize()}", []).append(float(right.mean()))
    return found
