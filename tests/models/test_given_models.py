"""Classifiers of models that were trained elsewhere."""

import keras
import numpy as np
import pytest
from keras import layers

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.prediction.label_model import GivenModel
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

HIERARCHY = Hierarchy(("FRUIT", "DRINK", "OTHER"), (("pear", "apple"), ("milk", "juice"), ("box",)))


def network(n_outputs, size=8, seed=0, dtype="float32"):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((size, size, 3), dtype=dtype),
            layers.Rescaling(1 / 127.5, -1),
            layers.Conv2D(2, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(n_outputs, activation="softmax", kernel_initializer="random_normal"),
        ]
    )


@pytest.mark.keras
def test_keras_models_and_callables_of_different_sizes_make_one_classifier():
    router, fruit = network(3, 8), network(2, 12, seed=1, dtype="uint8")

    def drink(pixels):
        share = pixels.mean((1, 2, 3)) / 255
        return np.c_[share, 1 - share]

    classifier = TwoStageClassifier.from_models(
        (router, ["DRINK", "FRUIT", "OTHER"]),
        {"FRUIT": (fruit, ["apple", "pear"]), "DRINK": GivenModel(drink, ["milk", "juice"], (4, 4))},
        HIERARCHY,
    )
    images = np.random.default_rng(0).integers(0, 255, (5, 24, 24, 3), dtype=np.uint8)
    probs = classifier.predict_proba(images)
    np.testing.assert_allclose(probs.sum(1), 1)

    from PIL import Image

    def squashed(size):
        return np.stack([np.asarray(Image.fromarray(p).resize((size, size), 2)) for p in images])

    macro = router(squashed(8).astype("float32")).numpy()
    inside = fruit(squashed(12)).numpy()
    by_name = dict(zip(classifier.classes_, probs.T, strict=True))
    np.testing.assert_allclose(by_name["apple"], macro[:, 1] * inside[:, 0], atol=1e-6)
    np.testing.assert_allclose(by_name["pear"], macro[:, 1] * inside[:, 1], atol=1e-6)
    np.testing.assert_allclose(by_name["milk"], macro[:, 0] * drink(squashed(4))[:, 0], atol=1e-6)
    np.testing.assert_allclose(by_name["box"], macro[:, 2], atol=1e-6)


@pytest.mark.keras
def test_preprocessing_of_ones_own_is_applied():
    def halve(pixels):
        return pixels / 2

    model = network(2)
    flat = FlatClassifier(GivenModel(model, ["a", "b"], preprocess=halve))
    images = np.full((2, 8, 8, 3), 200, np.uint8)
    np.testing.assert_allclose(
        flat.predict_proba(images), model(np.full((2, 8, 8, 3), 100.0)).numpy(), atol=1e-6
    )


def uniform(n):
    return lambda pixels: np.full((len(pixels), n), 1 / n)


def test_orders_are_taken_from_the_models_never_guessed():
    class Named:
        classes_ = np.array(["OTHER", "DRINK", "FRUIT"])
        input_size = (2, 2)

        def __call__(self, pixels):
            return np.tile([0.5, 0.3, 0.2], (len(pixels), 1))

    parts = {"FRUIT": (uniform(2), ["apple", "pear"]), "DRINK": (uniform(2), ["juice", "milk"])}
    classifier = TwoStageClassifier.from_models(Named(), parts, HIERARCHY, input_size=(2, 2))
    found = classifier.predict_macro_proba([np.zeros((2, 2, 3), np.uint8)])
    np.testing.assert_allclose(found, [[0.2, 0.3, 0.5]])
    flat = FlatClassifier.from_model(Named(), Named.classes_, input_size=(2, 2))
    assert list(flat.classes_) == ["DRINK", "FRUIT", "OTHER"]
    np.testing.assert_allclose(flat.predict_proba([np.zeros((2, 2, 3), np.uint8)]), [[0.3, 0.2, 0.5]])


GOOD = {"FRUIT": (uniform(2), ["apple", "pear"]), "DRINK": (uniform(2), ["juice", "milk"])}
ROUTER = (uniform(3), ["FRUIT", "DRINK", "OTHER"])


@pytest.mark.parametrize(
    ("router", "parts", "message"),
    [
        (uniform(3), GOOD, r"router doesn't say which output is which class.*\(model, labels\)"),
        ((uniform(3), "abc"), GOOD, "doesn't say"),
        ((uniform(2), ["FRUIT", "DRINK"]), GOOD, r"Missing: \['OTHER'\]"),
        ((uniform(3), ["FRUIT", "DRINK", "TOYS"]), GOOD, r"foreign: \['TOYS'\]"),
        ((uniform(4), ["FRUIT", "DRINK", "OTHER", "OTHER"]), GOOD, "each once"),
        (ROUTER, {"FRUIT": GOOD["FRUIT"]}, r"Missing: \['DRINK'\]"),
        (ROUTER, {**GOOD, "TOYS": (uniform(2), ["a", "b"])}, r"lacks: \['TOYS'\]"),
        (ROUTER, {**GOOD, "DRINK": GOOD["FRUIT"]}, "sub-model of DRINK"),
        (ROUTER, [GOOD["FRUIT"]], "in this order. Received: 1"),
        ((3, ["FRUIT", "DRINK", "OTHER"]), GOOD, "callable"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit_the_hierarchy_are_refused(router, parts, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TwoStageClassifier.from_models(router, parts, HIERARCHY, input_size=(2, 2))


def test_a_callable_has_to_say_its_size():
    with pytest.raises(ValueError, match=r"input_size=\(height, width\)"):
        TwoStageClassifier.from_models(ROUTER, GOOD, HIERARCHY)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda n: np.tile([2.0, -1.0, 0.5], (n, 1)), "Row 0"),
        (lambda n: np.tile([2.0, 1.0, 0.5], (n, 1)), "not logits"),
        (lambda n: np.full((n, 2), 0.5), "one column a label"),
        (lambda n: np.full((n + 1, 3), 1 / 3), "one row an image"),
    ],
)  # fmt: skip
def test_outputs_that_are_no_distributions_are_refused(outputs, message):
    router = (lambda pixels: outputs(len(pixels)), ["FRUIT", "DRINK", "OTHER"])
    classifier = TwoStageClassifier.from_models(router, GOOD, HIERARCHY, input_size=(2, 2))
    with pytest.raises(ValueError, match=message):
        classifier.predict([np.zeros((2, 2, 3), np.uint8)])


@pytest.mark.keras
def test_keras_models_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="3 outputs and 2 labels"):
        GivenModel(network(3), ["a", "b"])
    with pytest.raises(ValueError, match="doesn't fit"):
        GivenModel(network(2), ["a", "b"], (9, 9))
    vectors = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="must take images"):
        GivenModel(vectors, ["a", "b"])
    anysize = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D(), layers.Dense(2)])
    with pytest.raises(ValueError, match="any size"):
        GivenModel(anysize, ["a", "b"])
    assert GivenModel(anysize, ["a", "b"], (5, 6)).input_size == (5, 6)
