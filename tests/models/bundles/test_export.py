"""Export: one model in every format, the same as the bundle under soft, calibrated."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from aisles.models.bundles import export as export_module
from aisles.models.bundles.export import ENDINGS, FORMATS, export_classifier, run_exported, soft_probabilities
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

pytestmark = [
    pytest.mark.keras,
    # The converters' own: numpy's scalars, deprecated protobuf calls, TensorFlow's interpreter moving house.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def needs(format):
    for name in export_module._NEEDS.get(format, ()):
        pytest.importorskip(name)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_bundles_probabilities_for_any_number_of_images(
    format, hierarchy, make_two_stage, images, tmp_path
):
    needs(format)
    classifier = make_two_stage(hierarchy, temperature=1.7, rule="hard")
    path = tmp_path / f"model{ENDINGS[format]}"
    result = export_classifier(classifier, path, format)
    assert result.largest_difference < 1e-4 and result.n_classes == 6
    expected = soft_probabilities(classifier, images)
    np.testing.assert_allclose(expected, classifier.predict_proba(images, rule="soft"))
    for n in (1, 12):
        np.testing.assert_allclose(run_exported(path, format, images[:n]), expected[:n], atol=1e-4)
    assert json.loads((tmp_path / f"{path.name}.json").read_text())["classes"] == list(classifier.classes_)
    assert {p.name for p in tmp_path.iterdir()} == {path.name, f"{path.name}.json"}
    export_classifier(classifier, path, format)  # again, over the old one


def test_overlapping_macros_and_separate_networks_become_one_model(
    overlapping, make_two_stage, images, tmp_path
):
    classifier = make_two_stage(overlapping, separate=True, temperature=0.8)
    export_classifier(classifier, tmp_path / "model.keras", "keras")
    found = run_exported(tmp_path / "model.keras", "keras", images)
    np.testing.assert_allclose(found, classifier.predict_proba(images, rule="soft"), atol=1e-5)


def test_the_keras_file_needs_nothing_of_ours(hierarchy, make_two_stage, tmp_path):
    import subprocess
    import sys

    export_classifier(make_two_stage(hierarchy), tmp_path / "model.keras", "keras")
    code = (
        "import sys, keras, numpy as np\n"
        f"m = keras.saving.load_model({str(tmp_path / 'model.keras')!r})\n"
        "assert m.input.dtype == 'uint8' and not any(n.split('.')[0] == 'aisles' for n in sys.modules)\n"
        "assert np.allclose(m(np.zeros((2, 8, 8, 3), 'uint8')).numpy().sum(1), 1, atol=1e-5)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_flat_classifiers_and_models_of_ones_own_are_exported(
    hierarchy, make_trunk, make_model, images, tmp_path
):
    own = FlatClassifier(make_model(hierarchy.classes, make_trunk(), temperature=2.0))
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]
    )
    given = FlatClassifier.from_model(network, ["c", "a", "b"])
    for name, classifier in (("own", own), ("given", given)):
        export_classifier(classifier, tmp_path / f"{name}.keras", "keras")
        found = run_exported(tmp_path / f"{name}.keras", "keras", images)
        np.testing.assert_allclose(found, classifier.predict_proba(images), atol=1e-5)


def test_bfloat16_trunks_are_written_in_float32_where_they_must_be(
    hierarchy, make_trunk, make_model, tmp_path
):
    pytest.importorskip("ai_edge_litert")
    from aisles.models.backbones.registry import in_precision

    trunk = in_precision(make_trunk(), "bfloat16")
    result = export_classifier(
        FlatClassifier(make_model(hierarchy.classes, trunk)), tmp_path / "m.tflite", "litert"
    )
    assert result.largest_difference < 1e-4


def test_networks_of_different_sizes_and_other_callables_are_refused(
    make_trunk, make_model, hierarchy, tmp_path
):
    parts = [make_model(members, make_trunk(i, 8 + 2 * i)) for i, members in enumerate(hierarchy.members)]
    mixed = TwoStageClassifier(make_model(hierarchy.macros, make_trunk()), parts, hierarchy)
    with pytest.raises(ValueError, match="one size"):
        export_classifier(mixed, tmp_path / "m.keras", "keras")
    function = FlatClassifier.from_model(lambda pixels: pixels, ["a", "b"], input_size=(2, 2))
    with pytest.raises(ValueError, match="Only Keras models"):
        export_classifier(function, tmp_path / "m.keras", "keras")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [("m.keras", "torch", "must be one of"), ("m.h5", "keras", r"ends in \.keras"), ("folder.onnx", "onnx", "folder")],
)  # fmt: skip
def test_requests_that_make_no_sense_are_refused(name, format, message, hierarchy, make_two_stage, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match=message):
        export_classifier(make_two_stage(hierarchy), tmp_path / name, format)


def test_a_folder_that_is_no_saved_model_is_never_overwritten(hierarchy, make_two_stage, tmp_path):
    (tmp_path / "thesis").mkdir()
    with pytest.raises(FileExistsError, match="no SavedModel"):
        export_classifier(make_two_stage(hierarchy), tmp_path / "thesis", "saved_model")


def test_a_missing_extra_is_named(hierarchy, make_two_stage, tmp_path, monkeypatch):
    def missing(name, *_):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(export_module.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install 'aisles\[onnx\]'"):
        export_classifier(make_two_stage(hierarchy), tmp_path / "m.onnx", "onnx")


def test_a_model_that_disagrees_is_not_given_out(hierarchy, make_two_stage, tmp_path, monkeypatch):
    monkeypatch.setitem(export_module._RUNNERS, "keras", lambda path, images: np.full((len(images), 6), 0.5))
    with pytest.raises(RuntimeError, match="differs from the bundle"):
        export_classifier(make_two_stage(hierarchy), tmp_path / "m.keras", "keras")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import json, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps

about = json.load(open(sys.argv[1] + ".json"))["input"]
(height, width), share = about["size"], about["crop_share"]
session, probabilities = onnxruntime.InferenceSession(sys.argv[1]), []
for path in sys.argv[2:]:
    image = Image.open(path)
    image.draft(None, (about["jpeg_draft"],) * 2)
    image = ImageOps.exif_transpose(image).convert("RGB")
    scale = min(image.width / width, image.height / height) * share
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    image = image.resize((width, height), Image.Resampling[about["filter"].upper()], box=box)
    probabilities.append(session.run(None, {session.get_inputs()[0].name: np.asarray(image)[None]})[0][0].tolist())
print(json.dumps(probabilities))
"""


def test_a_script_with_onnxruntime_and_pillow_alone_predicts_from_jpegs_what_the_bundle_does(
    hierarchy, make_two_stage, tmp_path
):
    import subprocess
    import sys
    from dataclasses import replace

    from PIL import Image

    from aisles.data_prep.images.fitting import Fitting

    needs("onnx")
    made = make_two_stage(hierarchy, temperature=1.3, flat=False)
    trunk = replace(made.router.trunk, fitting=Fitting((8, 8), "crop", 0.875, "bicubic"))
    router, *submodels = (
        model if model.trunk is None else replace(model, trunk=trunk)
        for model in (made.router, *made.submodels)
    )
    classifier = TwoStageClassifier(router, submodels, hierarchy)
    export_classifier(classifier, tmp_path / "model.onnx", "onnx")
    rng, paths = np.random.default_rng(0), []
    for i, size in enumerate(
        [(60, 40), (40, 60), (9, 9), (500, 300), (90, 30), (31, 77), (400, 400), (8, 8)]
    ):
        exif = Image.Exif()
        exif[0x0112] = i + 1
        small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        paths.append(str(tmp_path / f"{i}.jpg"))
        small.resize(size, Image.Resampling.BICUBIC).save(paths[-1], exif=exif)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "model.onnx"), *paths]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    np.testing.assert_allclose(found, classifier.predict_proba(paths), atol=1e-4)
