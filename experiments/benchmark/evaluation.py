"""From predictions to `metrics.json`: every metric, and the verdict. Its shape is in `experiments.runs.schema`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from aisles.experiments.metrics import answers as metrics
from aisles.experiments.metrics.hierarchical import ErrorBudget, error_budget
from aisles.experiments.metrics.method_metrics import (
    add_calibration,
    climb_metrics,
    method_metrics,
    normalized,
    tree_distances,
)
from aisles.experiments.metrics.registry import METRICS
from aisles.experiments.runs.predictions import Predictions
from aisles.experiments.settings.benchmark import ComparisonSettings
from aisles.experiments.stats.every_flat import PARTLY, hold_back
from aisles.experiments.stats.points import change_in_points
from aisles.experiments.stats.verdict import Comparison, as_json, compare, compare_family
from aisles.hierarchy.calibration import fit_composed_temperatures
from aisles.hierarchy.rules import in_parts, parse_rule

from .controls import compare_controls
from .routable import judged_on

HIERARCHICAL_SCORES = (
    "In a tree of two levels hierarchical precision, recall and F1 are all (class accuracy + macro accuracy) / 2, so "
    "they add nothing to those two."
)


def evaluate(predictions: Predictions, settings: ComparisonSettings, linkage: np.ndarray) -> dict[str, Any]:
    """Compute the metrics that come from predictions.

    Parameters
    ----------
    predictions : Predictions
        With the methods `flat` and `settings.primary` among them.
    settings : ComparisonSettings
    linkage : ndarray of shape (n_classes - 1, 4)
        Of the tree of classes.

    Returns
    -------
    dict
        The parts of `metrics.json` from `n_test` to `hierarchical_scores`; see `runs.schema.BenchmarkMetrics`.
    """
    hierarchy, truth = predictions.hierarchy, predictions.truth
    comparisons, strongest = compare_all(predictions, settings), against_best_flat(predictions, settings)
    distances = tree_distances(predictions, linkage)
    return {
        "n_test": len(truth),
        "n_products": len(set(predictions.products)),
        "seeds": list(predictions.seeds),
        "classes": list(hierarchy.classes),
        "macros": dict(zip(hierarchy.macros, map(list, hierarchy.members), strict=True)),
        "metrics": {name: definition.facts() for name, definition in METRICS.items()},
        "methods": {name: method_metrics(predictions, name, distances) for name in predictions.methods},
        "router": _router(predictions),
        "error_budget": {
            name: [
                _budget(error_budget(truth, answers, hierarchy.macro_of))
                for answers in predictions.answers(name)
            ]
            for name in predictions.methods
        },
        "comparisons": _judged(predictions, comparisons),
        "best_flat": strongest,
        "verdict": strongest["sentence"],
        "controls": compare_controls(predictions, settings),
        "calibrated_stages": calibrated_stages(predictions, settings.primary),
        "climb": {
            name: climb_metrics(predictions, name) for name in dict.fromkeys(("flat", settings.primary))
        },
        "hierarchical_scores": HIERARCHICAL_SCORES,
    } | coarse_against_fine(predictions, settings)


def compare_all(predictions: Predictions, settings: ComparisonSettings) -> list[Comparison]:
    """Judge everybody but the controls: the primary one against flat first, the others together as a family.

    Each meets its registered baseline, flat as a rule; whose baseline failed is not judged.
    """
    known = predictions.methods
    others = [n for n, c in known.items() if n not in ("flat", settings.primary) and c.role != "control"]
    pairs = [(known[name].baseline, name) for name in others if known[name].baseline in known]
    first = judge(predictions, settings, known[settings.primary].baseline, settings.primary)
    return [first, *family(predictions, settings, pairs)]


def coarse_against_fine(predictions: Predictions, settings: ComparisonSettings) -> dict[str, Any]:
    """Judge methods that learned from coarse labels too against the same ones on fine labels alone, as a family.

    Returns
    -------
    dict
        `coarse_labels`: the comparisons; empty without such methods.
    """
    known = predictions.methods
    pairs = [(method.fine_alone, name) for name, method in known.items() if method.fine_alone in known]
    return {"coarse_labels": _judged(predictions, family(predictions, settings, pairs))} if pairs else {}


def judge(predictions: Predictions, settings: ComparisonSettings, a: str, b: str) -> Comparison:
    """Judge method b against method a on the test images."""
    return compare(
        predictions.correct(a),
        predictions.correct(b),
        predictions.products,
        names=(a, b),
        margin=settings.margin,
        alpha=settings.alpha,
    )


def family(
    predictions: Predictions, settings: ComparisonSettings, pairs: Sequence[tuple[str, str]]
) -> tuple[Comparison, ...]:
    """Judge several pairs of methods together; see `compare_family`."""
    correct = {name: predictions.correct(name) for pair in pairs for name in pair}
    return compare_family(pairs, correct, predictions.products, margin=settings.margin, alpha=settings.alpha)


def best_flat(predictions: Predictions) -> str:
    """Return the flat method, ensembles among them, that validation images prefer.

    The highest accuracy on validation images, mean over seeds; ties go to the higher likelihood. Methods that
    fine-tune networks stand apart: they have flat baselines of their own.
    """
    return best_by_validation(predictions, flat_methods(predictions))


def flat_methods(predictions: Predictions, fine_tuned: bool = False) -> list[str]:
    """List the flat methods, ensembles among them: those on the same features, and with `fine_tuned` all."""
    return [
        name
        for name, method in predictions.methods.items()
        if method.role in ("flat", "ensemble") and (fine_tuned or method.protocol is None)
    ]


def best_by_validation(predictions: Predictions, names: Iterable[str]) -> str:
    """Return the method of the highest accuracy on validation images, mean over seeds; ties: of higher likelihood."""
    truth = predictions.val_truth

    def merit(name: str) -> tuple[float, float]:
        probs = predictions.methods[name].val_probs
        right = float((probs.argmax(2) == truth).mean())
        of_truth = probs[:, np.arange(len(truth)), truth].astype(np.float64)
        return right, float(np.log(np.maximum(of_truth, 1e-12)).mean())

    return max(names, key=merit)


def against_best_flat(predictions: Predictions, settings: ComparisonSettings) -> dict[str, Any]:
    """Judge every two-stage method against the strongest flat one, the primary first, the others as a family.

    A method that fine-tunes networks meets the strongest of all flat methods, those that fine-tune among them. A method
    that is better than validation's choice is called better only if it is shown better than each of the other flat
    methods too (`stats.every_flat`).

    Returns
    -------
    dict
        `name` of the best flat method on the same features, `val_accuracy` by flat method, `comparisons` (a: the best
        flat, of a method that fine-tunes the best of all; those of methods that beat it and not every flat method
        have `unbeaten`, the names of these) and `sentence`: what may be said of the primary.
    """
    strongest = best_flat(predictions)
    of_all = best_by_validation(predictions, flat_methods(predictions, fine_tuned=True))
    tuned = {name for name, method in predictions.methods.items() if method.protocol is not None}
    roles = {name: method.role for name, method in predictions.methods.items()}
    others = [n for n, role in roles.items() if role in ("two-stage", "hierarchy") and n != settings.primary]
    first = judge(predictions, settings, strongest, settings.primary)
    pairs = [(of_all if name in tuned else strongest, name) for name in others]
    rest = family(predictions, settings, pairs)
    judged = _judged(predictions, (first, *rest))

    def unbeaten(one: Mapping[str, Any]) -> list[Comparison]:
        rivals = flat_methods(predictions, fine_tuned=one["b"] in tuned)
        return _unbeaten(predictions, settings, rivals, one["a"], one["b"])

    judged = [hold_back(one, unbeaten(one)) if one["verdict"] == "better" else one for one in judged]
    accuracies = {
        name: float((predictions.methods[name].val_probs.argmax(2) == predictions.val_truth).mean())
        for name in flat_methods(predictions, fine_tuned=True)
    }
    return {
        "name": strongest,
        "val_accuracy": accuracies,
        "comparisons": judged,
        "sentence": judged[0]["sentence"]
        if judged[0]["verdict"] in (PARTLY, "not judged")
        else claim(first, judge(predictions, settings, "flat", settings.primary)),
    }


def _unbeaten(
    predictions: Predictions, settings: ComparisonSettings, rivals: Sequence[str], strongest: str, name: str
) -> list[Comparison]:
    """Return the comparisons with other flat methods in which a method is not shown better."""
    others = [flat for flat in rivals if flat != strongest]
    return [one for flat in others if (one := judge(predictions, settings, flat, name)).verdict != "better"]


def _judged(predictions: Predictions, comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Return comparisons as JSON; those of methods that route have no verdict where there is nothing to route."""
    roles = {name: method.role for name, method in predictions.methods.items()}
    return [
        judged_on(predictions.hierarchy, one) if roles[one.b] in ("two-stage", "hierarchy") else as_json(one)
        for one in comparisons
    ]


def claim(best: Comparison, flat: Comparison) -> str:
    """Return what may be said of a two-stage method: better only if the strongest flat is beaten."""
    if best.a == flat.a:
        return best.sentence()
    beats = {"better": "better than", "worse": "worse than", "equivalent": "equivalent to"}.get(flat.verdict)
    beside = (
        f"{flat.b} is {beats} {flat.a} alone" if beats else f"no difference from {flat.a} is shown either"
    )
    if flat.verdict == "better" and best.verdict != "better":
        beside = f"{flat.b} beats {flat.a} alone, which is not the strongest flat model"
    return f"{best.sentence()} ({beside}: {change_in_points(flat.difference)}.)"


def calibrated_stages(predictions: Predictions, primary: str) -> dict[str, Any] | None:
    """Calibrate router and sub-models one by one on validation images, and give the primary rule's metrics."""
    rule, hierarchy = parse_rule(primary), predictions.hierarchy
    if rule.needs != ("macro_probs", "within_probs"):
        return None
    calibrated: dict[str, Any] = {"ece": [], "nll": [], "brier": [], "accuracy": [], "temperatures": []}
    for row in range(len(predictions.seeds)):
        temperatures = fit_composed_temperatures(
            _log(predictions.val_router[row]),
            _log(predictions.val_within[row]),
            hierarchy,
            predictions.val_truth,
            held=True,
        )
        tables = {
            "macro_probs": temperatures.apply_router(normalized(predictions.router[row])),
            "within_probs": temperatures.apply_submodels(predictions.within[row], hierarchy),
        }
        probs = in_parts(rule, hierarchy, tables)
        add_calibration(calibrated, probs, predictions.truth)
        calibrated["accuracy"].append(metrics.accuracy(predictions.truth, probs.argmax(1)))
        calibrated["temperatures"].append(asdict(temperatures))
    return calibrated


def _router(predictions: Predictions) -> Mapping[str, list[float]]:
    macro_of = predictions.hierarchy.macro_of
    macro_truth = macro_of[predictions.truth]
    return {
        "accuracy": [metrics.accuracy(macro_truth, probs.argmax(1)) for probs in predictions.router],
        "implied_by_flat": [
            metrics.accuracy(macro_truth, macro_of[answers]) for answers in predictions.answers("flat")
        ],
    }


def _budget(budget: ErrorBudget) -> dict[str, Any]:
    return asdict(budget) | {"R": budget.router_accuracy, "S": budget.within_accuracy}


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs.astype(np.float64), 1e-12))
