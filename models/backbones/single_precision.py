"""A whole classifier in float32, for what knows no bfloat16."""

from dataclasses import replace
from typing import Any

from aisles.models.prediction.label_model import AnyModel, LabelModel
from aisles.models.prediction.predictor import Classifier
from aisles.models.prediction.stored import opened
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

from .registry import in_precision


def in_float32(classifier: Classifier) -> Classifier:
    """Return the classifier with every backbone computing in float32; itself if they all do already."""
    backbones: dict[int, Any] = {}

    def convert(model: AnyModel) -> AnyModel:
        if not isinstance(model, LabelModel) or model.backbone is None:
            return model
        if id(model.backbone) not in backbones:
            backbones[id(model.backbone)] = in_precision(opened(model.backbone), "float32")
        return replace(model, backbone=backbones[id(model.backbone)])

    if all(_is_float32(model) for model in _models(classifier)):
        return classifier
    if isinstance(classifier, TwoStageClassifier):
        return TwoStageClassifier(
            convert(classifier.router),
            [convert(model) for model in classifier.submodels],
            classifier.hierarchy,
            flat=None if classifier.flat is None else convert(classifier.flat),
            rule=classifier.rule,
        )
    assert isinstance(classifier, FlatClassifier)
    return FlatClassifier(convert(classifier.model), classifier.hierarchy)


def _models(classifier: Classifier) -> list[AnyModel]:
    if isinstance(classifier, TwoStageClassifier):
        return [
            classifier.router,
            *classifier.submodels,
            *([] if classifier.flat is None else [classifier.flat]),
        ]
    return [classifier.model] if isinstance(classifier, FlatClassifier) else []


def _is_float32(model: AnyModel) -> bool:
    return (
        not isinstance(model, LabelModel) or model.backbone is None or model.backbone.precision == "float32"
    )
