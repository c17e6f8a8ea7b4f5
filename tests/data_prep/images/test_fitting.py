"""From an image of any size to the pixels that a network takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aisles.data_prep.images.decoding import decode_image, load_fitted
from aisles.data_prep.images.fitting import Fitting


def noise(width, height):
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_a_crop_share_of_seven_eighths_takes_the_center_224_of_256_pixels():
    image = noise(256, 256)
    wanted = np.asarray(image)[16:240, 16:240]
    np.testing.assert_array_equal(Fitting((224, 224), "crop", 0.875, "bicubic").pixels(image), wanted)


def test_the_crop_of_a_wide_image_is_centered_and_keeps_the_ratio():
    image = noise(400, 256)
    wanted = np.asarray(image)[16:240, 88:312]
    np.testing.assert_array_equal(Fitting((224, 224), "crop", 0.875).pixels(image), wanted)


def test_cropping_agrees_with_resizing_the_shorter_side_and_cutting_then():
    smooth = noise(9, 7).resize((900, 700), Image.Resampling.BICUBIC)
    resized = smooth.resize((round(900 * 256 / 700), 256), Image.Resampling.BICUBIC)
    left = (resized.width - 224) // 2
    other = np.asarray(resized)[16:240, left : left + 224].astype(int)
    ours = Fitting((224, 224), "crop", 0.875, "bicubic").pixels(smooth).astype(int)
    assert np.abs(ours - other).mean() < 2  # half a pixel of another rounding


@pytest.mark.parametrize(
    ("width", "height", "rule"), [(499, 100, "crop"), (500, 100, "pad"), (100, 500, "pad")]
)
def test_images_of_one_to_five_and_beyond_are_padded_instead_of_cut(width, height, rule):
    fitting = Fitting((20, 20), "crop", 0.875)
    assert fitting.rule_for((width, height)) == rule
    image = Image.new("RGB", (width, height), "red")
    pixels = fitting.pixels(image)
    assert (pixels == [255, 255, 255]).all(-1).any() == (rule == "pad")
    assert Fitting((20, 20), "squash").rule_for((width, height)) == "squash"


def test_the_shape_counts_relative_to_the_result():
    assert Fitting((10, 50), "crop").rule_for((500, 100)) == "crop"
    assert Fitting((10, 50), "crop").rule_for((100, 100)) == "pad"


def test_a_padded_image_is_whole():
    image = Image.new("RGB", (100, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    image.paste("lime", (80, 0, 100, 20))
    row = Fitting((50, 50), "crop").pixels(image)[25]
    assert row[2].tolist() == [0, 0, 255] and row[47].tolist() == [0, 255, 0]


@given(
    width=st.integers(1, 60), height=st.integers(1, 60), side=st.integers(1, 20),
    fit=st.sampled_from(["crop", "squash", "pad"]), share=st.floats(0.1, 1),
    filter=st.sampled_from(["bilinear", "bicubic"]),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_every_image_gets_the_asked_shape_and_one_color_stays_one_color(
    width, height, side, fit, share, filter
):
    fitting = Fitting((side, side + 3), fit, share, filter)
    pixels = fitting.pixels(Image.new("RGB", (width, height), "white"))
    assert pixels.shape == (side, side + 3, 3) and (pixels == 255).all()
    assert Fitting.from_dict(fitting.to_dict()) == fitting


def test_a_large_jpeg_decoded_smaller_gives_nearly_the_same_crop(tmp_path):
    smooth = noise(40, 30).resize((2400, 1800), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    fitting = Fitting((112, 112), "crop", 0.875, "bicubic")
    quick = load_fitted(tmp_path / "a.jpg", fitting).astype(int)
    slow = fitting.pixels(decode_image((tmp_path / "a.jpg").read_bytes())).astype(int)
    assert np.abs(quick - slow).mean() < 1


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"size": (0, 4)}, "1 or more pixels"),
        ({"size": (4, 4), "fit": "zoom"}, "Received: 'zoom'"),
        ({"size": (4, 4), "filter": "nearest"}, "Received: 'nearest'"),
        ({"size": (4, 4), "crop_share": 1.2}, "over 0 and at most 1"),
        ({"size": (4, 4), "crop_share": float("nan")}, "over 0 and at most 1"),
    ],
)
def test_fittings_that_make_no_sense_are_refused(facts, message):
    with pytest.raises(ValueError, match=message):
        Fitting(**facts)


@pytest.mark.parametrize("shape", [(61, 40), (1500, 640), (640, 1500), (90, 70)])
def test_a_resize_goes_along_the_rows_first_whichever_way_this_pillow_prefers(shape):
    image = noise(*shape)
    found = Fitting((24, 30), "squash", filter="bicubic").pixels(image)
    rows = image.resize((30, image.height), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found, np.asarray(rows.resize((30, 24), Image.Resampling.BICUBIC)))
