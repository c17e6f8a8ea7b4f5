"""Batch normalization folded into the convolution in front of it: fewer passes over the maps, the same numbers."""

from dataclasses import replace

import keras
import numpy as np
from keras import layers

from .registry import Backbone, with_preprocessing

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)


def folded(backbone: Backbone) -> Backbone:
    """Return the backbone for prediction, each batch normalization part of the convolution that it alone follows.

    Features agree within rounding. A network that computes in another precision than float32, or that was not built
    of layers, is returned as it is.
    """
    network = backbone.network
    if (
        backbone.precision != "float32"
        or not isinstance(network, keras.models.Model)
        or not _is_built(network)
    ):
        return backbone
    following = _following(network)
    if not following:
        return backbone
    return replace(
        backbone,
        model=with_preprocessing(_without(network, following), backbone.preprocessing, backbone.color),
    )


def _is_built(network: keras.Model) -> bool:
    return type(network).__name__ in ("Functional", "Sequential") and all(
        not isinstance(layer, keras.Model) for layer in network.layers
    )


def _following(network: keras.Model) -> dict[str, layers.BatchNormalization]:
    """Return, by the convolution's name, the batch normalization that alone takes its output."""
    given_out = {id(tensor) for tensor in network.outputs}
    found = {}
    for layer in network.layers:
        if (
            type(layer) not in CONVOLUTIONS
            or len(layer._outbound_nodes) != 1
            or len(layer._inbound_nodes) != 1
        ):
            continue
        after = layer._outbound_nodes[0].operation
        plain = (
            keras.activations.serialize(layer.activation) == "linear" and layer.data_format == "channels_last"
        )
        if (
            plain
            and type(after) is layers.BatchNormalization
            and after.axis in (-1, 3)
            and len(after._inbound_nodes) == 1
            and id(layer.output) not in given_out
        ):
            found[layer.name] = after
    return found


class _Same(layers.Layer):
    """Hands its input on, in the place of a batch normalization."""

    def call(self, inputs, training=None, mask=None):
        return inputs


def _without(network: keras.Model, following: dict[str, layers.BatchNormalization]) -> keras.Model:
    gone = {norm.name for norm in following.values()}

    def clone(layer):
        if layer.name in gone:
            return _Same(name=layer.name)
        settings = layer.get_config()
        return type(layer).from_config(
            {**settings, "use_bias": True} if layer.name in following else settings
        )

    copy = keras.models.clone_model(network, clone_function=clone)
    for layer in network.layers:
        if layer.name in following:
            copy.get_layer(layer.name).set_weights(_folded_weights(layer, following[layer.name]))
        elif layer.name not in gone and layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _folded_weights(layer: layers.Layer, norm: layers.BatchNormalization) -> list[np.ndarray]:
    """Return kernel and bias such that the convolution gives what batch normalization made of it."""
    kernel, *bias = (weight.astype(np.float64) for weight in layer.get_weights())
    mean, variance = (np.asarray(w, np.float64) for w in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else 1.0
    beta = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)
    # A depthwise kernel is (height, width, channels, multiplier), its outputs channel by channel.
    by_output = scale.reshape(kernel.shape[2:]) if isinstance(layer, layers.DepthwiseConv2D) else scale
    shifted = beta + ((bias[0] if bias else 0.0) - mean) * scale
    return [(kernel * by_output).astype(np.float32), shifted.astype(np.float32)]
