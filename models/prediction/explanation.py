"""Why a classifier gave its answer: what each stage said, where it looked, and which training images are nearest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aisles.hierarchy.embeddings import unit_rows
from aisles.models.backbones.registry import Backbone
from aisles.models.features import extract

from .answers import HierarchicalPrediction
from .grad_cam import heat_map_of
from .images import ImageInput, image_pixels, open_image
from .label_model import AnyModel, LabelModel
from .predictor import Classifier
from .stored import StoredTrunk, opened
from .two_stage import FlatClassifier, TwoStageClassifier

N_BARS = 6
N_NEAREST = 6


@dataclass(frozen=True, eq=False)
class StageView:
    """What one model said.

    Attributes
    ----------
    title : str
    bars : tuple of (str, float)
        Its most probable labels, best first.
    n_labels : int
    about : str
        The label that the heat map speaks for.
    heat : ndarray of shape (h, w), or None
        0 to 1: where the image speaks for that label. None if the model can't be looked into.
    """

    title: str
    bars: tuple[tuple[str, float], ...]
    n_labels: int
    about: str
    heat: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Neighbor:
    """A training image and its cosine to the image, in the trunk's features."""

    path: Path
    label: str
    cosine: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything that the page shows of one image.

    Attributes
    ----------
    image : PIL.Image.Image
        RGB.
    prediction : HierarchicalPrediction
    stages : tuple of StageView
        Router, chosen sub-model and flat model, as far as there are.
    neighbors : tuple of Neighbor
        Nearest first.
    """

    image: Image.Image
    prediction: HierarchicalPrediction
    stages: tuple[StageView, ...]
    neighbors: tuple[Neighbor, ...]


class TrainingImages:
    """Training images as features of a trunk, to find the nearest in.

    Parameters
    ----------
    trunk : Backbone or StoredTrunk
    paths : sequence of path
    labels : sequence of str
        One a path.
    cache : path, optional
        Folder of cached features.
    """

    def __init__(
        self,
        trunk: Backbone | StoredTrunk,
        paths: Sequence[Path],
        labels: Sequence[str],
        *,
        cache: str | Path | None = None,
    ):
        self.trunk: Backbone = opened(trunk)
        self.paths, self.labels = list(paths), list(labels)
        self.vectors = unit_rows(extract(self.trunk, self.paths, cache=cache).vectors)

    def nearest(self, image: ImageInput, n: int = N_NEAREST) -> tuple[Neighbor, ...]:
        """Return the training images with the highest cosine; the earlier one first on ties."""
        (pixels,) = image_pixels(image, [self.trunk.fitting])
        cosines = self.vectors @ unit_rows(self.trunk.forward(pixels[None]).numpy())[0]
        order = np.argsort(-cosines, kind="stable")[:n]
        return tuple(Neighbor(self.paths[i], str(self.labels[i]), float(cosines[i])) for i in order)


def first_trunk(classifier: Classifier) -> Backbone | StoredTrunk | None:
    """Return the trunk of the model that is asked first; None if it has none."""
    model = classifier.router if isinstance(classifier, TwoStageClassifier) else _flat_of(classifier)
    return model.trunk if isinstance(model, LabelModel) else None


def explain(
    classifier: Classifier,
    image: ImageInput,
    *,
    rule: str | None = None,
    flat: FlatClassifier | None = None,
    training: TrainingImages | None = None,
    calibrated: bool = True,
) -> Explanation:
    """Explain the answer for one image.

    Parameters
    ----------
    classifier : FlatClassifier or TwoStageClassifier
    image
        As `Classifier.predict` takes it.
    rule : str, optional
    flat : FlatClassifier, optional
        To compare with; the two-stage classifier's own flat model, if it has one, unless given.
    training : TrainingImages, optional
    calibrated : bool

    Raises
    ------
    UnreadableImage
        If the image can't be decoded.
    """
    image = open_image(image)
    (prediction,) = classifier.predict([image], rule=rule, calibrated=calibrated)
    stages = []
    if isinstance(classifier, TwoStageClassifier):
        stages += _two_stages(classifier, image, prediction, calibrated)
    else:
        stages.append(_flat_view(classifier, image, calibrated))
    if flat is not None:
        stages.append(_flat_view(flat, image, calibrated))
    elif isinstance(classifier, TwoStageClassifier) and classifier.flat is not None:
        probs = classifier.model_proba("flat", [image], calibrated=calibrated)[0]
        stages.append(_view(classifier, "Flat model", classifier.flat, image, probs, int(probs.argmax())))
    neighbors = () if training is None else training.nearest(image)
    return Explanation(image, prediction, tuple(stages), neighbors)


def _two_stages(
    classifier: TwoStageClassifier, image: ImageInput, prediction: HierarchicalPrediction, calibrated: bool
) -> list[StageView]:
    hierarchy = classifier.hierarchy
    router = classifier.predict_macro_proba([image], calibrated=calibrated)[0]
    macro = hierarchy.macros.index(prediction.macro) if prediction.macro else int(router.argmax())
    within = classifier.model_proba(f"submodel {macro}", [image], calibrated=calibrated)[0]
    members = hierarchy.members[macro]
    chosen = members.index(prediction.label) if prediction.label in members else int(within.argmax())
    title = f"Sub-model of {hierarchy.macros[macro]}"
    return [
        _view(classifier, "Router", classifier.router, image, router, macro),
        _view(classifier, title, classifier.submodels[macro], image, within, chosen),
    ]


def _flat_view(flat: Classifier, image: ImageInput, calibrated: bool) -> StageView:
    probs = flat.predict_proba([image], calibrated=calibrated)[0]
    return _view(flat, "Flat model", _flat_of(flat), image, probs, int(probs.argmax()))


def _flat_of(classifier: Classifier) -> AnyModel:
    if not isinstance(classifier, FlatClassifier):
        raise TypeError(f"Give a flat classifier. Received: {type(classifier).__name__}.")
    return classifier.model


def _view(
    classifier: Classifier, title: str, model: AnyModel, image: ImageInput, probs: np.ndarray, about: int
) -> StageView:
    heat = None
    # Networks opened for heat maps count as networks in memory like all others.
    draw = classifier.residents.get(("heat map", title), lambda: heat_map_of(model))
    if draw is not None:
        network: Any = model.trunk if isinstance(model, LabelModel) else model
        heat = draw(image_pixels(image, [network.fitting])[0], about)
    order = np.argsort(-probs, kind="stable")[:N_BARS]
    bars = tuple((str(model.labels[i]), float(probs[i])) for i in order)
    return StageView(title, bars, len(model.labels), str(model.labels[about]), heat)
