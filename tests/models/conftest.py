"""Classifiers small enough to be built anew in every test."""

import keras
import numpy as np
import pytest
from keras import layers

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import wrap_backbone
from aisles.models.heads.building import build_head
from aisles.models.heads.variants import HeadVariant
from aisles.models.prediction.label_model import LabelModel
from aisles.models.prediction.two_stage import TwoStageClassifier

SIZE = 8


def tiny_backbone(seed=0, size=SIZE):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((size, size, 3))
    maps = layers.Conv2D(2, 3, strides=2, activation="relu", name="maps")(pixels)
    return wrap_backbone(keras.Model(pixels, maps, name="two_filters"), "tiny", preprocessing="symmetric")


def tiny_model(labels, backbone, seed=0, temperature=1.0, units=()):
    if len(labels) == 1:
        return LabelModel(tuple(labels))
    variant = HeadVariant(units, batch_norm=False, dropout=0.0, augmentation=False)
    head = build_head(variant, backbone.dimension, len(labels), seed=seed)
    head.set_weights([weight * 6 for weight in head.get_weights()])  # so that images are told apart
    return LabelModel(tuple(labels), backbone, head, temperature)


def tiny_two_stage(hierarchy, *, separate=False, flat=True, temperature=1.0, rule="soft"):
    backbones = iter([tiny_backbone(seed) for seed in range(hierarchy.n_macros + 2)] if separate else [])
    shared = None if separate else tiny_backbone()

    def model(labels, seed):
        return tiny_model(labels, next(backbones) if separate else shared, seed, temperature)

    submodels = [model(members, 10 + i) for i, members in enumerate(hierarchy.members)]
    router = model(hierarchy.macros, 1)
    return TwoStageClassifier(
        router, submodels, hierarchy, flat=model(hierarchy.classes, 2) if flat else None, rule=rule
    )


@pytest.fixture(scope="session")
def make_two_stage():
    """Return the function that makes a two-stage classifier of a hierarchy."""
    return tiny_two_stage


@pytest.fixture
def make_backbone():
    """Return the function that makes a backbone of two filters."""
    return tiny_backbone


@pytest.fixture
def make_model():
    """Return the function that puts a head on a backbone."""
    return tiny_model


@pytest.fixture(scope="session")
def hierarchy():
    """Three macros, one of them of a single class, in no sorted order."""
    return Hierarchy(("warm", "one", "cold"), (("red", "amber", "pink"), ("white",), ("sky", "navy")))


@pytest.fixture(scope="session")
def overlapping():
    """Two macros that share a class."""
    return Hierarchy(("warm", "cold"), (("red", "violet"), ("violet", "blue", "green")))


@pytest.fixture(scope="session")
def images():
    """Twelve images of one color each, with noise, uint8 (8, 8, 3)."""
    rng = np.random.default_rng(0)
    colors = rng.uniform(0, 255, (12, 1, 1, 3))
    return (colors + rng.normal(0, 20, (12, SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)


class Table:
    """A model that looks its answers up: image i is the single pixel (i, 0, 0). It remembers what it was asked."""

    def __init__(self, rows):
        self.rows = np.asarray(rows, float)
        self.asked = []

    def __call__(self, pixels):
        numbers = pixels[:, 0, 0, 0].astype(int)
        self.asked.append(numbers.tolist())
        return self.rows[numbers]

    @property
    def passes(self):
        return sum(map(len, self.asked))


class TableClassifier:
    """A two-stage classifier whose every probability is known beforehand, and its tables."""

    def __init__(self, hierarchy, macro, within, flat=None, rule="soft"):
        self.router = Table(macro)
        self.submodels = [Table(within[:, block]) for block in hierarchy.blocks]
        self.flat = None if flat is None else Table(flat)
        self.classifier = TwoStageClassifier.from_models(
            (self.router, hierarchy.macros),
            [(table, members) for table, members in zip(self.submodels, hierarchy.members, strict=True)],
            hierarchy,
            flat=None if flat is None else (self.flat, hierarchy.classes),
            rule=rule,
            input_size=(1, 1),
        )
        self.images = [np.full((1, 1, 3), i, np.uint8) for i in range(len(macro))]


def random_tables(hierarchy, n, seed, sharpness=1.0):
    """Draw macro, within and flat distributions for n images."""
    rng = np.random.default_rng(seed)

    def rows(width):
        powers = np.exp(sharpness * rng.normal(0, 2, (n, width)))
        return powers / powers.sum(1, keepdims=True)

    within = np.hstack([rows(size) for size in hierarchy.sizes])
    return rows(hierarchy.n_macros), within, rows(hierarchy.n_classes)


@pytest.fixture
def table_classifier():
    """Return the class of classifiers that look answers up."""
    return TableClassifier


@pytest.fixture
def make_tables():
    """Return the function that draws distributions."""
    return random_tables
