"""Fitting heads on cached features: the same function for flat model, router and sub-models."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import Backbone
from aisles.models.prediction.label_model import LabelModel

from .building import build_head
from .closed_form import Background
from .predicted_rows import Table, load_table, of_rows, save_table
from .registry import HEADS
from .settings import HeadTraining
from .training import History, refit_head, train_head
from .tuning import Parts, tune
from .variants import HeadVariant

TABLES = ("val_probs", "probs")


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A trained head and what it says of every image.

    Attributes
    ----------
    labels : tuple of str
    head : keras.Model, Path or None
        The network or the file that holds it. None for a constant.
    val_probs : ndarray of shape (n_images, n_labels), or PredictedRows
        From the head as trained on training images alone. Rows of training images are of no use.
    probs : ndarray of shape (n_images, n_labels), or PredictedRows
        From the final head; rows of test images are what counts.
    history : History or None
    n_train : int
        Images that the final head was trained on.
    searched : int
        How many settings were tried on validation images.
    chosen : dict
        The settings that they preferred; empty for a head without a grid.
    """

    labels: tuple[str, ...]
    head: keras.Model | Path | None
    val_probs: Table
    probs: Table
    history: History | None
    n_train: int
    searched: int = 1
    chosen: dict[str, Any] = field(default_factory=dict)

    def on(self, backbone: Backbone | None, temperature: float = 1.0) -> LabelModel:
        """Return the model for images: this head on the backbone whose features it was trained on.

        Without a backbone it predicts from features only.
        """
        head = self.network()
        return LabelModel(self.labels, None if head is None else backbone, head, temperature)

    def network(self) -> Any:
        """Return the head as a Keras model, read from its file if need be; None for a constant."""
        return keras.saving.load_model(self.head, compile=False) if isinstance(self.head, Path) else self.head


def fit_labels(
    features: np.ndarray,
    image_labels: Sequence[str | None] | np.ndarray,
    splits: Sequence[str] | np.ndarray,
    labels: Sequence[str],
    *,
    head: str | HeadVariant = "v1.3",
    training: HeadTraining | None = None,
    refit: bool = True,
    seed: int = 0,
    name: str = "flat",
    products: Sequence[str] | np.ndarray | None = None,
    background: Background | None = None,
    asked: tuple[np.ndarray, np.ndarray] | None = None,
) -> FittedModel:
    """Train a head over `labels`.

    Parameters
    ----------
    features : ndarray of shape (n_images, dimension)
    image_labels : sequence of length n_images
        Each image's label; images whose label is not among `labels` are left out.
    splits : sequence of length n_images
        `train`, `val` or `test`. Test images are only predicted.
    labels : sequence of str
        One label gives a constant.
    head : str or HeadVariant
        A registered head (`aisles.models.heads.registry`), or a variant of one's own.
    training : HeadTraining, optional
    refit : bool
        Whether, once validation images have told the number of epochs, the final head is trained for as many
        epochs on training and validation images together.
    seed : int
    name : str
        Makes the seeds of a benchmark's models differ from each other.
    products : sequence of length n_images, optional
        Where there are no validation images, settings are chosen by cross-validation that no product crosses.
    background : Background, optional
        Training images of all classes (`everyone`), also of those that are left out here: heads over a few classes
        may learn from all of them how images of one class differ.
    asked : tuple of two ndarrays of int, optional
        Increasing row numbers of the images whose `val_probs` and `probs` are wanted; by default those of all. What
        heads say of many images and labels fills a memory.

    Returns
    -------
    FittedModel
    """
    labels = tuple(labels)
    if len(labels) == 1:
        ones = np.ones((len(features), 1))
        return FittedModel(labels, None, ones, ones, None, 0)
    training = training or HeadTraining()
    place: dict[str | None, int] = {label: i for i, label in enumerate(labels)}
    targets = np.array([place.get(label, -1) for label in image_labels], np.int32)
    splits = np.asarray(splits, dtype=object)
    train = np.flatnonzero((targets >= 0) & (splits == "train"))
    val = np.flatnonzero((targets >= 0) & (splits == "val"))
    # A small sub-model may lack validation images of its own; its training loss must then tell when to stop.
    check = val if len(val) else train
    if isinstance(head, str) and (definition := HEADS[head]).fit is not None:
        others = background is not None and len(background.targets) != len(train)
        parts = Parts(features, targets, train, val, products, background if others else None, asked)
        tuned = tune(definition, parts, len(labels), refit=refit, seed=zlib.crc32(f"{name} {seed}".encode()))
        learned = len(train) + (len(val) if refit else 0)
        return FittedModel(
            labels,
            tuned.model.network(),
            of_rows(asked and asked[0], tuned.val_probs),
            of_rows(asked and asked[1], tuned.probs),
            None,
            learned,
            tuned.searched,
            tuned.chosen,
        )
    own_seed = zlib.crc32(f"{name} {seed}".encode())
    dimension = features.shape[1]

    model = build_head(head, dimension, len(labels), seed=own_seed)
    try:
        history = train_head(
            model, features[train], targets[train], features[check], targets[check], training, seed=own_seed
        )
    except ValueError as error:
        raise ValueError(f"The head of {name} can't be trained. {error}") from error
    everyone = slice(None)
    val_rows, rows = asked or (everyone, everyone)
    val_probs = predict_features(model, features[val_rows])
    again = refit and len(val) > 0
    if again:
        both = np.concatenate([train, val])
        model = build_head(head, dimension, len(labels), seed=own_seed)
        refit_head(model, features[both], targets[both], history.best_epoch + 1, training, seed=own_seed)
    probs = predict_features(model, features[rows]) if again or asked else val_probs
    return FittedModel(
        labels,
        model,
        of_rows(asked and asked[0], val_probs),
        of_rows(asked and asked[1], probs),
        history,
        len(train) + (len(val) if refit else 0),
    )


def everyone(
    features: np.ndarray, classes: Sequence[str] | np.ndarray, splits: Sequence[str] | np.ndarray
) -> Background:
    """Return the training images of all classes, as background of heads over a few of them."""
    rows = np.flatnonzero(np.asarray(splits, dtype=object) == "train")
    _, targets = np.unique(np.asarray(classes)[rows].astype(str), return_inverse=True)
    return Background(features[rows], targets)


@dataclass(frozen=True, eq=False)
class FittedTwoStage:
    """Router and sub-models of one hierarchy, trained.

    Attributes
    ----------
    hierarchy : Hierarchy
    router : FittedModel
    submodels : tuple of FittedModel
        In the order of the macros.
    """

    hierarchy: Hierarchy
    router: FittedModel
    submodels: tuple[FittedModel, ...]

    def within(self, rows: np.ndarray, attribute: str = "probs") -> np.ndarray:
        """Put the sub-models' distributions of some images side by side: (n_rows, n_slots)."""
        return np.concatenate([getattr(model, attribute)[rows] for model in self.submodels], axis=1)


def macro_labels(hierarchy: Hierarchy, image_labels: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return each image's macro by name; overlapping hierarchies have none."""
    macro_of = dict(zip(hierarchy.classes, hierarchy.macro_of, strict=True))
    return np.array([hierarchy.macros[macro_of[label]] for label in image_labels], dtype=object)


def predict_features(head: keras.Model, features: np.ndarray) -> np.ndarray:
    """Return a head's probabilities for features, float64, rows sum to 1."""
    model = LabelModel(tuple(map(str, range(head.output_shape[-1]))), None, head)
    return model.from_features(features)


def save_fitted(fitted: FittedModel, folder: Path) -> None:
    """Write a fitted model into an existing folder: `head.keras`, `fitted.npz`, and float32 tables of what it says."""
    if isinstance(fitted.head, keras.Model):
        fitted.head.save(folder / "head.keras")
    curves: dict[str, Any] = {}
    if fitted.history is not None:
        names = ("loss", "accuracy", "val_loss", "val_accuracy", "best_epoch")
        curves = {f"history_{name}": np.array(getattr(fitted.history, name)) for name in names}
    np.savez(
        folder / "fitted.npz",
        labels=np.array(fitted.labels, dtype=str),
        n_train=np.array(fitted.n_train),
        searched=np.array(fitted.searched),
        chosen=np.array(json.dumps(fitted.chosen)),
        **curves,
    )
    for name in TABLES:
        save_table(getattr(fitted, name), folder, name)


def load_fitted(folder: Path) -> FittedModel:
    """Read what `save_fitted` wrote; head and large tables are loaded when they are first used.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    try:
        return _read_fitted(folder)
    except (BadZipFile, EOFError, KeyError, OSError, ValueError) as error:
        raise ValueError(
            f"{folder} is damaged ({error}). Delete {folder} and run again: it is trained anew."
        ) from error


def _read_fitted(folder: Path) -> FittedModel:
    with open(folder / "fitted.npz", "rb") as file, np.load(file, allow_pickle=False) as arrays:
        history = None
        if "history_loss" in arrays:
            names = ("loss", "accuracy", "val_loss", "val_accuracy")
            curves = {name: tuple(arrays[f"history_{name}"].tolist()) for name in names}
            history = History(**curves, best_epoch=int(arrays["history_best_epoch"]))
        head = folder / "head.keras"
        return FittedModel(
            tuple(arrays["labels"].tolist()),
            head if head.exists() else None,
            load_table(folder, "val_probs"),
            load_table(folder, "probs"),
            history,
            int(arrays["n_train"]),
            int(arrays["searched"]),
            json.loads(str(arrays["chosen"])),
        )
