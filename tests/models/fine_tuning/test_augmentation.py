"""Augmented images: what each change does, and that nothing but seed, epoch and image decides it."""

import numpy as np
import pytest

from aisles.data_prep.images.fitting import Fitting
from aisles.models.batches import pixel_batches
from aisles.models.fine_tuning import augmentation as augmenting
from aisles.models.fine_tuning.augmentation import changer, draw_of
from aisles.models.fine_tuning.settings import Augmentation

pytestmark = pytest.mark.keras
NOTHING = {"flip": False, "rotation": 0, "zoom": 0, "translation": 0, "contrast": 0, "brightness": 0}
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
SMOOTH = np.tile(np.linspace(40, 200, 32, dtype=np.uint8)[None, :, None], (24, 1, 3))


def changed(image=IMAGE, number=0, epoch=0, **settings):
    augmentation = Augmentation(**{**NOTHING, **settings})
    return augmenting.changed(augmentation, image, draw_of(0, epoch), number).numpy()


def test_without_changes_a_image_stays_as_it_is():
    np.testing.assert_array_equal(changed(), IMAGE)


def test_about_half_of_the_images_are_mirrored_exactly():
    flips = [changed(number=number, flip=True) for number in range(40)]
    mirrored = sum(np.array_equal(one, IMAGE[:, ::-1]) for one in flips)
    same = sum(np.array_equal(one, IMAGE) for one in flips)
    assert mirrored + same == 40
    assert 10 < mirrored < 30


def test_translation_moves_a_point_by_no_more_than_asked():
    dot = np.zeros((41, 41, 3), np.uint8)
    dot[20, 20] = 255
    places = []
    for number in range(30):
        light = changed(dot, number, translation=0.2).astype(float)[..., 0]
        places.append([(np.arange(41) * light.sum(axis)).sum() / light.sum() for axis in (0, 1)])
    shifts = np.abs(np.array(places) - 20)
    assert shifts.max() <= 0.2 * 41 + 0.5
    assert (shifts.max(axis=0) > 4).all()


def test_rotation_turns_about_the_center():
    line = np.zeros((41, 41, 3), np.uint8)
    line[20, 5:36] = 255
    angles = []
    for number in range(20):
        rows, columns = np.nonzero(changed(line, number, rotation=30)[..., 0] > 60)
        angles.append(np.degrees(np.arctan(np.polyfit(columns - 20, rows - 20, 1)[0])))
        assert abs(rows.mean() - 20) < 0.7
    assert max(np.abs(angles)) <= 31
    assert min(angles) < -10 and max(angles) > 10


def test_zoom_changes_the_size_by_no_more_than_asked():
    square = np.zeros((60, 60, 3), np.uint8)
    square[20:40, 20:40] = 255
    sides = [np.sqrt((changed(square, number, zoom=0.5)[..., 0] > 127).sum()) for number in range(25)]
    assert 9 <= min(sides) < 15
    assert 25 < max(sides) <= 31


def test_brightness_and_contrast_change_mean_and_spread():
    means = [changed(SMOOTH, number, brightness=0.1).mean() - SMOOTH.mean() for number in range(20)]
    assert 10 < max(np.abs(means)) <= 26
    spreads = [changed(SMOOTH, number, contrast=0.2).std() / SMOOTH.std() for number in range(20)]
    assert 0.79 <= min(spreads) < 0.95 and 1.05 < max(spreads) <= 1.21


def test_the_outside_is_filled_with_the_mirror_image():
    white = np.full((16, 16, 3), 255, np.uint8)
    assert (changed(white, rotation=45, zoom=0.5, translation=0.3) == 255).all()


def test_seed_epoch_and_image_decide_and_order_does_not():
    rng = np.random.default_rng(1)
    files = [_png(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)) for _ in range(6)]
    augmentation = Augmentation()

    def images(order, seed=0, epoch=0):
        change = changer(augmentation, seed, epoch)
        batches = pixel_batches(files, Fitting((10, 10)), 4, order=np.array(order), change=change)
        together = np.concatenate(list(batches))
        return dict(zip(order, together, strict=True))

    forth, back = images([0, 1, 2, 3, 4, 5]), images([5, 3, 1])
    for index, image in back.items():
        np.testing.assert_array_equal(image, forth[index])
    assert not np.array_equal(images([0], epoch=1)[0], forth[0])
    assert not np.array_equal(images([0], seed=1)[0], forth[0])


@pytest.mark.parametrize("settings", [{"zoom": 1.0}, {"contrast": -0.1}, {"rotation": 181}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Augmentation(**settings)


def _png(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
