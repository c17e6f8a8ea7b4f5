"""What a `.keras` file of a bundle may hold, checked before Keras reads any of it.

A `.keras` file is a zip of `config.json` (the layers), `model.weights.h5` and `metadata.json`. Layers are accepted by
an allow-list, so that none of those that run code of the file's own, or read other files, is ever built; weights must
lie in the file itself, and the layers may ask for no more of them than it holds.
"""

import io
import json
import math
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
LARGEST_CONFIG = 16 * 2**20
"""Bytes of `config.json`; that of EfficientNet-B7 has under 1 MiB."""
LARGEST_OUTPUT = 2**27
"""Numbers that one layer may give for one image: 512 MiB in float32."""
_LAYERS = frozenset(
    """
    Activation ActivityRegularization Add AlphaDropout Attention Average AveragePooling2D BatchNormalization CenterCrop
    Concatenate Conv1D Conv2D Conv2DTranspose Cropping2D Dense DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding
    Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D
    GlobalMaxPooling2D GroupNormalization GroupQueryAttention Identity InputLayer LayerNormalization LeakyReLU
    MaxPooling2D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization
    RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom ReLU Rescaling
    Reshape Resizing SeparableConv2D Softmax SpatialDropout2D Subtract UnitNormalization UpSampling2D ZeroPadding2D
    """.split()  # noqa: SIM905
)
_MODELS = {"Functional", "Sequential", "Model"}
_MODEL_MODULES = {"keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential"}
_PARTS = {"keras.initializers", "keras.regularizers", "keras.constraints"}
_OPERATIONS = {"keras.src.ops.numpy", "keras.src.ops.nn"}
_MORE_OPERATIONS = {("keras.src.ops.core", name) for name in ("Cast", "Slice", "StopGradient", "Unstack")}
_APPLICATIONS = {
    ("keras.src.applications.convnext", "LayerScale"),
    ("keras.src.applications.convnext", "StochasticDepth"),
    ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer"),
}
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__", "__tuple__"}
_DTYPES = {"bool", "float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64"}
_loading = threading.RLock()


def load_keras_file(path: Path) -> keras.Model:
    """Check a `.keras` file and load its network, in Keras' safe mode.

    Raises
    ------
    ValueError
        If the file is not one, holds something that is not on the allow-list, or would take more memory than
        its size tells. What Keras itself raises on contradicting files is let through.
    """
    n_weights = check_keras_file(path)
    with _at_most(n_weights, path):
        network: Any = keras.saving.load_model(path, compile=False, safe_mode=True)
    _check_outputs(network, path)
    return network


def check_keras_file(path: Path) -> int:
    """Check a `.keras` file without building anything; return how many numbers its weights are.

    Raises
    ------
    ValueError
        As `load_keras_file`.
    """
    if path.suffix != ".keras" or not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} must be a file whose name ends in .keras.")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            config = json.loads(archive.read(CONFIG))
            weights = archive.read(WEIGHTS)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError, RuntimeError) as error:
        if isinstance(error, RecursionError):
            raise ValueError(f"{path}: {CONFIG} is nested too deeply.") from error
        raise ValueError(f"{path} is not a whole .keras file: {error}.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: {CONFIG} is not JSON: {error}.") from error
    _check_config(config, path)
    return _count_weights(weights, path)


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Accept the three files of a `.keras` file, uncompressed as Keras writes them, and no others."""
    members = archive.infolist()
    names = [member.filename for member in members]
    odd = sorted(set(names) - {CONFIG, WEIGHTS, METADATA})
    if odd or len(set(names)) < len(names) or not {CONFIG, WEIGHTS} <= set(names):
        raise ValueError(
            f"{path} must hold {CONFIG}, {WEIGHTS} and {METADATA}, each once, and nothing else. "
            f"Received: {names[:6]}."
        )
    size = path.stat().st_size
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
            raise ValueError(
                f"{path}: {member.filename} is compressed, which Keras never does. Save it again."
            )
    if archive.getinfo(CONFIG).file_size > LARGEST_CONFIG:
        raise ValueError(f"{path}: {CONFIG} has over {LARGEST_CONFIG} bytes, which no network needs.")


def _check_config(config: Any, path: Path) -> None:
    """Check every object that the configuration names against the allow-list, however deep it stands."""
    if not isinstance(config, dict) or config.get("class_name") not in _MODELS:
        raise ValueError(f"{path}: {CONFIG} describes no model.")
    for place in _dicts(config):
        if "class_name" in place and not _allowed(place):
            raise ValueError(
                f"{path} holds {str(place['class_name'])[:80]!r} of {str(place.get('module'))[:80]!r}, which is not "
                "on the list of layers that a bundle may hold, since others may run code or read files. Build the "
                "network of Keras' own layers for images."
            )
        for node in place.get("inbound_nodes") or ():
            if not any(each.get("class_name") == "__keras_tensor__" for each in _dicts(node)):
                raise ValueError(f"{path}: {CONFIG} computes something from no input.")


def _allowed(entry: dict[str, Any]) -> bool:
    name, module, config = entry["class_name"], entry.get("module"), entry.get("config")
    if not isinstance(name, str) or not isinstance(module, str | None):
        return False
    if name in _VALUES:
        return not isinstance(config, dict) or str(config.get("dtype", "float32")) in _DTYPES
    if (
        entry.get("registered_name")
        and keras.saving.get_registered_object(entry["registered_name"]) is not None
    ):
        return True  # a class of the user's own program, which has registered it
    return (
        (module == "keras.layers" and name in _LAYERS)
        or (module in _MODEL_MODULES and name in _MODELS)
        or (module == "keras" and name == "DTypePolicy")
        or module in _PARTS
        or module in _OPERATIONS
        or (module, name) in _MORE_OPERATIONS | _APPLICATIONS
        or (name == "function" and module in ("builtins", "keras.activations") and _is_activation(config))
    )


def _is_activation(name: Any) -> bool:
    return (
        isinstance(name, str)
        and not name.startswith("_")
        and callable(getattr(keras.activations, name, None))
    )


def _dicts(content: Any) -> Iterator[dict[str, Any]]:
    """List all dictionaries in what JSON can hold, from the outside to the inside, without recursion."""
    waiting = [content]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


def _count_weights(data: bytes, path: Path) -> int:
    """Count the numbers in the weights; those that lie elsewhere, or nowhere, are refused."""
    total = 0
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            for name, dataset in _datasets(file):
                if (
                    dataset.external
                    or dataset.is_virtual
                    or dataset.id.get_create_plist().get_nfilters()
                    or dataset.dtype.hasobject
                    or (dataset.nbytes and dataset.id.get_storage_size() != dataset.nbytes)
                ):
                    raise ValueError(
                        f"{path}: the weights {name[:80]!r} don't lie in {WEIGHTS} as Keras writes them: they are "
                        "external, compressed or missing."
                    )
                total += dataset.size or 0
    except (OSError, RuntimeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: {WEIGHTS} can't be read: {error}.") from error
    return total


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """List the arrays; a link out of the file, or to a group once more, is refused or passed over."""
    waiting: list[Any] = [file]
    seen = set()
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{file.filename}: {name!r} in {WEIGHTS} is a link to elsewhere.")
            item = group[name]
            if item.id in seen:  # one object under two names has one hash
                continue
            seen.add(item.id)
            if isinstance(item, h5py.Dataset):
                yield item.name or name, item
            else:
                waiting.append(item)


@contextmanager
def _at_most(n_weights: int, path: Path) -> Iterator[None]:
    """Let this thread's layers make no more weights than the file holds: the first one beyond takes no memory."""
    thread, left = threading.get_ident(), n_weights

    def counted(layer, shape=None, *args, **kwargs):
        nonlocal left
        if threading.get_ident() == thread:
            left -= math.prod(shape or ())
            if left < 0:
                raise ValueError(
                    f"{path}: the layer {layer.name!r} wants weights of {tuple(shape or ())}, and {WEIGHTS} holds "
                    f"{n_weights} numbers in all."
                )
        return original(layer, shape, *args, **kwargs)

    with _loading:
        original = keras.layers.Layer.add_weight
        keras.layers.Layer.add_weight = counted  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = original  # pyright: ignore[reportAttributeAccessIssue]


def _check_outputs(network: keras.Model, path: Path) -> None:
    """Refuse a network one of whose layers gives more for an image than memory should hold."""
    layers = list(network._flatten_layers())
    steps = [step for layer in layers for step in (layer, *getattr(layer, "operations", ()))]
    for step in steps:
        for node in step._inbound_nodes:
            for tensor in node.output_tensors:
                size = math.prod(side or 1 for side in tensor.shape[1:])
                if size > LARGEST_OUTPUT:
                    raise ValueError(
                        f"{path}: the layer {step.name!r} gives {size} numbers for each image; at most "
                        f"{LARGEST_OUTPUT} are accepted."
                    )
