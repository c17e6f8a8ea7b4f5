"""From predictions to `metrics.json`: every figure, and the verdict."""

from dataclasses import asdict
from typing import Any

import numpy as np

from . import metrics
from .config import ComparisonSettings
from .hierarchy_figures import ErrorBudget, error_budget
from .predictions import Predictions
from .statistics import Comparison, apply_holm, compare


def evaluate(predictions: Predictions, settings: ComparisonSettings) -> dict[str, Any]:
    """Compute the figures of a study.

    Parameters
    ----------
    predictions : Predictions
        With the contestants `flat` and `settings.primary` among them.
    settings : ComparisonSettings

    Returns
    -------
    dict
        As `metrics.json` holds it: `n_test`, `classes`, `macros`, `contestants`, `router`, `comparisons` (the primary
        one first), `verdict`.
    """
    hierarchy, truth = predictions.hierarchy, predictions.truth
    macro_truth = hierarchy.macro_of[truth]
    comparisons = compare_all(predictions, settings)
    return {
        "n_test": len(truth),
        "n_products": len(set(predictions.products)),
        "seeds": list(predictions.seeds),
        "classes": list(hierarchy.classes),
        "macros": dict(zip(hierarchy.macros, map(list, hierarchy.members), strict=True)),
        "contestants": {name: _figures(predictions, name) for name in predictions.classes_by},
        "router": {
            "accuracy": [metrics.accuracy(macro_truth, probs.argmax(1)) for probs in predictions.router],
            "implied_by_flat": [
                metrics.accuracy(macro_truth, hierarchy.macro_of[answers])
                for answers in predictions.answers("flat")
            ],
        },
        "error_budget": {
            name: [
                _budget(error_budget(truth, answers, hierarchy.macro_of))
                for answers in predictions.answers(name)
            ]
            for name in predictions.classes_by
        },
        "comparisons": [_as_json(comparison) for comparison in comparisons],
        "verdict": comparisons[0].sentence(),
    }


def compare_all(predictions: Predictions, settings: ComparisonSettings) -> list[Comparison]:
    """Judge every contestant against flat: the primary one first, the others corrected by Holm."""

    def judge(name: str) -> Comparison:
        return compare(
            predictions.correct("flat"),
            predictions.correct(name),
            predictions.products,
            names=("flat", name),
            margin=settings.margin,
            alpha=settings.alpha,
        )

    others = [name for name in predictions.classes_by if name not in ("flat", settings.primary)]
    return [judge(settings.primary), *apply_holm([judge(name) for name in others])]


def _figures(predictions: Predictions, name: str) -> dict[str, Any]:
    truth, answers, probs = predictions.truth, predictions.answers(name), predictions.classes_by[name]
    accuracy = [metrics.accuracy(truth, row) for row in answers]
    return {
        "accuracy": accuracy,
        "accuracy_mean": float(np.mean(accuracy)),
        "accuracy_sd": float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else None,
        "top5_accuracy": [metrics.top_k_accuracy(truth, row, 5) for row in probs],
        "balanced_accuracy": [metrics.balanced_accuracy(truth, row) for row in answers],
        "macro_f1": [metrics.macro_f1(truth, row) for row in answers],
    }


def _budget(budget: ErrorBudget) -> dict[str, Any]:
    return asdict(budget) | {"R": budget.router_accuracy, "S": budget.within_accuracy}


def _as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "a": comparison.a,
        "b": comparison.b,
        "difference": comparison.difference,
        "difference_per_seed": list(comparison.difference_per_seed),
        "difference_sd": comparison.difference_sd,
        "interval": list(comparison.interval),
        "p_value": comparison.p_value,
        "p_corrected": comparison.p_corrected,
        "mcnemar": [asdict(test) for test in comparison.mcnemar],
        "rescued": list(comparison.rescued),
        "lost": list(comparison.lost),
        "equivalence_interval": list(comparison.equivalence_interval),
        "equivalence_p": comparison.equivalence_p,
        "smallest_detectable": comparison.smallest_detectable,
        "margin": comparison.margin,
        "alpha": comparison.alpha,
        "verdict": comparison.verdict,
        "sentence": comparison.sentence(),
    }
