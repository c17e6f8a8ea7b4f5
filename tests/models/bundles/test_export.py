"""Export: one model in every format, the same as the bundle under soft, calibrated."""

import io
import json

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from aisles.models.bundles import export as export_module
from aisles.models.bundles.export import export_classifier, soft_outputs
from aisles.models.bundles.formats import ENDINGS, FORMATS, run_exported
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
    expected = soft_outputs(classifier, images)
    np.testing.assert_allclose(expected["class_probabilities"], classifier.predict_proba(images, rule="soft"))
    np.testing.assert_allclose(expected["macro_probabilities"], classifier.predict_macro_proba(images))
    for n in (1, 12):
        found = run_exported(path, format, images[:n])
        assert set(found) == set(expected)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name][:n], atol=1e-4)
    assert json.loads((tmp_path / f"{path.name}.json").read_text())["classes"] == list(classifier.classes_)
    assert {p.name for p in tmp_path.iterdir()} == {path.name, f"{path.name}.json"}
    export_classifier(classifier, path, format)  # again, over the old one


def test_overlapping_macros_and_separate_networks_become_one_model(
    overlapping, make_two_stage, images, tmp_path
):
    classifier = make_two_stage(overlapping, separate=True, temperature=0.8)
    export_classifier(classifier, tmp_path / "model.keras", "keras")
    found = run_exported(tmp_path / "model.keras", "keras", images)["class_probabilities"]
    np.testing.assert_allclose(found, classifier.predict_proba(images, rule="soft"), atol=1e-5)


def test_the_keras_file_needs_nothing_of_ours(hierarchy, make_two_stage, tmp_path):
    import subprocess
    import sys

    export_classifier(make_two_stage(hierarchy), tmp_path / "model.keras", "keras")
    code = (
        "import sys, keras, numpy as np\n"
        f"m = keras.saving.load_model({str(tmp_path / 'model.keras')!r})\n"
        "assert m.input.dtype == 'uint8' and not any(n.split('.')[0] == 'aisles' for n in sys.modules)\n"
        "assert np.allclose(m(np.zeros((2, 8, 8, 3), 'uint8'))['class_probabilities'].numpy().sum(1), 1, atol=1e-5)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_flat_classifiers_and_models_of_ones_own_are_exported(
    hierarchy, make_backbone, make_model, images, tmp_path
):
    own = FlatClassifier(make_model(hierarchy.classes, make_backbone(), temperature=2.0))
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]
    )
    given = FlatClassifier.from_model(network, ["c", "a", "b"])
    for name, classifier in (("own", own), ("given", given)):
        export_classifier(classifier, tmp_path / f"{name}.keras", "keras")
        found = run_exported(tmp_path / f"{name}.keras", "keras", images)["class_probabilities"]
        np.testing.assert_allclose(found, classifier.predict_proba(images), atol=1e-5)


def test_bfloat16_backbones_are_written_in_float32_where_they_must_be(
    hierarchy, make_backbone, make_model, tmp_path
):
    pytest.importorskip("ai_edge_litert")
    from aisles.models.backbones.registry import in_precision

    backbone = in_precision(make_backbone(), "bfloat16")
    result = export_classifier(
        FlatClassifier(make_model(hierarchy.classes, backbone)), tmp_path / "m.tflite", "litert"
    )
    assert result.largest_difference < 1e-4


def test_networks_of_different_sizes_and_other_callables_are_refused(
    make_backbone, make_model, hierarchy, tmp_path
):
    parts = [make_model(members, make_backbone(i, 8 + 2 * i)) for i, members in enumerate(hierarchy.members)]
    mixed = TwoStageClassifier(make_model(hierarchy.macros, make_backbone()), parts, hierarchy)
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
    with pytest.raises(ImportError, match=r"pip install '\.\[onnx\]'"):
        export_classifier(make_two_stage(hierarchy), tmp_path / "m.onnx", "onnx")


def test_a_model_that_disagrees_is_not_given_out(hierarchy, make_two_stage, tmp_path, monkeypatch):
    def wrong(path, format, images):
        found = run_exported(path, format, images)
        return {**found, "macro_probabilities": found["macro_probabilities"] + 0.1}

    monkeypatch.setattr(export_module, "run_exported", wrong)
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
    filter = Image.Resampling[about["filter"].upper()]
    image = image.resize((width, image.height), filter, box=(left, 0, left + width * scale, image.height))
    image = image.resize((width, height), filter, box=(0, top, width, top + height * scale))
    probabilities.append(session.run(None, {session.get_inputs()[0].name: np.asarray(image)[None]})[0][0].tolist())
print(json.dumps(probabilities))
"""


def test_a_script_with_onnxruntime_and_pillow_alone_predicts_from_jpegs_what_the_bundle_does(
    cropping, tmp_path
):
    import subprocess
    import sys

    needs("onnx")
    export_classifier(cropping, tmp_path / "model.onnx", "onnx")
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
    np.testing.assert_allclose(found, cropping.predict_proba(paths), atol=1e-4)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_the_resize_in_the_graph_is_pillows_to_the_last_bit(fit, filter):
    from PIL import Image

    from aisles.data_prep.images.fitting import Fitting
    from aisles.models.bundles.fitting_graph import fitted

    fitting = Fitting((24, 30), fit, 0.875 if fit == "crop" else 1.0, filter)
    rng = np.random.default_rng(0)
    for height, width in [
        (24, 30),
        (61, 40),
        (7, 9),
        (300, 500),
        (33, 200),
        (200, 30),
        (1, 400),
        (25, 31),
        (997, 1301),
        (1500, 640),
    ]:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        wanted = fitting.pixels(Image.fromarray(image)).astype(int)
        found = fitted(image[None], fitting).numpy()[0].astype(int)
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found, wanted, err_msg=f"{height} x {width}")


@pytest.fixture
def cropping(hierarchy, make_two_stage):
    """A two-stage classifier whose images are cropped and resized bicubically."""
    from dataclasses import replace

    from aisles.data_prep.images.fitting import Fitting

    made = make_two_stage(hierarchy, temperature=1.3, flat=False)
    backbone = replace(made.router.backbone, fitting=Fitting((8, 8), "crop", 0.875, "bicubic"))
    router, *submodels = (
        model if model.backbone is None else replace(model, backbone=backbone)
        for model in (made.router, *made.submodels)
    )
    return TwoStageClassifier(router, submodels, hierarchy)


@pytest.mark.parametrize("format", ["onnx", "saved_model"])
def test_images_of_any_size_go_into_a_model_that_resizes(format, cropping, tmp_path):
    needs(format)
    path = tmp_path / f"model{ENDINGS[format]}"
    assert export_classifier(cropping, path, format, input="any").largest_difference < 1e-4
    rng = np.random.default_rng(1)
    for size in [(40, 60), (9, 9), (300, 500), (12, 90), (90, 12)]:
        small = rng.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
        images = np.stack([np.asarray(Image.fromarray(s).resize(size[::-1])) for s in small])
        found, wanted = run_exported(path, format, images), soft_outputs(cropping, images)
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)
    about = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert about["input"]["resize"] == "inside"


def test_a_saved_model_takes_encoded_files_of_any_orientation(cropping, tmp_path):
    import tensorflow as tf

    export_classifier(cropping, tmp_path / "model", "saved_model")
    rng, files = np.random.default_rng(2), []
    sizes = [(60, 40), (40, 60), (9, 9), (500, 300), (90, 30), (31, 77), (400, 400), (70, 12)]
    for i, size in enumerate(sizes):
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = i + 1, "maker"
        small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        files.append(io.BytesIO())
        small.resize(size, Image.Resampling.BICUBIC).save(files[-1], "JPEG", exif=exif)
    mottled = rng.integers(0, 256, (30, 20, 4), dtype=np.uint8)
    for image in (
        Image.fromarray(mottled),
        Image.fromarray(mottled[..., 0]),
        Image.fromarray(mottled[..., :3]),
    ):
        files.append(io.BytesIO())
        image.save(files[-1], "PNG")
    files.append(io.BytesIO())
    Image.fromarray(mottled[..., :3]).save(files[-1], "JPEG")  # no EXIF at all
    encoded = [file.getvalue() for file in files]
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    found = loaded.encoded(tf.constant(encoded))
    wanted = soft_outputs(cropping, encoded)
    for name in wanted:
        np.testing.assert_allclose(found[name].numpy(), wanted[name], atol=1e-4)


def test_everything_that_another_program_must_know_stands_beside_and_inside(cropping, tmp_path):
    needs("onnx")
    import onnx

    export_classifier(cropping, tmp_path / "m.onnx", "onnx")
    about = json.loads((tmp_path / "m.onnx.json").read_text())
    inside = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(inside["aisles"]) == about
    assert about["macros"] == list(cropping.hierarchy.macros)
    assert about["members"] == [list(members) for members in cropping.hierarchy.members]
    assert set(about["output"]) == {"class_probabilities", "macro_probabilities"}
    facts = about["input"]
    assert (facts["size"], facts["fit"], facts["crop_share"], facts["filter"]) == (
        [8, 8],
        "crop",
        0.875,
        "bicubic",
    )
    assert "bicubic filter (antialiased) to 8 x 8" in " ".join(facts["steps"]) and facts["resize"] == "before"
    assert about["backbones"][0]["normalization"] == "symmetric"
    assert np.allclose(about["backbones"][0]["offset"], -1) and about["rule"] == "soft"
    assert set(about["temperatures"].values()) == {1.0, 1.3} and "pillow" in about["versions"]


def test_formats_without_a_resize_refuse_any_size(cropping, tmp_path):
    with pytest.raises(ValueError, match="saved_model and onnx can hold the resize, keras can't"):
        export_classifier(cropping, tmp_path / "m.keras", "keras", input="any")
    with pytest.raises(ValueError, match="'fixed' or 'any'"):
        export_classifier(cropping, tmp_path / "m.onnx", "onnx", input="all")


def test_the_script_of_the_documentation_predicts_from_a_jpeg_what_the_bundle_does(cropping, tmp_path):
    import re
    import subprocess
    import sys
    from pathlib import Path

    needs("onnx")
    pages = sorted((Path(__file__).parents[3] / "docs").rglob("*.md"))
    blocks = [b for page in pages for b in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)]
    (block,) = [block for block in blocks if "InferenceSession" in block]
    export_classifier(cropping, tmp_path / "model.onnx", "onnx", input="any")
    rng = np.random.default_rng(3)
    for i, size in enumerate([(60, 40), (40, 60), (300, 500), (12, 70)]):
        exif = Image.Exif()
        exif[0x0112] = 2 * i + 1
        small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        photo = tmp_path / f"{i}.jpg"
        small.resize(size, Image.Resampling.BICUBIC).save(photo, exif=exif)
        command = [sys.executable, "-c", block, str(photo)]
        told = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.split()
        probs, macro = cropping.predict_proba([photo])[0], cropping.predict_macro_proba([photo])[0]
        assert told[::2] == [cropping.classes_[probs.argmax()], cropping.hierarchy.macros[macro.argmax()]]
        assert [float(number) for number in told[1::2]] == pytest.approx([probs.max(), macro.max()], abs=1e-4)
