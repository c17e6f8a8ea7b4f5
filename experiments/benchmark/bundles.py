"""Methods of a run as bundles: the first seed's models, with the temperatures that validation images ask for."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from aisles.experiments.methods.registry import Context, find_method
from aisles.experiments.runs.predictions import Predictions, file_name_of
from aisles.experiments.runs.writer import data_facts
from aisles.hierarchy.rules import route
from aisles.models.bundles.bundle import save_bundle
from aisles.models.prediction.two_stage import FlatClassifier

from .evaluation import best_by_validation
from .preparation import FoundHierarchy

logger = logging.getLogger(__name__)
PRIMARY_FOLDER = "two-stage"
"""What the primary rule's bundle is called; all others bear their method's name."""


def save_bundles(
    folder: Path, context: Context, found: FoundHierarchy, predictions: Predictions, named: Iterable[str]
) -> None:
    """Save methods as bundles, and the one that validation images prefer among those that can be saved.

    Parameters
    ----------
    folder : Path
        Each bundle is a folder in it: `two-stage` for the primary rule, else the method's name (`flat-lda`,
        `soft-lda`).
    context : Context
    found : FoundHierarchy
        The run's.
    predictions : Predictions
    named : iterable of str
        Methods that are saved in any case, if they did not fail.
    """
    savable = [name for name in predictions.methods if find_method(name).savable]
    candidates = [name for name in savable if predictions.methods[name].role != "control"]
    best = best_by_validation(predictions, candidates)
    names = dict.fromkeys((*named, best))
    for name in names:
        if name not in savable:
            logger.warning("%s has no bundle: it failed.", name)
            continue
        place = PRIMARY_FOLDER if name == context.primary else file_name_of(name)
        classifier = find_method(name).classifier(context)
        classifier.learned_from = context.prepared.learned_from
        own = classifier.hierarchy == found.hierarchy
        save_bundle(
            classifier,
            folder / place,
            facts=_facts(name, context, found, predictions, classifier),
            tree=found.tree if own else None,
        )
    logger.info("Validation images prefer %s; bundles: %s.", best, ", ".join(names))


def _facts(
    name: str, context: Context, found: FoundHierarchy, predictions: Predictions, classifier: Any
) -> dict[str, Any]:
    """Return what the model card tells: data, settings, accuracy as compared and as the bundle answers by default."""
    compared = float(predictions.correct(name)[0].mean())
    data = {k: v for k, v in data_facts(context.prepared).items() if k not in ("notes", "warnings")}
    return {
        "data": data,
        "settings": {
            "method": name,
            "head": context.settings.training.head,
            "seed": 0,
            "hierarchy": found.origin,
        },
        "metrics": {
            "accuracy": round(_calibrated_accuracy(classifier, context, compared), 4),
            "accuracy without temperatures": round(compared, 4),
        },
    }


def _calibrated_accuracy(classifier: Any, context: Context, compared: float) -> float:
    """Return the first seed's accuracy on test images with temperatures; one temperature changes no answer."""
    if isinstance(classifier, FlatClassifier):
        return compared
    test = context.rows("test")
    models = [classifier.router, *classifier.submodels, *([classifier.flat] if classifier.flat else [])]
    if all(model.constant or model.backbone is context.backbone for model in models):
        features, hierarchy = context.features[test], classifier.hierarchy
        within = [model.from_features(features) for model in classifier.submodels]
        probs = route(
            classifier.rule,
            hierarchy=hierarchy,
            macro_probs=classifier.router.from_features(features),
            within_probs=np.concatenate(within, axis=1),
            flat_probs=classifier.flat.from_features(features) if classifier.flat else None,
        )
    else:  # networks of its own, which have no features here
        probs = classifier.predict_proba([context.prepared.manifest.paths[row] for row in test.tolist()])
    return float((probs.argmax(1) == context.targets[test]).mean())
