"""Random reads from a plain tar of images through an index of offsets; nothing is ever unpacked."""

import logging
import os
import threading
import weakref
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from .arrays import read_arrays
from .files import cached_place, whole_file
from .tar_headers import ArchiveError, TarIndex, scan_tar

log = logging.getLogger(__name__)

INDEX_VERSION = 1


class TarImages:
    """The files inside a plain tar, readable in any order and from any thread.

    Parameters
    ----------
    path : str or Path
        An uncompressed tar.
    index_path : str or Path, optional
        Where the index of offsets is kept between runs. By default beside the tar
        (`NAME.tar.index.npz`), or in the user's cache folder where that is not writable.

    Raises
    ------
    ArchiveError
        If the tar is compressed, cut off or damaged, or holds an absolute path, a path with `..`,
        a link or a device.
    """

    def __init__(self, path: str | Path, index_path: str | Path | None = None):
        self.path = Path(path)
        try:
            self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise ArchiveError(f"{self.path}: can't open the archive ({error.strerror}).") from error
        self._close = weakref.finalize(self, os.close, self._file)
        status = os.fstat(self._file)
        self._bytes = status.st_size
        places = [Path(index_path)] if index_path is not None else default_index_places(self.path)
        index = _load_or_scan(self._file, self.path, places, (status.st_size, status.st_mtime_ns))
        self._offsets = index.offsets
        self._sizes = index.sizes
        # A repeated name means its last copy, as in every tar program.
        self._rows = dict(zip(index.names, range(len(index.names)), strict=True))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, member: object) -> bool:
        return member in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, in the order of the archive."""
        return tuple(self._rows)

    def size(self, member: str) -> int:
        """Return the member's length in bytes."""
        return int(self._sizes[self._row(member)])

    def read(self, member: str) -> bytes:
        """Read one member whole.

        Parameters
        ----------
        member : str
            The member's name, with forward slashes and without a leading `./`.

        Returns
        -------
        bytes
            Its content.

        Raises
        ------
        ArchiveError
            If there is no such member, or the archive has become shorter since it was indexed.
        """
        row = self._row(member)
        size = int(self._sizes[row])
        data = os.pread(self._file, size, int(self._offsets[row]))
        if len(data) != size:
            raise ArchiveError(f"{self.path}: the archive ends inside {member!r}. Copy it here again.")
        return data

    def close(self) -> None:
        """Close the archive; further reads fail."""
        self._close()

    def _row(self, member: str) -> int:
        try:
            return self._rows[member]
        except KeyError:
            first = next(iter(self._rows), "none at all")
            raise ArchiveError(
                f"{self.path} has no member {member!r}; its {len(self)} members begin with {first!r}."
            ) from None


def open_tar(path: str | Path) -> TarImages:
    """Open a tar, once per process for as long as the file stays the same.

    Parameters
    ----------
    path : str or Path
        An uncompressed tar.

    Returns
    -------
    TarImages
        Shared by all callers: don't close it.
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except OSError as error:
        raise ArchiveError(f"{name}: can't open the archive ({error.strerror}).") from error
    key = (status.st_size, status.st_mtime_ns, status.st_ino)
    held = _open.get(name)
    if held is not None and held[0] == key:
        return held[1]
    with _open_lock:
        held = _open.get(name)
        if held is None or held[0] != key:
            held = _open[name] = (key, TarImages(name))
        return held[1]


_open: dict[str, tuple[tuple[int, int, int], TarImages]] = {}
_open_lock = threading.Lock()


def split_tar_path(path: str | Path) -> tuple[str, str] | None:
    """Split a path that runs through a tar file into the tar and the member.

    Parameters
    ----------
    path : str or Path
        For example `abo/abo-images-small.tar/images/small/8c/8ccb5859.jpg`.

    Returns
    -------
    tuple of (str, str) or None
        The tar's path and the member's name; None if no component is a `.tar` file.
    """
    text = os.fspath(path)
    if os.sep != "/":
        text = text.replace(os.sep, "/")
    at = text.find(".tar/")
    while at >= 0:
        if _is_file(text[: at + 4]):
            return text[: at + 4], text[at + 5 :]
        at = text.find(".tar/", at + 5)
    return None


@lru_cache(maxsize=256)
def _is_file(path: str) -> bool:
    return os.path.isfile(path)


# ---- the stored index -----------------------------------------------------------------------------


def default_index_places(tar: Path) -> list[Path]:
    """Name the files that may hold the index of `tar`, the preferred one first."""
    cached = cached_place("tar-indexes", tar)
    return [tar.with_name(tar.name + ".index.npz"), cached.with_name(cached.name + ".npz")]


def _load_or_scan(file: int, path: Path, places: list[Path], key: tuple[int, int]) -> TarIndex:
    for place in places:
        index = _load_index(place, key)
        if index is not None:
            return index
    log.info("Indexing %s", path)
    index = scan_tar(file, path)
    for place in places:
        try:
            _save_index(place, index, key)
            break
        except OSError as error:
            log.debug("can't keep the index at %s: %s", place, error)
    else:
        log.warning("The index of %s could not be kept; it is made again in each process.", path)
    return index


def _save_index(place: Path, index: TarIndex, key: tuple[int, int]) -> None:
    blob = np.frombuffer("\0".join(index.names).encode("utf-8", "surrogateescape"), dtype=np.uint8)
    with whole_file(place) as part, part.open("wb") as stream:
        np.savez(
            stream,
            version=np.int64(INDEX_VERSION),
            key=np.array(key, dtype=np.int64),
            names=blob,
            offsets=index.offsets,
            sizes=index.sizes,
        )


def _load_index(place: Path, key: tuple[int, int]) -> TarIndex | None:
    """Return the stored index, or None if there is none, it is of another tar, or it is damaged."""
    try:
        stored = read_arrays(place)
        if int(stored["version"]) != INDEX_VERSION or tuple(stored["key"].tolist()) != key:
            return None
        text = stored["names"].tobytes().decode("utf-8", "surrogateescape")
        offsets, sizes = stored["offsets"], stored["sizes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    names = text.split("\0") if text else []
    lengths_agree = len(names) == len(offsets) == len(sizes)
    if not lengths_agree or (len(names) and int((offsets + sizes).max()) > key[0]):
        return None
    return TarIndex(names, offsets, sizes)
