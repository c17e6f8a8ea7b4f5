"""Our perceptual hash and our reader of tar headers beside the libraries that do the same: time, and what they miss.

    python -m experiments.lab.against_libraries PHOTOS RESULT

PHOTOS is a folder of photographs (any depth). `imagehash` must be installed, which nothing else here needs.

Hashes: processor time an image from its file on, by one thread; and how many of the photographs are found again, by
at most 6 differing bits of 64, after being saved again at quality 50, halved in size, mirrored, or turned by the EXIF
orientation that cameras write; and how many of the drawn pairs of different photographs come as near.

Tar headers: processor time of listing 20,000 files of 8 KB by `tarfile` over ours, and which damaged archives each
refuses.
"""

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aisles.data_prep.images.duplicates import MAX_DISTANCE, ImageHashes, hash_images, near_duplicates
from aisles.data_prep.io.files import write_whole
from aisles.data_prep.io.tar_headers import ArchiveError, scan_tar

FILES, FILE_BYTES = 20_000, 8192
ROUNDS = 3
ORIENTATION = 0x0112  # the EXIF tag


def compare_hashes(photos: Path, n_images: int = 300) -> dict[str, Any]:
    """Hash photographs by both, and their changed copies."""
    import imagehash

    def theirs(paths: list[Path]) -> np.ndarray:
        found = []
        for path in paths:
            with Image.open(path) as image:
                found.append(np.packbits(imagehash.phash(image).hash).view(np.uint64)[0])
        return np.array(found)

    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    files = [files[i] for i in np.linspace(0, len(files) - 1, n_images).astype(int)]
    seconds = {
        "ours": _seconds(lambda: hash_images(files, jobs=1)),
        "imagehash": _seconds(lambda: theirs(files)),
    }
    mine, other = hash_images(files, jobs=1), theirs(files)
    a, b = np.triu_indices(len(files), 1)
    found: dict[str, Any] = {
        "images": len(files),
        "milliseconds_per_image": {
            name: round(1000 * value / len(files), 2) for name, value in seconds.items()
        },
        "imagehash_over_ours": round(seconds["imagehash"] / seconds["ours"], 2),
        "found_again": {},
        "different_photographs_as_near": {
            "pairs": len(a),
            "ours": len(near_duplicates(mine).pairs),
            "imagehash": int((np.bitwise_count(other[a] ^ other[b]) <= MAX_DISTANCE).sum()),
        },
    }
    with tempfile.TemporaryDirectory() as name:
        for change, write in CHANGES.items():
            copies = [Path(name) / f"{change}-{i}.jpg" for i in range(len(files))]
            for path, copy in zip(files, copies, strict=True):
                with Image.open(path) as image:
                    write(image.convert("RGB"), copy)
            again, their_again = hash_images(copies, jobs=1), theirs(copies)
            found["found_again"][change] = {
                "ours": round(float(np.mean(_pairs_found(mine, again, mirrored=change == "mirrored"))), 3),
                "imagehash": round(float((np.bitwise_count(other ^ their_again) <= MAX_DISTANCE).mean()), 3),
            }
    return found


def compare_tars() -> dict[str, Any]:
    """List the files of a tar by both, and of damaged ones."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "images.tar"
        write_tar(path, FILES)

        def ours(of: Path = path) -> int:
            file = os.open(of, os.O_RDONLY)
            try:
                return len(scan_tar(file, of).names)
            finally:
                os.close(file)

        def theirs(of: Path = path) -> int:
            with tarfile.open(of) as tar:
                return len(tar.getmembers())

        assert ours() == theirs() == FILES
        seconds = {"ours": _seconds(ours), "tarfile": _seconds(theirs)}
        refused = {}
        for what, damage in DAMAGES.items():
            broken = Path(name) / "broken.tar"
            damage(broken)
            refused[what] = {
                "ours": _refuses(ours, broken, ArchiveError),
                "tarfile": _refuses(theirs, broken, tarfile.TarError),
            }
    return {
        "files": FILES,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "tarfile_over_ours": round(seconds["tarfile"] / seconds["ours"], 2),
        "refused_when_listed": refused,
    }


def write_tar(path: Path, n_files: int, names: Callable[[int], str] = "{:06d}.jpg".format) -> None:
    """Write a tar of files of 8 KB."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for i in range(n_files):
            member = tarfile.TarInfo(names(i))
            member.size = FILE_BYTES
            tar.addfile(member, io.BytesIO(rng.bytes(FILE_BYTES)))


def _cut_off(path: Path) -> None:
    write_tar(path, 10)
    data = path.read_bytes()
    path.write_bytes(data[: 8 * (FILE_BYTES + 512) + 4000])


def _damaged_header(path: Path) -> None:
    write_tar(path, 10)
    data = bytearray(path.read_bytes())
    data[5 * (FILE_BYTES + 512) + 20] ^= 0xFF
    path.write_bytes(data)


def _leads_out(path: Path) -> None:
    write_tar(path, 10, "../{:06d}.jpg".format)


DAMAGES = {
    "cut off inside a file": _cut_off,
    "a damaged header": _damaged_header,
    "names with ..": _leads_out,
}


def _turned(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be shown turned by 90 degrees, so it is stored turned back
    image.transpose(Image.Transpose.ROTATE_90).save(path, quality=90, exif=exif)


CHANGES: dict[str, Callable[[Image.Image, Path], None]] = {
    "saved again": lambda image, path: image.save(path, quality=50),
    "half the size": lambda image, path: image.resize((image.width // 2, image.height // 2)).save(
        path, quality=90
    ),
    "mirrored": lambda image, path: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path, quality=90),
    "turned by EXIF": _turned,
}


def _pairs_found(one: ImageHashes, other: ImageHashes, *, mirrored: bool) -> list[bool]:
    """Say for each image whether it and its copy are near-duplicates."""
    found = []
    for i in range(len(one)):
        both = ImageHashes(
            *(np.stack([getattr(one, name)[i], getattr(other, name)[i]]) for name in vars(one))
        )
        found.append(len(near_duplicates(both, augmented=mirrored).pairs) == 1)
    return found


def _seconds(work: Callable[[], object]) -> float:
    """Return the least processor time of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def _refuses(work: Callable[[Path], object], path: Path, error: type[Exception]) -> bool:
    try:
        work(path)
    except error:
        return True
    return False


def main() -> None:
    """Compare both and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("result", type=Path)
    given = parser.parse_args()
    result = {
        "command": "python -m experiments.lab.against_libraries PHOTOS RESULT",
        "date": date.today().isoformat(),
        "hashes": compare_hashes(given.photos),
        "tar": compare_tars(),
    }
    write_whole(given.result, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
