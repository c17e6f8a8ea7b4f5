"""Every metric of one method, from its answers and probabilities on test images."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from aisles.experiments.methods.registry import MethodResult
from aisles.experiments.runs.predictions import Predictions
from aisles.experiments.stats.verdict import accuracy_interval
from aisles.hierarchy.calibration import apply_temperature, enough_rows, held_temperature
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import macro_from_flat

from . import answers as metrics
from .hierarchical import (
    ceilings,
    error_budget,
    linkage_distance,
    mistake_distance,
    partition_distance,
)
from .probabilistic import brier, climb_curve, ece, nll, risk_coverage
from .registry import METRICS

COVERAGES = tuple(i / 20 for i in range(1, 21))
CLIMB_THRESHOLDS = tuple(i / 20 for i in range(21))


def method_metrics(
    predictions: Predictions, name: str, distances: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return a method's part of `metrics.json`; see `runs.schema.MethodFacts`.

    Parameters
    ----------
    predictions : Predictions
    name : str
    distances : mapping of str to ndarray of shape (n_classes, n_classes)
        Between classes, by the tree that they come from.
    """
    truth, answers, probs = predictions.truth, predictions.answers(name), predictions.probs(name)
    method, hierarchy = predictions.methods[name], predictions.hierarchy
    accuracy = [metrics.accuracy(truth, row) for row in answers]
    interval = accuracy_interval(predictions.correct(name).mean(axis=0), predictions.products)
    varied = len(accuracy) > 1 and not method.deterministic
    return {
        "role": method.role,
        "what": method.what,
        "baseline": method.baseline,
        "searched": method.searched,
        "deterministic": method.deterministic,
        "accuracy_mean": float(np.mean(accuracy)),
        "accuracy_sd": float(np.std(accuracy, ddof=1)) if varied else None,
        "accuracy_interval": [interval.low, interval.high],
        **{
            metric: None
            if definition.probabilities and method.answers_only
            else [definition.value(truth, row, hierarchy) for row in probs]
            for metric, definition in METRICS.items()
        },
        "ceilings": _ceilings(predictions, method),
        "distance": {tree: _distance(truth, answers, table) for tree, table in distances.items()},
        "calibration": _calibration(predictions, method),
        "risk_coverage": None if method.answers_only else _risk_coverage(predictions, name),
        "per_class": _per_class(predictions, name),
        **({} if method.sent is None else {"sent": asdict(method.sent)}),
    } | own_hierarchy(predictions, method)


def tree_distances(predictions: Predictions, linkage: np.ndarray) -> dict[str, np.ndarray]:
    """Return the distances between classes on every tree at hand.

    Returns
    -------
    dict of str to ndarray
        `learned`: two levels, of the run's hierarchy (1 inside a macro, 2 across). `learned_tree`: height of the
        lowest common ancestor, over the root's. `independent`: two levels, of a grouping that the manifest brings.
    """
    heights = linkage_distance(linkage)
    found = {
        "learned": partition_distance(predictions.hierarchy.macro_of),
        "learned_tree": heights / (heights.max() or 1.0),
    }
    if predictions.independent is not None:
        found["independent"] = partition_distance(predictions.independent[1].macro_of)
    return found


def own_hierarchy(predictions: Predictions, method: MethodResult) -> dict[str, Any]:
    """Return `own_hierarchy`: R and S on the hierarchy that a method routes by itself; nothing without one."""
    if method.hierarchy is None or method.macro_probs is None:
        return {}
    macro_of = method.hierarchy.macro_of
    truth, answers = predictions.truth, method.probs.argmax(2)
    budgets = [error_budget(truth, row, macro_of) for row in answers]
    found = {
        "sizes": list(method.hierarchy.sizes),
        "router_accuracy": [metrics.accuracy(macro_of[truth], row.argmax(1)) for row in method.macro_probs],
        "R": [budget.router_accuracy for budget in budgets],
        "S": [budget.within_accuracy for budget in budgets],
    }
    return {"own_hierarchy": found}


def _ceilings(predictions: Predictions, method: MethodResult) -> list[dict[str, float | None]]:
    """Return each seed's ceilings, on the macros that the method routes by, else on the run's."""
    macro_of = (method.hierarchy or predictions.hierarchy).macro_of
    inside = method.probs if method.inside is None else method.inside
    pairs = zip(method.probs, inside, strict=True)
    found = [asdict(ceilings(predictions.truth, row, macro_of, own)) for row, own in pairs]
    # a bare answer says nothing of the other macros
    return [each | {"oracle_router": None} for each in found] if method.answers_only else found


def climb_metrics(predictions: Predictions, name: str) -> dict[str, Any]:
    """Return climb's accuracy against the share answered at class level, means over seeds; None where none is."""
    method, hierarchy = predictions.methods[name], predictions.hierarchy
    macro_truth = hierarchy.macro_of[predictions.truth]
    curves, apart = [], []
    for row, probs in enumerate(method.probs.astype(np.float64)):
        macro, best = _macro_probs(method, row, hierarchy), probs.argmax(1)
        held, likeliest = hierarchy.macro_of[best], macro.argmax(1)
        differ = held != likeliest
        apart.append([differ.mean(), *((differ & (own == macro_truth)).mean() for own in (held, likeliest))])
        curves.append(
            climb_curve(
                probs.max(1), best == predictions.truth, macro[np.arange(len(held)), held], held == macro_truth,
                CLIMB_THRESHOLDS,
            )
        )  # fmt: skip
    keys = ("class_share", "macro_share", "class_accuracy", "accuracy")
    means = {key: np.mean([getattr(curve, key) for curve in curves], axis=0).tolist() for key in keys}
    share, *right = np.mean(apart, axis=0).tolist()
    holding, likeliest = (value / share if share else None for value in right)
    return {
        "threshold": list(CLIMB_THRESHOLDS),
        "macros_apart": {"share": share, "holding_right": holding, "likeliest_right": likeliest},
    } | {key: [None if np.isnan(value) else value for value in values] for key, values in means.items()}


def _macro_probs(method: MethodResult, row: int, hierarchy: Hierarchy) -> np.ndarray:
    if method.macro_probs is not None and method.role == "two-stage":
        return method.macro_probs[row].astype(np.float64)
    return macro_from_flat(method.probs[row], hierarchy)


def _distance(truth: np.ndarray, answers: np.ndarray, table: np.ndarray) -> dict[str, list[float]]:
    found = [mistake_distance(truth, row, table) for row in answers]
    return {"per_mistake": [d.per_mistake for d in found], "per_image": [d.per_image for d in found]}


def _calibration(predictions: Predictions, method: MethodResult) -> dict[str, Any] | None:
    """Return ECE, NLL and Brier before and after one temperature, fitted on validation images if it holds there.

    None for bare answers, and for rules whose zeros and ones don't say how sure they are.
    """
    if method.answers_only or not method.probabilities:
        return None
    metrics: dict[str, Any] = {"before": _empty(), "after": _empty(), "temperature": []}
    for probs, val_probs in zip(method.probs, method.val_probs, strict=True):
        enough = enough_rows(*val_probs.shape)
        with np.errstate(divide="ignore"):
            logs = np.log(val_probs[enough].astype(np.float64))
        temperature = held_temperature(logs, predictions.val_truth[enough])
        metrics["temperature"].append(temperature)
        before = normalized(probs)
        add_calibration(metrics["before"], before, predictions.truth)
        if temperature == 1:
            for key, values in metrics["before"].items():
                metrics["after"][key].append(values[-1])
        else:
            add_calibration(metrics["after"], apply_temperature(before, temperature), predictions.truth)
    return metrics


def normalized(probs: np.ndarray) -> np.ndarray:
    """Return float32 distributions as float64 whose rows sum to 1."""
    table = probs.astype(np.float64)
    return table / table.sum(axis=1, keepdims=True)


def add_calibration(metrics: dict[str, list[float]], probs: np.ndarray, truth: np.ndarray) -> None:
    """Append one seed's ECE (15 bins), NLL and Brier score."""
    for key, function in (("ece", ece), ("nll", nll), ("brier", brier)):
        metrics[key].append(function(probs, truth))


def _empty() -> dict[str, list[float]]:
    return {"ece": [], "nll": [], "brier": []}


def _risk_coverage(predictions: Predictions, name: str) -> dict[str, Any]:
    curves = [
        risk_coverage(probs.max(axis=1).astype(np.float64), right)
        for probs, right in zip(predictions.probs(name), predictions.correct(name), strict=True)
    ]
    n = len(predictions.truth)
    at = [max(1, round(coverage * n)) - 1 for coverage in COVERAGES]
    return {
        "aurc": [curve.aurc for curve in curves],
        "coverage": list(COVERAGES),
        "risk": np.mean([curve.risk[at] for curve in curves], axis=0).tolist(),
    }


def _per_class(predictions: Predictions, name: str) -> dict[str, list]:
    """Return every class's metrics in the order of `classes`, means over seeds; corrected and broken against flat."""
    truth, classes = predictions.truth, predictions.hierarchy.classes
    tables = [metrics.class_table(truth, row, classes) for row in predictions.answers(name)]
    means = {
        key: np.mean([getattr(table, key) for table in tables], axis=0).tolist()
        for key in ("precision", "recall", "f1")
    }
    pairs = zip(predictions.answers("flat"), predictions.answers(name), strict=True)
    changes = [metrics.corrected_and_broken(truth, *pair, len(classes)) for pair in pairs]
    return means | {
        "support": tables[0].support.tolist(),
        "corrected": np.mean([change.corrected_per_class for change in changes], axis=0).tolist(),
        "broken": np.mean([change.broken_per_class for change in changes], axis=0).tolist(),
    }
