"""What a bundle gets right and wrong on labelled images, class by class, beside what was published."""

import logging
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.images.manifest import Manifest, read_manifest
from aisles.data_prep.images.scan import scan_images
from aisles.data_prep.images.splitting import crossing_products
from aisles.data_prep.io.errors import DataError
from aisles.experiments.metrics.answers import ClassTable, class_table, confusion
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.bundles.bundle import load_bundle, read_bundle

logger = logging.getLogger(__name__)
_LONG = {"val": "validation", "train": "training"}


@dataclass(frozen=True, eq=False)
class BundleEvaluation:
    """Answers of a bundle on labelled images.

    Attributes
    ----------
    classes : tuple of str
    hierarchy : Hierarchy or None
    rule : str
        The routing rule; `flat` for a flat model.
    manifest : Manifest
        The images that were evaluated.
    truth : int ndarray of shape (n_images,)
        Indices into `classes`.
    probs : ndarray of shape (n_images, n_classes)
    published_f1 : mapping of str to float
        Published F1 by class; empty if the bundle reproduces no study.
    measured_on : str
        Which images, and how they were split, in words.
    """

    classes: tuple[str, ...]
    hierarchy: Hierarchy | None
    rule: str
    manifest: Manifest
    truth: np.ndarray
    probs: np.ndarray
    published_f1: dict[str, float]
    measured_on: str

    def __repr__(self) -> str:
        n_images, n_classes = len(self.truth), len(self.classes)
        return (
            f"BundleEvaluation(accuracy {self.accuracy:.3f} on {n_images} {self.measured_on}, {n_classes} classes, "
            f"rule {self.rule})"
        )

    @cached_property
    def answers(self) -> np.ndarray:
        """The most probable class of each image, as index; on a tie the first."""
        return self.probs.argmax(1)

    @cached_property
    def table(self) -> ClassTable:
        """Precision, recall, F1 and support of each class."""
        return class_table(self.truth, self.answers, self.classes)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float((self.answers == self.truth).mean())

    @property
    def macro_of(self) -> np.ndarray:
        """The macro of each class; all zero without a hierarchy, the first of several macros where they overlap."""
        if self.hierarchy is None:
            return np.zeros(len(self.classes), int)
        first = np.unique(self.hierarchy.slot_class, return_index=True)[1]
        return self.hierarchy.slot_macro[first]

    @property
    def order(self) -> np.ndarray:
        """Classes macro by macro, as indices into `classes`."""
        return np.lexsort((np.arange(len(self.classes)), self.macro_of))

    @property
    def confusion(self) -> np.ndarray:
        """Images by true class (rows) and answer (columns), in class order."""
        return confusion(self.truth, self.answers, len(self.classes))

    def per_class(self) -> pd.DataFrame:
        """Return the table of the classes that occur or are answered, lowest F1 first.

        Columns class, precision, recall, f1, support; where metrics are published, `published_f1` and `difference` of
        the classes that occur.
        """
        table = pd.DataFrame(
            {
                "class": self.classes,
                "precision": self.table.precision,
                "recall": self.table.recall,
                "f1": self.table.f1,
                "support": self.table.support,
            }
        )
        if self.published_f1:
            table["published_f1"] = [self.published_f1.get(name) for name in self.classes]
            table.loc[table["support"] == 0, "published_f1"] = None
            table["difference"] = table["f1"] - table["published_f1"].astype(float)
        seen = np.union1d(self.truth, self.answers)
        return table.loc[seen].sort_values(by=["f1", "class"], ignore_index=True)

    @property
    def on_absent(self) -> str:
        """Return how many answers fall on classes of which there is no image, and on which; empty if none do."""
        wrong = np.flatnonzero(~np.isin(self.answers, self.truth))
        if not len(wrong):
            return ""
        names = shortened([self.classes[i] for i in np.unique(self.answers[wrong])])
        return (
            f"{len(wrong)} of {len(self.truth)} answers are classes of which there is no image ({names}): F1 is 0 for "
            "these, and counts in the average over classes."
        )

    def mistakes(self, most: int) -> np.ndarray:
        """Return the wrong answers that were most confident, as rows of the manifest."""
        wrong = np.flatnonzero(self.answers != self.truth)
        sure = self.probs[wrong, self.answers[wrong]]
        return wrong[np.argsort(-sure, kind="stable")[:most]]


def evaluate_bundle(
    bundle: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    rule: str | None = None,
    label_column: str = "label",
    strict: bool = False,
    known_only: bool = False,
) -> BundleEvaluation:
    """Evaluate a bundle on labelled images.

    Parameters
    ----------
    bundle : path
    data : path
        A manifest or a folder of class folders.
    split : str, optional
        `test` if there are such images, else all, unless given; `all` for all.
    rule : str, optional
        Routing rule; the bundle's own unless given.
    label_column : str
    strict : bool
        Whether an unreadable image is an error; it is left out otherwise.
    known_only : bool
        Whether images of classes that the bundle doesn't know are left out; they are an error otherwise.

    Raises
    ------
    DataError
        If there is no image of the split, or a label that the bundle doesn't know.
    """
    classifier = load_bundle(bundle)
    manifest = read_manifest(data, label_column=label_column, min_classes=1)
    if split is None and not (manifest.splits == "test").any():
        logger.warning(
            "%s has no split, so all images are evaluated. If the bundle was trained on some of them, its metrics are "
            "too good: give the manifest.csv of its run.",
            data,
        )
    split = split or ("test" if (manifest.splits == "test").any() else "all")
    chosen = manifest if split == "all" else manifest.keep(manifest.splits == split)
    if not len(chosen):
        raise DataError(f"{data} has no images of the split {split!r}. Choose another one, or --split all.")
    scan = scan_images(chosen, strict=strict)
    for file_name, reason in zip(scan.reasons["file_name"], scan.reasons["reason"], strict=True):
        logger.warning("Left out %s: %s", file_name, reason)
    chosen = chosen.keep(scan.readable)
    classes = tuple(map(str, classifier.classes_))
    unknown = sorted(set(chosen.classes) - set(classes))
    if unknown and known_only:
        chosen, unknown = chosen.keep(~np.isin(chosen.labels.astype(str), unknown)), []
    if unknown or not len(chosen):
        raise DataError(
            f"Every label must be one of the bundle's {len(classes)} classes. Others: {shortened(unknown)}. Leave "
            "these images out, or take a bundle that knows them."
        )
    probs = classifier.predict_proba(chosen.paths, rule=rule)
    truth = np.searchsorted(np.array(classes), chosen.labels.astype(str))
    name = str(rule or getattr(classifier, "rule", "flat"))
    published = read_bundle(bundle).get("facts", {}).get("published")
    return BundleEvaluation(
        classes,
        classifier.hierarchy,
        name,
        chosen,
        truth,
        probs,
        published_f1(published),
        _measured_on(manifest, split),
    )


def accuracy_on(evaluation: BundleEvaluation, earlier: BundleEvaluation) -> float:
    """Return the accuracy on the images that another evaluation is about, too."""
    same = np.isin(evaluation.manifest.table["file_name"], earlier.manifest.table["file_name"])
    return float((evaluation.answers == evaluation.truth)[same].mean())


def with_earlier(table: pd.DataFrame, earlier: BundleEvaluation) -> pd.DataFrame:
    """Put another evaluation's F1 beside a table of classes, as `f1_before`; nan for classes that it doesn't know."""
    known = earlier.per_class()
    before = dict(zip(known["class"], known["f1"], strict=True))
    return table.assign(f1_before=[before.get(name, np.nan) for name in table["class"]])


def _measured_on(manifest: Manifest, split: str) -> str:
    if split == "all":
        return "all images"
    if crossing_products(manifest.products, manifest.splits):
        how = "split by image"
    elif len(set(manifest.products)) < len(manifest.products):
        how = "split by product"
    else:
        how = "products not known"
    return f"{_LONG.get(split, split)} images, {how}"


def published_f1(study: str | None) -> dict[str, float]:
    """Return the F1 that a study published for each class; empty for None."""
    if study is None:
        return {}
    with (files("aisles.experiments") / "published" / f"{study}_flat_per_class.csv").open() as file:
        table = pd.read_csv(file)
    return dict(zip(table["class"], table["f1"], strict=True))
