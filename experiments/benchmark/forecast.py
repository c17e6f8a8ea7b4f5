"""The forecast of a run: what each cut of the tree guarantees before sub-models are trained, and what was observed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aisles.experiments.metrics.confusion_forecast import Forecast, forecast, soft_confusion
from aisles.experiments.metrics.hierarchical import error_budget
from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.clustering import allowed_numbers
from aisles.hierarchy.hierarchy import Hierarchy


def forecast_cuts(
    trees: Sequence[ClassTree], val_truth: np.ndarray, flat_val_probs: np.ndarray, macros: Sequence[int]
) -> dict[str, Any]:
    """Forecast every number of macros and linkage from the flat model's validation confusions.

    Parameters
    ----------
    trees : sequence of ClassTree
        One a linkage, of training images.
    val_truth : ndarray of int of shape (n_val,)
    flat_val_probs : ndarray of shape (n_seeds, n_val, n_classes)
        From heads that never trained on validation images.
    macros : sequence of int
        Numbers of macros to try; those that the classes do not allow are left out.

    Returns
    -------
    dict
        `candidates` (one a linkage and number: see `described`) and `recommended` (its linkage and macros): the cut
        with the highest `excess` of those that `clustering.choose_n_macros` would choose among, the fewest macros on
        ties, then the linkage that comes first.
    """
    confusions = confusion_of_seeds(val_truth, flat_val_probs)
    candidates, allowed = [], {tree.method: allowed_numbers(tree) for tree in trees}
    for tree in trees:
        for k in (k for k in macros if 2 <= k <= len(tree.classes)):
            cut = tree.cut(k)
            candidates.append(
                {"linkage": tree.method, "macros": k, "sizes": list(cut.sizes), **described(confusions, cut)}
            )
    sensible = [c for c in candidates if c["macros"] in allowed[c["linkage"]]]
    best = max(sensible, key=lambda c: (round(c["excess"], 12), -c["macros"]), default=None)
    return {
        "from": "validation images, flat models of all seeds, before any sub-model is trained",
        "candidates": candidates,
        "recommended": None if best is None else {key: best[key] for key in ("linkage", "macros", "excess")},
    }


def confusion_of_seeds(val_truth: np.ndarray, flat_val_probs: np.ndarray) -> np.ndarray:
    """Add up the confusion mass of all seeds, of shape (n_classes, n_classes)."""
    return np.sum([soft_confusion(val_truth, probs) for probs in flat_val_probs], axis=0)


def described(confusions: np.ndarray, hierarchy: Hierarchy) -> dict[str, float]:
    """Forecast one hierarchy.

    Returns
    -------
    dict of str to float
        `right`, `inside` (what sub-models can repair), `between` (what routing can lose): shares of the mass, summing
        to 1. `ceiling` = right + inside. `inside_by_chance`, `concentration`: see `Forecast`. `excess`: share of
        the confusions inside, less the share expected of random macros of these sizes, which is the modularity of
        the partition of the graph of confusions in its simplest null model (Newman and Girvan 2004).
        `repair_per_router_point`: share of the inside confusions that sub-models must repair for each point that the
        router is worse than the flat model's own macros.
    """
    found: Forecast = forecast(confusions, hierarchy.macro_of)
    errors = found.inside + found.between
    return {
        "right": found.right,
        "inside": found.inside,
        "between": found.between,
        "ceiling": found.ceiling,
        "inside_by_chance": found.inside_by_chance,
        "concentration": found.concentration,
        "excess": found.inside / errors - found.inside_by_chance if errors else 0.0,
        "repair_per_router_point": 0.01 / found.inside if found.inside else 0.0,
    }


def observed_outcome(
    truth: np.ndarray, flat_probs: np.ndarray, routed: np.ndarray, two_stage: np.ndarray, hierarchy: Hierarchy
) -> dict[str, Any]:
    """Return what the test images say of a forecast's guarantees.

    Parameters
    ----------
    truth : ndarray of int of shape (n_test,)
    flat_probs : ndarray of shape (n_seeds, n_test, n_classes)
        The flat model's distributions.
    two_stage : ndarray of int of shape (n_seeds, n_test)
        Answered classes.
    routed : ndarray of int of shape (n_seeds, n_test)
        The router's macros.
    hierarchy : Hierarchy

    Returns
    -------
    dict
        Means over seeds. `mass`: `right`, `inside`, `between` and `ceiling` of flat's probability mass on test images,
        which is what the forecast foretells; the same four of flat's test answers; `router_accuracy`; `repaired`:
        share of flat's confusions inside the true macro that the two-stage classifier answers right; `broken`: share
        of flat's right answers that it answers wrong; `routing_lost`: share of flat's right answers whose image the
        router sends to a wrong macro; `difference` in accuracy.
    """
    macro_of, flat = hierarchy.macro_of, flat_probs.argmax(2)
    mass = described(confusion_of_seeds(truth, flat_probs), hierarchy)
    budgets = [error_budget(truth, answers, macro_of) for answers in flat]
    right, two_right = flat == truth, two_stage == truth
    inside = (macro_of[flat] == macro_of[truth]) & ~right
    astray = routed != macro_of[truth]
    n = len(truth)
    return {
        "mass": {key: mass[key] for key in ("right", "inside", "between", "ceiling")},
        "right": float(np.mean([b.right / n for b in budgets])),
        "inside": float(np.mean([b.within_wrong / n for b in budgets])),
        "between": float(np.mean([b.router_wrong / n for b in budgets])),
        "ceiling": float(np.mean([b.router_accuracy for b in budgets])),
        "router_accuracy": float((~astray).mean()),
        "repaired": _share(inside & two_right, inside),
        "broken": _share(right & ~two_right, right),
        "routing_lost": _share(right & astray, right),
        "difference": float(two_right.mean() - right.mean()),
    }


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else 0.0
