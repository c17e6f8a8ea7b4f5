"""Backbones: pretrained networks without their tops, from pixels to one feature vector per image.

A backbone carries its own preprocessing (scaling, channel order, grey) as ordinary Keras layers in front of the
network, so nobody can forget it, and a saved model needs nothing of ours to be loaded.
"""

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from aisles.data_prep.images.color import VERSION
from aisles.data_prep.images.fitting import Fitting

from .definitions import BACKBONES, BackboneDefinition, split_joined
from .engines import check_engine, is_converted, onnx_pass
from .joined import JoinedBackbone
from .normalization import NORMALIZATIONS
from .onnx_file import OnnxBackbone
from .weights import WeightsMissingError, find_weights

logger = logging.getLogger(__name__)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG's and Pillow's grey
PRECISIONS = {
    "float32": ("float32", ""),
    "bfloat16": ("mixed_bfloat16", "-bfloat16-convolutions"),
    "float16": ("mixed_float16", "-float16"),
}
"""Keras' policy of each precision, and its part of `Backbone.key`."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network from pixels to features.

    Attributes
    ----------
    name : str
        `efficientnet_lite0`, `inception_v3`, `vgg16`, or the name given with a model of one's own.
    model : keras.Model
        From pixels (n, height, width, 3), RGB, 0-255, to features (n, dimension), float32.
    preprocessing : str
        What stands in front of the network; a key of `PREPROCESSING`.
    color : str
        `rgb` or `gray` (luma repeated over the three channels).
    weights : str
        Where the weights came from: `imagenet`, `none`, a file's name, or `given`.
    precision : str
        `float32` or `bfloat16` (arithmetic; features are float32 either way).
    fitting : Fitting
        How an image of any size becomes the pixels that `model` takes; squashed to its size unless given.
    engine : str
        What runs it: `tensorflow`, or `onnx` for onnxruntime; see `in_engine`.
    """

    name: str
    model: keras.Model
    preprocessing: str
    color: str = "rgb"
    weights: str = "given"
    precision: str = "float32"
    fitting: Fitting = cast(Fitting, None)
    engine: str = "tensorflow"

    def __post_init__(self) -> None:
        given: Fitting | None = self.fitting
        if given is None:
            object.__setattr__(self, "fitting", Fitting(self.input_size))
        elif given.size != self.input_size:
            raise ValueError(
                f"The network takes images of {self.input_size}; they are fitted to {given.size}. "
                "Give a fitting of the network's size."
            )

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return tuple(self.model.input_shape[1:3])

    @property
    def fittings(self) -> tuple[Fitting, ...]:
        """The fitting of every network in it; one only."""
        return (self.fitting,)

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return self.model.output_shape[-1]

    @property
    def n_parameters(self) -> int:
        """Parameters of the network, its preprocessing among them."""
        return self.model.count_params()

    def runner(self) -> Callable[..., np.ndarray]:
        """Return the function from uint8 pixels (n, height, width, 3) to features (n, dimension), float32."""
        if self.engine == "onnx":
            return onnx_pass(self._pass, self.input_size, self._network_key)
        return lambda pixels: self.forward(pixels).numpy()

    def _pass(self, pixels: Any) -> Any:
        return tf.cast(self.model(tf.cast(pixels, tf.float32), training=False), tf.float32)

    @property
    def network(self) -> keras.Model:
        """The network inside, behind the preprocessing; its layers are what fine-tuning unfreezes."""
        return next(layer for layer in self.model.layers if isinstance(layer, keras.Model))

    @cached_property
    def forward(self) -> Callable[[Any], Any]:
        """The compiled pass: uint8 pixels (n, height, width, 3) to float32 features (n, dimension), tensors."""
        return tf.function(self._pass, input_signature=[tf.TensorSpec((None, *self.input_size, 3), tf.uint8)])

    @cached_property
    def key(self) -> str:
        """A name for everything that the features depend on, apart from the image: safe as a file name."""
        return self._network_key + ("-onnxruntime" if self.engine == "onnx" else "")

    @cached_property
    def _network_key(self) -> str:
        color = "" if self.color == "rgb" else f"-{self.color}"
        precision = PRECISIONS[self.precision][1]
        return f"{self.name}-{self.preprocessing}-{self.fitting.key}{color}{precision}-d{VERSION}-{self._identity[:16]}"

    @cached_property
    def _identity(self) -> str:
        """Return what tells networks apart: the named ones by their weights, others by their layers too."""
        weights = digest(self.model)
        if self.name in BACKBONES and BACKBONES[self.name].weights is not None:
            return weights
        return hashlib.sha256((weights + _layers(self.network)).encode()).hexdigest()


AnyBackbone = Backbone | JoinedBackbone | OnnxBackbone


def build_backbone(
    name: str,
    *,
    weights: str | Path = "imagenet",
    input_size: tuple[int, int] | None = None,
    color: str = "rgb",
    seed: int = 0,
    fit: str = "published",
) -> AnyBackbone:
    """Build a registered backbone.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`, or several joined by +.
    weights : str or Path
        `imagenet`, `none` (random, from `seed`), or a weights file: `.h5`, `.weights.h5`, `.keras`, or for
        EfficientNet-Lite also `.pth`.
    input_size : (height, width), optional
        In pixels; the size that the network was published with unless given.
    color : {'rgb', 'gray'}
        Whether the network sees colors or luma only.
    seed : int
        For random weights.
    fit : {'published', 'crop', 'squash', 'pad'}
        What happens to images of another shape; `published`: what the registration says.

    Returns
    -------
    Backbone
        Or a `JoinedBackbone` or `OnnxBackbone`, which are used in the same way, but neither fine-tuned nor exported.

    Raises
    ------
    ValueError
        For an unknown name or color, too small a size, or a file that doesn't fit the network.
    WeightsMissingError
        If the weights are not on this machine. Nothing is ever downloaded.
    """
    names = split_joined(name)
    if len(names) > 1:
        return _joined(names, str(weights), input_size, color, seed, fit)
    definition = BACKBONES[name]
    size = input_size or definition.input_size
    if min(size) < definition.smallest:
        raise ValueError(
            f"{name} needs images of at least {definition.smallest} pixels a side. Received: {size}."
        )
    fitting = definition.fitting(size, fit)
    file = _weights_file(definition, str(weights))
    keras.utils.set_random_seed(seed)
    network = definition.build(size)
    if not isinstance(network, keras.Model):
        if color != "rgb" or str(weights) != "imagenet":
            raise ValueError(
                f"{name} comes with its weights and sees colors: color and weights can't be chosen."
            )
        return replace(network, fitting=fitting)
    if file is not None:
        _load_weights(network, file, definition)
    model = with_preprocessing(network, definition.normalization, color)
    source = str(weights) if str(weights) in ("imagenet", "none") else Path(weights).name
    return Backbone(name, model, definition.normalization, color, source, fitting=fitting)


def _joined(names, weights: str, input_size, color: str, seed: int, fit: str) -> JoinedBackbone:
    if weights not in ("imagenet", "none"):
        raise ValueError(
            f"A weights file is one network's; {'+'.join(names)} are several. Leave --weights out."
        )
    return JoinedBackbone(
        tuple(
            build_backbone(name, weights=weights, input_size=input_size, color=color, seed=seed, fit=fit)
            for name in names
        )
    )


def wrap_backbone(
    network: keras.Model,
    name: str,
    *,
    preprocessing: str = "none",
    color: str = "rgb",
    fitting: Fitting | None = None,
) -> Backbone:
    """Make a backbone from a Keras model of one's own.

    Parameters
    ----------
    network : keras.Model
        From images (n, height, width, 3) of a fixed size to maps (n, h, w, d), which are averaged over h and w,
        or to vectors (n, d).
    name : str
        How reports and cached features shall call it.
    preprocessing : str
        A key of `PREPROCESSING`: what shall happen to pixels (RGB, 0-255) before the network sees them.
    color : {'rgb', 'gray'}
        Whether the network sees colors or luma only.
    fitting : Fitting, optional
        How images of any size become the network's; squashed unless given.
    """
    if not re.fullmatch(r"[\w.+-]+", name) or name.startswith("."):
        raise ValueError(
            f"A backbone's name becomes a file name: letters, digits, _ . + -. Received: {name!r}."
        )
    if name in BACKBONES:
        raise ValueError(f"{name} is a backbone of its own here. Give your network another name.")
    shape = network.input_shape
    if len(shape) != 4 or shape[-1] != 3 or None in shape[1:]:
        raise ValueError(
            f"A backbone takes images of a fixed size, (n, height, width, 3). Received: {shape}."
        )
    model = with_preprocessing(network, preprocessing, color)
    return Backbone(name, model, preprocessing, color, fitting=cast(Fitting, fitting))


def in_precision(backbone: Any, precision: str) -> Any:
    """Return the same backbone computing in another precision.

    Parameters
    ----------
    backbone : Backbone
    precision : {'float32', 'bfloat16', 'float16'}
        bfloat16 is fast where the processor has AVX512-BF16 or AMX (`offers_bfloat16`), float16 on GPUs. In bfloat16
        only ordinary convolutions and dense layers compute, which gain from it; depthwise convolutions are slower in
        it than in float32, and what lies between (batch normalization, sums) would lose digits for nothing.
    """
    if precision == backbone.precision:
        return backbone
    if not isinstance(backbone, Backbone):
        return backbone.in_precision(precision)
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be float32, bfloat16 or float16. Received: {precision!r}.")
    policy, _ = PRECISIONS[precision]

    if precision == "bfloat16" and not offers_bfloat16():
        logger.warning(
            "This processor has neither AVX512-BF16 nor AMX: bfloat16 will be slower than float32."
        )

    def convert(layer):
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=convert)
        if not isinstance(
            layer, layers.Layer
        ):  # an operation of keras.ops, which computes in what it is given
            return type(layer).from_config(layer.get_config())
        gains = precision != "bfloat16" or type(layer) in (layers.Conv2D, layers.Dense)
        return type(layer).from_config({**layer.get_config(), "dtype": policy if gains else "float32"})

    network = convert(backbone.network)
    network.set_weights(backbone.network.get_weights())
    model = with_preprocessing(network, backbone.preprocessing, backbone.color)
    return replace(backbone, model=model, precision=precision)


def in_engine(backbone: Any, engine: str) -> Any:
    """Return the same backbone run by another engine.

    Parameters
    ----------
    backbone : Backbone, JoinedBackbone or OnnxBackbone
        An ONNX file is run by onnxruntime in any case.
    engine : {'auto', 'tensorflow', 'onnx'}
        `onnx` computes in float32, whatever the precision was, and converts the network when it is first run. `auto`
        is onnx for float32 networks where that has happened on this machine, else TensorFlow.

    Raises
    ------
    ValueError
        If the engine is unknown.
    ImportError
        If it is `onnx` and the extra is not installed.
    """
    check_engine(engine)
    if isinstance(backbone, JoinedBackbone):
        return replace(backbone, parts=tuple(in_engine(part, engine) for part in backbone.parts))
    if not isinstance(backbone, Backbone) or engine == "tensorflow":
        return backbone
    if engine == "auto" and not (
        backbone.precision == "float32" and is_converted(lambda: backbone._network_key)
    ):
        return backbone
    return replace(in_precision(backbone, "float32"), engine="onnx")


def offers_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX; Linux only)."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def digest(model: keras.Model) -> str:
    """Return the SHA-256 of a model's weights: their shapes and values, in order."""
    total = hashlib.sha256()
    for weight in model.get_weights():
        total.update(str((weight.shape, weight.dtype.str)).encode())
        total.update(np.ascontiguousarray(weight).tobytes())
    return total.hexdigest()


def _layers(network: keras.Model) -> str:
    """Describe a network's layers and their settings, without the names that Keras numbers on.

    Whether a layer may be trained is left out as well: it changes no feature.
    """
    ignored = ("name", "trainable")

    def describe(layer: keras.Layer) -> str:
        if isinstance(layer, keras.Model):
            return f"[{','.join(describe(inner) for inner in layer.layers)}]"
        settings = {key: value for key, value in layer.get_config().items() if key not in ignored}
        return f"{type(layer).__name__}{json.dumps(settings, sort_keys=True, default=str)}"

    return describe(network)


def _scale(scale: float, offset: float) -> Callable:
    return lambda x: layers.Rescaling(scale, offset, name="scale", dtype="float32")(x)


def _by_channel(name: str) -> Callable:
    matrix, offset = NORMALIZATIONS[name]
    return lambda x: _mix_channels(x, matrix, offset.tolist(), name)


PREPROCESSING: dict[str, Callable[[Any], Any]] = {
    "none": lambda x: x,
    "symmetric": _scale(1 / 127.5, -1.0),
    "lite": _scale(1 / 128, -127 / 128),
    "caffe": _by_channel("caffe"),
    "imagenet": _by_channel("imagenet"),
}


def with_preprocessing(network: keras.Model, preprocessing: str, color: str) -> keras.Model:
    """Put a key of `PREPROCESSING` and the color in front of a network, and the mean over maps behind it."""
    if preprocessing not in PREPROCESSING:
        raise ValueError(
            f"preprocessing must be one of {', '.join(PREPROCESSING)}. Received: {preprocessing!r}."
        )
    if color not in ("rgb", "gray"):
        raise ValueError(f"color must be rgb or gray. Received: {color!r}.")
    pixels = keras.Input(network.input_shape[1:], name="pixels")
    x = (
        _mix_channels(pixels, np.tile(np.array(LUMA)[:, None], 3), [0.0] * 3, "gray")
        if color == "gray"
        else pixels
    )
    maps = network(PREPROCESSING[preprocessing](x), training=False)
    if len(maps.shape) == 4:
        maps = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(maps)
    return keras.Model(pixels, maps, name="backbone")


def _mix_channels(x, matrix: np.ndarray, bias: list[float], name: str):
    layer = layers.Conv2D(3, 1, trainable=False, name=name, dtype="float32")
    mixed = layer(x)
    layer.set_weights([np.asarray(matrix, np.float32).reshape(1, 1, 3, 3), np.asarray(bias, np.float32)])
    return mixed


def _weights_file(definition: BackboneDefinition, weights: str) -> Path | None:
    if weights == "none" or (weights == "imagenet" and definition.weights is None):
        return None
    if weights == "imagenet":
        return find_weights(definition.name)
    if not Path(weights).is_file():
        raise WeightsMissingError(
            f"weights must be 'imagenet', 'none' or an existing file. There is no file {weights}: check the path."
        )
    return Path(weights)


def _load_weights(network: keras.Model, file: Path, definition: BackboneDefinition) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that the file lacks
            _read_weights(network, file, definition)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        raise ValueError(f"{file} doesn't fit the network {network.name}: {error}") from error


def _read_weights(network: keras.Model, file: Path, definition: BackboneDefinition) -> None:
    if file.suffix not in (".h5", ".keras") and definition.read_weights is not None:
        definition.read_weights(network, file)
    elif file.suffix == ".keras":
        other = keras.saving.load_model(file, compile=False)
        network.set_weights(other.get_weights())  # pyright: ignore
    else:
        network.load_weights(file)
