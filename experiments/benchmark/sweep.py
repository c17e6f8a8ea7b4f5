"""How the answer depends on the cut: the primary rule for every number of macros and linkage."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from aisles.experiments.metrics.answers import accuracy
from aisles.experiments.settings.benchmark import ComparisonSettings
from aisles.experiments.stats.verdict import compare_family
from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.hierarchy import Hierarchy

from .routable import judged_on


def sweep_cuts(
    trees: Mapping[str, ClassTree],
    macros: tuple[int, ...],
    answers: Callable[[Hierarchy], tuple[np.ndarray, np.ndarray]],
    flat_correct: np.ndarray,
    truth: np.ndarray,
    products: np.ndarray,
    settings: ComparisonSettings,
    forecasts: Mapping[tuple[str, int], Mapping[str, float]],
) -> dict[str, Any]:
    """Judge the primary rule on every cut against flat.

    Parameters
    ----------
    trees : mapping of str to ClassTree
        By linkage.
    macros : tuple of int
        Numbers of macros; those that the classes do not allow are left out.
    answers : callable
        From a hierarchy to the answered classes and the router's macros, both of shape (n_seeds, n_test).
    flat_correct : ndarray of bool of shape (n_seeds, n_test)
    truth, products : ndarray of shape (n_test,)
    settings : ComparisonSettings
    forecasts : mapping
        By linkage and number of macros what was forecast, with `excess`.

    Returns
    -------
    dict
        `cuts`: one a linkage and number: `linkage`, `macros`, `sizes`, `accuracy` and `router_accuracy` over seeds,
        `accuracy_mean`, `accuracy_sd`, `comparison` with flat (all cuts are one family), and the
        forecast's `excess` and `ceiling`. `forecast_rank_correlation`: Spearman's `rho` between `excess` and accuracy
        over `n_cuts` cuts; null with fewer than 3. It has no p-value: cuts of one tree are nested and answer the same
        images, so they are no independent draws. `ceiling_rank_correlation`: the same of `ceiling`.
    """
    cuts, correct, hierarchies = [], {"flat": flat_correct}, []
    for linkage, tree in trees.items():
        for k in (k for k in macros if 2 <= k <= len(tree.classes)):
            hierarchy = tree.cut(k)
            given, routed = answers(hierarchy)
            name = f"{linkage} {k}"
            correct[name] = given == truth
            hierarchies.append(hierarchy)
            shares = [accuracy(truth, row) for row in given]
            said = forecasts.get((linkage, k), {})
            cuts.append(
                {
                    "linkage": linkage,
                    "macros": k,
                    "sizes": list(hierarchy.sizes),
                    "accuracy": shares,
                    "accuracy_mean": float(np.mean(shares)),
                    "accuracy_sd": float(np.std(shares, ddof=1)) if len(shares) > 1 else None,
                    "router_accuracy": [accuracy(hierarchy.macro_of[truth], row) for row in routed],
                    "forecast": {key: said[key] for key in ("excess", "ceiling") if key in said},
                }
            )
    pairs = [("flat", name) for name in correct if name != "flat"]
    judged = compare_family(
        pairs, correct, products, margin=settings.margin, alpha=settings.alpha, n_resamples=2_000
    )
    for cut, hierarchy, comparison in zip(cuts, hierarchies, judged, strict=True):
        cut["comparison"] = judged_on(hierarchy, comparison)
    return {
        "cuts": cuts,
        "forecast_rank_correlation": _rank_correlation(cuts, "excess"),
        "ceiling_rank_correlation": _rank_correlation(cuts, "ceiling"),
    }


def _rank_correlation(cuts: list[dict[str, Any]], key: str) -> dict[str, float] | None:
    pairs = [(c["forecast"][key], c["accuracy_mean"]) for c in cuts if key in c["forecast"]]
    if len(pairs) < 3 or any(len(set(column)) == 1 for column in zip(*pairs, strict=True)):
        return None
    forecasts, accuracies = np.array(pairs).T
    found: Any = spearmanr(forecasts, accuracies)
    return {"rho": float(found.statistic), "n_cuts": len(pairs)}
