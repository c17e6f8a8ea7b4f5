"""Networks that pass together, compiled as one function, and a batch that remembers what has passed."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from aisles.data_prep.images.fitting import Fitting
from aisles.models.backbones.engines import is_converted, onnx_pass
from aisles.models.backbones.folding import folded
from aisles.models.backbones.registry import AnyBackbone, Backbone, digest, in_engine

from .label_model import AnyModel, GivenModel, LabelModel
from .processes import check_process
from .stored import BundleError, Residents, Stored, StoredNetwork, opened


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A compiled pass, and the networks that it needs alive."""

    run: Callable[..., np.ndarray]
    networks: tuple


class Stack:
    """One backbone with all the heads on it, or one given network: a pass serves every model in it.

    Parameters
    ----------
    models : sequence of LabelModel or GivenModel
        With the same backbone; or a single given one.
    residents : Residents
        Counts it as one network if it comes from disk.
    engine : {'tensorflow', 'onnx', 'auto'}
        What runs its network; see `in_engine`. Heads stay in TensorFlow.
    """

    models: tuple[AnyModel, ...]
    residents: Residents
    engine: str
    columns: list[slice]
    width: int

    def __init__(self, models: Sequence[AnyModel], residents: Residents, engine: str = "tensorflow"):
        self.models, self.residents, self.engine = tuple(models), residents, engine
        ends = np.cumsum([len(model.labels) for model in models]).tolist()
        self.columns = [slice(end - len(m.labels), end) for end, m in zip(ends, models, strict=True)]
        self.width = ends[-1]
        first: Any = models[0]
        given = isinstance(first, GivenModel)
        self.fittings: tuple[Fitting, ...] = (first.fitting,) if given else first.backbone.fittings
        self._own: _Loaded | None = None
        self._loading = threading.Lock()
        self._is_network = not given or first.is_keras
        self._stored = isinstance(first.network if given else first.backbone, Stored)

    def run(self, *pixels: np.ndarray) -> np.ndarray:
        """Return every model's probabilities side by side, (n, width).

        `pixels` are uint8 (n, height, width, 3), one array per fitting: joined backbones have several. Threads may call
        it at once.

        Raises
        ------
        RuntimeError
            In a process that was forked from one in which networks had run.
        """
        if self._is_network:
            check_process()
        return self._loaded().run(*pixels)

    def _loaded(self) -> _Loaded:
        if self._stored:
            return self.residents.get(self, self._load)
        with self._loading:
            if self._own is None:
                self._own = self._load()
            return self._own

    def _load(self) -> _Loaded:
        if isinstance(self.models[0], GivenModel):
            return _given(self.models[0].loaded(), self.engine, self._stored)
        backbone: AnyBackbone = in_engine(opened(self.models[0].backbone), self.engine)
        if self._stored and isinstance(backbone, Backbone) and backbone.engine == "tensorflow":
            backbone = folded(backbone)
        heads = [_checked(opened(model.head), model, backbone) for model in self.models]  # type: ignore[union-attr]

        def outputs_of(features):
            outputs = [tf.cast(head(features, training=False), tf.float32) for head in heads]
            joined = tf.concat(outputs, axis=1) if len(outputs) > 1 else outputs[0]
            # A ReLU turns nan into 0: without this, spoiled features would become answers.
            sound = tf.reduce_all(tf.math.is_finite(features), axis=1, keepdims=True)
            return tf.where(sound, joined, np.nan)

        if not isinstance(backbone, Backbone) or backbone.engine == "onnx":
            spec = tf.TensorSpec((None, backbone.dimension), tf.float32)
            # Traced here: of threads that wait for a first call TensorFlow warns, as if each had traced.
            traced = tf.function(outputs_of, input_signature=[spec], autograph=False)
            on_features = traced.get_concrete_function()
            features_of = backbone.runner()
            return _Loaded(
                lambda *pixels: on_features(tf.convert_to_tensor(features_of(*pixels))).numpy(),
                (features_of, *heads),
            )

        def forward(pixels):
            features = tf.cast(backbone.model(tf.cast(pixels, tf.float32), training=False), tf.float32)
            return outputs_of(features)

        run = compiled(forward, backbone.fitting.size, constant=self._stored)
        return _Loaded(run, () if self._stored else (backbone, *heads))


def compiled(
    forward: Callable, size: tuple[int, int], *, constant: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """Trace once for any number of images; the concrete function can't be traced again by accident.

    With `constant` weights become part of the graph, which TensorFlow then simplifies: it takes a third less time, and
    later changes of the weights have no effect.
    """
    spec = tf.TensorSpec((None, *size, 3), tf.uint8)
    function = tf.function(forward, input_signature=[spec], autograph=False).get_concrete_function()
    if not constant:
        return lambda pixels: function(tf.convert_to_tensor(pixels)).numpy()
    frozen = convert_variables_to_constants_v2(function)
    return lambda pixels: frozen(tf.convert_to_tensor(pixels))[0].numpy()


def make_stacks(
    models: Sequence[AnyModel], residents: Residents, engine: str = "tensorflow"
) -> dict[int, tuple[Stack, slice]]:
    """Put models on the same backbone together.

    Returns
    -------
    dict of int to (Stack, slice)
        For the position in `models` of everything but constants: the stack and the columns of its outputs.
    """
    groups: dict[int, list[int]] = {}
    for position, model in enumerate(models):
        if not model.constant:
            shared = id(model.network) if isinstance(model, GivenModel) else id(model.backbone)
            shared = shared if isinstance(model, LabelModel) else -position - 1
            groups.setdefault(shared, []).append(position)
    places = {}
    for positions in groups.values():
        stack = Stack([models[position] for position in positions], residents, engine)
        places.update({p: (stack, columns) for p, columns in zip(positions, stack.columns, strict=True)})
    return places


class ImageBatch:
    """Pixels of some images, and every stack's outputs for those that have passed it.

    Parameters
    ----------
    pixels : dict of Fitting to uint8 ndarray of shape (n, height, width, 3)
    n : int
        Number of images.
    batch_size : int
        Images a pass.
    allowed : bool ndarray of shape (n, n_classes), optional
        The classes that are possible for each image; all unless given.
    """

    pixels: dict[Fitting, np.ndarray]
    n: int
    batch_size: int
    allowed: np.ndarray | None

    def __init__(
        self,
        pixels: dict[Fitting, np.ndarray],
        n: int,
        batch_size: int,
        allowed: np.ndarray | None = None,
    ):
        self.pixels, self.n, self.batch_size, self.allowed = pixels, n, batch_size, allowed
        self._outputs: dict[Stack, np.ndarray] = {}
        self._known: dict[Stack, np.ndarray] = {}

    def __len__(self) -> int:
        return self.n

    def outputs(self, stack: Stack, rows: np.ndarray) -> np.ndarray:
        """Return a stack's outputs (len(rows), width); images that have passed don't pass again."""
        known = self._known.setdefault(stack, np.zeros(self.n, bool))
        new = rows[~known[rows]]
        for start in range(0, len(new), self.batch_size):
            some = new[start : start + self.batch_size]
            pixels = [self.pixels[fitting] for fitting in stack.fittings]
            outputs = stack.run(*(each if len(some) == self.n else each[some] for each in pixels))
            self._outputs.setdefault(stack, np.zeros((self.n, stack.width), outputs.dtype))[some] = outputs
            known[some] = True
        return self._outputs[stack][rows] if len(rows) else np.zeros((0, stack.width), np.float32)

    def supply(self, stack: Stack, outputs: np.ndarray) -> None:
        """Take a stack's outputs (n, width) for all images from whoever has passed them."""
        self._outputs[stack], self._known[stack] = outputs, np.ones(self.n, bool)

    def passed(self, stack: Stack) -> bool:
        """Whether every image has passed the stack."""
        return stack in self._known and bool(self._known[stack].all())


def _given(model: GivenModel, engine: str, stored: bool) -> _Loaded:
    network: Any = model.network
    prepare, size = model.preprocess, cast(tuple, model.input_size)
    if not isinstance(network, keras.Model):

        def call(pixels):
            ready = pixels if prepare is None else prepare(pixels.astype(np.float32))
            outputs = np.asarray(network(ready))
            if outputs.shape != (len(pixels), len(model.labels)):
                raise ValueError(
                    f"The model of {list(model.labels)[:3]} must give one row an image and one column a label, "
                    f"{(len(pixels), len(model.labels))}. It gave {outputs.shape}."
                )
            return outputs

        return _Loaded(call, (network,))
    if (
        prepare is None and engine != "tensorflow"
    ):  # what a preprocessing function does has no name to keep it under

        def key() -> str:
            return f"given-{'x'.join(map(str, size))}-{given_digest(network)[:16]}"

        if engine == "onnx" or is_converted(key):
            run = onnx_pass(given_forward(model), size, key())
            return _Loaded(run, (run,))
    return _Loaded(compiled(given_forward(model), size, constant=stored), () if stored else (network,))


def given_digest(network: keras.Model) -> str:
    """Return the SHA-256 of a network's weights and layers."""
    return hashlib.sha256((digest(network) + network.to_json()).encode()).hexdigest()


def given_forward(model: GivenModel) -> Callable[[Any], Any]:
    """Return a Keras model's pass from uint8 pixels, its preprocessing in front."""
    network: Any = model.network
    prepare = model.preprocess
    wanted = network.inputs[0].dtype

    def forward(pixels):
        pixels = pixels if wanted == "uint8" and prepare is None else tf.cast(pixels, tf.float32)
        pixels = pixels if prepare is None else prepare(pixels)
        return tf.cast(network(pixels, training=False), tf.float32)

    return forward


def _checked(head: keras.Model, model: LabelModel, backbone: AnyBackbone) -> keras.Model:
    fits = head.output_shape[-1] == len(model.labels) and head.input_shape[-1] == backbone.dimension
    if not fits and isinstance(model.head, StoredNetwork):
        raise BundleError(
            f"{model.head.path} maps {head.input_shape[-1]} features to {head.output_shape[-1]} outputs; "
            f"{backbone.dimension} features and {len(model.labels)} labels are what bundle.json says."
        )
    return head
