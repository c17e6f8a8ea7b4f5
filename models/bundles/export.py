"""Export: a bundle as one model in a format that other programs run, compared with the bundle first."""

import importlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aisles.data_prep.images.fitting import EXTREME, Fitting
from aisles.data_prep.io.files import write_whole
from aisles.models.backbones.engines import quiet_conversion
from aisles.models.backbones.normalization import NORMALIZATIONS
from aisles.models.prediction.images import ImageInput
from aisles.models.prediction.predictor import Classifier
from aisles.models.prediction.two_stage import TwoStageClassifier

from .formats import ANY_SIZE, ENDINGS, FORMATS, run_exported, write_exported
from .soft_network import CLASSES, MACROS, input_fitting, soft_network

logger = logging.getLogger(__name__)
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


def export_classifier(
    classifier: Classifier, path: str | Path, format: str, *, input: str = "fixed"
) -> ExportResult:
    """Write a classifier as one model, run that, and compare.

    The model takes uint8 images (n, height, width, 3), RGB, and gives float32 `class_probabilities` (n, n_classes),
    soft's distribution with all temperatures applied (a flat classifier's own distribution), and with a hierarchy
    `macro_probabilities` (n, n_macros). Beside it goes `<path>.json` with everything that another program must know;
    see `description`. ONNX files and SavedModels hold the same JSON. A SavedModel has a second signature, `encoded`,
    from the bytes of JPEG and PNG files.

    Parameters
    ----------
    classifier : FlatClassifier or TwoStageClassifier
    path : path
        `.keras`, `.onnx` or `.tflite` file, or the folder of a SavedModel. What is there is replaced.
    format : {'keras', 'saved_model', 'onnx', 'litert'}
    input : {'fixed', 'any'}
        Whether images must be fitted to the model's size, or the model does that itself (onnx, saved_model): then the
        images of one call may be of any size, the same for all of them.

    Raises
    ------
    ValueError
        For an unknown format or input, a path with another ending, or a classifier that can't be one model.
    ImportError
        If the format's extra is not installed.
    RuntimeError
        If what was written disagrees with the classifier by more than 1e-4; nothing is left behind then.
    """
    path = Path(path)
    _check_request(path, format, input)
    exact = precise(classifier) if format in ("onnx", "litert") else classifier
    network = soft_network(classifier, precision="float32" if exact is not classifier else None)
    size = network.input_shape[1:3]
    fitting = input_fitting(classifier)
    raw = test_images((size[0] + 7, size[1] + 19))  # so that the crop is compared, too
    images = raw if input == "any" else np.stack([fitting.pixels(Image.fromarray(image)) for image in raw])
    wanted = soft_outputs(exact, raw)
    about = json.dumps(description(classifier, format, input), ensure_ascii=False, indent=1) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".part-{path.name}-", dir=path.parent))
    try:
        part = aside / f"model{ENDINGS[format]}"
        with quiet_conversion():
            write_exported(network, part, format, fitting, input == "any", about)
            found = run_exported(part, format, images)
        difference = max(float(np.abs(found[name] - wanted[name]).max()) for name in wanted)
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"The exported model differs from the bundle by {difference:.2g}, more than {TOLERANCE}. "
                "Nothing was written. Try another format, and report this."
            )
        _put(part, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    beside = write_whole(path.with_name(f"{path.name}.json"), about)
    return ExportResult(
        str(path), format, size, len(classifier.classes_), str(beside), difference, len(images)
    )


def description(classifier: Classifier, format: str, input: str = "fixed") -> dict[str, Any]:
    """Return what another program must know to run an exported model.

    Returns
    -------
    dict
        `classes` in the order of the outputs; `macros` and `members`; `input`: how an image becomes the pixels,
        step by step (`orientation`, `color`, `jpeg_draft`, `size`, `fit`, `crop_share`, `filter`, `extreme`, `steps` in
        words), pixels being uint8 RGB, since normalization is inside; `resize`: `before` the model or `inside`;
        `output`: the outputs by name; `backbones` with their normalization; `rule`, `temperatures`, `versions`.
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
            "resize": "inside" if input == "any" else "before",
            "steps": _steps(fitting),
        },
        "output": {
            CLASSES: "float32 (n, n_classes), columns as in classes, rows sum to 1",
            **({MACROS: "float32 (n, n_macros), columns as in macros"} if hierarchy else {}),
        },
        "backbones": _backbones(models.values()),
        "rule": "soft" if two_stage else None,
        "temperatures": {name: model.temperature for name, model in models.items()},
        "versions": {name: version(name) for name in ("aisles", "keras", "tensorflow", "numpy", "pillow")},
    }


def _steps(fitting: Fitting) -> list[str]:
    """Return in words what happens to an image before the network."""
    height, width = fitting.size
    resize = f"resize once with Pillow's {fitting.filter} filter (antialiased) to {width} x {height}"
    shapes = {
        "squash": [f"{resize} (width x height), whatever the shape"],
        "pad": [f"{resize} at most, keeping the shape, and center it on white"],
        "crop": [
            f"take the center box in the shape of {width} x {height} that has {fitting.crop_share:g} of the largest "
            "such box's sides; fractions of a pixel count",
            f"{resize} (width x height)",
            f"an image whose shape is {EXTREME:g} or more times as wide or as high as the result's is not cropped but "
            "fitted whole onto white",
        ],
    }
    return [
        "turn the image as its EXIF orientation says",
        "convert its color profile to sRGB, lay transparency over white",
        f"a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size while its shorter side keeps {fitting.enough} pixels "
        "(Pillow's draft)",
        *shapes[fitting.fit],
        "resize along the rows first, then down the columns, each rounded to 8 bits; Pillow 13 and later turn that "
        "round for tall images, unless the two are two calls",
    ]


def _backbones(models: Iterable[Any]) -> list[dict[str, Any]]:
    """Return in words which networks are inside, and how they normalize pixels: numbers = pixels @ matrix + offset."""
    found: dict[int, dict[str, Any]] = {}
    for model in models:
        backbone = getattr(model, "backbone", None)
        if backbone is not None:
            matrix, offset = NORMALIZATIONS[backbone.preprocessing]
            found[id(backbone)] = {
                "name": backbone.name,
                "weights": backbone.weights,
                "color": backbone.color,
                "normalization": backbone.preprocessing,
                "matrix": matrix.tolist(),
                "offset": offset.tolist(),
            }
    return list(found.values())


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


def soft_outputs(classifier: Classifier, images: Iterable[ImageInput]) -> dict[str, np.ndarray]:
    """Return what an export has to give, by the names of its outputs."""
    images = list(images)
    rule = "soft" if isinstance(classifier, TwoStageClassifier) else None
    wanted = {CLASSES: classifier.predict_proba(images, rule=rule)}
    if classifier.hierarchy is not None:
        wanted[MACROS] = classifier.predict_macro_proba(images)
    return wanted


def precise(classifier: Classifier) -> Classifier:
    """Return the classifier computing in float32, which ONNX and LiteRT are written in; itself if it does already."""
    from aisles.models.backbones.single_precision import in_float32

    return in_float32(classifier)


def _check_request(path: Path, format: str, input: str) -> None:
    if input not in ("fixed", "any"):
        raise ValueError(f"input must be 'fixed' or 'any'. Received: {input!r}.")
    if input == "any" and format in FORMATS and format not in ANY_SIZE:
        raise ValueError(
            f"{' and '.join(ANY_SIZE)} can hold the resize, {format} can't. Leave --input any out, and fit images as "
            "the JSON beside the model says."
        )
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
                f"Install it with: python -m pip install '.[{format}]'."
            ) from error


def _put(part: Path, path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(part, path)
