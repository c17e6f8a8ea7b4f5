"""Images that somebody has opened already: treated as their files are."""

import io

import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.errors import UnreadableImage
from aisles.models.prediction.images import image_pixels, open_image

FITTINGS = [Fitting((8, 8)), Fitting((5, 7)), Fitting((6, 6), "crop", 0.875, "bicubic")]


def noise(size=(12, 9)):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_opened_image_stands_upright_as_its_file_does(orientation, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    noise().save(path, exif=exif)
    with Image.open(path) as image:
        for ours, files in zip(image_pixels(image, FITTINGS), image_pixels(path, FITTINGS), strict=True):
            np.testing.assert_array_equal(ours, files)
        assert image.getexif()[0x0112] == orientation  # the caller's image stays as it was
        assert not open_image(image).getexif()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("P", (4, 4), 0), (0, 0, 0)),
        (Image.new("LA", (4, 4), (0, 0)), (255, 255, 255)),
        (Image.new("La", (4, 4), (0, 0)), (255, 255, 255)),
        (Image.new("PA", (4, 4), (0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("RGBa", (4, 4), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("RGBX", (4, 4), (9, 8, 7, 0)), (9, 8, 7)),
        (Image.new("CMYK", (4, 4), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("YCbCr", (4, 4), (77, 128, 128)), (77, 77, 77)),
        (Image.new("HSV", (4, 4), (0, 0, 77)), (77, 77, 77)),
        (Image.new("LAB", (4, 4), (255, 128, 128)), (255, 255, 255)),
        (Image.new("I", (4, 4), 40_000), (156, 156, 156)),
        (Image.new("I;16", (4, 4), 40_000), (156, 156, 156)),
        (Image.new("F", (4, 4), 0.5), (127, 127, 127)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_every_mode_becomes_rgb(image, expected):
    (pixels,) = image_pixels(image, [Fitting((4, 4))])
    assert pixels.dtype == np.uint8 and pixels.shape == (4, 4, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_a_transparent_color_of_an_opened_image_becomes_white_as_in_its_file():
    data = io.BytesIO()
    Image.new("RGB", (4, 4), (10, 20, 30)).save(data, "PNG", transparency=(10, 20, 30))
    assert open_image(Image.open(data)).getpixel((0, 0)) == (255, 255, 255)


def test_an_opened_image_that_is_cut_off_or_closed_is_unreadable():
    data = io.BytesIO()
    noise((64, 48)).save(data, "JPEG")
    cut = Image.open(io.BytesIO(data.getvalue()[:-400]))
    with pytest.raises(UnreadableImage, match="is cut off: the file ends inside the image"):
        image_pixels(cut, FITTINGS)
    closed = Image.open(data)
    closed.close()
    with pytest.raises(UnreadableImage, match="is damaged"):
        image_pixels(closed, FITTINGS)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3), (6, 5, 4)])
def test_arrays_of_every_number_of_channels_become_rgb(shape):
    (pixels,) = image_pixels(np.full(shape, 255, np.uint8), [Fitting((6, 5))])
    assert pixels.shape == (6, 5, 3) and (pixels == 255).all()
