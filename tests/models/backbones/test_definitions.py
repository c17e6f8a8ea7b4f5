"""The table of backbones: names, descriptions, what is published, and what is added from outside."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.fitting import Fitting
from aisles.experiments.settings.benchmark import BackboneSettings
from aisles.hierarchy.registry import load_plugins
from aisles.models.backbones.definitions import BACKBONES, backbone_names, check_backbone, register_backbone
from aisles.models.backbones.normalization import NORMALIZATIONS, normalized

PLUGIN = """
import keras
import aisles

@aisles.register_backbone(
    "two_filters", input_size=(8, 8), normalization="symmetric", crop_share=0.875, filter="bicubic", license="MIT"
)
def two_filters(size):
    pixels = keras.Input((*size, 3))
    return keras.Model(pixels, keras.layers.Conv2D(2, 3)(pixels))
"""


@pytest.fixture
def plugin(tmp_path):
    """Register a backbone by a plugin file, and take it away again."""
    known = dict(BACKBONES)
    file = tmp_path / "my_backbone.py"
    file.write_text(PLUGIN)
    load_plugins([file])
    yield file
    for name in set(BACKBONES) - set(known):
        del BACKBONES._known[name]


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("efficientnet_lite0", Fitting((224, 224), "crop", 224 / 256, "bicubic")),
        ("efficientnet_lite1", Fitting((240, 240), "crop", 240 / 272, "bicubic")),
        ("efficientnet_lite2", Fitting((260, 260), "crop", 260 / 292, "bicubic")),
        ("vgg16", Fitting((224, 224), "crop", 224 / 256)),
        ("inception_v3", Fitting((299, 299), "crop", 0.875)),
        ("dinov2_small", Fitting((224, 224), "crop", 224 / 256, "bicubic")),
    ],
)
def test_images_reach_a_network_as_it_was_published(name, fitting):
    assert BACKBONES[name].fitting() == fitting
    assert BACKBONES[name].fitting(fit="squash").fit == "squash"


def test_every_registration_says_what_it_is():
    for name, definition in BACKBONES.items():
        assert definition.normalization in NORMALIZATIONS, name
        assert definition.description and definition.license and definition.source and definition.dimension, (
            name
        )
        assert str(definition.input_size[0]) in definition.summary


def test_names_are_known_without_loading_keras():
    code = (
        "import sys; from aisles.models.backbones.definitions import backbone_names; print(len(backbone_names()));"
        "from aisles.models.backbones.weights import weights_files; weights_files();"
        "assert not {'keras', 'tensorflow', 'onnx', 'onnxruntime'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(backbone_names()) > 40


def test_settings_refuse_an_unknown_backbone_and_say_which_was_meant():
    with pytest.raises(ValueError, match="Did you mean 'efficientnet_lite0'"):
        BackboneSettings(name="efficientnet_lit0")
    with pytest.raises(ValueError, match="Did you mean 'ResNet50'"):
        BackboneSettings(name="efficientnet_lite0+Resnet50")
    with pytest.raises(ValueError, match="joined once"):
        check_backbone("vgg16+vgg16")
    assert BackboneSettings(name="vgg16+ResNet50").name == "vgg16+ResNet50"


def test_a_registration_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="crop_share"):
        register_backbone("odd", input_size=(8, 8), crop_share=2)(lambda size: None)
    with pytest.raises(ValueError, match="There is a backbone 'vgg16' already"):
        register_backbone("vgg16", input_size=(8, 8))(lambda size: None)


def test_normalization_in_numpy_is_the_matrix():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), dtype=np.uint8)
    for name, (matrix, offset) in NORMALIZATIONS.items():
        np.testing.assert_allclose(normalized(pixels, name), pixels @ matrix + offset, rtol=1e-4, atol=1e-4)


@pytest.mark.keras
def test_a_backbone_from_a_plugin_file_is_built_extracted_and_saved_by_its_name(plugin, tmp_path):
    from aisles.models.backbones.registry import build_backbone
    from aisles.models.features import extract

    backbone = build_backbone("two_filters")
    assert BackboneSettings(name="two_filters").name == backbone.name
    assert backbone.fitting == Fitting((8, 8), "crop", 0.875, "bicubic") and backbone.dimension == 2
    Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / "a.png")
    pixels = backbone.fitting.pixels(Image.open(tmp_path / "a.png"))[None]
    got = extract(backbone, [tmp_path / "a.png"], cache=tmp_path / "cache").vectors
    np.testing.assert_allclose(got, backbone.forward(pixels).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.keras
@pytest.mark.parametrize(("name", "size"), [("MobileNetV2", 32), ("ResNet50", 32), ("EfficientNetV2B0", 32)])
def test_networks_of_keras_applications_build_by_name(name, size):
    from aisles.models.backbones.registry import build_backbone

    backbone = build_backbone(name, weights="none", input_size=(size, size))
    assert backbone.dimension == BACKBONES[name].dimension
