"""Heat maps, against class activation maps, which they equal for a linear head."""

import keras
import numpy as np
import pytest
from keras import layers

from aisles.models.backbones.registry import wrap_backbone
from aisles.models.prediction.grad_cam import heat_map_of
from aisles.models.prediction.label_model import GivenModel, LabelModel

pytestmark = pytest.mark.keras


def class_activation_map(maps, kernel, label):
    heat = np.maximum((maps * kernel[:, label]).sum(-1), 0)
    return heat / heat.max() if heat.max() > 0 else heat


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_heat_map_of_a_linear_head_is_the_class_activation_map(
    make_backbone, make_model, images, temperature
):
    backbone = make_backbone()
    model = make_model(("a", "b", "c"), backbone, temperature=temperature)
    maps = keras.Model(backbone.network.input, backbone.network.get_layer("maps").output)(
        images[:1] / 127.5 - 1
    )
    kernel = model.head.get_layer("logits").get_weights()[0]
    draw = heat_map_of(model)
    for label in range(3):
        expected = class_activation_map(maps[0].numpy(), kernel, label)
        np.testing.assert_allclose(draw(images[0], label), expected, atol=1e-4)


def test_it_looks_into_backbones_inside_backbones(images):
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    )
    x = keras.Input((8, 8, 3))
    nested = keras.Model(x, inner(layers.Rescaling(1 / 255)(x)))
    head = keras.Sequential([keras.Input((4,)), layers.Dense(2, activation="softmax")])
    whole = keras.Sequential([keras.Input((8, 8, 3)), nested, head])
    stacked = heat_map_of(LabelModel(("a", "b"), wrap_backbone(nested, "nested"), head))
    given = heat_map_of(GivenModel(whole, ["a", "b"]))
    turned = heat_map_of(GivenModel(whole, ["a", "b"]).reordered(("b", "a")))
    maps = inner.layers[0](images[:1] / 255)[0].numpy()
    kernel = head.layers[0].get_weights()[0]
    for label in (0, 1):
        expected = class_activation_map(maps, kernel, label)
        for draw, position in ((stacked, label), (given, label), (turned, 1 - label)):
            heat = draw(images[0], position)
            assert heat.shape == (6, 6)
            np.testing.assert_allclose(heat, expected, atol=1e-4)


def test_what_cannot_be_looked_into_has_no_heat_map(make_backbone, hierarchy):
    assert heat_map_of(LabelModel(("one",))) is None
    assert heat_map_of(GivenModel(lambda pixels: pixels, ["a", "b"], (4, 4))) is None

    class Own(keras.Model):
        input_shape, output_shape = (None, 4, 4, 3), (None, 2)

        def call(self, x):
            return x

    assert heat_map_of(GivenModel(Own(), ["a", "b"], (4, 4))) is None
