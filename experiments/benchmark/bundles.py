"""The models of a study, saved for use: the first seed's, calibrated."""

from pathlib import Path
from typing import Any

import numpy as np

from aisles.experiments.runs.writer import data_facts
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.hierarchy.calibration import (
    Temperatures,
    apply_temperature,
    fit_composed_temperatures,
    held_temperature,
)
from aisles.hierarchy.rules import route
from aisles.models.backbones.registry import Backbone
from aisles.models.bundles.bundle import save_bundle
from aisles.models.heads.fitting import FittedModel, FittedTwoStage
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

from .preparation import FoundHierarchy, PreparedData


def save_bundles(
    folder: Path,
    prepared: PreparedData,
    found: FoundHierarchy,
    trunk: Backbone,
    flat: FittedModel,
    two_stage: FittedTwoStage,
    metrics: dict[str, Any],
    settings: BenchmarkSettings,
) -> None:
    """Save the first seed's models, each with the temperatures that hold on validation images."""
    val = prepared.rows("val")
    truth = np.searchsorted(np.array(prepared.manifest.classes), prepared.manifest.labels[val].astype(str))
    flat_temperature = held_temperature(_log(flat.val_probs[val]), truth)
    temperatures = fit_composed_temperatures(
        _log(two_stage.router.val_probs[val]),
        _log(two_stage.within("val_probs")[val]),
        found.hierarchy,
        truth,
        held=True,
    )
    flat_model = flat.on(trunk, flat_temperature)
    facts = {
        "data": {k: v for k, v in data_facts(prepared).items() if k not in ("notes", "warnings")},
        "settings": {"head": settings.training.head, "seed": 0, "hierarchy": found.origin},
    }
    rule, test = settings.comparison.primary, prepared.rows("test")
    calibrated = {
        "flat_probs": apply_temperature(flat.probs[test], flat_temperature),
        "macro_probs": temperatures.apply_router(two_stage.router.probs[test]),
        "within_probs": temperatures.apply_submodels(two_stage.within()[test], found.hierarchy),
    }
    answers = {
        "flat": calibrated["flat_probs"].argmax(1),
        rule: route(rule, hierarchy=found.hierarchy, **calibrated).argmax(1),
    }
    names = np.array(prepared.manifest.classes)
    right = {name: float((names[a] == prepared.manifest.labels[test]).mean()) for name, a in answers.items()}
    flat_alone = FlatClassifier(flat_model, found.hierarchy)
    flat_alone.learned_from = prepared.learned_from
    save_bundle(
        flat_alone,
        folder / "flat",
        facts=facts | _accuracy(metrics, "flat", right["flat"]),
        tree=found.tree,
    )
    classifier = TwoStageClassifier(
        *_stages(two_stage, trunk, temperatures),
        found.hierarchy,
        flat=flat_model,
        rule=rule,
    )
    classifier.learned_from = prepared.learned_from
    facts |= _accuracy(metrics, rule, right[rule])
    save_bundle(classifier, folder / "two-stage", facts=facts, tree=found.tree)


def _stages(two_stage: FittedTwoStage, trunk: Backbone, temperatures: Temperatures):
    submodels = [m.on(trunk, t) for m, t in zip(two_stage.submodels, temperatures.submodels, strict=True)]
    return two_stage.router.on(trunk, temperatures.router), submodels


def _accuracy(metrics: dict[str, Any], method: str, calibrated: float) -> dict[str, Any]:
    """Tell the accuracy as compared in the study, and as this bundle answers by default: with its temperatures."""
    compared = metrics["methods"][method]["accuracy"][0]
    return {
        "metrics": {"accuracy": round(calibrated, 4), "accuracy without temperatures": round(compared, 4)}
    }


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, 1e-12))
