"""EfficientNet-Lite in Keras: EfficientNet's blocks without squeeze-and-excitation, ReLU6, fixed stem and head.

Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (architecture); the weights
file names its tensors as EfficientNet-PyTorch does.
"""

import math
from collections.abc import Iterator, Mapping

import keras
import numpy as np
from keras import layers

# kernel, repeats, stride of the first repeat, expansion, filters
STAGES = (
    (3, 1, 1, 1, 16), (3, 2, 2, 6, 24), (5, 2, 2, 6, 40), (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112), (5, 4, 2, 6, 192), (3, 1, 1, 6, 320),
)  # fmt: skip


def efficientnet_lite(
    input_size: tuple[int, int], width: float = 1.0, depth: float = 1.0, name: str = "efficientnet_lite0"
) -> keras.Model:
    """Build the network without its top.

    Parameters
    ----------
    input_size : (height, width)
        In pixels; 224, 240 and 260 a side are what the weights of Lite0, 1 and 2 were trained for.
    width, depth : float
        Factors of filters and of repeats; 1 and 1 (Lite0), 1 and 1.1 (Lite1), 1.1 and 1.2 (Lite2).
    name : str

    Returns
    -------
    keras.Model
        From pixels scaled as (x - 127) / 128, of shape (n, height, width, 3), to maps of shape (n, h, w, 1280).
    """
    inputs = keras.Input((*input_size, 3), name="scaled_pixels")
    x = _convolve(inputs, 32, 3, strides=2, name="stem")
    for number, (kernel, stride, expansion, filters) in enumerate(_blocks(width, depth)):
        x = _block(x, kernel, stride, expansion, filters, f"block{number}")
    return keras.Model(inputs, _convolve(x, 1280, 1, name="head"), name=name)


def load_tensors(model: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Put the tensors of the weights file into a network from `efficientnet_lite`.

    Raises
    ------
    ValueError
        If a tensor is missing or of another shape.
    """
    _load_pair(model, "stem", tensors, "_conv_stem", "_bn0")
    _load_pair(model, "head", tensors, "_conv_head", "_bn1")
    names = {layer.name for layer in model.layers}
    n_blocks = sum(name.endswith("_project_conv") for name in names)
    for number in range(n_blocks):
        theirs, ours = f"_blocks.{number}.", f"block{number}_"
        if ours + "expand_conv" in names:
            _load_pair(model, ours + "expand", tensors, theirs + "_expand_conv", theirs + "_bn0")
        _load_pair(model, ours + "depthwise", tensors, theirs + "_depthwise_conv", theirs + "_bn1")
        _load_pair(model, ours + "project", tensors, theirs + "_project_conv", theirs + "_bn2")


def _blocks(width: float, depth: float) -> Iterator[tuple[int, int, int, int]]:
    """List kernel, stride, expansion and filters; the first and the last stage are never repeated more often."""
    for position, (kernel, repeats, stride, expansion, filters) in enumerate(STAGES):
        fixed = position in (0, len(STAGES) - 1)
        for repeat in range(repeats if fixed else math.ceil(depth * repeats)):
            yield kernel, stride if repeat == 0 else 1, expansion, _rounded(filters * width)


def _rounded(filters: float, divisor: int = 8) -> int:
    """Round to a multiple of 8, not down by more than a tenth (Tan and Le 2019)."""
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


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
        raise ValueError(f"The weights file lacks {missing}: it is not {model.name}'s.")
    kernel = tensors[needed[0]].transpose(order)
    if kernel.shape != tuple(layer.kernel.shape):
        raise ValueError(
            f"{conv} has the shape {kernel.shape} in the weights file and {tuple(layer.kernel.shape)} in the network: "
            f"it is not {model.name}'s."
        )
    layer.set_weights([kernel])
    model.get_layer(f"{ours}_bn").set_weights([tensors[name] for name in needed[1:]])
