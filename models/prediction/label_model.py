"""What flat model, router and sub-models have in common: a network over named labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aisles.data_prep.images.fitting import Fitting
from aisles.hierarchy.calibration import apply_temperature, check_temperature
from aisles.hierarchy.distributions import check_distributions
from aisles.models.backbones.registry import Backbone

from .stored import BundleError, StoredBackbone, StoredNetwork, opened

Network = keras.Model | StoredNetwork | Callable[[np.ndarray], Any]


@dataclass(frozen=True, eq=False)
class LabelModel:
    """A backbone and a head that tell named labels apart; with one label a constant.

    Attributes
    ----------
    labels : tuple of str
        In the order of the columns.
    backbone : Backbone or StoredBackbone, optional
        None for a constant.
    head : keras.Model or StoredNetwork, optional
        From features (n, dimension) to probabilities (n, n_labels). None for a constant.
    temperature : float
        Divides the logits of calibrated probabilities; 1 if not calibrated.
    """

    labels: tuple[str, ...]
    backbone: Backbone | StoredBackbone | None = None
    head: keras.Model | StoredNetwork | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if isinstance(self.head, StoredNetwork):
            return  # checked when it is loaded
        _check_width(1 if self.head is None else self.head.output_shape[-1], self.labels)

    @property
    def constant(self) -> bool:
        """Whether there is one label only, so nothing to tell apart."""
        return self.head is None

    def loaded(self) -> "LabelModel":
        """Return the model with its networks in memory."""
        return replace(self, backbone=opened(self.backbone), head=opened(self.head))

    def from_features(self, features: np.ndarray, *, calibrated: bool = True) -> np.ndarray:
        """Return probabilities (n, n_labels), float64, rows sum to 1, from features (n, dimension)."""
        if self.constant:
            return np.ones((len(features), 1))
        inputs = tf.convert_to_tensor(features, tf.float32)
        return self.scaled(opened(self.head)(inputs, training=False).numpy(), calibrated=calibrated)

    def scaled(self, outputs: np.ndarray, *, calibrated: bool = True) -> np.ndarray:
        """Turn a network's outputs (n, n_labels) into float64 rows that sum to 1, calibrated if wanted.

        Raises
        ------
        ValueError
            If some are not finite or negative, or a row is all 0.
        """
        probs = outputs.astype(np.float64)
        totals = probs.sum(1, keepdims=True)
        sound = (totals > 0) & (totals < np.inf)  # neither holds for nan
        if not sound.all():
            raise ValueError(
                f"The model of {list(self.labels)[:3]} gave probabilities that are not finite, or all 0, for "
                f"{int((~sound).sum())} of {len(sound)} images: its weights are spoiled. Train it again."
            )
        negative = int((probs < 0).any(1).sum())
        if negative:
            raise ValueError(
                f"The model of {list(self.labels)[:3]} gave negative probabilities for {negative} of "
                f"{len(probs)} images: its head must end in a softmax. Train it again."
            )
        probs /= totals
        return apply_temperature(probs, self.temperature) if calibrated and self.temperature != 1 else probs


@dataclass(frozen=True, eq=False)
class GivenModel:
    """A model that was made elsewhere: a whole network from images to probabilities.

    Attributes
    ----------
    network : keras.Model, StoredNetwork or callable
        A Keras model from images (n, height, width, 3) of a fixed size, RGB, 0-255 (float32, or uint8 if that is
        what its input says), one in a bundle, or a callable that gets such a uint8 array.
    labels : sequence of str
        The class of each output, in the order of the outputs.
    input_size : (height, width), optional
        What a callable wants; a Keras model says it itself.
    preprocess : callable, optional
        What has to happen to the pixels (float32, 0-255) before the network: say,
        `keras.applications.vgg16.preprocess_input`. Leave it out if the network does it itself.
    temperature : float
        As in `LabelModel`.
    order : tuple of int, optional
        For each label its column among the network's outputs; the labels' own order unless `reordered`.
    """

    network: Network
    labels: Sequence[str]
    input_size: tuple[int, int] | None = None
    preprocess: Callable[[Any], Any] | None = None
    temperature: float = 1.0
    order: tuple[int, ...] | None = None
    constant = False

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
        if not (callable(self.network) or isinstance(self.network, StoredNetwork)):
            raise TypeError(
                "A model is a Keras model or a callable that gives probabilities. "
                f"Received: {type(self.network).__name__}."
            )
        if isinstance(self.network, keras.Model):
            _check_width(_keras_width(self.network), self.labels)
            object.__setattr__(self, "input_size", _keras_size(self.network, self.input_size))
        if self.input_size is None:
            raise ValueError(
                "A callable doesn't say which size of image it takes. Give input_size=(height, width)."
            )

    @property
    def fitting(self) -> Fitting:
        """How images become the pixels that it takes: squashed to `input_size`."""
        assert self.input_size is not None
        return Fitting(self.input_size)

    @property
    def is_keras(self) -> bool:
        """Whether the network is a Keras model, which can be compiled, exported and looked into."""
        return isinstance(self.network, keras.Model | StoredNetwork)

    def reordered(self, labels: tuple[str, ...]) -> "GivenModel":
        """Return the same model with its outputs put in the order of `labels`, which are the same names."""
        if labels == self.labels:
            return self
        columns = range(len(labels)) if self.order is None else self.order
        place = dict(zip(self.labels, columns, strict=True))
        return replace(self, labels=labels, order=tuple(place[label] for label in labels))

    def loaded(self) -> "GivenModel":
        """Return the model with its network in memory.

        Raises
        ------
        BundleError
            If a network from a bundle can't be loaded, or has other outputs or images than `bundle.json` says.
        """
        if not isinstance(self.network, StoredNetwork):
            return self
        network = self.network.load()
        try:
            return replace(self, network=network)
        except ValueError as error:
            raise BundleError(f"{self.network.path} doesn't fit bundle.json. {error}") from error

    def scaled(self, outputs: np.ndarray, *, calibrated: bool = True) -> np.ndarray:
        """Turn outputs into float64 rows that sum to 1, calibrated if wanted.

        Raises
        ------
        ValueError
            If the outputs are no distributions over the labels.
        """
        outputs = np.asarray(outputs, np.float64)
        if outputs.ndim != 2 or outputs.shape[1] != len(self.labels):
            _check_width(outputs.shape[-1] if outputs.ndim else 0, self.labels)
        probs = check_distributions(
            outputs, f"outputs of the model of {list(self.labels)[:3]}", len(self.labels)
        )
        probs = probs / probs.sum(1, keepdims=True)
        probs = probs if self.order is None else probs[:, self.order]
        return apply_temperature(probs, self.temperature) if calibrated and self.temperature != 1 else probs


AnyModel = LabelModel | GivenModel


def given_model(
    model: Any, what: str, wanted: Sequence[str], input_size: tuple[int, int] | None
) -> GivenModel | LabelModel:
    """Make one stage of a two-stage classifier of what a person gave, its labels known, never guessed.

    Parameters
    ----------
    model
        A `GivenModel`, a `LabelModel`, a pair (network, labels), or a network with `classes_`.
    what
        How error messages call it.
    wanted
        The labels that it must have, in any order.
    input_size
        For callables that don't say.

    Raises
    ------
    ValueError
        If it doesn't say its labels, or they are not exactly those wanted.
    """
    if not isinstance(model, GivenModel | LabelModel):
        if isinstance(model, tuple) and len(model) == 2:
            network, labels = model
        else:
            network, labels = model, getattr(model, "classes_", None)
        if labels is None or isinstance(labels, str):
            raise ValueError(
                f"The {what} doesn't say which output is which class. Give a pair (model, labels) with the labels "
                f"in the order of its outputs; they must be {sorted(wanted)}."
            )
        size = None if isinstance(network, keras.Model) else getattr(network, "input_size", input_size)
        model = GivenModel(network, labels, size)
    if len(set(model.labels)) != len(model.labels) or set(model.labels) != set(wanted):
        missing, foreign = sorted(set(wanted) - set(model.labels)), sorted(set(model.labels) - set(wanted))
        raise ValueError(
            f"The labels of the {what} must be {sorted(wanted)}, each once. Missing: {missing}; foreign: {foreign}. "
            "Correct the labels or the hierarchy."
        )
    return model


def in_order(model: AnyModel, labels: Sequence[str]) -> AnyModel:
    """Return a model with its outputs in the order of `labels`, which are the same names."""
    return model.reordered(tuple(labels)) if isinstance(model, GivenModel) else model


def _check_width(outputs: int, labels: Sequence[str]) -> None:
    if outputs != len(labels):
        raise ValueError(
            f"A model must have one output for each of its labels. It has {outputs} outputs and "
            f"{len(labels)} labels: {list(labels)[:5]}."
        )


def _keras_width(network: keras.Model) -> int:
    shape = network.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(
            f"A model must give one table of probabilities, (n, n_labels). Its output is {shape}."
        )
    return shape[-1]


def _keras_size(network: keras.Model, given: tuple[int, int] | None) -> tuple[int, int]:
    shape = network.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:
        raise ValueError(f"A model must take images (n, height, width, 3). Its input is {shape}.")
    if None not in shape[1:3]:
        if given is not None and tuple(given) != shape[1:3]:
            raise ValueError(f"input_size={given} doesn't fit a model that takes images of {shape[1:3]}.")
        return shape[1:3]
    if given is None:
        raise ValueError(f"The model takes images of any size: {shape}. Give input_size=(height, width).")
    return given[0], given[1]
