"""Files that appear whole or not at all."""

import glob
import hashlib
import os
import platform
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from .whole_folder import runs_elsewhere

_cleaned: set[Path] = set()  # by this process


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Return a temporary path beside `path`; move it there only if the block ends without an error.

    What killed processes of this machine have left in the folder is removed first.

    Parameters
    ----------
    path : str or Path
        Where the finished file shall be. Its folder is made if needed.

    Yields
    ------
    Path
        The temporary file to write, in the same folder and with the same ending.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f".part-{platform.node()}-"
    _remove_left_over(path.parent.absolute(), start)
    handle, name = tempfile.mkstemp(prefix=f"{start}{os.getpid()}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())
    try:
        yield Path(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _remove_left_over(folder: Path, start: str) -> None:
    """Remove files that dead processes began, once per folder; what another process is writing stays."""
    if folder in _cleaned:
        return
    _cleaned.add(folder)
    for left in folder.glob(f"{glob.escape(start)}*"):
        number = left.name.removeprefix(start).partition("-")[0]
        if (
            number.isdigit()
            and int(number) != os.getpid()
            and not runs_elsewhere(int(number))
            and left.is_file()
        ):
            left.unlink(missing_ok=True)


def write_whole(path: str | Path, data: bytes | str) -> Path:
    """Write `data` (text as UTF-8) to `path` so that no reader ever sees half of it."""
    with whole_file(path) as part:
        part.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
    return Path(path)


def image_limit() -> int:
    """Return how many bytes an image file may have: 512 MiB, or AISLES_IMAGE_LIMIT_MB of the environment."""
    told = os.environ.get("AISLES_IMAGE_LIMIT_MB", "")
    return (int(told) if told.isdecimal() and int(told) else 512) << 20


def read_regular(path: str | Path, limit: int) -> bytes:
    """Read a regular file whole; pipes, devices and what links lead to them never block or flood.

    Raises
    ------
    OSError
        If it can't be opened or read, is not a regular file, or has more than `limit` bytes.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb", buffering=0) as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is not a regular file but a pipe, a device or a folder")
        if status.st_size > limit:
            raise OSError(
                None, f"it has {status.st_size:,} bytes; the limit is {limit:,} (AISLES_IMAGE_LIMIT_MB)"
            )
        return file.readall()


def sha256_of(path: str | Path) -> str:
    """Return a file's SHA-256 as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the cache: `AISLES_CACHE`, or the user's cache folder of this system."""
    return Path(os.environ.get("AISLES_CACHE") or platformdirs.user_cache_dir("aisles", appauthor=False))


def features_cache(given: str | Path | None = None) -> Path:
    """Return the folder for cached features, made if needed: `given`, else one in `cache_folder()`.

    Raises
    ------
    OSError
        If there is no home folder to keep it in, or it can't be written.
    """
    folder, another = (
        Path(given or cache_folder() / "features"),
        "Give another one: --cache, or AISLES_CACHE in the environment.",
    )
    if not given and str(folder).startswith("~"):
        raise OSError(f"There is no home folder, so none for cached features. {another}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise OSError(f"{folder} can't hold cached features: {error.strerror or error}. {another}") from error


def cached_place(kind: str, path: str | Path) -> Path:
    """Name a place in the cache for what belongs to a file or folder that may not be writable.

    Parameters
    ----------
    kind : str
        The folder for such things in the cache, `cache_folder()`.
    path : str or Path
        What it belongs to.

    Returns
    -------
    Path
        Without an ending.
    """
    whole = os.path.abspath(path)
    digest = hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / kind / f"{Path(whole).name}-{digest}"


def path_from(path: str, here: str, flavor: Any = os.path) -> str:
    """Return a path as seen from a folder, with slashes; on another drive, where it can't be seen from, whole.

    Parameters
    ----------
    path, here : str
    flavor : module
        `posixpath` or `ntpath`; by default the system's.
    """
    try:
        seen = flavor.relpath(path, here)
    except ValueError:  # Windows: another drive
        seen = flavor.abspath(path)
    return seen.replace(flavor.sep, "/")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
