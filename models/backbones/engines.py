"""Engines: a network of Keras run by onnxruntime in place of TensorFlow (extra `onnx`).

A network is converted once per machine and kept in the cache folder under a name that says what it was made of and
what it holds, so a changed network or a damaged file is converted again. Whatever was converted is compared with Keras
before it is used.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aisles.data_prep.io.files import cache_folder, sha256_of

logger = logging.getLogger(__name__)
ENGINES = ("auto", "tensorflow", "onnx")
TOLERANCE = 1e-4
"""How far outputs may be from Keras', in parts of the largest."""
_NEEDED = ("onnxruntime", "onnx", "tf2onnx")


def check_engine(engine: str) -> None:
    """Refuse an engine that is unknown, or that is not installed.

    Raises
    ------
    ValueError
        If it is none of `ENGINES`.
    ImportError
        If it is `onnx` and a package is missing.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}. Received: {engine!r}.")
    missing = _missing() if engine == "onnx" else []
    if missing:
        raise ImportError(
            f"The engine onnx needs {', '.join(missing)}. Install it with: python -m pip install '.[onnx]'."
        )


def _missing() -> list[str]:
    missing = []
    for name in _NEEDED:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    return missing


def is_converted(key: Callable[[], str]) -> bool:
    """Return whether the network of that key (asked for if need be) was converted here, and can be run."""
    return not _missing() and any(_folder().glob("*.onnx")) and _kept(key()) is not None


def onnx_pass(forward: Callable[[Any], Any], size: tuple[int, int], key: str) -> Callable[[Any], np.ndarray]:
    """Return a pass from uint8 pixels run by onnxruntime, converted now unless it was before.

    Parameters
    ----------
    forward : callable
        TensorFlow's pass, from uint8 pixels (n, height, width, 3) to float32 outputs (n, width).
    size : (height, width)
    key : str
        Names everything that the outputs depend on apart from the pixels; safe as a file name.

    Raises
    ------
    ImportError
        If the extra `onnx` is not installed.
    ValueError
        If the network can't be converted, or the converted one disagrees with Keras.
    """
    check_engine("onnx")
    path = _kept(key) or _convert(forward, size, key)
    return _session(path)


def _folder() -> Path:
    return cache_folder() / "converted"


def _name(key: str) -> str:
    return f"{key}-tf2onnx{version('tf2onnx')}"


def _kept(key: str) -> Path | None:
    """Return the converted network of that key whose content is as its name says."""
    for path in sorted(_folder().glob(f"{_name(key)}-sha*.onnx")):
        if path.stem.endswith(f"-sha{sha256_of(path)[:16]}"):
            return path
        logger.warning("%s is damaged; the network is converted again.", path)
        path.unlink(missing_ok=True)
    return None


def _convert(forward: Callable[[Any], Any], size: tuple[int, int], key: str) -> Path:
    folder = _folder()
    logger.info("Converting a network for onnxruntime, once on this machine: %s", key)
    folder.mkdir(parents=True, exist_ok=True)
    network = _Pass(forward)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    wanted = np.asarray(network(pixels))
    signature = [keras.InputSpec(shape=(None, *size, 3), dtype="uint8", name="pixels")]
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as aside:
        part = Path(aside) / "network.onnx"
        try:
            with quiet_conversion():
                network.export(part, format="onnx", verbose=False, input_signature=signature)
        except Exception as error:  # whatever the converter meets
            raise ValueError(
                f"The network can't be converted for onnxruntime: {error}. Use --engine tensorflow."
            ) from error
        found = _session(part)(pixels)
        off = float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))
        if not off <= TOLERANCE:
            raise ValueError(
                f"The converted network differs from Keras' by {off:.2g} of its largest output, more than "
                f"{TOLERANCE}. Use --engine tensorflow, and report this."
            )
        path = folder / f"{_name(key)}-sha{sha256_of(part)[:16]}.onnx"
        part.replace(path)
    return path


class _Pass(keras.Model):
    """A pass as a model, which is what Keras can convert."""

    def __init__(self, forward: Callable[[Any], Any]):
        super().__init__(name="converted")
        self._forward = forward

    def call(self, pixels: Any) -> Any:
        """Run the pass."""
        return self._forward(tf.cast(pixels, tf.uint8))


def _session(path: Path) -> Callable[[Any], np.ndarray]:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait in a busy loop take the processor from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {source: np.ascontiguousarray(pixels)})[0]


@contextmanager
def quiet_conversion() -> Iterator[None]:
    """Keep the converters' own warnings and talk from a person who can't act on them."""
    log = logging.getLogger("tf2onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
