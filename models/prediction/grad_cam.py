"""Grad-CAM: where in the image a network saw what speaks for a label.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (ICCV 2017): the
last maps that still have a height and a width, each weighed by the mean gradient of the label's score, summed, what
speaks against it cut off. The score is the logit where the network ends in a softmax layer, else the log-probability.
Networks may stand inside networks, as a backbone does behind its preprocessing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from .label_model import AnyModel, GivenModel, LabelModel
from .stored import opened

HeatMap = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class Glance:
    """One recorded pass of an image through a backbone and every head on it.

    Attributes
    ----------
    features : ndarray of shape (1, dimension)
    outputs : tuple of ndarray of shape (1, n_labels)
        One per head.
    maps, scores, tape
        What heat maps are made of, without another pass.
    """

    features: np.ndarray
    outputs: tuple[np.ndarray, ...]
    maps: Any
    scores: tuple[Any, ...]
    tape: Any

    def heat(self, head: int, label: int) -> np.ndarray:
        """Return where the image speaks for a label of a head: float32 (h, w), 0 to 1."""
        scores = self.scores[head]
        chosen = tf.one_hot([label], scores.shape[-1], dtype=scores.dtype)
        return _weighed(self.maps, self.tape.gradient(scores, self.maps, output_gradients=chosen))


def glance_of(models: Sequence[AnyModel]) -> Callable[[np.ndarray], Glance] | None:
    """Make the function that passes an image through the backbone that models share, once for all of them.

    Parameters
    ----------
    models : sequence of LabelModel
        None of them constant.

    Returns
    -------
    callable or None
        uint8 pixels (height, width, 3) to `Glance`. None where there is nothing to look into: a network made
        elsewhere, without maps, or written as a class of its own.
    """
    if not all(isinstance(model, LabelModel) and not model.constant for model in models):
        return None
    backbone, heads = (
        opened(cast(LabelModel, models[0]).backbone),
        [opened(cast(Any, m).head) for m in models],
    )
    inside = _Inside()
    try:
        pixels = keras.Input((*backbone.input_size, 3), dtype="float32")
        features = inside.run(backbone.model, pixels)
        if inside.maps is None:
            return None
        network = keras.Model(pixels, [inside.maps, features])
        ends = [_end_of(head, features) for head in heads]
    except (ValueError, AttributeError, TypeError):
        return None  # a network that Keras can't take apart

    def look(pixels: np.ndarray) -> Glance:
        x = tf.cast(pixels[None], tf.float32)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)  # a frozen network has no trainable weight that would start the recording
            maps, features = network(x, training=False)
            outputs, scores = zip(*(end(features, training=False) for end in ends), strict=True)
        given = tuple(tf.cast(output, tf.float32).numpy() for output in outputs)
        return Glance(tf.cast(features, tf.float32).numpy(), given, maps, scores, tape)

    return look


def _end_of(head: keras.Model, features: Any) -> keras.Model:
    """Return a head as a network from features to (outputs, scores); heads may have layers of the same name."""
    inside, start = _Inside(), keras.Input(features.shape[1:], dtype=features.dtype)
    return keras.Model(start, [inside.run(head, start), inside.scores])


def heat_map_of(model: AnyModel) -> HeatMap | None:
    """Make the function that draws heat maps of a model.

    Parameters
    ----------
    model : LabelModel or GivenModel

    Returns
    -------
    callable or None
        (uint8 pixels (height, width, 3), position of the label) to float32 (h, w) of the size of the network's last
        maps, 0 to 1, all 0 where nothing speaks for the label. None where there is nothing to look into: a constant,
        a callable that is no Keras model, a network without maps or written as a class of its own.
    """
    if isinstance(model, LabelModel):
        look = glance_of([model])
        return None if look is None else lambda pixels, label: look(pixels).heat(0, label)
    if not model.is_keras:
        return None
    try:
        looked_into = _network_of(model)
    except (ValueError, AttributeError, TypeError):
        return None  # a network that Keras can't take apart
    if looked_into is None:
        return None
    network, prepare = looked_into
    order = model.order

    def draw(pixels: np.ndarray, label: int) -> np.ndarray:
        x = prepare(tf.cast(pixels[None], tf.float32))
        with tf.GradientTape() as tape:
            tape.watch(x)
            maps, scores = network(x, training=False)
            score = scores[:, label if order is None else order[label]]
        return _weighed(maps, tape.gradient(score, maps))

    return draw


def _weighed(maps: Any, gradient: Any) -> np.ndarray:
    """Sum the maps, each weighed by its mean gradient; what speaks against the label is cut off."""
    weights = tf.reduce_mean(tf.cast(gradient, tf.float32), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(tf.cast(maps, tf.float32) * weights, axis=-1))[0].numpy()
    return heat / heat.max() if heat.max() > 0 else heat


def _network_of(model: GivenModel) -> tuple[keras.Model, Callable] | None:
    """Return one network from float pixels to (last maps, scores), and what is done to the pixels before."""
    inside, loaded = _Inside(), model.loaded()
    pixels = keras.Input((*cast(tuple, loaded.input_size), 3), dtype="float32")
    inside.run(cast(keras.Model, loaded.network), pixels)
    if inside.maps is None:
        return None
    return keras.Model(pixels, [inside.maps, inside.scores]), loaded.preprocess or (lambda x: x)


class _Inside:
    """Runs networks layer by layer, nested ones too, and keeps the last maps and the scores before a softmax."""

    def __init__(self) -> None:
        self.maps: Any = None
        self.scores: Any = None
        self.last: Any = None
        self.size: tuple[int, int] | None = None

    def run(self, network: keras.Model, x: Any) -> Any:
        """Return the network's output for the symbolic input `x`."""
        if self.size is None:
            self.size = tuple(x.shape[1:3])
        if isinstance(network, keras.Sequential):
            for layer in network.layers:
                x = self._call(layer, x)
            return x
        # The clone is not used: it has tensors of its own when `x` is no input. What counts are the calls, of which
        # the last gives the output, since a network with one output ends in one layer.
        keras.models.clone_model(
            network, input_tensors=x, clone_function=lambda layer: layer, call_function=self._call
        )
        return self.last

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model) and _may_be_taken_apart(layer):
            return self.run(layer, args[0])
        self.last = output = layer(*args, **kwargs)
        if isinstance(output, keras.KerasTensor):
            self._keep(layer, args, output)
        return output

    def _keep(self, layer: Any, args: tuple, output: Any) -> None:
        shape = output.shape
        if len(shape) == 4 and None not in shape[1:3] and tuple(shape[1:3]) not in (self.size, (1, 1)):
            self.maps = output
        if len(shape) != 2:
            return
        if isinstance(layer, layers.Softmax) or _activation(layer, layers.Activation):
            self.scores = args[0]
        elif _activation(layer, layers.Dense):
            self.scores = ops.add(ops.matmul(args[0], layer.kernel), 0 if layer.bias is None else layer.bias)
        else:
            self.scores = ops.log(ops.maximum(ops.cast(output, "float32"), 1e-30))


def _activation(layer: Any, kind: type) -> bool:
    return isinstance(layer, kind) and getattr(layer, "activation", None) is keras.activations.softmax


def _may_be_taken_apart(network: keras.Model) -> bool:
    return isinstance(network, keras.Sequential) or bool(getattr(network, "_nodes", None) and network.inputs)
