"""Features of augmented views: computed once, found again, in any order."""

import keras
import numpy as np
import pytest
from PIL import Image

from aisles.models.backbones.registry import Backbone, wrap_backbone
from aisles.models.features import extract
from aisles.models.fine_tuning.augmentation import changed, draw_of
from aisles.models.fine_tuning.settings import Augmentation
from aisles.models.fine_tuning.views import extract_views

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture(scope="module")
def backbone():
    inputs = keras.Input((8, 8, 3))
    return wrap_backbone(keras.Model(inputs, keras.layers.Flatten()(inputs)), "pixels")


def test_views_are_the_augmented_images_and_come_from_the_cache_next_time(
    images, backbone, tmp_path, monkeypatch
):
    augmentation = Augmentation()
    views = extract_views(backbone, images, augmentation, 2, cache=tmp_path, batch_size=2)
    assert views.shape == (5, 2, 192)
    import hashlib

    number = int(hashlib.sha256(images[3].read_bytes()).hexdigest()[:15], 16)
    with Image.open(images[3]) as image:
        expected = changed(augmentation, np.asarray(image), draw_of(0, 1), number).numpy()
    np.testing.assert_array_equal(views[3, 1], expected.ravel())
    monkeypatch.setattr(Backbone, "forward", property(lambda _: pytest.fail("passed again")))
    again = extract_views(backbone, images[::-1], augmentation, 2, cache=tmp_path)
    np.testing.assert_array_equal(again, views[::-1])


def test_views_of_other_settings_and_plain_features_are_kept_apart(images, backbone, tmp_path):
    plain = extract(backbone, images, cache=tmp_path).vectors
    some = extract_views(backbone, images, Augmentation(), 1, cache=tmp_path)
    other = extract_views(backbone, images, Augmentation(rotation=90), 1, cache=tmp_path)
    assert not np.array_equal(some[:, 0], plain)
    assert not np.array_equal(some, other)


def test_no_views_are_refused(images, backbone, tmp_path):
    with pytest.raises(ValueError, match="at least 1 view"):
        extract_views(backbone, images, Augmentation(), 0, cache=tmp_path)
