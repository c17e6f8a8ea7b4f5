"""What a method's trained heads become when they are saved: a classifier for images, of the first seed's models.

Each classifier has the temperatures that hold on validation images; without them (`calibrated=False`) it gives the
probabilities that the benchmark judged.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from aisles.hierarchy.calibration import fit_composed_temperatures, held_temperature
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rules import RoutingRule
from aisles.models.heads.predicted_rows import PredictedRows

from .head_jobs import HeadJob
from .registry import Context

if TYPE_CHECKING:
    from aisles.models.heads.fitting import FittedModel
    from aisles.models.prediction.label_model import LabelModel
    from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier


def flat_classifier(context: Context, jobs: Sequence[HeadJob]) -> "FlatClassifier":
    """Return heads over all classes as one flat classifier, which averages their distributions."""
    from aisles.models.heads.combined import averaged
    from aisles.models.prediction.two_stage import FlatClassifier

    fitted = [context.trainer.fitted(job) for job in jobs]
    val = context.rows("val")
    val_probs = PredictedRows(val, np.mean([model.val_probs[val] for model in fitted], axis=0))
    one = replace(fitted[0], head=averaged([model.network() for model in fitted]), val_probs=val_probs)
    return FlatClassifier(_flat_model(context, one), context.hierarchy)


def routed_classifier(
    context: Context, rule: RoutingRule, hierarchy: Hierarchy, head: str = ""
) -> "TwoStageClassifier":
    """Return router, sub-models and flat model as a two-stage classifier, so that any routing rule can be asked."""
    from aisles.models.prediction.two_stage import TwoStageClassifier

    two_stage, val = context.trainer.two_stage(hierarchy, 0, head), context.rows("val")
    temperatures = fit_composed_temperatures(
        log_of(two_stage.router.val_probs[val]),
        log_of(two_stage.within(val, "val_probs")),
        hierarchy,
        context.targets[val],
        held=True,
    )
    pairs = zip(two_stage.submodels, temperatures.submodels, strict=True)
    return TwoStageClassifier(
        two_stage.router.on(context.backbone, temperatures.router),
        [model.on(context.backbone, temperature) for model, temperature in pairs],
        hierarchy,
        flat=_flat_model(context, context.trainer.flat(0, head=head)),
        rule=rule,
    )


def _flat_model(context: Context, fitted: "FittedModel") -> "LabelModel":
    val = context.rows("val")
    temperature = held_temperature(log_of(fitted.val_probs[val]), context.targets[val])
    return fitted.on(context.backbone, temperature)


def log_of(probs: np.ndarray) -> np.ndarray:
    """Return log probabilities, of at least 1e-12."""
    return np.log(np.maximum(probs, 1e-12))
