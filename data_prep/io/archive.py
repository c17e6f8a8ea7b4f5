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
from .tar_headers import ArchiveError, TarIndex, member_at, safe_name, scan_tar

log = logging.getLogger(__name__)

INDEX_VERSION = 2


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
        self._places = [Path(index_path)] if index_path is not None else default_index_places(self.path)
        self._renewing = threading.Lock()
        self._take(_load_or_scan(self._file, self.path, self._places, (status.st_size, status.st_mtime_ns)))

    def _take(self, index: TarIndex) -> None:
        # A repeated name means its last copy, as in every tar program.
        rows = dict(zip(index.names, range(len(index.names)), strict=True))
        self._index, self._rows = index, rows

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
        return int(self._index.sizes[self._row(member)])

    def read(self, member: str, limit: int | None = None) -> bytes:
        """Read one member whole.

        Parameters
        ----------
        member : str
            The member's name, with forward slashes and without a leading `./`.
        limit : int, optional
            The most bytes that it may have.

        Returns
        -------
        bytes
            Its content.

        Raises
        ------
        ArchiveError
            If there is no such member, it is longer than `limit`, or the archive has become shorter.
        """
        offset, size = self._place(member)
        if limit is not None and size > limit:
            raise ArchiveError(f"{self.path}: {member!r} has {size:,} bytes; the limit is {limit:,}.")
        data = os.pread(self._file, size, offset)
        if len(data) != size:
            raise ArchiveError(f"{self.path}: the archive ends inside {member!r}. Copy it here again.")
        return data

    def close(self) -> None:
        """Close the archive; further reads fail."""
        self._close()

    def _place(self, member: str) -> tuple[int, int]:
        """Return a member's offset and size, checked with the header in front of it.

        An index that was kept may have been changed, or be of another tar of the same size and time: it is made again.
        """
        told = self._told(member)
        if told is None:
            with self._renewing:
                told = self._told(member)
                if told is None:
                    log.warning("The index of %s does not agree with it; it is made again.", self.path)
                    self._take(_scan_and_keep(self._file, self.path, self._places))
                    told = self._told(member)
        if told is None:
            raise ArchiveError(f"{self.path}: the archive has changed while it was read. Open it again.")
        return told

    def _told(self, member: str) -> tuple[int, int] | None:
        """Return the offset and size that the index tells, None if the header there tells something else."""
        index, row = self._index, self._row(member)
        place = member, int(index.offsets[row]), int(index.sizes[row])
        found = member_at(self._file, self.path, self._bytes, int(index.headers[row]))
        return place[1:] if found == place else None

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
    return _scan_and_keep(file, path, places)


def _scan_and_keep(file: int, path: Path, places: list[Path]) -> TarIndex:
    log.info("Indexing %s", path)
    status = os.fstat(file)
    index, key = scan_tar(file, path), (status.st_size, status.st_mtime_ns)
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
            headers=index.headers,
        )


def _load_index(place: Path, key: tuple[int, int]) -> TarIndex | None:
    """Return the stored index, or None if there is none, it is of another tar, or it is damaged."""
    try:
        stored = read_arrays(place)
        if int(stored["version"]) != INDEX_VERSION or tuple(stored["key"].tolist()) != key:
            return None
        text = stored["names"].tobytes().decode("utf-8", "surrogateescape")
        numbers = [np.asarray(stored[name], dtype=np.int64) for name in ("offsets", "sizes", "headers")]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    names = text.split("\0") if text else []
    if any(column.shape != (len(names),) or (len(names) and int(column.min()) < 0) for column in numbers):
        return None
    offsets, sizes, headers = numbers
    if len(names) and int((offsets + sizes).max()) > key[0]:
        return None
    try:
        if any(safe_name(name, place) != name for name in names):
            return None
    except ArchiveError:
        return None
    return TarIndex(names, offsets, sizes, headers)
