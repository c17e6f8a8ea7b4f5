"""Export: a bundle as one model in a format that other programs run, compared with the bundle first."""

import importlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from aisles.data_prep.images.fitting import EXTREME
from aisles.data_prep.io.files import write_whole
from aisles.models.backbones.engines import quiet_conversion
from aisles.models.prediction.predictor import Classifier
from aisles.models.prediction.stacks import compiled
from aisles.models.prediction.two_stage import TwoStageClassifier

from .soft_network import input_fitting, soft_network

logger = logging.getLogger(__name__)
FORMATS = ("keras", "saved_model", "onnx", "litert")
ENDINGS = {"keras": ".keras", "saved_model": "", "onnx": ".onnx", "litert": ".tflite"}
TOLERANCE = 1e-4
N_COMPARED = 5
_NEEDS = {"onnx": ("tf2onnx", "onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes
    ----------
    path : str
    format : str
    input_size : (height, width)
    n_classes : int
    description_file : str
        JSON with the classes in the order of the outputs, the hierarchy, and how an image becomes the input.
    largest_difference : float
        Between probabilities of the written model and of the classifier under soft, calibrated.
    n_compared : int
        On how many images.
    """

    path: str
    format: str
    input_size: tuple[int, int]
    n_classes: int
    description_file: str
    largest_difference: float
    n_compared: int


def export_classifier(classifier: Classifier, path: str | Path, format: str) -> ExportResult:
    """Write a classifier as one model, run that, and compare.

    The model takes uint8 images (n, height, width, 3), RGB, and gives float32 (n, n_classes): soft's distribution
    with all temperatures applied (a flat classifier's own distribution). Beside it goes `<path>.json`
    with everything that another program must know; see `description`.

    Parameters
    ----------
    classifier : FlatClassifier or TwoStageClassifier
    path : path
        `.keras`, `.onnx` or `.tflite` file, or the folder of a SavedModel. What is there is replaced.
    format : {'keras', 'saved_model', 'onnx', 'litert'}

    Raises
    ------
    ValueError
        For an unknown format, a path with another ending, or a classifier that can't be one model.
    ImportError
        If the format's extra is not installed.
    RuntimeError
        If what was written disagrees with the classifier by more than 1e-4; nothing is left behind then.
    """
    path = Path(path)
    _check_request(path, format)
    exact = precise(classifier) if format in ("onnx", "litert") else classifier
    network = soft_network(classifier, precision="float32" if exact is not classifier else None)
    size = network.input_shape[1:3]
    fitting = input_fitting(classifier)
    raw = test_images((size[0] + 7, size[1] + 19))  # so that the crop is compared, too
    images = np.stack([fitting.pixels(Image.fromarray(image)) for image in raw])
    wanted = soft_probabilities(exact, raw)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".part-{path.name}-", dir=path.parent))
    try:
        part = aside / f"model{ENDINGS[format]}"
        with quiet_conversion():
            _WRITERS[format](network, part)
            found = run_exported(part, format, images)
        difference = float(np.abs(found - wanted).max())
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"The exported model differs from the bundle by {difference:.2g}, more than {TOLERANCE}. "
                "Nothing was written. Try another format, and report this."
            )
        _put(part, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    about = path.with_name(f"{path.name}.json")
    write_whole(about, json.dumps(description(classifier, format), ensure_ascii=False, indent=1) + "\n")
    return ExportResult(
        str(path), format, size, len(classifier.classes_), str(about), difference, len(images)
    )


def description(classifier: Classifier, format: str) -> dict[str, Any]:
    """Return what another program must know to run an exported model.

    Returns
    -------
    dict
        `classes` in the order of the outputs; `macros` and `members`; `input`: how an image becomes the pixels,
        step by step (`orientation`, `color`, `jpeg_draft`, `size`, `fit`, `crop_share`, `filter`, `extreme`), pixels
        being uint8 RGB, since normalization is inside; `rule`, `temperatures`, `versions`.
    """
    fitting, hierarchy = input_fitting(classifier), classifier.hierarchy
    two_stage = isinstance(classifier, TwoStageClassifier)
    models = {"router": classifier.router} if two_stage else {"flat": classifier.model}  # type: ignore[union-attr]
    if two_stage:
        models |= {f"submodel {i}": model for i, model in enumerate(classifier.submodels)}
    return {
        "format": format,
        "classes": [str(name) for name in classifier.classes_],
        "macros": list(hierarchy.macros) if hierarchy else None,
        "members": [list(members) for members in hierarchy.members] if hierarchy else None,
        "input": {
            **fitting.to_dict(),
            "orientation": "EXIF applied first",
            "color": "8-bit sRGB; transparency over white",
            "jpeg_draft": fitting.enough,
            "extreme": EXTREME if fitting.fit == "crop" else None,
            "pixels": "uint8 (n, height, width, 3), RGB, 0-255; normalization is inside the model",
        },
        "output": "class probabilities, float32 (n, n_classes)",
        "rule": "soft" if two_stage else None,
        "temperatures": {name: model.temperature for name, model in models.items()},
        "versions": {name: version(name) for name in ("aisles", "keras", "tensorflow", "numpy", "pillow")},
    }


def run_exported(path: str | Path, format: str, images: np.ndarray) -> np.ndarray:
    """Run an exported model: uint8 (n, height, width, 3) to float32 (n, n_classes)."""
    return _RUNNERS[format](Path(path), images)


def default_output(bundle: str | Path, format: str) -> Path:
    """Name the export of a bundle: beside it, `<bundle>.onnx` and so on, `<bundle>-saved-model` for the folder."""
    bundle = Path(bundle).resolve()
    return bundle.with_name(f"{bundle.name}{ENDINGS[format] or '-saved-model'}")


def test_images(size: tuple[int, int], n: int = N_COMPARED) -> np.ndarray:
    """Draw images to compare on: colored gradients with noise, uint8 (n, height, width, 3)."""
    rng = np.random.default_rng(0)
    rows, columns = np.linspace(0, 1, size[0])[:, None, None], np.linspace(0, 1, size[1])[None, :, None]
    plain = [rng.uniform(0, 255, 3) * (1 - rows) + rng.uniform(0, 255, 3) * columns for _ in range(n)]
    noisy = np.stack(plain) + rng.normal(0, 25, (n, *size, 3))
    return noisy.clip(0, 255).astype(np.uint8)


test_images.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever its name


def soft_probabilities(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Return what an export has to give."""
    rule = "soft" if isinstance(classifier, TwoStageClassifier) else None
    return classifier.predict_proba(images, rule=rule)


def precise(classifier: Classifier) -> Classifier:
    """Return the classifier computing in float32, which ONNX and LiteRT are written in; itself if it does already."""
    from aisles.models.backbones.single_precision import in_float32

    return in_float32(classifier)


def _check_request(path: Path, format: str) -> None:
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}. Received: {format!r}.")
    if ENDINGS[format] and path.suffix != ENDINGS[format]:
        raise ValueError(f"A {format} file ends in {ENDINGS[format]}. Received: {path.name}.")
    if path.is_dir() and format != "saved_model":
        raise ValueError(f"{path} is a folder. Give a file's name.")
    if format == "saved_model" and path.exists() and not (path / "saved_model.pb").is_file():
        raise FileExistsError(f"{path} exists and is no SavedModel. Choose another folder.")
    for name in _NEEDS.get(format, ()):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f"The format {format} needs the package {name}: {error}. "
                f"Install it with: python -m pip install 'aisles[{format}]'."
            ) from error


def _put(part: Path, path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(part, path)


def _write_saved_model(network: keras.Model, path: Path) -> None:
    network.export(path, format="tf_saved_model", verbose=False)


def _write_onnx(network: keras.Model, path: Path) -> None:
    network(np.zeros((1, *network.input_shape[1:]), np.uint8))  # Keras refuses to export what never ran
    network.export(path, format="onnx", verbose=False)


def _write_litert(network: keras.Model, path: Path) -> None:
    network.export(path, format="litert", verbose=False)


def _run_keras(path: Path, images: np.ndarray) -> np.ndarray:
    network: Any = keras.saving.load_model(path, compile=False, safe_mode=True)
    return compiled(lambda pixels: network(pixels, training=False), images.shape[1:3])(images)


def _run_saved_model(path: Path, images: np.ndarray) -> np.ndarray:
    loaded: Any = tf.saved_model.load(str(path))
    return loaded.serve(tf.convert_to_tensor(images)).numpy()


def _run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def _run_litert(path: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    interpreter = Interpreter(str(path))
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


_WRITERS: dict[str, Callable[[keras.Model, Path], None]] = {
    "keras": lambda network, path: network.save(path),
    "saved_model": _write_saved_model,
    "onnx": _write_onnx,
    "litert": _write_litert,
}
_RUNNERS: dict[str, Callable[[Path, np.ndarray], np.ndarray]] = {
    "keras": _run_keras,
    "saved_model": _run_saved_model,
    "onnx": _run_onnx,
    "litert": _run_litert,
}
