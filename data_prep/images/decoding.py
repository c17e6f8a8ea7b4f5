"""From image files of any kind, loose or inside a tar, to 8-bit RGB pixels."""

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, TiffImagePlugin, WebPImagePlugin

from aisles.data_prep.io.archive import ArchiveError, open_tar, split_tar_path
from aisles.data_prep.io.errors import UnreadableImage

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
PIXEL_LIMIT = 100_000_000
# A fixed list, so that no file can start an exotic decoder (EPS would start Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_REGISTERED = (TiffImagePlugin, WebPImagePlugin)  # Pillow loads the others by itself
ORIENTATION_TAG = 0x0112
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")

Fit = Literal["squash", "crop", "pad"]


def read_image_bytes(path: str | Path) -> bytes:
    """Read an image file, loose or inside a tar.

    Parameters
    ----------
    path : str or Path
        A file; or, where one of the path's components is a `.tar` file, a member of that tar.

    Returns
    -------
    bytes
        The file's content.

    Raises
    ------
    UnreadableImage
        If there is no such file or member, or it can't be read.
    """
    inside = split_tar_path(path)
    if inside is not None:
        tar, member = inside
        try:
            return open_tar(tar).read(member)
        except ArchiveError as error:
            raise UnreadableImage(str(error)) from error
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError as error:
        raise UnreadableImage(f"can't be read: {error.strerror or error}") from error


def decode_image(data: bytes) -> Image.Image:
    """Decode an image as a person would see it, in 8-bit RGB.

    The orientation stored in EXIF is applied, transparency is laid over white, 16-bit gray keeps its
    upper eight bits, CMYK and palettes are converted. Of several frames the first counts.

    Parameters
    ----------
    data : bytes
        The file's content: JPEG, PNG, WebP, GIF, BMP, TIFF or PPM.

    Returns
    -------
    PIL.Image.Image
        In mode RGB, upright.

    Raises
    ------
    UnreadableImage
        If the file is empty, no image, cut off or damaged, or claims more than 100 megapixels
        (checked in the header, before any pixel is decoded).
    """
    return _without_info(_decode(data))


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an image that somebody has opened as `decode_image` gives the file: upright, in 8-bit RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode, perhaps not loaded yet; of several frames the one that it stands at counts.

    Returns
    -------
    PIL.Image.Image
        A new one in mode RGB.

    Raises
    ------
    UnreadableImage
        If it can't be loaded or converted, or has more than 100 megapixels.
    """
    with _pillow_errors():
        _check_size(image.size)
        return _without_info(_loaded(image))


def check_image(data: bytes) -> None:
    """Decode an image only to see whether it can be decoded; raises as `decode_image`.

    A JPEG is read to its end, but only an eighth of its size is computed.
    """
    _decode(data, at_least=1)


def load_pixels(source: str | Path | bytes, size: tuple[int, int], fit: Fit = "squash") -> np.ndarray:
    """Read, decode and resize one image.

    Parameters
    ----------
    source : str, Path or bytes
        A path as in `read_image_bytes`, or the file's content.
    size : tuple of (int, int)
        Height and width of the result in pixels.
    fit : {"squash", "crop", "pad"}
        What happens to another aspect ratio: both sides are scaled on their own; the center is cut
        out; or the whole image is shown between white bars.

    Returns
    -------
    ndarray of uint8, of shape (height, width, 3)
        RGB, 0-255; bilinear with antialiasing.

    Raises
    ------
    UnreadableImage
        As in `read_image_bytes` and `decode_image`.
    """
    data = source if isinstance(source, bytes) else read_image_bytes(source)
    image = _decode(data, at_least=2 * max(size))
    return np.array(resize_image(image, size, fit))


def resize_image(image: Image.Image, size: tuple[int, int], fit: Fit = "squash") -> Image.Image:
    """Resize an image, bilinear with antialiasing; `size` is (height, width), `fit` as in `load_pixels`."""
    height, width = size
    if fit == "squash":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    if fit == "crop":
        return image.resize((width, height), Image.Resampling.BILINEAR, box=_center_box(image.size, size))
    if fit == "pad":
        return _padded(image, height, width)
    raise ValueError(f"`fit` must be 'squash', 'crop' or 'pad'. Received: {fit!r}.")


def _center_box(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    height, width = size
    scale = min(image_size[0] / width, image_size[1] / height)
    left = (image_size[0] - width * scale) / 2
    top = (image_size[1] - height * scale) / 2
    return left, top, left + width * scale, top + height * scale


def _padded(image: Image.Image, height: int, width: int) -> Image.Image:
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (width, height), "white")
    place = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    canvas.paste(image.resize(inner, Image.Resampling.BILINEAR), place)
    return canvas


# ---- decoding -----------------------------------------------------------------------------------


def _decode(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode to RGB; a JPEG may come out smaller, though no side under `at_least` pixels for that.

    Scaling inside the JPEG decoder down to twice the wanted size, then antialiasing, is what Pillow
    itself calls close to fair resampling (`reducing_gap=2`).
    """
    if not data:
        raise UnreadableImage("is empty (0 bytes)")
    with _pillow_errors(data), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image.size)
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        return _loaded(image)


@contextmanager
def _pillow_errors(data: bytes = b"") -> Iterator[None]:
    """Turn whatever Pillow raises into `UnreadableImage`; `data` is the file's content, if there is one."""
    with _quiet_pillow():
        try:
            yield
        except UnreadableImage:
            raise
        except Exception as error:  # decoders of damaged files raise nearly anything
            raise UnreadableImage(_reason(error, data)) from error


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return _upright(_as_rgb(image), image)


def _without_info(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.info = {}  # whoever saves it or turns it upright again shall not find the old orientation
    return image


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > PIXEL_LIMIT:
        raise UnreadableImage(f"claims {width:,} x {height:,} pixels; the limit is 100 megapixels")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        # Pillow knows no direct way from La.
        over = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(white, over).convert("RGB")
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Scale gray values of more than eight bits to 0-255.

    Integers: 16-bit ones lose their lower byte, wider ones too unless they exceed 16 bits, when they
    lose three. Fractions: 0-1 becomes 0-255 if nothing is greater than 1, else 0-255 is kept.
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
        scaled = values * 255 if values.max() <= 1 else values
        return scaled.clip(0, 255).astype(np.uint8)
    values = values.astype(np.int64).clip(0)
    return (values >> (8 if values.max() < 1 << 16 else 24)).clip(0, 255).astype(np.uint8)


def _upright(rgb: Image.Image, original: Image.Image) -> Image.Image:
    try:
        orientation = original.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF is no reason to lose the image
        return rgb
    turn = TURNS.get(orientation)
    return rgb.transpose(turn) if turn is not None else rgb


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _reason(error: Exception, data: bytes) -> str:
    if isinstance(error, Image.DecompressionBombError):
        count = re.search(r"\d+", str(error))
        claimed = f"{int(count.group()):,} pixels" if count else "too many pixels"
        return f"claims {claimed}; the limit is 100 megapixels"
    if isinstance(error, Image.UnidentifiedImageError):
        return _what_it_is(data)
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    text = str(error) or type(error).__name__
    if "truncated" in text.lower() or "unexpected end" in text.lower():
        size = f"{len(data):,} bytes; " if data else ""
        return f"is cut off: the file ends inside the image ({size}{text})"
    return f"is damaged ({text})"


def _what_it_is(data: bytes) -> str:
    """Say what a file that is no known image looks like."""
    start = data[:512]
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "is a web page or an SVG drawing, not a photograph"
    if start.startswith(b"\xff\xd8\xff") or start.startswith(b"\x89PNG"):
        return f"is cut off: the file ends inside its header ({len(data):,} bytes)"
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in start)
    if printable > 0.95 * len(start) and b"\0" not in start:
        return f"is text, not an image (it begins {start[:24].decode('utf-8', 'replace')!r})"
    return f"is not in a known image format (JPEG, PNG, WebP, GIF, BMP, TIFF); it begins {start[:8]!r}"


# Pillow warns about odd but readable files, from any of our threads. `warnings.catch_warnings` works
# on the whole process, so the first decoder in switches the warnings off and the last one out on again.
_quiet_lock = threading.Lock()
_quiet_count = 0
_quiet_context: warnings.catch_warnings | None = None


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    global _quiet_count, _quiet_context
    with _quiet_lock:
        _quiet_count += 1
        if _quiet_count == 1:
            _quiet_context = warnings.catch_warnings()
            _quiet_context.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\b")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_count -= 1
            if _quiet_count == 0 and _quiet_context is not None:
                _quiet_context.__exit__(None, None, None)
                _quiet_context = None
