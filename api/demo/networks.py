"""The networks behind the page: one measured pass of each per image, from which every rule is answered."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from PIL import Image

from aisles.data_prep.images.fitting import Fitting
from aisles.hierarchy.restriction import conditioned, possible_macros
from aisles.hierarchy.rules import RULES, parse_rule
from aisles.models.bundles.bundle import load_bundle
from aisles.models.features import extract
from aisles.models.prediction.images import image_pixels, open_image
from aisles.models.prediction.label_model import AnyModel, LabelModel
from aisles.models.prediction.stacks import ImageBatch, Stack
from aisles.models.prediction.stored import opened
from aisles.models.prediction.two_stage import Classifier, FlatClassifier, TwoStageClassifier, sent

from .image_uris import image_uri
from .judging import FLAT, Stages, plain_hierarchy, possible

SIDE = 640  # pixels of the longer side of what is kept of an image while its page is open


@dataclass(frozen=True)
class Cost:
    """What an answer costs: passes through networks, and their milliseconds as measured on this image."""

    passes: int
    milliseconds: float


@dataclass(frozen=True, eq=False)
class Look:
    """What the networks said of one image, and what of it is kept.

    Attributes
    ----------
    name : str
        The file's.
    image : PIL.Image.Image
        RGB, its longer side at most `SIDE` pixels.
    size : (int, int)
        Height and width of the image as it came.
    stages : Stages
        Of one image.
    decoding : float
        Milliseconds from bytes to pixels of every size that some network wants.
    passes : dict of Stack to float
        Milliseconds of each network's pass.
    """

    name: str
    image: Image.Image
    size: tuple[int, int]
    stages: Stages
    decoding: float
    passes: dict[Stack, float]

    @cached_property
    def uri(self) -> str:
        """The image as an address, for the page."""
        return image_uri(self.image, 320)

    def shrunk(self, side: int) -> "Look":
        """Return the same with a smaller image, its longer side at most `side` pixels."""
        image = self.image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return replace(self, image=image)


class Networks:
    """A bundle's networks, and those of a flat bundle to compare with.

    Parameters
    ----------
    bundle : path
    flat : path, optional
        A flat bundle of the same classes; the two-stage bundle's own flat model, if it has one, unless given.

    Raises
    ------
    BundleError
        If a bundle can't be read.
    ValueError
        If `flat` is no flat bundle, or of other classes.
    """

    def __init__(self, bundle: str | Path, flat: str | Path | None = None):
        self.classifier: Classifier = load_bundle(bundle)
        self.flat: FlatClassifier | None = None
        if flat is not None:
            self.flat = _flat_bundle(flat, self.classifier)
        self.hierarchy = self.classifier.hierarchy or plain_hierarchy(self.classifier.classes_.tolist())
        self.lock = RLock()  # two cores gain nothing from two passes at once

    @property
    def two_stage(self) -> TwoStageClassifier | None:
        """The classifier, if it has two stages."""
        return self.classifier if isinstance(self.classifier, TwoStageClassifier) else None

    @property
    def has_flat(self) -> bool:
        """Whether there is a flat model."""
        return self._flat_owner() is not None

    @property
    def rules(self) -> tuple[str, ...]:
        """What the page can answer by: routing rules whose models are here, the bundle's own first; or `flat`."""
        if self.two_stage is None:
            return (FLAT,)
        flat = self.has_flat and not self.hierarchy.overlapping
        own = str(self.two_stage.rule)
        own = "soft" if self.two_stage.rule.definition.several_levels else own
        others = [
            (definition.example or name).split(" or ")[0]
            for name, definition in RULES.items()
            if not definition.several_levels and (flat or "flat_probs" not in definition.needs)
        ]
        return tuple(dict.fromkeys([own, *others]))

    def look(self, data: bytes, name: str = "") -> Look:
        """Pass an image through every network once.

        Parameters
        ----------
        data : bytes
            An image file's content.
        name : str

        Raises
        ------
        UnreadableImage
            If it can't be decoded.
        """
        with self.lock:
            began = time.perf_counter()
            image = open_image(data)
            size = (image.height, image.width)
            pixels = dict(zip(self._fittings, image_pixels(image, self._fittings), strict=True))
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
            decoding = 1000 * (time.perf_counter() - began)
            passes: dict[Stack, float] = {}
            batch = ImageBatch({fitting: each[None] for fitting, each in pixels.items()}, 1, 1)
            for stack in self._stacks:
                began = time.perf_counter()
                batch.outputs(stack, np.arange(1))
                passes[stack] = 1000 * (time.perf_counter() - began)
            return Look(name, image, size, self._stages(batch), decoding, passes)

    def stages_of(self, paths: Sequence[Path], cache: Path | None = None) -> Stages:
        """Return the stages of many images, through features where models are heads on a backbone.

        Parameters
        ----------
        paths : sequence of Path
        cache : Path, optional
            Folder of cached features, where a run's already are; the usual place unless given.
        """
        features: dict[int, np.ndarray] = {}

        def said(name: str, model: AnyModel, classifier: Classifier) -> np.ndarray:
            if isinstance(model, LabelModel):
                if model.backbone is not None and id(model.backbone) not in features:
                    features[id(model.backbone)] = extract(opened(model.backbone), paths, cache=cache).vectors
                return model.from_features(features.get(id(model.backbone), np.zeros((len(paths), 0))))
            if isinstance(classifier, TwoStageClassifier):
                return classifier.model_proba(name, paths)
            return classifier.predict_proba(paths)

        with self.lock:
            owner, two_stage = self._flat_owner(), self.two_stage
            flat = None if owner is None else said(FLAT, flat_model(owner), owner)
            if two_stage is None:
                return Stages(None, None, flat)
            within = [
                said(name, model, two_stage)
                for name, model in zip(self._submodels, two_stage.submodels, strict=True)
            ]
            return Stages(said("router", two_stage.router, two_stage), np.hstack(within), flat)

    def cost(self, look: Look, rule: str, only: tuple[str, ...] = ()) -> Cost:
        """Return what a rule's answer for an image costs: the networks that it needs for this image, once each."""
        if rule == FLAT:
            needed = self._flat_places()
        else:
            needed = [self.classifier.place_of(name) for name in self._names(look, rule, only)]
            needed += self._flat_places() if "flat_probs" in parse_rule(rule).needs else []
        stacks = dict.fromkeys(found[0] for found in needed if found is not None)
        return Cost(len(stacks), sum(look.passes[stack] for stack in stacks))

    def _names(self, look: Look, rule: str, only: tuple[str, ...]) -> list[str]:
        """Name the models of the two-stage classifier that a rule runs for an image, its flat model aside."""
        parsed, names = parse_rule(rule), []
        router = look.stages.router
        if router is None:
            return names
        if "macro_probs" in parsed.needs:
            names.append("router")
        if "within_probs" in parsed.needs:
            # A rule that routes by the flat model weighs every macro.
            run, allowed = np.ones(router.shape, bool), possible(only, self.hierarchy)
            if allowed is not None:
                run = possible_macros(allowed[None], self.hierarchy)
                router = conditioned(router, run)
            run &= parsed.routes_by_flat or sent(parsed, router, self.hierarchy)
            names += [f"submodel {macro}" for macro in np.flatnonzero(run[0])]
        return names

    def _stages(self, batch: ImageBatch) -> Stages:
        owner = self._flat_owner()
        flat = None if owner is None else owner.batch_proba(FLAT, batch)
        if self.two_stage is None:
            return Stages(None, None, flat)
        router = self.two_stage.batch_proba("router", batch)
        within = [self.two_stage.batch_proba(name, batch) for name in self._submodels]
        return Stages(router, np.hstack(within), flat)

    def _flat_owner(self) -> Classifier | None:
        """Return the classifier whose flat model is the one to compare with."""
        if self.flat is not None or self.two_stage is None:
            return self.flat or self.classifier
        return None if self.two_stage.flat is None else self.two_stage

    def _flat_places(self) -> list[tuple[Stack, slice] | None]:
        owner = self._flat_owner()
        return [] if owner is None else [owner.place_of(FLAT)]

    @property
    def _submodels(self) -> list[str]:
        return [f"submodel {macro}" for macro in range(self.hierarchy.n_macros)] if self.two_stage else []

    @property
    def _stacks(self) -> list[Stack]:
        """Return every network that passes: the two-stage classifier's, then the flat model's."""
        places = [self.classifier.place_of(name) for name in ("router", *self._submodels)]
        places += self._flat_places()
        return list(dict.fromkeys(place[0] for place in places if place is not None))

    @property
    def _fittings(self) -> Sequence[Fitting]:
        return list(dict.fromkeys(fitting for stack in self._stacks for fitting in stack.fittings))


def flat_model(owner: Classifier) -> Any:
    """Return a classifier's model over all classes."""
    return owner.model if isinstance(owner, FlatClassifier) else owner.flat  # type: ignore[attr-defined]


def _flat_bundle(path: str | Path, classifier: Classifier) -> FlatClassifier:
    flat = load_bundle(path)
    if not isinstance(flat, FlatClassifier):
        raise ValueError(
            f"--flat wants a flat bundle, and {path} is a two-stage bundle. Give RUN/bundles/flat, or leave it out."
        )
    ours, theirs = set(classifier.classes_.tolist()), set(flat.classes_.tolist())
    if ours != theirs:
        raise ValueError(
            f"The bundle and --flat {path} must have the same classes. Only in one of them: "
            f"{sorted(ours ^ theirs)[:5]}. Give the flat bundle of the same run."
        )
    return flat
