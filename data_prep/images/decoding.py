"""From image files of any kind, loose or inside a tar, to 8-bit RGB pixels."""

import importlib
import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import AvifImagePlugin, Image, TiffImagePlugin, WebPImagePlugin

from aisles.data_prep.io.archive import ArchiveError, open_tar, split_tar_path
from aisles.data_prep.io.errors import UnreadableImage
from aisles.data_prep.io.files import image_limit, read_regular
from aisles.data_prep.io.memory import give_memory_back

from .color import as_srgb, bytes_a_pixel
from .fitting import Fit, Fitting

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm",
        ".avif", ".heic", ".heif",
    }
)  # fmt: skip
"""HEIC files are listed so that they are named: reading them takes the extra `heic`."""
PIXEL_LIMIT = 100_000_000
JPEG_LIMIT = 178_000_000  # of a JPEG decoded at reduced size, if not progressive; Pillow refuses larger ones
IN_FLIGHT = 1_000_000_000  # bytes that all threads together may decode at once
GIVE_BACK = 250_000_000  # decoded bytes after which freed memory is given back to the system
# A fixed list, so that no file can start an exotic decoder (EPS would start Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_REGISTERED = (AvifImagePlugin, TiffImagePlugin, WebPImagePlugin)  # Pillow loads the others by itself
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
ORIENTATION_TAG = 0x0112


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
        If there is no such file or member, it can't be read, is not a regular file, or is larger than
        `files.image_limit`.
    """
    inside = split_tar_path(path)
    if inside is not None:
        tar, member = inside
        try:
            return open_tar(tar).read(member, image_limit())
        except ArchiveError as error:
            raise UnreadableImage(str(error)) from error
    try:
        return read_regular(path, image_limit())
    except OSError as error:
        raise UnreadableImage(f"can't be read: {error.strerror or error}") from error


def decode_image(data: bytes) -> Image.Image:
    """Decode an image as a person would see it, in 8-bit RGB.

    The orientation stored in EXIF is applied; colors become sRGB by the rules of `color.as_srgb`. Of several frames
    the first counts. A JPEG of more than 100 megapixels comes out at half, a quarter or an eighth of its size.

    Parameters
    ----------
    data : bytes
        The file's content: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or AVIF; HEIC with the extra `heic`.

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
        with _decoding.of(_area(image.size) * bytes_a_pixel(image.mode)):
            return _without_info(_loaded(image))


def check_image(data: bytes) -> None:
    """Decode an image only to see whether it can be decoded; raises as `decode_image`.

    A JPEG is read to its end, but only an eighth of its size is computed.
    """
    _decode(data, at_least=1)


def image_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) in pixels as the header claims them, without decoding; raises as `decode_image`."""
    with _pillow_errors(data), Image.open(io.BytesIO(data), formats=_formats(data)) as image:
        return image.height, image.width


def load_pixels(source: str | Path | bytes, size: tuple[int, int], fit: Fit = "squash") -> np.ndarray:
    """Read, decode and resize one image, bilinear; see `load_fitted`."""
    return load_fitted(source, Fitting(size, fit))


def load_fitted(source: str | Path | bytes, fitting: Fitting) -> np.ndarray:
    """Read, decode and resize one image.

    Parameters
    ----------
    source : str, Path or bytes
        A path as in `read_image_bytes`, or the file's content.
    fitting : Fitting
        Size, crop and filter of the result.

    Returns
    -------
    ndarray of uint8, of shape (height, width, 3)
        RGB, 0-255.

    Raises
    ------
    UnreadableImage
        As in `read_image_bytes` and `decode_image`.
    """
    data = source if isinstance(source, bytes) else read_image_bytes(source)
    return fitting.pixels(_decode(data, at_least=fitting.enough))


# ---- decoding -----------------------------------------------------------------------------------


def _decode(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode to RGB; a JPEG may come out smaller, though no side under `at_least` pixels for that.

    Scaling inside the JPEG decoder down to twice the wanted size, then antialiasing, is what Pillow
    itself calls close to fair resampling (`reducing_gap=2`).
    """
    if not data:
        raise UnreadableImage("is empty (0 bytes)")
    with _pillow_errors(data), Image.open(io.BytesIO(data), formats=_formats(data)) as image:
        _check_claim(image)
        original = image.size
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        elif _area(image.size) > PIXEL_LIMIT:
            image.draft(None, _reduced(image.size))
        _check_size(image.size)
        held = original if image.info.get("progressive") else image.size
        with _decoding.of(_area(held) * bytes_a_pixel(image.mode)):
            return _loaded(image)


def _formats(data: bytes) -> tuple[str, ...]:
    """Return the formats that may be decoded, with HEIF where the file is one and the extra is installed."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError:
            return FORMATS
        return (*FORMATS, "HEIF")
    return FORMATS


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest of half, quarter and eighth that is within the limit."""
    by = next((by for by in (2, 4) if _area(size) <= PIXEL_LIMIT * by * by), 8)
    return size[0] // by, size[1] // by


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
    return _upright(as_srgb(image), image)


def _without_info(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.info = {}  # whoever saves it or turns it upright again shall not find the old orientation
    return image


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > PIXEL_LIMIT:
        raise UnreadableImage(f"claims {width:,} x {height:,} pixels; the limit is 100 megapixels")


def _check_claim(image: Image.Image) -> None:
    """Check the size before decoding; a JPEG that isn't progressive can be decoded smaller."""
    if image.format == "JPEG" and not image.info.get("progressive") and _area(image.size) <= JPEG_LIMIT:
        return
    _check_size(image.size)


class _Allowance:
    """Bytes that may be decoded at once; who asks for more than are left waits, and who is alone never does.

    After every `GIVE_BACK` of them, freed memory goes back to the system.
    """

    def __init__(self, most: int):
        self.most, self.taken, self.kept = most, 0, 0
        self.changed = threading.Condition()

    @contextmanager
    def of(self, amount: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: self.taken == 0 or self.taken + amount <= self.most)
            self.taken += amount
        try:
            yield
        finally:
            with self.changed:
                self.taken -= amount
                self.kept += amount
                full = self.kept >= GIVE_BACK
                self.kept = 0 if full else self.kept
                self.changed.notify_all()
            if full:
                give_memory_back()


_decoding = _Allowance(IN_FLIGHT)


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
    """Return in words what a file that is no known image looks like."""
    start = data[:512]
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
        return "is HEIC, which needs the package pillow-heif: python -m pip install '.[heic]'"
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "is a web page or an SVG drawing, not a photograph"
    if start.startswith(b"\xff\xd8\xff") or start.startswith(b"\x89PNG"):
        return f"is cut off: the file ends inside its header ({len(data):,} bytes)"
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in start)
    if printable > 0.95 * len(start) and b"\0" not in start:
        return f"is text, not an image (it begins {start[:24].decode('utf-8', 'replace')!r})"
    return f"is not in a known image format (JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF); it begins {start[:8]!r}"


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
