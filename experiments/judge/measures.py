"""What is measured of one system: accuracy, error budget, calibration. Arrays in, plain numbers out."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from aisles.experiments.metrics import answers as metrics
from aisles.experiments.metrics.hierarchical import ceilings, error_budget
from aisles.experiments.metrics.probabilistic import answers_ece, aurc, brier, nll
from aisles.experiments.stats.verdict import accuracy_interval

from .systems import ROWS_AT_ONCE, Systems


def system_metrics(systems: Systems, name: str, role: str, alpha: float) -> dict[str, Any]:
    """Return a system's part of `metrics.json`, see `runs.schema.SystemFacts`.

    Lists are over seeds. Without probabilities top-5 and calibration are null; with a hierarchy come error budget and
    ceilings.

    Parameters
    ----------
    systems : Systems
    name : str
        Of the system.
    role : str
    alpha : float
        1 - level of the interval.
    """
    truth, given = systems.truth, systems.answers[name]
    accuracy = [metrics.accuracy(truth, row) for row in given]
    right = systems.correct(name).mean(axis=0)
    interval = accuracy_interval(right, systems.products, alpha=alpha)
    probs = systems.probs.get(name)
    found = {
        "role": role,
        "accuracy": accuracy,
        "accuracy_mean": float(np.mean(accuracy)),
        "accuracy_sd": float(np.std(accuracy, ddof=1)) if (given != given[:1]).any() else None,
        "accuracy_interval": [interval.low, interval.high],
        "top5_accuracy": None
        if probs is None
        else [_blocks(truth, row, lambda t, p: metrics.top_k_accuracy(t, p, 5)) for row in probs],
        "balanced_accuracy": [metrics.balanced_accuracy(truth, row) for row in given],
        "macro_f1": [metrics.macro_f1(truth, row) for row in given],
        "calibration": None if probs is None else {"before": _calibration(truth, probs), "after": None},
        "risk_coverage": None if probs is None else {"aurc": [_aurc(truth, row) for row in probs]},
        "per_class": _per_class(systems, name),
    }
    if systems.hierarchy is not None and not systems.hierarchy.overlapping:
        found |= _hierarchical(truth, given, probs, systems.hierarchy.macro_of)
    return found


def _hierarchical(
    truth: np.ndarray, given: np.ndarray, probs: np.ndarray | None, macro_of: np.ndarray
) -> dict[str, Any]:
    budgets = [error_budget(truth, row, macro_of) for row in given]
    found: dict[str, Any] = {
        "macro_accuracy": [budget.router_accuracy for budget in budgets],
        "cross_macro_share": [budget.cross_macro_share for budget in budgets],
        "error_budget": [
            asdict(budget) | {"R": budget.router_accuracy, "S": budget.within_accuracy} for budget in budgets
        ],
    }
    if probs is not None:
        found["ceilings"] = [
            {
                "oracle_router": _blocks(truth, row, lambda t, p: ceilings(t, p, macro_of).oracle_router),
                "oracle_submodels": budget.router_accuracy,
            }
            for row, budget in zip(probs, budgets[: len(probs)], strict=True)
        ]
    return found


def _calibration(truth: np.ndarray, probs: np.ndarray) -> dict[str, list[float]]:
    return {
        "ece": [answers_ece(*confidence(truth, row)) for row in probs],
        "nll": [_blocks(truth, row, lambda t, p: nll(p, t)) for row in probs],
        "brier": [_blocks(truth, row, lambda t, p: brier(p, t)) for row in probs],
    }


def confidence(truth: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest probability of each image, and whether its class is the true one."""
    best = probs.argmax(axis=1)
    return np.take_along_axis(probs, best[:, None], axis=1)[:, 0].astype(np.float64), best == truth


def _aurc(truth: np.ndarray, probs: np.ndarray) -> float:
    return aurc(*confidence(truth, probs))


def _blocks(
    truth: np.ndarray, probs: np.ndarray, measure: Callable[[np.ndarray, np.ndarray], float]
) -> float:
    """Return the mean over images of a measure that is one, without a second copy of the probabilities."""
    total = sum(len(rows) * measure(rows, table) for rows, table in _parts(truth, probs))
    return float(total / len(truth))


def _parts(truth: np.ndarray, probs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(truth), ROWS_AT_ONCE):
        table = probs[start : start + ROWS_AT_ONCE].astype(np.float64)
        yield truth[start : start + ROWS_AT_ONCE], table / table.sum(axis=1, keepdims=True)


def _per_class(systems: Systems, name: str) -> dict[str, list]:
    tables = [metrics.class_table(systems.truth, row, systems.classes) for row in systems.answers[name]]
    means = {
        key: np.mean([getattr(table, key) for table in tables], axis=0).tolist()
        for key in ("precision", "recall", "f1")
    }
    return means | {"support": tables[0].support.tolist()}
