"""HACE: a flat head whose loss also asks for the macro-category (arXiv 2605.06274)."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from aisles.hierarchy.calibration import held_temperature
from aisles.hierarchy.rule_functions import macro_from_flat
from aisles.models.heads.macro_loss import fit_macro_loss, macro_loss_grid
from aisles.models.heads.registry import HeadDefinition
from aisles.models.heads.tuning import Parts, Tuned, tune

from .registry import Context, MethodResult, register_method
from .savable import log_of

if TYPE_CHECKING:
    from aisles.models.prediction.two_stage import FlatClassifier

_KNOWN: WeakKeyDictionary[Context, Tuned] = WeakKeyDictionary()


def head_of(context: Context) -> Tuned:
    """Return the head with the settings that validation images prefer, fitted once per benchmark."""
    if context not in _KNOWN:
        macro_of = np.asarray(context.hierarchy.macro_of)
        definition = HeadDefinition(
            "hace",
            "linear head by the loss of class and macro",
            lambda x, y, _labels, settings, _background: fit_macro_loss(x, y, macro_of, settings),
            lambda _background: macro_loss_grid(),
            deterministic=True,
        )
        train, val = context.rows("train"), context.rows("val")
        parts = Parts(context.features, context.targets, train, val, context.prepared.manifest.products)
        refit = context.settings.training.refit
        _KNOWN[context] = tune(definition, parts, len(context.classes), refit=refit)
    return _KNOWN[context]


def _saved(context: Context) -> "FlatClassifier":
    from aisles.models.prediction.label_model import LabelModel
    from aisles.models.prediction.two_stage import FlatClassifier

    found, val = head_of(context), context.rows("val")
    temperature = held_temperature(log_of(found.val_probs[val]), context.targets[val])
    model = LabelModel(context.classes, context.backbone, found.model.network(), temperature)
    return FlatClassifier(model, context.hierarchy)


@register_method(
    "hace",
    description="one linear head over all classes, trained for class and macro: -log P(class) - w log P(macro)",
    baseline="flat-logistic",
    classifier=_saved,
)
def hace(context: Context) -> MethodResult:
    """Return the answers of the head; the weight of the macro's term is among the settings tried."""
    found, hierarchy = head_of(context), context.hierarchy
    test, val = found.probs[context.rows("test")], found.val_probs[context.rows("val")]
    return MethodResult(
        test[None],
        val[None],
        hierarchy=hierarchy,
        macro_probs=_each(context, macro_from_flat(test, hierarchy)),
        val_macro_probs=_each(context, macro_from_flat(val, hierarchy)),
        parameters=found.model.parameters,
        searched=found.searched,
        deterministic=True,
    )


def _each(context: Context, table: np.ndarray) -> np.ndarray:
    return np.repeat(table[None], len(context.seeds), axis=0).astype(np.float32)
