"""Where a catalogue's files are: Amazon's archives, or what was unpacked from them, in either spelling."""

import gzip
import hashlib
import io
import json
import os
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aisles.data_prep.io.archive import open_tar, split_tar_path
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import read_regular

LISTINGS_TAR = "abo-listings.tar"
IMAGES_TAR = "abo-images-small.tar"
CHUNK_BYTES = 1 << 22
LINE_LIMIT = 1 << 24  # bytes; ABO's longest listing is far below
# Text of this kind shrinks to about a tenth; a gzip bomb to a thousandth.
RATIO_LIMIT, FREE_BYTES, TOTAL_LIMIT = 100, 1 << 24, 1 << 33
SHORTEST_LINE = 8  # bytes, on average over a chunk; shorter ones are a bomb of empty lines
_LISTING_FILE = re.compile(r"listings_[0-9a-f]+\.json(\.gz)?")


@dataclass(frozen=True)
class Source:
    """A file, or with `member` a file inside a tar."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """The file's own name, for messages and order."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    def read(self) -> bytes:
        """Read the file as it is stored."""
        if self.member:
            return open_tar(self.path).read(self.member)
        try:
            return read_regular(self.path, TOTAL_LIMIT)
        except OSError as error:
            raise DataError(f"{self.path} can't be read: {error.strerror or error}.") from error

    def stamp(self) -> list:
        """Return what changes when the file does: name, bytes, time of the last change."""
        status = self.path.stat()
        return [self.path.name, self.member, status.st_size, status.st_mtime_ns]


def find_listings(directory: str | Path) -> list[Source]:
    """Find the listing files of a catalogue, in the archive or else unpacked.

    Parameters
    ----------
    directory : str or Path
        Holds `abo-listings.tar`, or `listings_*.json.gz` or `listings_*.json` at any of the places where
        unpacking or a mirror puts them.

    Returns
    -------
    list of Source
        Sorted by name; a file that is there both plain and zipped counts once.

    Raises
    ------
    DataError
        If there are none, or the archive is damaged or hostile.
    """
    directory = Path(directory)
    tar = directory / LISTINGS_TAR
    if tar.is_file():
        found = [Source(tar, name) for name in open_tar(tar).names]
    else:
        folders = (
            directory / "listings" / "metadata",
            directory / "listings",
            directory / "metadata",
            directory,
        )
        found = [Source(path) for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    listings = {s.name.removesuffix(".gz"): s for s in found[::-1] if _LISTING_FILE.fullmatch(s.name)}
    if not listings and tar.is_file():
        raise DataError(
            f"{tar} holds no listings_*.json.gz: its {len(found)} members begin with "
            f"{found[0].member if found else 'none at all'!r}. It is another archive, or empty: delete it and fetch "
            "the listings with `aisles data fetch --only listings`."
        )
    if not listings:
        raise DataError(
            f"{directory} has neither {LISTINGS_TAR} nor listings_*.json.gz or listings_*.json. "
            "Fetch the archives with `aisles data fetch`, or draw a catalogue with `aisles data sample`."
        )
    return [listings[name] for name in sorted(listings)]


def find_image_table(directory: str | Path) -> Source:
    """Find images.csv or images.csv.gz, in the archive or else unpacked; DataError if there is none."""
    directory = Path(directory)
    tar = directory / IMAGES_TAR
    if tar.is_file():
        for name in ("images/metadata/images.csv.gz", "images/metadata/images.csv"):
            if name in open_tar(tar):
                return Source(tar, name)
    for folder in (
        directory / "images" / "metadata",
        directory / "images",
        directory / "metadata",
        directory,
    ):
        for name in ("images.csv.gz", "images.csv"):
            if (folder / name).is_file():
                return Source(folder / name)
    if tar.is_file():
        raise DataError(
            f"{tar} holds no images/metadata/images.csv.gz, and there is none beside it. It is another archive: put "
            f"ABO's image table to {directory / 'images' / 'metadata'}, or delete the archive and fetch it with "
            "`aisles data fetch --only images`."
        )
    raise DataError(
        f"{directory} has neither {IMAGES_TAR} nor images/metadata/images.csv.gz. "
        "Fetch the archives with `aisles data fetch`, or unpack them there."
    )


def find_image_root(directory: str | Path) -> Path:
    """Find what the paths of images.csv are relative to: a folder with files, or a path that runs through the tar."""
    directory = Path(directory)
    for folder in (directory / "images" / "small", directory / "small"):
        if folder.is_dir() and any(_files(folder)):
            return folder
    if (directory / IMAGES_TAR).is_file():
        return directory / IMAGES_TAR / "images" / "small"
    raise DataError(
        f"{directory} has neither {IMAGES_TAR} nor images in images/small/. "
        "Fetch the archives with `aisles data fetch`, or unpack them there."
    )


def list_image_files(root: Path) -> Container[str]:
    """Return what says whether a path of images.csv is there, without asking the disk each time."""
    tar = split_tar_path(root / "x")
    if tar is None:
        return {name for name, _ in _files(root)}
    prefix = tar[1].removesuffix("x")
    return {name.removeprefix(prefix) for name in open_tar(tar[0]) if name.startswith(prefix)}


def stamp_images(root: Path) -> tuple[str, str]:
    """Return two texts: one changes when images come or go, the other also when one of them is replaced."""
    tar = split_tar_path(root / "x")
    if tar is not None:
        text = stamp([Source(Path(tar[0]))])
        return text, text
    names, files = hashlib.sha256(), hashlib.sha256()
    for name, entry in sorted(_files(root), key=lambda file: file[0]):
        try:
            status = entry.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # a link that leads nowhere
            state = "unreadable"
        names.update(f"{name}\0".encode("utf-8", "surrogateescape"))
        files.update(f"{name}\0{state}\0".encode("utf-8", "surrogateescape"))
    return names.hexdigest(), files.hexdigest()


def _files(root: Path) -> Iterator[tuple[str, os.DirEntry]]:
    """Go through the files one folder below `root`, with their names as in images.csv."""
    for folder in _entries(root):
        if folder.is_dir():
            for file in _entries(folder):
                yield f"{folder.name}/{file.name}", file


def _entries(folder: str | os.PathLike) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return list(entries)


def read_lines(source: Source) -> Iterator[bytes]:
    """Return a file's lines without their ends, unzipped where the name ends in .gz, in little memory.

    Raises
    ------
    DataError
        If the file can't be read, the gzip data are damaged, unfold beyond all reason or to empty lines, or a line is
        longer than 16 MiB.
    """
    data = source.read()
    stream = io.BytesIO(data)
    if not source.name.endswith(".gz"):
        yield from _split(iter(lambda: stream.read(CHUNK_BYTES), b""), source)
        return
    try:
        yield from _split(_unzip(stream, len(data), source), source)
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{source.path}: {source.name} is damaged ({error}). Copy it here again.") from error


def _unzip(stream: io.BytesIO, zipped_bytes: int, source: Source) -> Iterator[bytes]:
    total, limit = 0, min(TOTAL_LIMIT, max(FREE_BYTES, RATIO_LIMIT * zipped_bytes))
    with gzip.GzipFile(fileobj=stream) as unzipped:
        while chunk := unzipped.read(CHUNK_BYTES):
            total += len(chunk)
            if total > limit:
                raise DataError(
                    f"{source.path}: {source.name} unfolds from {zipped_bytes:,} to over {limit:,} bytes. "
                    "That is no listing but a gzip bomb; remove it."
                )
            yield chunk


def _split(chunks: Iterator[bytes], source: Source) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        if len(chunk) > 1 << 16 and chunk.count(b"\n") * SHORTEST_LINE > len(chunk):
            raise DataError(
                f"{source.path}: {source.name} consists of nearly empty lines. That is no listing; remove it."
            )
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > LINE_LIMIT:
            raise DataError(
                f"{source.path}: {source.name} has a line of more than {LINE_LIMIT:,} bytes; remove it."
            )
    if rest:
        yield rest


def stamp(sources: list[Source]) -> str:
    """Return a text that changes when one of the files does."""
    return json.dumps([source.stamp() for source in sources])
