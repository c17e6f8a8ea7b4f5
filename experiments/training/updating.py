"""A trained bundle learns from further images: new classes, corrections, or one macro trained again.

Networks stay as they are; the router and the sub-models that the new images concern get new heads on the features of
old and new images together. Every other file of the bundle stays byte for byte.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.images.manifest import write_manifest
from aisles.data_prep.io.errors import DataError
from aisles.experiments.runs.writer import run_folder
from aisles.experiments.settings.training import TrainSettings
from aisles.hierarchy.calibration import held_temperature
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.bundles.bundle import TREE, load_bundle, write_learned_from
from aisles.models.bundles.editing import note_change, rewrite
from aisles.models.features import extract
from aisles.models.fine_tuning.two_phase import head_training
from aisles.models.heads.building import head_like
from aisles.models.heads.fitting import everyone, fit_labels, macro_labels
from aisles.models.prediction.evaluation import Evaluation
from aisles.models.prediction.feature_batch import HeadOutputs
from aisles.models.prediction.flat_model import log_of
from aisles.models.prediction.label_model import AnyModel, GivenModel, LabelModel
from aisles.models.prediction.stored import opened
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

from .update_images import UpdateImages, find_old, gather_images

logger = logging.getLogger(__name__)
CALIBRATED_FROM = 10
"""Validation images from which on a temperature is fitted."""


@dataclass(frozen=True, eq=False)
class UpdateResult:
    """What `update_bundle` gives.

    Attributes
    ----------
    bundle, manifest : Path
        The updated bundle; old and new images with their splits.
    retrained : tuple of str
        Macros whose sub-models were trained again.
    added : dict of str to (str or None)
        New classes and their macros; None in a flat bundle without macros.
    changed_files : tuple of str
        Of the bundle, apart from `bundle.json` and the card.
    n_new : int
        Images that the bundle had not learned from, or had learned under another class.
    before, after : Evaluation or None
        On the same test images, of classes that the bundle knew; None without such images.
    after_all : Evaluation or None
        On all test images, those of new classes too; None where there are no such ones.
    """

    bundle: Path
    manifest: Path
    retrained: tuple[str, ...]
    added: dict[str, str | None]
    changed_files: tuple[str, ...]
    n_new: int
    before: Evaluation | None
    after: Evaluation | None
    after_all: Evaluation | None


def update_bundle(
    bundle: str | Path,
    data: str | Path,
    output: str | Path,
    settings: TrainSettings | None = None,
    *,
    old: str | Path | None = None,
    macro: str | None = None,
    head: str | None = None,
    cache: str | Path | None = None,
) -> UpdateResult:
    """Teach a bundle new classes, corrections or more images.

    Trained again are the router, the sub-models of the macros that new images belong to (or of `macro` alone), and,
    where classes are added or the bundle is flat, the flat model: heads of the same kind as before on the same
    networks. Their temperatures are fitted on validation images; guarantees are void.

    Parameters
    ----------
    bundle : path
    data : path
        Images with labels: a manifest (`file_name`, `label`) or a folder of class folders. Without splits, images of
        known classes are trained on, and new classes of 5 or more products are split by product. Of an image that is
        among the old ones its new label counts.
    output : path
        The run folder: `bundle/` and `manifest.csv`.
    settings : TrainSettings, optional
        Of which `data`, `hierarchy.column`, `classifier.seed` and the head's training take part.
    old : path, optional
        The manifest of the images that the bundle learned from; that of the run that the bundle lies in unless given.
    macro : str, optional
        The macro of all new classes, and the only one whose sub-model is trained. Unless given, a new class goes where
        the hierarchy column says or, without one, where the router sends its images.
    head : str, optional
        A registered head in place of one like the bundle's.
    cache : path, optional
        Folder of cached features.

    Returns
    -------
    UpdateResult

    Raises
    ------
    DataError
        If there is nothing new, a class has no training images, or the macro is unknown.
    ValueError
        If a model has no head to be trained again, or macros overlap.
    """
    settings = TrainSettings() if settings is None else settings
    output = Path(output)
    classifier = load_bundle(bundle, engine="tensorflow")
    _check_heads(classifier)
    if old is None:
        old = find_old(bundle, classifier.learned_from)
    with run_folder(output):
        images = gather_images(
            data, None if old is None else Path(old), output, settings.data,
            hierarchy_column=settings.hierarchy.column, classes=classifier.classes_.tolist(),
            learned_from=classifier.learned_from, seed=settings.classifier.seed,
        )  # fmt: skip
        features = _KnownFeatures(images, cache)
        added = _new_classes(classifier, images, features, macro, settings.hierarchy.column)
        plan = _Plan(classifier, images, _grown(classifier.hierarchy, added), macro, added)
        plan.check(old)
        updated, heads = plan.trained(_Fitter(images, features, settings, head))
        evaluations = _before_and_after(classifier, updated, images, HeadOutputs(features.of))

        def edit(content: dict[str, Any], part: Path) -> None:
            _write(content, part, updated, heads)
            if added:
                (part / TREE).unlink(missing_ok=True)  # it doesn't hold the new classes
            learned = map(str, images.sha256[images.learned])
            write_learned_from(part, classifier.learned_from.union(learned))
            note_change(content, plan.told())
            content["facts"]["metrics"] = {
                name: round(found.accuracy, 4) for name, found in _named(evaluations).items()
            }

        place, changed = rewrite(bundle, output / "bundle", edit)
        listed = write_manifest(images.manifest, output / "manifest.csv")
    return UpdateResult(place, listed, plan.retrained, added, changed, int(images.new.sum()), **evaluations)


def _check_heads(classifier: FlatClassifier | TwoStageClassifier) -> None:
    if isinstance(classifier, TwoStageClassifier):
        models = [classifier.router, *classifier.submodels, classifier.flat]
    else:
        models = [classifier.model]
    if any(isinstance(model, GivenModel) for model in models):
        raise ValueError(
            "Only heads on features can be trained again, and this bundle has whole networks that were given to it. "
            "Train them where they were made."
        )
    if classifier.hierarchy is not None and classifier.hierarchy.overlapping:
        _ = classifier.hierarchy.macro_of  # raises, naming the classes that stand in several macros


def _new_classes(
    classifier: FlatClassifier | TwoStageClassifier,
    images: UpdateImages,
    features: "_KnownFeatures",
    macro: str | None,
    column: str | None,
) -> dict[str, str | None]:
    """Find the macro of each class that the bundle doesn't know."""
    hierarchy, manifest = classifier.hierarchy, images.manifest
    if macro is not None and (hierarchy is None or macro not in hierarchy.macros):
        known = "none" if hierarchy is None else ", ".join(hierarchy.macros)
        raise DataError(f"The bundle has no macro {macro!r}. Its macros: {known}.")
    found: dict[str, str | None] = {}
    for label in sorted(set(manifest.classes) - set(classifier.classes_.tolist())):
        rows = np.flatnonzero(manifest.labels == label)
        if hierarchy is None or macro is not None:
            found[label] = macro
        elif column is not None and column in manifest.table:
            found[label] = _from_column(label, manifest.table[column].iloc[rows], hierarchy)
        else:
            learned = rows[manifest.splits[rows] != "test"]
            batch = HeadOutputs(features.of).batch(learned)
            mean = classifier.batch_macro_proba(batch).mean(0) if len(learned) else np.zeros(1)
            found[label] = hierarchy.macros[int(mean.argmax())]
            logger.info(
                "The new class %s joins %s, to which the router sends its images with probability %.2f "
                "(--macro puts it elsewhere).", label, found[label], mean.max(),
            )  # fmt: skip
    return found


def _from_column(label: str, told: Any, hierarchy: Hierarchy) -> str:
    names = sorted({str(name).strip() for name in told} - {""})
    if len(names) != 1 or names[0] not in hierarchy.macros:
        raise DataError(
            f"The new class {label!r} must have one of the bundle's macros in the hierarchy column: "
            f"{', '.join(hierarchy.macros)}. Received: {shortened(names) or 'none'}."
        )
    return names[0]


def _grown(hierarchy: Hierarchy | None, added: dict[str, str | None]) -> Hierarchy | None:
    """Put new classes behind the others of their macro."""
    if hierarchy is None:
        return None
    members = [
        (*old, *(label for label, place in added.items() if place == macro))
        for macro, old in zip(hierarchy.macros, hierarchy.members, strict=True)
    ]
    return Hierarchy(hierarchy.macros, tuple(members))


@dataclass(frozen=True, eq=False)
class _Plan:
    """What has to be trained again."""

    classifier: Any
    images: UpdateImages
    hierarchy: Hierarchy | None
    macro: str | None
    added: dict[str, str | None]

    @property
    def concerned(self) -> list[int]:
        """Macros that new images belong to, or belonged to under a label that was corrected."""
        hierarchy = self.hierarchy
        if hierarchy is None or not isinstance(self.classifier, TwoStageClassifier):
            return []
        if self.macro is not None:
            return [hierarchy.macros.index(self.macro)]
        labels = {str(label) for label in self.images.manifest.labels[self.images.new]}
        labels |= self.images.taken_from & set(hierarchy.classes)
        place = dict(zip(hierarchy.classes, hierarchy.macro_of.tolist(), strict=True))
        return sorted({place[label] for label in labels})

    @property
    def retrained(self) -> tuple[str, ...]:
        """Names of the macros whose sub-models are trained: those of several classes."""
        hierarchy: Any = self.hierarchy
        return tuple(hierarchy.macros[m] for m in self.concerned if hierarchy.sizes[m] > 1)

    @property
    def classes(self) -> list[str]:
        """All classes, old and new, sorted."""
        return sorted({*self.classifier.classes_.tolist(), *self.added})

    def check(self, old: str | Path | None) -> None:
        """Refuse an update of nothing, or without images of what is trained again."""
        if not self.images.new.any() and self.macro is None:
            raise DataError(
                "There is nothing new: the bundle has learned from all of these training images, under these labels. "
                "To train a macro again all the same, name it with --macro."
            )
        manifest = self.images.manifest
        lacking = sorted(set(self.classes) - set(map(str, manifest.labels[manifest.splits == "train"])))
        if lacking:
            where = "Give more images of them." if old else (
                "Give the manifest of the images that the bundle learned from with --old; its run has it as "
                "manifest.csv."
            )  # fmt: skip
            raise DataError(
                "What is trained again needs training images of every class, old ones too, or it forgets them. There "
                f"are none of: {shortened(lacking)}. {where}"
            )

    def trained(self, fitter: "_Fitter") -> tuple[Any, dict[str, LabelModel]]:
        """Return the updated classifier, and the models that were trained, by their names in the bundle."""
        classifier, hierarchy, labels = self.classifier, self.hierarchy, fitter.labels
        if not isinstance(classifier, TwoStageClassifier):
            flat = fitter.fit("flat", classifier.model, self.classes, labels)
            return FlatClassifier(flat, hierarchy), {"flat": flat}
        assert hierarchy is not None
        heads = {
            "router": fitter.fit(
                "router", classifier.router, hierarchy.macros, macro_labels(hierarchy, labels)
            )
        }
        submodels: list[Any] = list(classifier.submodels)
        for place in self.concerned:
            if hierarchy.sizes[place] > 1:
                # A macro of one class had no sub-model; its first looks through the router's network.
                like = classifier.router if submodels[place].constant else submodels[place]
                name = f"submodel-{place:02d}"
                heads[name] = submodels[place] = fitter.fit(name, like, hierarchy.members[place], labels)
        flat = classifier.flat
        if flat is not None and self.added:
            heads["flat"] = flat = fitter.fit("flat", flat, self.classes, labels)
        updated = TwoStageClassifier(heads["router"], submodels, hierarchy, flat=flat, rule=classifier.rule)
        return updated, heads

    def told(self) -> str:
        """Return in words what the update was, for the card."""
        text = f"{int(self.images.new.sum())} new or corrected images"
        for label, macro in self.added.items():
            text += f"; new class {label!r}" + ("" if macro is None else f" in {macro!r}")
        if isinstance(self.classifier, TwoStageClassifier):
            text += "; trained again: router" + "".join(f", sub-model of {name!r}" for name in self.retrained)
            return text + (", flat model" if self.added and self.classifier.flat is not None else "")
        return text + "; the head was trained again"


@dataclass(frozen=True, eq=False)
class _KnownFeatures:
    """Features of all images, old, new and test ones, by the network that they are of: each image passes once."""

    images: UpdateImages
    cache: str | Path | None
    _of: dict[int, np.ndarray] = field(default_factory=dict)

    def of(self, model: LabelModel) -> np.ndarray:
        """Return the features (n_images, dimension) of a model's network."""
        key = id(model.backbone)
        if key not in self._of:
            sha256 = list(map(str, self.images.sha256))
            paths = self.images.manifest.paths
            self._of[key] = extract(opened(model.backbone), paths, images=sha256, cache=self.cache).vectors
        return self._of[key]


@dataclass(frozen=True, eq=False)
class _Fitter:
    """Trains heads on the features of old and new images."""

    images: UpdateImages
    features: _KnownFeatures
    settings: TrainSettings
    head: str | None

    @property
    def labels(self) -> np.ndarray:
        """The class of each training and validation image."""
        return self.images.manifest.labels[self.images.learned]

    def fit(self, name: str, like: AnyModel, labels: Sequence[str], image_labels: np.ndarray) -> LabelModel:
        """Train a head of the same kind as `like` on its network, and fit its temperature."""
        assert isinstance(like, LabelModel)
        manifest, rows = self.images.manifest, self.images.learned
        splits = manifest.splits[rows]
        logger.info("Training %s: %d labels.", name, len(labels))
        features = self.features.of(like)[rows]
        fitted = fit_labels(
            features,
            image_labels,
            splits,
            labels,
            head=self.head or head_like(opened(like.head)),
            training=head_training(self.settings.fine_tuning),
            seed=self.settings.classifier.seed,
            name=name,
            products=manifest.products[rows],
            background=everyone(features, self.labels, splits),
        )
        place = {label: i for i, label in enumerate(labels)}
        val = np.array(
            [i for i, label in enumerate(image_labels) if splits[i] == "val" and label in place], dtype=int
        )
        temperature = 1.0
        if len(val) >= CALIBRATED_FROM:
            targets = np.array([place[str(image_labels[i])] for i in val])
            temperature = held_temperature(log_of(fitted.val_probs[val]), targets)
        return LabelModel(tuple(labels), like.backbone, fitted.network(), temperature)


def _before_and_after(
    classifier: Any, updated: Any, images: UpdateImages, outputs: HeadOutputs
) -> dict[str, Evaluation | None]:
    """Evaluate both on the test images of classes that both know, and the new one on all of them."""
    manifest = images.manifest
    test = manifest.splits == "test"
    known = test & np.isin(manifest.labels.astype(str), classifier.classes_.astype(str))

    def judged(model: Any, wanted: np.ndarray) -> Evaluation | None:
        rows = np.flatnonzero(wanted)
        return model.evaluate_batch(outputs.batch(rows), manifest.labels[rows]) if len(rows) else None

    return {
        "before": judged(classifier, known),
        "after": judged(updated, known),
        "after_all": judged(updated, test) if test.sum() > known.sum() else None,
    }


def _named(evaluations: dict[str, Evaluation | None]) -> dict[str, Evaluation]:
    names = {
        "before": "test accuracy before the update",
        "after": "test accuracy after it, same images",
        "after_all": "test accuracy after it, new classes too",
    }
    return {names[key]: found for key, found in evaluations.items() if found is not None}


def _write(content: dict[str, Any], part: Path, updated: Any, heads: dict[str, LabelModel]) -> None:
    """Put new heads into a copy of the bundle, and say so in `bundle.json`."""
    models = content["models"]
    content["classes"] = [str(name) for name in updated.classes_]
    if updated.hierarchy is not None:
        pairs = zip(updated.hierarchy.macros, map(list, updated.hierarchy.members), strict=True)
        content["hierarchy"] = {"macros": dict(pairs)}
    for name, model in heads.items():
        kind, _, number = name.partition("-")
        entry = models["submodels"][int(number)] if number else models[kind]
        opened(model.head).save(part / f"{name}.keras")
        backbone = models["router"]["backbone"] if entry["backbone"] is None else entry["backbone"]
        entry |= {"labels": list(model.labels), "temperature": model.temperature, "backbone": backbone}
        entry["head"] = f"{name}.keras"
    content["confidence"] = None
