"""Why a classifier gave its answer: what each stage said, where it looked, and which training images are nearest."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.errors import UnreadableImage
from aisles.hierarchy.embeddings import unit_rows
from aisles.models.backbones.registry import Backbone
from aisles.models.features import extract

from .answers import HierarchicalPrediction
from .grad_cam import Glance, glance_of, heat_map_of
from .images import ImageInput, image_pixels, open_image
from .label_model import AnyModel, LabelModel
from .predictor import Classifier
from .stacks import ImageBatch, Stack
from .stored import StoredBackbone, opened
from .two_stage import FlatClassifier, TwoStageClassifier

N_BARS = 6
N_NEAREST = 6
_AS_GOOD_AS_EQUAL = 0.999


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
    """A training image and its cosine to the image, in the backbone's features."""

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
    """Training images as features of a backbone, to find the nearest in.

    Parameters
    ----------
    backbone : Backbone or StoredBackbone
    paths : sequence of path
    labels : sequence of str
        One a path.
    cache : path, optional
        Folder of cached features.
    """

    source: Backbone | StoredBackbone
    backbone: Backbone
    paths: list[Path]
    labels: list[str]
    vectors: np.ndarray

    def __init__(
        self,
        backbone: Backbone | StoredBackbone,
        paths: Sequence[Path],
        labels: Sequence[str],
        *,
        cache: str | Path | None = None,
    ):
        self.source, self.backbone = backbone, opened(backbone)
        self.paths, self.labels = list(paths), list(labels)
        self.vectors = unit_rows(extract(self.backbone, self.paths, cache=cache).vectors)

    def nearest_to(
        self, features: np.ndarray, image: Image.Image | None = None, n: int = N_NEAREST
    ) -> tuple[Neighbor, ...]:
        """Return the training images with the highest cosine to features (1, dimension); the earlier first on ties.

        A training image that is `image` itself, pixel for pixel, is no neighbor of it.
        """
        cosines = self.vectors @ unit_rows(features)[0]
        order = np.argsort(-cosines, kind="stable").tolist()
        found = (i for i in order if not is_itself(self.paths[i], image, float(cosines[i])))
        return tuple(
            Neighbor(self.paths[i], str(self.labels[i]), float(cosines[i])) for i in islice(found, n)
        )


def is_itself(path: Path, image: Image.Image | None, cosine: float) -> bool:
    """Return whether a file holds an image pixel for pixel; it is opened only if its features are as good as equal."""
    if image is None or cosine < _AS_GOOD_AS_EQUAL:
        return False
    try:
        other = open_image(path)
    except UnreadableImage:
        return False
    return other.size == image.size and np.array_equal(np.asarray(other), np.asarray(image))


def first_backbone(classifier: Classifier) -> Backbone | StoredBackbone | None:
    """Return the backbone of the model that is asked first; None if it has none."""
    model = classifier.router if isinstance(classifier, TwoStageClassifier) else _flat_of(classifier)
    return model.backbone if isinstance(model, LabelModel) else None


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
    look = _Look(classifier, image, calibrated, () if training is None else training.backbone.fittings)
    (prediction,) = classifier.predict_batch(look.batch, rule=rule, calibrated=calibrated)
    stages = []
    if isinstance(classifier, TwoStageClassifier):
        stages += _two_stages(classifier, look, prediction)
    else:
        stages.append(_flat_view(look))
    if flat is not None:
        stages.append(_flat_view(_Look(flat, image, calibrated)))
    elif isinstance(classifier, TwoStageClassifier) and classifier.flat is not None:
        stages.append(look.view("flat", "Flat model", classifier.flat))
    neighbors = () if training is None else training.nearest_to(look.features(training), image)
    return Explanation(image, prediction, tuple(stages), neighbors)


class _Look:
    """One image before one classifier: decoded once, and passed once through each network that is looked into."""

    def __init__(
        self, classifier: Classifier, image: Image.Image, calibrated: bool, more: Sequence[Fitting] = ()
    ):
        self.classifier, self.calibrated = classifier, calibrated
        names = ["flat", "router", *(f"submodel {i}" for i in range(_n_submodels(classifier)))]
        places = [place for place in map(classifier.place_of, names) if place is not None]
        stacks = list(dict.fromkeys(stack for stack, _ in places))
        fittings = list(dict.fromkeys([*(fitting for stack in stacks for fitting in stack.fittings), *more]))
        pixels = image_pixels(image, fittings)
        self.pixels = dict(zip(fittings, pixels, strict=True))
        self.batch = ImageBatch({fitting: each[None] for fitting, each in self.pixels.items()}, 1, 1)
        self.glances: dict[Stack, Glance] = {}
        first = [classifier.place_of(name) for name in ("flat", "router")]
        always = {place[0] for place in first if place is not None}
        for stack in stacks:
            if len(stack.models) > 1 or stack in always:
                self._glance(stack)

    def _glance(self, stack: Stack) -> None:
        # Networks opened for heat maps count as networks in memory like all others.
        look = self.classifier.residents.get(("glance", stack), lambda: glance_of(stack.models))
        if look is None:
            return
        glance = self.glances[stack] = look(self.pixels[stack.fittings[0]])
        self.batch.supply(stack, np.concatenate(glance.outputs, axis=1))

    def proba(self, name: str) -> np.ndarray:
        """Return what the model of that name says."""
        return self.classifier.batch_proba(name, self.batch, calibrated=self.calibrated)[0]

    def view(self, name: str, title: str, model: AnyModel, about: int | None = None) -> StageView:
        """Return what the model of that name says, and where it looked for a label (its best unless given)."""
        probs = self.proba(name)
        about = int(probs.argmax()) if about is None else about
        order = np.argsort(-probs, kind="stable")[:N_BARS]
        bars = tuple((str(model.labels[i]), float(probs[i])) for i in order)
        return StageView(
            title, bars, len(model.labels), str(model.labels[about]), self._heat(name, model, about)
        )

    def _heat(self, name: str, model: AnyModel, about: int) -> np.ndarray | None:
        place = self.classifier.place_of(name)
        if place is None:
            return None
        stack, columns = place
        if stack in self.glances:
            return self.glances[stack].heat(stack.columns.index(columns), about)
        draw = self.classifier.residents.get(("heat map", name), lambda: heat_map_of(model))
        return None if draw is None else draw(self.pixels[stack.fittings[0]], about)

    def features(self, training: TrainingImages) -> np.ndarray:
        """Return the image's features (1, dimension) in the backbone of the training images."""
        for stack, glance in self.glances.items():
            if getattr(stack.models[0], "backbone", None) is training.source:
                return glance.features
        return training.backbone.runner()(
            *(self.pixels[fitting][None] for fitting in training.backbone.fittings)
        )


def _n_submodels(classifier: Classifier) -> int:
    return len(classifier.submodels) if isinstance(classifier, TwoStageClassifier) else 0


def _two_stages(
    classifier: TwoStageClassifier, look: _Look, prediction: HierarchicalPrediction
) -> list[StageView]:
    hierarchy = classifier.hierarchy
    macro = (
        hierarchy.macros.index(prediction.macro) if prediction.macro else int(look.proba("router").argmax())
    )
    members = hierarchy.members[macro]
    chosen = members.index(prediction.label) if prediction.label in members else None
    title = f"Sub-model of {hierarchy.macros[macro]}"
    return [
        look.view("router", "Router", classifier.router, macro),
        look.view(f"submodel {macro}", title, classifier.submodels[macro], chosen),
    ]


def _flat_view(look: _Look) -> StageView:
    return look.view("flat", "Flat model", _flat_of(look.classifier))


def _flat_of(classifier: Classifier) -> AnyModel:
    if not isinstance(classifier, FlatClassifier):
        raise TypeError(f"Give a flat classifier. Received: {type(classifier).__name__}.")
    return classifier.model
