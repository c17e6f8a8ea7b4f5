import io
import struct
import tarfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.decoding import check_image, decode_image, load_pixels, read_image_bytes
from aisles.data_prep.io.errors import DataError, UnreadableImage


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixel(data, at=(0, 0)):
    image = decode_image(data)
    assert image.mode == "RGB"
    return image.getpixel(at)


def huge_png(width=100_000, height=100_000):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def noise(size=(64, 48)):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_pixels_come_back_as_they_were():
    image = noise()
    assert np.array_equal(np.asarray(decode_image(encoded(image))), np.asarray(image))
    assert np.array_equal(load_pixels(encoded(image), (48, 64)), np.asarray(image))


def test_sixteen_bit_gray_keeps_its_upper_byte():
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    image = decode_image(encoded(Image.fromarray(values)))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (4, 4), 77), "PNG", (77, 77, 77)),
        (Image.new("1", (4, 4), 1), "PNG", (255, 255, 255)),
        (Image.new("LA", (4, 4), (0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), "PNG", (255, 0, 0)),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 51)), "PNG", (204, 204, 204)),
        (Image.new("I", (4, 4), 40_000), "TIFF", (156, 156, 156)),
        (Image.new("F", (4, 4), 0.5), "TIFF", (127, 127, 127)),
        (Image.new("RGB", (4, 4), (9, 8, 7)), "BMP", (9, 8, 7)),
        (Image.new("RGB", (4, 4), (9, 8, 7)), "PPM", (9, 8, 7)),
        (Image.new("P", (4, 4), 0), "GIF", (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_color_mode_becomes_rgb(image, kind, expected):
    assert pixel(encoded(image, kind)) == expected


def test_a_transparent_palette_color_becomes_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert pixel(encoded(image)) == (10, 20, 30)
    assert pixel(encoded(image, transparency=1)) == (255, 255, 255)
    assert pixel(encoded(image, transparency=b"\xff\x00")) == (255, 255, 255)


def test_a_transparent_rgb_color_becomes_white():
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    assert pixel(encoded(image, transparency=(10, 20, 30))) == (255, 255, 255)


def test_cmyk_is_converted():
    red, green, blue = pixel(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(orientation):
    upright = Image.new("RGB", (32, 16), "black")
    upright.paste("white", (0, 0, 8, 8))
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "JPEG"):
        shown = decode_image(encoded(stored, kind, exif=exif))
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(upright)).max() < 30
        assert not shown.getexif()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"this is not an image", "is text, not an image"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"\x00\x01\x02\x03" * 20, "not in a known image format"),
        (encoded(noise(), "JPEG")[:-400], "is cut off"),
        (encoded(noise(), "JPEG")[:300], "is cut off"),
        (encoded(noise())[:4000], "is cut off"),
        (encoded(noise())[:20], "is cut off|is damaged"),
        (huge_png(), "claims 10,000,000,000 pixels; the limit is 100 megapixels"),
        (huge_png(12_000, 10_000), "claims 12,000 x 10,000 pixels; the limit is 100 megapixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is text"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(data, reason):
    for decode in (decode_image, check_image, lambda data: load_pixels(data, (8, 8))):
        with pytest.raises(UnreadableImage, match=reason):
            decode(data)
    assert issubclass(UnreadableImage, DataError)


def test_a_damaged_middle_is_found_or_decoded_but_never_another_error():
    whole = encoded(noise())
    for at in range(0, len(whole), 97):
        data = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        try:
            decode_image(data)
        except UnreadableImage as error:
            assert str(error)


def test_pillow_warnings_stay_inside_in_threads_too():
    warning_size = huge_png(9_400, 10_000)  # between Pillow's warning and the limit here
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    odd = encoded(palette, transparency=b"\xff\x00")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(_outcome, [warning_size, odd] * 4))
    assert set(outcomes[1::2]) == {"ok"}
    assert all("is cut off" in outcome or "is damaged" in outcome for outcome in outcomes[::2])
    assert list(warnings.filters) == before


def _outcome(data):
    try:
        decode_image(data)
    except UnreadableImage as error:
        return str(error)
    return "ok"


def test_damaged_exif_does_not_lose_the_image():
    data = encoded(Image.new("RGB", (16, 16), "red"), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    assert decode_image(data).size == (16, 16)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("image_size", [(40, 20), (17, 289), (3, 3), (1, 50)])
def test_pixels_have_the_asked_shape(fit, image_size):
    pixels = load_pixels(encoded(noise(image_size)), (12, 20), fit)
    assert pixels.shape == (12, 20, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable


def test_fitting_squashes_crops_or_pads():
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (10, 0, 30, 20))
    data = encoded(image)
    squashed, cropped, padded = (load_pixels(data, (20, 20), fit) for fit in ("squash", "crop", "pad"))
    assert squashed[10, 1].tolist() == [255, 0, 0]
    assert (cropped == [0, 0, 255]).all()
    assert padded[0, 10].tolist() == [255, 255, 255]
    assert padded[10, 0].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="`fit` must be 'crop', 'squash' or 'pad'. Received: 'zoom'"):
        load_pixels(data, (20, 20), "zoom")  # type: ignore[arg-type]


def test_the_quick_jpeg_path_gives_nearly_the_same_pixels():
    smooth = noise((32, 32)).resize((1200, 900), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=95)
    quick = load_pixels(data, (112, 112)).astype(int)
    slow = np.asarray(decode_image(data).resize((112, 112), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(quick - slow).mean() < 1
    assert np.abs(quick - slow).max() < 12


def test_images_are_read_loose_or_from_a_tar_with_odd_names(tmp_path):
    folder = tmp_path / "a folder with spaces & été"
    folder.mkdir()
    loose = folder / "naïve image +1.png"
    noise().save(loose)
    with tarfile.open(folder / "t.tar", "w") as tar:
        tar.add(loose, "in side/naïve.png")
    (folder / "up").mkdir()
    for path in (loose, folder / "t.tar/in side/naïve.png", f"{folder}/up/../t.tar/in side/naïve.png"):
        assert read_image_bytes(path) == loose.read_bytes()


def test_missing_files_and_members_are_unreadable(tmp_path):
    with pytest.raises(UnreadableImage, match="can't be read: No such file"):
        read_image_bytes(tmp_path / "no.jpg")
    with tarfile.open(tmp_path / "t.tar", "w"):
        pass
    with pytest.raises(UnreadableImage, match="no member 'no.jpg'"):
        read_image_bytes(tmp_path / "t.tar/no.jpg")
    with pytest.raises(UnreadableImage, match="can't be read"):
        read_image_bytes(tmp_path)


def test_real_photographs_decode(shared):
    for path in sorted((shared / "abo/golden").glob("*.jpg")):
        assert max(decode_image(read_image_bytes(path)).size) <= 256
