"""Benchmark, predict, evaluate and export say the same of one photograph, whatever its shape and file format."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

pytestmark = [
    pytest.mark.keras,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
N = {"train": 64, "val": 32, "test": 100}
HUES = {"blue": (60, 80, 190), "brown": (150, 100, 60), "green": (70, 170, 80), "red": (200, 60, 60)}
WITHIN = 1e-4


def photograph(number: int, color: tuple[int, int, int]) -> tuple[str, bytes]:
    """Draw a photograph and return its suffix and bytes: 1:1 to 1:6, upright and lying, in seven kinds of file."""
    rng = np.random.default_rng(number)
    short = (
        640 if number % 10 == 9 else int(rng.integers(24, 90))
    )  # the large ones are decoded at reduced size
    sides = (short, round(short * (1 + 5 * (number % 12) / 11)))
    size = sides if number % 2 else sides[::-1]
    base = np.array(color) + rng.normal(0, 25, 3) + rng.normal(0, 40, (6, 5, 3))
    image = Image.fromarray(base.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    kind, buffer = number % 7, io.BytesIO()
    if kind == 0:
        image.convert("L").save(buffer, "JPEG", quality=92)
    elif kind == 1:
        shade = Image.linear_gradient("L").resize(size)
        image.putalpha(shade)
        image.save(buffer, "PNG")
    elif kind == 2:
        image.quantize(32).save(buffer, "PNG")
    elif kind in (3, 4):
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        image.save(buffer, "JPEG", quality=90, exif=exif)
    else:
        image.save(buffer, "JPEG" if kind == 5 else "WEBP", quality=88)
    return {1: ".png", 2: ".png", 6: ".webp"}.get(kind, ".jpg"), buffer.getvalue()


def pixels_by(about: dict, path: Path) -> np.ndarray:
    """Read a photograph as the exported description says, with nothing but Pillow."""
    (height, width), image = about["size"], Image.open(path)
    image.draft(None, (about["jpeg_draft"],) * 2)
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    filter = Image.Resampling[about["filter"].upper()]
    shape = image.width / width * height / image.height
    if max(shape, 1 / shape) >= about["extreme"]:
        scale = min(width / image.width, height / image.height)
        inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        canvas = Image.new("RGB", (width, height), "white")
        rows = image.resize((inner[0], image.height), filter)
        canvas.paste(rows.resize(inner, filter), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return np.asarray(canvas)
    scale = min(image.width / width, image.height / height) * about["crop_share"]
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    rows = image.resize((width, image.height), filter, box=(left, 0, left + width * scale, image.height))
    return np.asarray(rows.resize((width, height), filter, box=(0, top, width, top + height * scale)))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """Run a benchmark on photographs of mixed shapes; return its folder, the data and the backbone."""
    import keras

    from aisles.data_prep.images.fitting import Fitting
    from aisles.experiments.benchmark.run import run_benchmark
    from aisles.experiments.settings.reading import read_settings
    from aisles.models.backbones.registry import wrap_backbone

    root, rows = tmp_path_factory.mktemp("mixed"), []
    splits = [split for split, n in N.items() for _ in range(n)]
    for number, split in enumerate(splits):
        name = list(HUES)[number % 4]
        suffix, data = photograph(number, HUES[name])
        (root / f"{number}{suffix}").write_bytes(data)
        rows.append((f"{number}{suffix}", name, split))
    pd.DataFrame(rows, columns=["file_name", "label", "split"]).to_csv(root / "metadata.csv", index=False)
    inputs = keras.Input((24, 24, 3))
    kernel = keras.initializers.GlorotUniform(3)
    maps = keras.layers.Conv2D(10, 5, strides=2, activation="relu", kernel_initializer=kernel)(inputs)
    backbone = wrap_backbone(
        keras.Model(inputs, maps), "ten-filters", preprocessing="symmetric",
        fitting=Fitting((24, 24), "crop", 0.875, "bicubic"),
    )  # fmt: skip
    settings = read_settings(
        None,
        [
            'comparison.methods=["flat", "flat-lda", "soft"]', "comparison.seeds=1", "hierarchy.macros=2",
            "training.epochs=15", "training.learning_rate=0.01", "hierarchy.bootstraps=1",
        ],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("compared") / "run"
    run_benchmark(root, folder, settings, cache=folder.parent / "cache", backbone=backbone, jobs=1)
    return folder, root, backbone


def archive(folder: Path, method: str) -> dict[str, np.ndarray]:
    with np.load(folder / "probabilities" / f"{method}.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def saved(benchmark, which: str) -> tuple[Path, np.ndarray]:
    """Return a bundle and what the benchmark says of the test images, with the bundle's temperatures if it has any."""
    from aisles.hierarchy.calibration import Temperatures, apply_temperature
    from aisles.hierarchy.rule_functions import soft
    from aisles.models.bundles.bundle import load_bundle, save_bundle
    from aisles.models.heads.fitting import load_fitted
    from aisles.models.prediction.two_stage import FlatClassifier

    folder, _, backbone = benchmark
    if which == "lda":
        place = folder / "bundles" / "lda"
        if not place.exists():
            model = load_fitted(folder / "models" / "seed-0" / "lda-flat").on(backbone)
            save_bundle(FlatClassifier(model), place)
        return place, archive(folder, "flat-lda")["probs"][0]
    place = folder / "bundles" / ("flat" if which == "softmax" else "two-stage")
    classifier = load_bundle(place)
    if which == "softmax":
        said = archive(folder, "flat")["probs"][0].astype(float)
        return place, apply_temperature(said / said.sum(1, keepdims=True), classifier.model.temperature)
    kept, hierarchy = archive(folder, "soft"), classifier.hierarchy
    temperatures = Temperatures(
        classifier.router.temperature, tuple(m.temperature for m in classifier.submodels)
    )
    macro, within = (
        kept["macro_probs"][0].astype(float),
        kept["inside"][0].astype(float)[:, hierarchy.slot_class],
    )
    np.testing.assert_allclose(
        soft(macro / macro.sum(1, keepdims=True), within, hierarchy), kept["probs"][0], atol=1e-5
    )
    routed = temperatures.apply_router(macro / macro.sum(1, keepdims=True))
    return place, soft(routed, temperatures.apply_submodels(within, hierarchy), hierarchy)


@pytest.mark.parametrize("which", ["softmax", "lda", "two-stage"])
def test_predict_evaluate_and_export_agree_with_the_benchmark_on_100_photographs(benchmark, which, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    from aisles.experiments.training.bundle_evaluation import evaluate_bundle
    from aisles.models.bundles.bundle import load_bundle
    from aisles.models.bundles.export import export_classifier

    folder, root, _ = benchmark
    place, expected = saved(benchmark, which)
    listed = pd.read_csv(folder / "predictions.csv").query("method == 'flat'")["file_name"].tolist()
    assert len(listed) == len(expected) == 100
    assert len(np.unique(expected.argmax(1))) == 4 and expected.max(1).std() > 0.02  # it tells images apart
    paths = [root / name for name in listed]

    classifier = load_bundle(place)
    np.testing.assert_allclose(classifier.predict_proba(paths), expected, atol=WITHIN)
    one_by_one = np.concatenate([classifier.predict_proba([path.read_bytes()]) for path in paths[:15]])
    np.testing.assert_allclose(one_by_one, expected[:15], atol=WITHIN)

    evaluation = evaluate_bundle(place, root)
    order = [evaluation.manifest.table["file_name"].tolist().index(name) for name in listed]
    np.testing.assert_allclose(evaluation.probs[order], expected, atol=WITHIN)

    export_classifier(classifier, tmp_path / "model.onnx", "onnx")
    about = json.loads((tmp_path / "model.onnx.json").read_text())
    assert about["classes"] == sorted(HUES)
    pixels = np.stack([pixels_by(about["input"], path) for path in paths])
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    exported = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    np.testing.assert_allclose(exported, expected, atol=WITHIN)


def test_the_photographs_are_of_mixed_shapes_and_kinds(benchmark):
    _, root, _ = benchmark
    shapes, kinds, turned = [], set(), 0
    for path in sorted(root.glob("*.*g")) + sorted(root.glob("*.webp")):
        with Image.open(path) as image:
            shapes.append(max(image.size) / min(image.size))
            kinds.add((image.format, image.mode))
            turned += image.getexif().get(0x0112, 1) > 4
    assert min(shapes) == 1 and max(shapes) > 5.9 and np.mean(np.array(shapes) >= 5) > 0.1
    assert {("JPEG", "L"), ("JPEG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB")} <= kinds
    assert turned > 10
