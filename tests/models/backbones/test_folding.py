"""Folding batch normalization into convolutions changes nothing but rounding."""

import keras
import numpy as np
import pytest
from keras import layers

from aisles.models.backbones.folding import folded
from aisles.models.backbones.registry import build_backbone, in_precision, wrap_backbone

pytestmark = pytest.mark.keras


def randomized(network, seed=0):
    rng = np.random.default_rng(seed)
    network.set_weights([rng.uniform(0.2, 1.2, weight.shape) for weight in network.get_weights()])
    return network


def count(backbone, kind):
    return sum(isinstance(layer, kind) for layer in backbone.network.layers)


def test_convolutions_of_every_kind_give_the_same_numbers_in_fewer_layers():
    pixels = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, use_bias=True)(pixels)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.BatchNormalization(center=False)(layers.Conv2D(5, 1, use_bias=False)(x))
    backbone = wrap_backbone(randomized(keras.Model(pixels, x)), "odd", preprocessing="symmetric")
    images = np.random.default_rng(1).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    found = folded(backbone)
    assert count(backbone, layers.BatchNormalization) == 3 and count(found, layers.BatchNormalization) == 0
    np.testing.assert_allclose(found.forward(images), backbone.forward(images), rtol=1e-4)


def test_what_somebody_else_reads_too_is_not_folded():
    pixels = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1)(pixels)
    shared = layers.Add()([x, layers.BatchNormalization()(x)])
    bent = layers.BatchNormalization()(layers.Conv2D(3, 1, activation="relu")(shared))
    backbone = wrap_backbone(randomized(keras.Model(pixels, bent)), "read_twice")
    assert folded(backbone) is backbone


def test_a_published_network_keeps_its_features_and_other_precisions_stay():
    backbone = build_backbone("efficientnet_lite0", weights="none", input_size=(32, 32))
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    found = folded(backbone)
    assert count(found, layers.BatchNormalization) == 0
    wanted = backbone.forward(images).numpy()
    np.testing.assert_allclose(found.forward(images), wanted, atol=1e-5 * max(1, np.abs(wanted).max()))
    half = in_precision(backbone, "bfloat16")
    assert folded(half) is half
