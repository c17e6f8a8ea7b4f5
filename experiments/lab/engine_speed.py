"""What prediction from files costs beside a plain script for onnxruntime.

The script is what somebody writes who has only the exported ONNX file: Pillow in threads, batches of 32, one session.
On a busy machine its session's threads, which wait in a busy loop, cost more than on an idle one, so the same script
without them is measured beside.
"""

import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from aisles.data_prep.images.fitting import Fitting
from aisles.models.backbones.registry import build_backbone
from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.bundles.export import export_classifier
from aisles.models.prediction.two_stage import TwoStageClassifier

from .performance import Ratio, as_ratio, ratios_of
from .prediction_speed import _classifiers, drawn_pixels, write_images

logger = logging.getLogger(f"aisles.{__name__}")
BATCH = 32
ONNX_LIMIT, TENSORFLOW_LIMIT, AGREEMENT = 1.0, 0.85, 1e-4


def engine_ratios(
    photos: Path | None = None,
    n_files: int = 512,
    rounds: int = 5,
    backbone: str = "efficientnet_lite0",
    input_size: tuple[int, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Ratio]:
    """Compare `iter_predict` of either engine with the script, on the same files in the same run.

    Returns
    -------
    list of Ratio
        Rates over the script's, and the largest difference of probabilities.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        classifier = two_stage_of(backbone, input_size)
        bundle = save_bundle(classifier, folder / "bundle")
        export_classifier(classifier, folder / "model.onnx", "onnx")
        files = write_images(folder, n_files, 400) if photos is None else sorted(photos.rglob("*.jpg"))
        files = files[:: max(1, len(files) // n_files)][:n_files]
        session, calm = (_session(folder / "model.onnx", spinning) for spinning in (True, False))
        fitting = classifier.router.backbone.fittings[0]  # type: ignore[union-attr]
        engines = {name: load_bundle(bundle, engine=name) for name in ("onnx", "tensorflow")}
        tasks: dict[str, Callable[[], Any]] = {
            "script": lambda: script(session, files, fitting),
            "script without busy waiting": lambda: script(calm, files, fitting),
        }
        for name, loaded in engines.items():
            tasks[name] = lambda loaded=loaded: list(loaded.iter_predict(files))
        found = ratios_of(tasks, "script", rounds, clock=clock)
        first = files[:64]
        wanted = script(session, first, fitting)
        off = {name: np.abs(loaded.predict_proba(first) - wanted).max() for name, loaded in engines.items()}
    ratios = [
        as_ratio(f"rate of {name} over the script's", 1 / found[name], limit, at_least=True)
        for name, limit in (
            ("onnx", ONNX_LIMIT),
            ("tensorflow", TENSORFLOW_LIMIT),
            ("script without busy waiting", None),
        )  # fmt: skip
    ]
    return ratios + [
        as_ratio(f"largest difference of {name}'s probabilities", np.array([value]), AGREEMENT)
        for name, value in off.items()
    ]


def _session(path: Path, spinning: bool) -> Any:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def script(session: Any, files: Sequence[Path], fitting: Fitting) -> np.ndarray:
    """Predict as somebody does who has only the exported file and its description."""
    (height, width), share = fitting.size, fitting.crop_share
    name = session.get_inputs()[0].name

    def load(path: Path) -> np.ndarray:
        image = Image.open(path)
        image.draft(None, (fitting.enough,) * 2)  # type: ignore[arg-type]
        image = ImageOps.exif_transpose(image).convert("RGB")
        scale = min(image.width / width, image.height / height) * share
        left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
        box = (left, top, left + width * scale, top + height * scale)
        return np.asarray(image.resize((width, height), Image.Resampling[fitting.filter.upper()], box=box))

    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in _batches(pool.map(load, files)):
            found.append(session.run(["class_probabilities"], {name: np.stack(batch)})[0])
    return np.concatenate(found)


def _batches(items: Iterator[np.ndarray]) -> Iterator[list[np.ndarray]]:
    while batch := list(itertools.islice(items, BATCH)):
        yield batch


def two_stage_of(backbone: str, input_size: tuple[int, int] | None) -> TwoStageClassifier:
    """Return a classifier on one network, with drawn heads that send images to all macros in turn."""
    network: Any = build_backbone(backbone, weights="imagenet", input_size=input_size)
    classifier, _ = _classifiers([network] * 5, drawn_pixels(64, network.input_size))
    return classifier
