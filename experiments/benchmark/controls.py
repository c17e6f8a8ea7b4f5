"""What the hierarchy itself is worth: the primary rule on the run's macros against the same rule on others."""

from typing import Any

import numpy as np

from aisles.experiments.runs.predictions import Predictions
from aisles.experiments.settings.benchmark import ComparisonSettings
from aisles.experiments.stats.verdict import compare, compare_family

from .routable import judged_on


def compare_controls(predictions: Predictions, settings: ComparisonSettings) -> dict[str, Any]:
    """Judge the run's macros against random ones of the same sizes and against other hierarchies.

    Returns
    -------
    dict
        `random` (None without random partitions): `partitions`, `accuracy_mean` and `accuracy_sd` over partitions
        (each a mean over seeds), `difference_per_partition` (the run's macros less each partition) with its
        `difference_sd`, and `comparison`, where a is "random" (all partitions and seeds together) and b the primary
        rule. `hierarchies`: one comparison per other hierarchy, a being the other one and b the run's, corrected
        together by step-down max-T.
    """
    roles = {name: method.role for name, method in predictions.methods.items()}
    partitions = [name for name, role in roles.items() if role == "control"]
    others = [name for name, role in roles.items() if role == "hierarchy"]
    judged = compare_family(
        [(name, settings.primary) for name in others],
        {name: predictions.correct(name) for name in (*others, settings.primary)},
        predictions.products,
        margin=settings.margin,
        alpha=settings.alpha,
    )
    return {
        "random": _random(predictions, settings, partitions) if partitions else None,
        "hierarchies": [judged_on(predictions.hierarchy, comparison) for comparison in judged],
    }


def _random(predictions: Predictions, settings: ComparisonSettings, partitions: list[str]) -> dict[str, Any]:
    primary = predictions.correct(settings.primary)
    correct = [predictions.correct(name) for name in partitions]
    accuracies = [float(table.mean()) for table in correct]
    differences = [float(primary.mean() - accuracy) for accuracy in accuracies]
    together = compare(
        np.concatenate(correct),
        np.tile(primary, (len(partitions), 1)),
        predictions.products,
        names=("random", settings.primary),
        margin=settings.margin,
        alpha=settings.alpha,
        replications=np.repeat(np.arange(len(partitions)), len(primary)),
        shared=primary.mean(axis=1),
        unit="partitions",
    )
    return {
        "partitions": partitions,
        "accuracy_mean": float(np.mean(accuracies)),
        "accuracy_sd": _sd(accuracies),
        "difference_per_partition": differences,
        "difference_sd": _sd(differences),
        "comparison": judged_on(predictions.hierarchy, together),
    }


def _sd(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
