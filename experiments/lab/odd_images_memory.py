r"""Measure the memory of one `aisles predict` over thousands of odd images.

    python -m experiments.lab.odd_images_memory --images 10000 [--bundle BUNDLE]

Images of every mode, depth and format that people have, from 8 x 8 pixels to 12 megapixels, damaged and false ones
among them, in random order. The resident memory of the process is read after each 200 answers. It goes up and down with
the images that are decoded at that moment; its median over the second half may not be higher than over the first but
for `--allowed` megabytes. Without a bundle, one of two filters is made: decoding is what is measured.

2026-11-27, two processors, 10,000 images (1,545 of them unreadable): 869 MB after 200 answers, 767 MB at the end,
687 to 1,040 MB in between, medians 840 and 847 MB. Before freed memory was given back it grew by 195 MB over 1,250
answers.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from experiments.lab.fuzz import _make_bundle

MEASURABLE = sys.platform == "linux"
EVERY = 200
"""Answers between two measurements."""
SIDES = ((8, 8), (64, 300), (640, 480), (31, 1900), (1200, 900))
LARGE = (3000, 4000)


def _pixels(size: tuple[int, int], rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    ramp = np.linspace(0, 200, size[0])[:, None, None] * np.ones((1, size[1], channels))
    return (ramp + rng.integers(0, 55, ramp.shape)).astype(np.uint8)


def _kinds(size: tuple[int, int], rng: np.random.Generator) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    """Yield file name and writer of an image of each kind."""
    color = Image.fromarray(_pixels(size, rng))
    gray = _pixels(size, rng, 1)[..., 0]
    deep = gray.astype(np.uint16) * 16
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "plain.jpg", lambda path: color.save(path, quality=85)
    yield "progressive.jpg", lambda path: color.save(path, quality=85, progressive=True)
    yield "turned.jpg", lambda path: color.save(path, exif=exif)
    yield "profile.jpg", lambda path: color.save(path, icc_profile=profile)
    yield "cmyk.jpg", lambda path: color.convert("CMYK").save(path)
    yield "gray.jpg", lambda path: color.convert("L").save(path)
    yield "alpha.png", lambda path: Image.fromarray(_pixels(size, rng, 4)).save(path)
    yield "gray_alpha.png", lambda path: color.convert("LA").save(path)
    yield "palette.png", lambda path: color.quantize(64).save(path, transparency=3)
    yield "bits.png", lambda path: color.convert("1").save(path)
    yield "deep.png", lambda path: Image.fromarray(deep).save(path)
    yield "deep.tiff", lambda path: Image.fromarray(deep).save(path)
    yield "int.tiff", lambda path: Image.fromarray(deep.astype(np.int32)).save(path)
    yield "float.tiff", lambda path: Image.fromarray(gray.astype(np.float32) * 257).save(path)
    yield (
        "pages.tiff",
        lambda path: color.save(path, save_all=True, append_images=[color] * 3, compression="tiff_lzw"),
    )
    yield (
        "moving.gif",
        lambda path: color.quantize(32).save(path, save_all=True, append_images=[color.quantize(9)]),
    )
    yield "moving.webp", lambda path: color.save(path, save_all=True, append_images=[color.rotate(180)])
    yield "one.avif", lambda path: color.save(path, speed=10)
    yield "one.bmp", lambda path: color.save(path)
    yield "one.ppm", lambda path: color.save(path)
    yield "png_named.jpg", lambda path: color.save(path, "PNG")
    yield "cut.jpg", lambda path: path.write_bytes(_encoded(color, "JPEG")[:-40])
    yield "cut.png", lambda path: path.write_bytes(_encoded(color, "PNG")[:-90])
    yield "text.jpg", lambda path: path.write_text("no image")
    yield "empty.png", lambda path: path.write_bytes(b"")


def _encoded(image: Image.Image, form: str) -> bytes:
    with tempfile.SpooledTemporaryFile() as file:
        image.save(file, form)
        file.seek(0)
        return file.read()


def make_images(folder: Path, seed: int = 0, *, large: bool = True) -> list[Path]:
    """Write an image of each kind in each size, and some large ones.

    Returns
    -------
    list of Path
    """
    rng, made = np.random.default_rng(seed), []
    for size in SIDES:
        for name, write in _kinds(size, rng):
            made.append(folder / f"{size[0]}x{size[1]}-{name}")
            write(made[-1])
    for name, write in _kinds(LARGE, rng) if large else ():
        if name in ("plain.jpg", "progressive.jpg", "alpha.png", "deep.png", "cmyk.jpg"):
            made.append(folder / f"large-{name}")
            write(made[-1])
    return made


def measure(
    bundle: Path, images: list[Path], count: int, seed: int = 0, more: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Predict `count` images drawn from `images` in one process, and read its memory on the way.

    Returns
    -------
    dict
        `megabytes` (after every 200 answers, and the last), `answered`, `unreadable`, and by how much it has grown.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    drawn = np.random.default_rng(seed).integers(len(images), size=count)
    command = [
        sys.executable,
        "-m",
        "aisles",
        "predict",
        str(bundle),
        "-",
        "--csv",
        "--top",
        "1",
        "--quiet",
        *more,
    ]
    megabytes, answered = [], -1  # the header is no answer
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said) as process,
    ):
        given = process.stdin
        assert given is not None and process.stdout is not None
        names = "".join(f"{images[i]}\n" for i in drawn).encode()
        writer = threading.Thread(target=lambda: (given.write(names), given.close()))
        writer.start()
        for _ in process.stdout:
            answered += 1
            if answered and answered % EVERY == 0:
                megabytes.append(_resident(process.pid))
        writer.join()
        code = process.wait()
        said.seek(0)
        lines = said.read().splitlines()
    if code:
        raise RuntimeError(f"aisles predict ended with {code}: {lines[-1:]}")
    return {
        "megabytes": megabytes, "answered": answered, "unreadable": len(lines) - 1,
        "grown": growth(megabytes),
    }  # fmt: skip


def growth(megabytes: list[float]) -> float:
    """Return by how much the median of the second half is above that of the first; NaN of fewer than two values."""
    half = len(megabytes) // 2
    return (
        round(float(np.median(megabytes[half:]) - np.median(megabytes[:half])), 1) if half else float("nan")
    )


def _resident(process: int) -> float:
    with open(f"/proc/{process}/statm") as file:
        return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--allowed", type=float, default=100, help="Megabytes of growth.")
    parser.add_argument("--engine", choices=("tensorflow", "onnx"), default="tensorflow")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.bundle is None:
            _make_bundle(place)
        (place / "images").mkdir()
        images = make_images(place / "images")
        found = measure(
            options.bundle or place / "bundle", images, options.images, more=("--engine", options.engine)
        )
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if found["grown"] <= options.allowed else 1


if __name__ == "__main__":
    sys.exit(main())
