"""Explanations: the answers and heat maps of the models themselves, from one decoding and one pass."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from aisles.models.backbones.registry import wrap_backbone
from aisles.models.prediction import images as reading
from aisles.models.prediction.explanation import TrainingImages, explain
from aisles.models.prediction.grad_cam import heat_map_of
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

pytestmark = pytest.mark.keras


class Counted(keras.layers.Layer):
    """Passes its input on and counts how often, compiled or not."""

    passes = 0

    def call(self, x):
        def count():
            Counted.passes += 1
            return np.int64(0)

        with tf.control_dependencies([tf.numpy_function(count, [], tf.int64)]):
            return tf.identity(x)

    def compute_output_shape(self, shape):
        return shape


@pytest.fixture
def counted(make_model, hierarchy):
    """Make a two-stage classifier with a flat model, all on one backbone that counts its passes."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(2, 3, strides=2, activation="relu", name="maps")(Counted()(pixels))
    backbone = wrap_backbone(keras.Model(pixels, maps), "counted", preprocessing="symmetric")
    models = [make_model(names, backbone, 10 + i) for i, names in enumerate(hierarchy.members)]
    router, flat = make_model(hierarchy.macros, backbone, 1), make_model(hierarchy.classes, backbone, 2)
    return TwoStageClassifier(router, models, hierarchy, flat=flat)


def test_an_image_is_decoded_once_and_passes_a_shared_backbone_once(counted, tmp_path, monkeypatch, images):
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    training = TrainingImages(counted.router.backbone, paths, ["a"] * len(paths), cache=tmp_path / "cache")
    seen = paths[1]
    decoded, decode = [], reading.decode_image
    monkeypatch.setattr(reading, "decode_image", lambda content: decoded.append(content) or decode(content))
    Counted.passes = 0
    found = explain(counted, seen, training=training)
    assert (len(decoded), Counted.passes) == (2, 1)  # the image, and the training image as like as itself
    assert [stage.heat is not None for stage in found.stages] == [True, found.stages[1].n_labels > 1, True]
    assert len(found.neighbors) == min(len(paths) - 1, 6)
    assert seen not in [neighbor.path for neighbor in found.neighbors]


@pytest.mark.parametrize("separate", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("rule", ["soft", "hard", "hie"])
def test_stages_say_what_the_models_say(make_two_stage, hierarchy, images, separate, rule):
    classifier = make_two_stage(hierarchy, separate=separate, temperature=2.0)
    for image in images[:4]:
        found = explain(classifier, image, rule=rule)
        (expected,) = classifier.predict([image], rule=rule)
        assert found.prediction.label == expected.label
        assert found.prediction.probability == pytest.approx(expected.probability, abs=1e-6)
        macro = hierarchy.macros.index(expected.macro)
        models = {
            "router": classifier.router,
            f"submodel {macro}": classifier.submodels[macro],
            "flat": classifier.flat,
        }
        for stage, (name, model) in zip(found.stages, models.items(), strict=True):
            probs = classifier.model_proba(name, [image])[0]
            assert dict(stage.bars) == pytest.approx(dict(zip(model.labels, probs, strict=True)), abs=1e-6)
            draw = heat_map_of(model)
            if draw is None:
                assert stage.heat is None
            else:
                np.testing.assert_allclose(
                    stage.heat, draw(image, model.labels.index(stage.about)), atol=1e-5
                )


def test_a_flat_model_is_explained_alone_and_beside_a_two_stage_classifier(make_two_stage, hierarchy, images):
    classifier = make_two_stage(hierarchy, flat=False)
    flat = FlatClassifier(make_two_stage(hierarchy).flat)
    alone = explain(flat, images[0])
    beside = explain(classifier, images[0], flat=flat)
    assert [stage.title for stage in beside.stages][-1] == "Flat model" and len(beside.stages) == 3
    np.testing.assert_allclose(alone.stages[0].heat, beside.stages[-1].heat, atol=1e-6)
    with pytest.raises(TypeError, match="Give a flat classifier"):
        explain(classifier, images[0], flat=classifier)
