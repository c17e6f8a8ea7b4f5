"""From predictions to `metrics.json`: every plot, and the verdict.

The shape of `metrics.json`. It holds no time and no date: the same images, settings and versions give the same file,
however often the study was interrupted. Lists over seeds are in the order of `seeds`; lists over classes in the order
of `classes`; shares are between 0 and 1; what can't be computed is null. Times are in `costs.json`.

- `n_test`, `n_products`, `seeds`, `classes`, `macros` (name: its classes), `backbone`, `data` (`fingerprint`,
  `test_images`: hash of the names, labels and bytes of those, `images`
  by split, `products`, `unreadable`, `equal_files_across_splits_or_classes`, `notes`).
- `metrics`: the registered metrics by name: `label`, `description`, `higher_is_better`, `shown`.
- `methods`: by name
  - `role`: flat, ensemble, two-stage, hierarchy (the primary rule on another hierarchy), control (on random macros)
    or reference (another library);
  - lists over seeds `accuracy`, `top5_accuracy`, `balanced_accuracy`, `macro_f1`, `macro_accuracy`,
    `hierarchical_f1`, `cross_macro_share`, `ceilings` (`oracle_router`, `oracle_submodels`, on the macros that it
    routes by, else on the study's; the oracle router from what is said inside macros before routing);
    `accuracy_mean`, `accuracy_sd` and `accuracy_interval` (product bootstrap of the mean over seeds);
    where there are bare answers only, `top5_accuracy`, `oracle_router`, `risk_coverage` are null;
  - `distance`: by tree (`learned`, `learned_tree`, `independent`) `per_mistake` and `per_image` over seeds;
  - `calibration`: `before` and `after` (each `ece`, `nll`, `brier` over seeds) one `temperature` a seed, fitted on
    validation images; null for bare answers;
  - `risk_coverage`: `aurc` over seeds, `coverage` and mean `risk`;
  - `per_class`: `precision`, `recall`, `f1`, `support`, `corrected`, `broken` (against flat) over
    classes, seeds averaged;
  - `own_hierarchy` (if it routes): `sizes`, `router_accuracy`, `R`, `S` on the macros that it routes by itself;
  - `cost`: `backbone_passes` and `head_passes` an image, `heads`, `parameters`, `weight_bytes`, `images`,
    `epochs` and `image_steps` of training, all a seed;
- `failed`: methods that failed, each with its reason.
- `router`: over seeds `accuracy` and `implied_by_flat`.
- `error_budget`: by method and seed `router_wrong`, `within_wrong`, `right`, `R`, `S`, on the study's macros.
- `comparisons`: everybody but controls (`b`) against flat (`a`; fine-tuned networks against the flat model that was
  fine-tuned alike), the primary one first, the others corrected by Holm:
  `difference`, `difference_per_seed`, `difference_sd`, `interval`, `p_value`, `p_corrected`, `mcnemar`, `corrected`,
  `broken`, `equivalence_interval`, `equivalence_p`, `smallest_detectable`, `margin`, `alpha`, `verdict`, `sentence`;
  the first one is about the primary; all others are one family (`p_corrected`: step-down max-T, `p_holm` beside it).
- `best_flat`: the flat method that validation images prefer, and every two-stage method against it; see
  `against_best_flat`. `verdict` is its sentence about the primary.
- `controls`: see `controls.compare_controls`.
- `calibrated_stages`: the primary rule's metrics after one temperature for the router and one for each sub-model
  (`ece`, `nll`, `brier`, `accuracy` over seeds, `temperatures`); null if it has no sub-models and router of its own.
- `climb`: for flat and the primary rule, over thresholds: `class_share`, `macro_share`, `class_accuracy`, `accuracy`.
- `hierarchical_scores`: why hP = hR = hF1 here, said once.
- `hierarchy`: `origin` and `hierarchy_quality.hierarchy_quality`'s metrics; `agreement` with other hierarchies.
- `forecast`: `forecasts.forecast_cuts`'s, with `used` (the study's hierarchy) and `observed` (test images).
- `sweep` (if asked for): see `sweeps.sweep_cuts`.
"""

from collections.abc import Mapping, Sequence
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
from aisles.experiments.stats.verdict import Comparison, as_json, compare, compare_family
from aisles.hierarchy.calibration import fit_composed_temperatures
from aisles.hierarchy.rules import parse_rule, route

from .controls import compare_controls

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
        The parts of `metrics.json` that this module's text lists, from `n_test` to `hierarchical_scores`.
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
        "comparisons": [as_json(comparison) for comparison in comparisons],
        "best_flat": strongest,
        "verdict": strongest["sentence"],
        "controls": compare_controls(predictions, settings),
        "calibrated_stages": calibrated_stages(predictions, settings.primary),
        "climb": {
            name: climb_metrics(predictions, name) for name in dict.fromkeys(("flat", settings.primary))
        },
        "hierarchical_scores": HIERARCHICAL_SCORES,
    }


def compare_all(predictions: Predictions, settings: ComparisonSettings) -> list[Comparison]:
    """Judge everybody but the controls: the primary one against flat first, the others together as a family.

    Each meets its registered baseline, flat as a rule; whose baseline failed is not judged.
    """
    known = predictions.methods
    others = [n for n, c in known.items() if n not in ("flat", settings.primary) and c.role != "control"]
    pairs = [(known[name].baseline, name) for name in others if known[name].baseline in known]
    first = judge(predictions, settings, known[settings.primary].baseline, settings.primary)
    return [first, *family(predictions, settings, pairs)]


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
    fine-tune networks stand apart: they have flat rivals of their own.
    """
    truth = predictions.val_truth

    def merit(name: str) -> tuple[float, float]:
        probs = predictions.methods[name].val_probs
        right = float((probs.argmax(2) == truth).mean())
        of_truth = probs[:, np.arange(len(truth)), truth].astype(np.float64)
        return right, float(np.log(np.maximum(of_truth, 1e-12)).mean())

    flats = [
        name
        for name, method in predictions.methods.items()
        if method.role in ("flat", "ensemble") and method.protocol is None
    ]
    return max(flats, key=merit)


def against_best_flat(predictions: Predictions, settings: ComparisonSettings) -> dict[str, Any]:
    """Judge every two-stage method against the strongest flat one, the primary first, the others as a family.

    Returns
    -------
    dict
        `name` of the best flat method, `val_accuracy` by flat method, `comparisons` (a: the best flat) and `sentence`:
        what may be said of the primary.
    """
    strongest = best_flat(predictions)
    roles = {name: method.role for name, method in predictions.methods.items()}
    others = [n for n, role in roles.items() if role in ("two-stage", "hierarchy") and n != settings.primary]
    first = judge(predictions, settings, strongest, settings.primary)
    rest = family(predictions, settings, [(strongest, name) for name in others])
    accuracies = {
        name: float((predictions.methods[name].val_probs.argmax(2) == predictions.val_truth).mean())
        for name, role in roles.items()
        if role in ("flat", "ensemble")
    }
    return {
        "name": strongest,
        "val_accuracy": accuracies,
        "comparisons": [as_json(comparison) for comparison in (first, *rest)],
        "sentence": _unroutable(predictions)
        or claim(first, judge(predictions, settings, "flat", settings.primary)),
    }


def _unroutable(predictions: Predictions) -> str | None:
    """Say in place of a verdict why routing can't be judged on this hierarchy, if it can't."""
    why = predictions.hierarchy.degenerate
    return why and f"No verdict on routing: {why}. Group the classes otherwise (--macros, --hierarchy)."


def claim(best: Comparison, flat: Comparison) -> str:
    """Say what may be said of a two-stage method: it counts as better only if the strongest flat model is beaten."""
    if best.a == flat.a:
        return best.sentence()
    beats = {"better": "better than", "worse": "worse than", "equivalent": "equivalent to"}.get(flat.verdict)
    beside = (
        f"{flat.b} is {beats} {flat.a} alone" if beats else f"no difference from {flat.a} is shown either"
    )
    if flat.verdict == "better" and best.verdict != "better":
        beside = f"{flat.b} beats {flat.a} alone, which is not the strongest flat model"
    return f"{best.sentence()} ({beside}: {100 * flat.difference:+.1f} points.)"


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
        probs = route(
            rule,
            hierarchy=hierarchy,
            macro_probs=temperatures.apply_router(normalized(predictions.router[row])),
            within_probs=temperatures.apply_submodels(predictions.within[row], hierarchy),
        )
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
