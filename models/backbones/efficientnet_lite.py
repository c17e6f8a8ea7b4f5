"""EfficientNet-Lite0 in Keras: B0's blocks without squeeze-and-excitation, ReLU6, fixed stem and head.

Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (architecture); the weights
file names its tensors as EfficientNet-PyTorch does.
"""

from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

# kernel, repeats, stride of the first repeat, expansion, filters
STAGES = (
    (3, 1, 1, 1, 16), (3, 2, 2, 6, 24), (5, 2, 2, 6, 40), (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112), (5, 4, 2, 6, 192), (3, 1, 1, 6, 320),
)  # fmt: skip


def efficientnet_lite0(input_size: tuple[int, int]) -> keras.Model:
    """Build the network without its top.

    Parameters
    ----------
    input_size : (height, width)
        In pixels; 224 x 224 is what the weights were trained for.

    Returns
    -------
    keras.Model
        From pixels scaled as (x - 127) / 128, of shape (n, height, width, 3), to maps of shape (n, h, w, 1280).
    """
    inputs = keras.Input((*input_size, 3), name="scaled_pixels")
    x = _convolve(inputs, 32, 3, strides=2, name="stem")
    for number, (kernel, stride, expansion, filters) in enumerate(_blocks()):
        x = _block(x, kernel, stride, expansion, filters, f"block{number}")
    return keras.Model(inputs, _convolve(x, 1280, 1, name="head"), name="efficientnet_lite0")


def load_tensors(model: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Put the tensors of the weights file into a network from `efficientnet_lite0`.

    Raises
    ------
    ValueError
        If a tensor is missing or of another shape.
    """
    _load_pair(model, "stem", tensors, "_conv_stem", "_bn0")
    _load_pair(model, "head", tensors, "_conv_head", "_bn1")
    for number, (_, _, expansion, _) in enumerate(_blocks()):
        theirs, ours = f"_blocks.{number}.", f"block{number}_"
        if expansion > 1:
            _load_pair(model, ours + "expand", tensors, theirs + "_expand_conv", theirs + "_bn0")
        _load_pair(model, ours + "depthwise", tensors, theirs + "_depthwise_conv", theirs + "_bn1")
        _load_pair(model, ours + "project", tensors, theirs + "_project_conv", theirs + "_bn2")


def _blocks():
    for kernel, repeats, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            yield kernel, stride if repeat == 0 else 1, expansion, filters


def _block(x, kernel: int, stride: int, expansion: int, filters: int, name: str):
    channels = x.shape[-1]
    y = _convolve(x, channels * expansion, 1, name=f"{name}_expand") if expansion > 1 else x
    y = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv")(y)
    y = _normalize(y, f"{name}_depthwise")
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = _normalize(y, f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and channels == filters else y


def _convolve(x, filters: int, kernel: int, *, strides: int = 1, name: str):
    x = layers.Conv2D(filters, kernel, strides, "same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(_normalize(x, name))


def _normalize(x, name: str):
    return layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)


def _load_pair(
    model: keras.Model, ours: str, tensors: Mapping[str, np.ndarray], conv: str, norm: str
) -> None:
    layer = model.get_layer(f"{ours}_conv")
    order = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
    needed = [
        f"{conv}.weight",
        *(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
    ]
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise ValueError(f"The weights file lacks {missing}: it is not EfficientNet-Lite0's.")
    layer.set_weights([tensors[needed[0]].transpose(order)])
    model.get_layer(f"{ours}_bn").set_weights([tensors[name] for name in needed[1:]])
