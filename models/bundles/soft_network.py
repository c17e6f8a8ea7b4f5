"""A whole classifier as one Keras network: uint8 images in, soft's calibrated class distribution out.

Built from ordinary Keras layers and operations, so that what is saved needs nothing of ours to be loaded.
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from aisles.data_prep.images.fitting import Fitting
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import Backbone, in_precision
from aisles.models.prediction.label_model import AnyModel, GivenModel, LabelModel
from aisles.models.prediction.predictor import Classifier
from aisles.models.prediction.stored import StoredBackbone, opened
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

CLASSES, MACROS = "class_probabilities", "macro_probabilities"


def soft_network(classifier: Classifier, *, precision: str | None = None) -> keras.Model:
    """Build the network.

    Parameters
    ----------
    classifier : FlatClassifier or TwoStageClassifier
        All of its models must take images of the same size.
    precision : {'float32', 'bfloat16'}, optional
        Of the backbones' arithmetic; their own unless given.

    Returns
    -------
    keras.Model
        From uint8 (n, height, width, 3), RGB, 0-255, to float32 `class_probabilities` (n, n_classes), columns in the
        order of `classes_`, and with a hierarchy `macro_probabilities` (n, n_macros): the router's, or a flat model's
        sums.

    Raises
    ------
    ValueError
        If a model is no Keras model, or models take images of different sizes.
    """
    parts = _parts(classifier)
    size = _common_fitting(parts).size
    pixels = keras.Input((*size, 3), dtype="uint8", name="pixels")
    build = _Builder(layers.Rescaling(1.0, dtype="float32", name="as_numbers")(pixels), pixels, precision)
    found = [build.probabilities(model) for model in parts]
    outputs, hierarchy = {CLASSES: found[0]}, classifier.hierarchy
    if isinstance(classifier, TwoStageClassifier):
        outputs = {CLASSES: _mixed(found[0], found[1:], classifier.hierarchy), MACROS: found[0]}
    elif hierarchy is not None:
        holds = np.zeros((hierarchy.n_classes, hierarchy.n_macros))
        holds[hierarchy.slot_class, hierarchy.slot_macro] = 1
        outputs[MACROS] = _fixed(holds, "sum_macros")(found[0])
    named = {
        name: layers.Activation("linear", name=name, dtype="float32")(probs)
        for name, probs in outputs.items()
    }
    return keras.Model(pixels, named, name="aisles")


def _parts(classifier: Classifier) -> list[AnyModel]:
    """List the models that soft needs; the router first."""
    if isinstance(classifier, TwoStageClassifier):
        return [classifier.router, *classifier.submodels]
    if isinstance(classifier, FlatClassifier):
        return [classifier.model]
    raise TypeError(f"Give a flat or a two-stage classifier. Received: {type(classifier).__name__}.")


def input_fitting(classifier: Classifier) -> Fitting:
    """Return how an image of any size becomes the network's pixels; raises as `soft_network`."""
    return _common_fitting(_parts(classifier))


def _common_fitting(parts: list[AnyModel]) -> Fitting:
    fittings = set()
    for model in parts:
        if isinstance(model, GivenModel):
            if not model.is_keras:
                raise ValueError(
                    "Only Keras models can become one model. This classifier uses another callable."
                )
            fittings.add(model.fitting)
        elif model.backbone is not None:
            if len(model.backbone.fittings) > 1 or not isinstance(model.backbone, Backbone | StoredBackbone):
                raise ValueError(
                    f"The backbone {model.backbone.name} can't become part of one model: only a single network of "
                    "Keras can. Train the heads on one such backbone."
                )
            fittings.add(model.backbone.fitting)
    if not fittings:
        raise ValueError("Every model of this classifier is a constant; there is nothing to export.")
    if len(fittings) > 1:
        keys = ", ".join(sorted(fitting.key for fitting in fittings))
        raise ValueError(
            f"One model takes images of one size, cropped in one way. The networks of this classifier take {keys}; "
            "train them alike, or export them one by one."
        )
    return fittings.pop()


class _Builder:
    """Adds models to the graph; each backbone passes once."""

    def __init__(self, numbers: Any, pixels: Any, precision: str | None):
        self.numbers, self.pixels, self.precision = numbers, pixels, precision
        self.features: dict[int, Any] = {}
        self.n = 0

    def probabilities(self, model: AnyModel) -> Any:
        """Return a model's calibrated probabilities, (n, n_labels)."""
        if isinstance(model, GivenModel):
            probs = self._given(model)
        elif model.backbone is None:
            first: Any = ops.max(self.numbers, axis=(1, 2, 3), keepdims=True)
            return ops.ones_like(ops.reshape(first, (-1, 1)))
        else:
            probs = self._named(opened(model.head))(self._features(model))
        probs = ops.cast(probs, "float32")
        if model.temperature != 1:
            # A probability that float32 rounds to 0 stays 0, as in the bundle.
            probs = ops.power(probs, 1 / model.temperature)
        return probs / ops.sum(probs, axis=1, keepdims=True)

    def _features(self, model: LabelModel) -> Any:
        if id(model.backbone) not in self.features:
            backbone: Backbone = opened(model.backbone)
            backbone = backbone if self.precision is None else in_precision(backbone, self.precision)
            outputs = self._named(backbone.model)(self.numbers, training=False)
            self.features[id(model.backbone)] = ops.cast(outputs, "float32")
        return self.features[id(model.backbone)]

    def _given(self, model: GivenModel) -> Any:
        network: Any = opened(model.network)
        whole = network.inputs[0].dtype == "uint8" and model.preprocess is None
        ready = self.pixels if whole else self.numbers
        ready = ready if model.preprocess is None else model.preprocess(ready)
        probs = self._named(network)(ready, training=False)
        return probs if model.order is None else ops.take(probs, np.array(model.order), axis=1)

    def _named(self, network: keras.Model) -> keras.Model:
        """Copy a network under a name of its own: two of one name can't be saved together."""
        if not isinstance(network, keras.Sequential) and not _is_functional(network):
            return network  # written as a class: Keras can't copy it
        copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
        copy.name = f"part{self.n}"
        copy.trainable = False
        self.n += 1
        return copy


def _is_functional(network: keras.Model) -> bool:
    return type(network) in (keras.Model, keras.models.Model) or type(network).__name__ == "Functional"


def _mixed(macro: Any, within: list[Any], hierarchy: Hierarchy) -> Any:
    """Sum P(m) P(c | m) over the macros that hold the class."""
    spread = np.eye(hierarchy.n_macros)[:, hierarchy.slot_macro]
    gather = np.eye(hierarchy.n_classes)[hierarchy.slot_class]
    joint = _fixed(spread, "spread_macros")(macro) * ops.concatenate(within, axis=1)
    return _fixed(gather, "gather_classes")(joint)


def _fixed(matrix: np.ndarray, name: str) -> layers.Dense:
    layer = layers.Dense(matrix.shape[1], use_bias=False, trainable=False, name=name, dtype="float32")
    layer.build((None, matrix.shape[0]))
    layer.set_weights([matrix.astype(np.float32)])
    return layer
