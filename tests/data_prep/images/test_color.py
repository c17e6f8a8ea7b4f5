"""Every pixel mode and color profile to 8-bit sRGB."""

import io
import struct
import threading
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageCms

from aisles.data_prep.images import color, decoding
from aisles.data_prep.images.decoding import decode_image, load_pixels
from aisles.data_prep.io.errors import UnreadableImage


def encoded(image, kind="PNG", **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def gray_of(values, kind="PNG"):
    return np.asarray(decode_image(encoded(Image.fromarray(values), kind)))[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (np.array([[0, 100, 255]], np.uint16), "PNG", [0, 100, 255]),
        (np.array([[0, 2048, 4095]], np.uint16), "PNG", [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.uint16), "PNG", [0, 128, 255]),
        (np.array([[-7, 100, 255]], np.int32), "TIFF", [0, 100, 255]),
        (np.array([[0, 1 << 30, (1 << 31) - 1]], np.int32), "TIFF", [0, 64, 127]),
        (np.array([[0, 0.5, 1]], np.float32), "TIFF", [0, 127, 255]),
        (np.array([[-3, 127.5, 255]], np.float32), "TIFF", [0, 127, 255]),
        (np.array([[0, 32768, 65535]], np.float32), "TIFF", [0, 127, 255]),
        (np.array([[np.nan, 0.5, 1]], np.float32), "TIFF", [0, 127, 255]),
        (np.array([[-np.inf, 0.5, 1]], np.float32), "TIFF", [0, 127, 255]),
    ],
    ids=["8 of 16", "12 of 16", "16", "8 of 32", "31 of 32", "0-1", "0-255", "0-65535", "nan", "infinite"],
)
def test_deep_gray_is_scaled_by_its_greatest_value(values, kind, expected):
    assert gray_of(values, kind) == expected


def test_fractions_without_a_known_white_are_refused_by_name():
    with pytest.raises(UnreadableImage, match="fractions up to 1e.06"):
        gray_of(np.array([[0, 1e6]], np.float32), "TIFF")


@pytest.mark.parametrize(("mode", "black", "white"), [("1", 0, 1), ("L", 0, 255), ("I;16", 0, 65535)])
def test_a_transparent_gray_level_becomes_white(mode, black, white):
    image = Image.new(mode, (2, 1), black)
    assert decode_image(encoded(image, transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    image.putpixel((0, 0), white)
    assert decode_image(encoded(image, transparency=white)).getpixel((1, 0)) == (0, 0, 0)


def test_strips_give_what_the_whole_gives(monkeypatch):
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (50, 31, 4), dtype=np.uint8), "RGBA"),
        Image.fromarray(rng.integers(0, 5000, (50, 31)).astype(np.uint16)),
        Image.fromarray(rng.integers(0, 256, (50, 31, 4), dtype=np.uint8), "CMYK"),
        Image.fromarray(rng.integers(0, 256, (50, 31), dtype=np.uint8)).convert("P"),
    ]
    whole = [np.asarray(color.as_srgb(image)) for image in images]
    monkeypatch.setattr(color, "STRIP", 100)
    for image, wanted in zip(images, whole, strict=True):
        np.testing.assert_array_equal(np.asarray(color.as_srgb(image)), wanted)


def display_p3():
    """Return sRGB's profile with the primaries of Display P3, adapted to D50 (as phones embed it)."""
    raw = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for i in range(struct.unpack(">I", raw[128:132])[0]):
        tag, offset, _ = struct.unpack(">4sII", raw[132 + 12 * i : 144 + 12 * i])
        if tag in primaries:
            raw[offset + 8 : offset + 20] = struct.pack(">iii", *[round(v * 65536) for v in primaries[tag]])
    return bytes(raw)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_a_photograph_in_display_p3_looks_as_in_srgb(kind):
    smooth = np.random.default_rng(1).integers(60, 200, (6, 6, 3), dtype=np.uint8)
    srgb = Image.fromarray(smooth).resize((96, 96), Image.Resampling.BICUBIC)
    profile = display_p3()
    p3 = ImageCms.profileToProfile(srgb, ImageCms.createProfile("sRGB"), io.BytesIO(profile))
    options = {"lossless": True} if kind == "WEBP" else {} if kind in ("PNG", "TIFF") else {"quality": 98}
    data = encoded(p3, kind, icc_profile=profile, **options)
    wanted = np.asarray(srgb).astype(int)
    assert np.abs(np.asarray(p3).astype(int) - wanted).mean() > 3
    assert np.abs(np.asarray(decode_image(data)).astype(int) - wanted).mean() < 1.5
    assert np.abs(load_pixels(data, (96, 96)).astype(int) - wanted).mean() < 1.5


def test_a_profile_is_applied_to_transparent_and_gray_images_too():
    profile = display_p3()
    over = Image.new("RGBA", (4, 4), (200, 40, 40, 255))
    plain = Image.new("RGB", (4, 4), (200, 40, 40))
    got, wanted = (
        decode_image(encoded(image, icc_profile=profile)).getpixel((0, 0)) for image in (over, plain)
    )
    assert got == wanted != (200, 40, 40)
    clear = Image.new("RGBA", (4, 4), (200, 40, 40, 0))
    assert decode_image(encoded(clear, icc_profile=profile)).getpixel((0, 0)) == (255, 255, 255)


def test_srgb_and_damaged_profiles_change_nothing():
    image = Image.new("RGB", (4, 4), (200, 40, 40))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile", display_p3()[:200], bytes(500)):
        assert decode_image(encoded(image, icc_profile=profile)).getpixel((0, 0)) == (200, 40, 40)


def test_a_phone_photograph_of_108_megapixels_is_decoded_at_reduced_size():
    data = encoded(Image.new("RGB", (12000, 9000), (10, 200, 30)), "JPEG", quality=30)
    pixels = load_pixels(data, (224, 224))
    assert np.abs(pixels.astype(int) - (10, 200, 30)).max() <= 3
    assert decode_image(data).size == (6000, 4500)


def test_a_progressive_jpeg_over_the_limit_is_refused_before_it_is_decoded():
    data = encoded(Image.new("L", (12000, 9000)), "JPEG", quality=30, progressive=True)
    with pytest.raises(UnreadableImage, match="claims 12,000 x 9,000 pixels"):
        load_pixels(data, (224, 224))


def test_the_memory_of_a_deep_gray_image_is_a_few_bytes_per_pixel():
    side = 5000
    data = encoded(Image.new("I;16", (side, side), 300))
    tracemalloc.start()
    load_pixels(data, (64, 64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * side * side  # of what numpy and Python hold; it was 17 bytes per pixel


def test_decoding_waits_while_others_hold_the_memory(monkeypatch):
    most, now, lock, seen = 1000, [0], threading.Lock(), []
    allowance = decoding._Allowance(most)

    def hold(amount):
        with allowance.of(amount):
            with lock:
                now[0] += amount
                seen.append(now[0])
            threading.Event().wait(0.005)
            with lock:
                now[0] -= amount

    threads = [threading.Thread(target=hold, args=(300,)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 12 and max(seen) <= most
    with allowance.of(5 * most):  # larger than all there is: alone, but not refused
        pass
    assert allowance.taken == 0


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(300)


def test_avif_is_read_and_heic_is_named(monkeypatch):
    image = Image.new("RGB", (32, 32), (10, 200, 30))
    got = decode_image(encoded(image, "AVIF", quality=95)).getpixel((9, 9))
    assert np.abs(np.subtract(got, (10, 200, 30))).max() <= 4
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UnreadableImage, match=r"is HEIC.*\.\[heic\]"):
        decode_image(HEIC)


def test_heic_is_read_with_its_extra():
    heif = pytest.importorskip("pillow_heif")
    data = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 64), (10, 200, 30))).save(data, quality=95)
    got = decode_image(data.getvalue()).getpixel((9, 9))
    assert np.abs(np.subtract(got, (10, 200, 30))).max() <= 4
    with pytest.raises(UnreadableImage):
        decode_image(HEIC)
