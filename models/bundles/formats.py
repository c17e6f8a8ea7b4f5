"""The formats of exports: how each is written, and run to be compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aisles.data_prep.images.fitting import Fitting

from .fitting_graph import decoded, fitted

FORMATS = ("keras", "saved_model", "onnx", "litert")
ENDINGS = {"keras": ".keras", "saved_model": "", "onnx": ".onnx", "litert": ".tflite"}
ANY_SIZE = ("saved_model", "onnx")
"""Formats that can hold the resize."""
ABOUT = "aisles"
"""Under this name the description stands in an ONNX file's metadata, and in a SavedModel's `assets.extra`."""

Write = Callable[[keras.Model, Path, Fitting, bool, str], None]


def write_exported(
    network: keras.Model, path: Path, format: str, fitting: Fitting, any_size: bool, about: str
) -> None:
    """Write a network.

    Parameters
    ----------
    network : keras.Model
        From `soft_network`.
    path : Path
    format : str
    fitting : Fitting
        How an image becomes the network's pixels.
    any_size : bool
        Whether the written model does that itself.
    about : str
        The description, as JSON; ONNX and SavedModel hold it, too.
    """
    _WRITERS[format](network, path, fitting, any_size, about)


def run_exported(path: str | Path, format: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run an exported model on uint8 (n, height, width, 3).

    Returns
    -------
    dict of str to ndarray
        `class_probabilities` (n, n_classes), and with a hierarchy `macro_probabilities` (n, n_macros), float32.
    """
    return {name: np.asarray(value) for name, value in _RUNNERS[format](Path(path), images).items()}


def _write_keras(network: keras.Model, path: Path, _fitting: Fitting, _any_size: bool, _about: str) -> None:
    network.save(path)


def _write_litert(network: keras.Model, path: Path, _fitting: Fitting, _any_size: bool, _about: str) -> None:
    network.export(path, format="litert", verbose=False)


def _write_saved_model(
    network: keras.Model, path: Path, fitting: Fitting, any_size: bool, about: str
) -> None:
    side = (None, None) if any_size else fitting.size

    def from_pixels(pixels):
        return network(fitted(pixels, fitting) if any_size else pixels, training=False)

    def from_bytes(encoded):
        one = tf.TensorSpec((*fitting.size, 3), tf.uint8)
        pixels = tf.map_fn(lambda data: decoded(data, fitting), encoded, fn_output_signature=one)
        return network(pixels, training=False)

    archive: Any = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serve", from_pixels, [tf.TensorSpec((None, *side, 3), tf.uint8, name="pixels")])
    archive.add_endpoint("encoded", from_bytes, [tf.TensorSpec((None,), tf.string, name="encoded")])
    archive.write_out(str(path), verbose=False)
    (path / "assets.extra").mkdir(exist_ok=True)
    (path / "assets.extra" / f"{ABOUT}.json").write_text(about, encoding="utf-8")


def _write_onnx(network: keras.Model, path: Path, fitting: Fitting, any_size: bool, about: str) -> None:
    import onnx  # pyright: ignore[reportMissingImports]

    side = (None, None) if any_size else fitting.size
    model = _AnySize(network, fitting) if any_size else network
    model(np.zeros((1, *fitting.size, 3), np.uint8))  # Keras refuses to export what never ran
    spec = keras.InputSpec(shape=(None, *side, 3), dtype="uint8", name="pixels")
    model.export(path, format="onnx", verbose=False, input_signature=[spec])
    written = onnx.load(path)
    entry = written.metadata_props.add()
    entry.key, entry.value = ABOUT, about
    onnx.save(written, path)


class _AnySize(keras.Model):
    """A network with the fitting in front."""

    def __init__(self, network: keras.Model, fitting: Fitting):
        super().__init__(name="any_size")
        self.inner, self.fitting = network, fitting

    def call(self, pixels: Any) -> Any:
        """Fit the images and run the network."""
        return self.inner(fitted(pixels, self.fitting), training=False)


def _run_keras(path: Path, images: np.ndarray) -> dict[str, Any]:
    network: Any = keras.saving.load_model(path, compile=False, safe_mode=True)
    return network(images, training=False)


def _run_saved_model(path: Path, images: np.ndarray) -> dict[str, Any]:
    loaded: Any = tf.saved_model.load(str(path))
    return loaded.serve(tf.convert_to_tensor(images))


def _run_onnx(path: Path, images: np.ndarray) -> dict[str, Any]:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


def _run_litert(path: Path, images: np.ndarray) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    run = Interpreter(str(path)).get_signature_runner()
    (source,) = run.get_input_details()
    return run(**{source: images})


_WRITERS: dict[str, Write] = {
    "keras": _write_keras,
    "saved_model": _write_saved_model,
    "onnx": _write_onnx,
    "litert": _write_litert,
}
_RUNNERS: dict[str, Callable[[Path, np.ndarray], dict[str, Any]]] = {
    "keras": _run_keras,
    "saved_model": _run_saved_model,
    "onnx": _run_onnx,
    "litert": _run_litert,
}
