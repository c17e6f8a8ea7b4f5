"""The methods that train networks on the images, by name; `fine_tuned_networks` does the work."""

from functools import partial
from typing import TYPE_CHECKING

from .registry import Context, MethodResult, Role, register_method

if TYPE_CHECKING:
    from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

FLATS = {"flat-fine-tuned": False, "flat-fine-tuned-again": True}
"""Flat networks, and whether they are fine-tuned once more."""
TWO_STAGE = {
    "fine-tuned": ("fine-tuned", "imagenet"),
    "separate": ("separate", "imagenet"),
    "separate-from-flat": ("separate", "flat"),
}
"""Two-stage networks: how they share backbones, and what each starts from."""
ENSEMBLES = {
    "flat-fine-tuned-ensemble": ("separate", "flat-fine-tuned"),
    "flat-fine-tuned-again-ensemble": ("separate-from-flat", "flat-fine-tuned-again"),
}
"""Flat ensembles: whose prediction cost they have, and what their members are."""


def _fit(name: str, context: Context) -> MethodResult:
    from .fine_tuned_networks import FineTuning

    return FineTuning(context).method(name)


def _saved(name: str, context: Context) -> "FlatClassifier | TwoStageClassifier":
    from .fine_tuned_networks import FineTuning

    return FineTuning(context).classifier(name)


def _register(name: str, role: Role, description: str, baseline: str, brings: tuple[str, ...] = ()) -> None:
    register_method(
        name,
        description=description,
        role=role,
        baseline=baseline,
        brings=brings,
        classifier=None if name in ENSEMBLES else partial(_saved, name),  # a bundle has one network for flat
        fine_tunes=True,
    )(partial(_fit, name))


_register(
    "flat-fine-tuned",
    "flat",
    "the flat model, fine-tuned on the training images; validation images stop it",
    "flat",
)
_register(
    "flat-fine-tuned-again",
    "flat",
    "flat-fine-tuned, fine-tuned once more, as the models of separate-from-flat are",
    "flat-fine-tuned",
)
_register(
    "fine-tuned",
    "two-stage",
    "router and sub-models as heads on the network of flat-fine-tuned",
    "flat-fine-tuned",
)
_register(
    "separate",
    "two-stage",
    "router and each sub-model fine-tuned on their own",
    "flat-fine-tuned",
    ("flat-fine-tuned-ensemble",),
)
_register(
    "separate-from-flat",
    "two-stage",
    "router and each sub-model fine-tuned from the network of flat-fine-tuned",
    "flat-fine-tuned-again",
    ("flat-fine-tuned-again-ensemble",),
)
_register(
    "flat-fine-tuned-ensemble",
    "ensemble",
    "as many networks like flat-fine-tuned as separate passes an image through, averaged",
    "separate",
)
_register(
    "flat-fine-tuned-again-ensemble",
    "ensemble",
    "as many networks like flat-fine-tuned-again as separate-from-flat passes an image through, averaged",
    "separate-from-flat",
)
