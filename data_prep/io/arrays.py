"""Arrays in `.npz` files that others may have written: never unpickled, and no larger in memory than in the file."""

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from .errors import DataError

PACKED = 100
"""How many times its size a file may have unpacked, from `SMALL` bytes on; numbers are packed 2 to 20 times."""
SMALL = 256 * 2**20
DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, SyntaxError, LookupError, ValueError, TypeError,
    tokenize.TokenError,
)  # fmt: skip
"""What reading a damaged archive raises."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: str | Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` file.

    Parameters
    ----------
    path : path
    names : collection of str, optional
        Which arrays to read, of those that are there; all by default.

    Returns
    -------
    dict of str to ndarray
        In the order of the file.

    Raises
    ------
    DataError
        If the file is cut short, changed (each array has a checksum), holds Python objects, or claims arrays that it
        doesn't fill.
    OSError
        If it can't be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_total(archive, path)
                members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
                found = {member.filename[:-4]: member for member in members}
                wanted = found if names is None else [name for name in found if name in names]
                return {name: _array(archive, found[name]) for name in wanted}
        except DataError:
            raise
        except DAMAGED as error:
            raise DataError(
                f"{path} is damaged, or not an .npz file: {error or type(error).__name__}. Write it again."
            ) from error


def mapped_array(path: str | Path, name: str) -> np.ndarray | None:
    """Return an array of an `.npz` file as it lies there, read as parts of it are looked at.

    Returns
    -------
    ndarray or None
        None if there is no such array, or it is packed. Its checksum is not compared.

    Raises
    ------
    DataError, OSError
        As `read_arrays`.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                known = {member.filename: member for member in archive.infolist()}
            member = known.get(f"{name}.npy")
            if member is None or member.compress_type != zipfile.ZIP_STORED:
                return None
            file.seek(member.header_offset)
            lengths = struct.unpack("<HH", file.read(30)[26:])  # of name and extra field in the local header
            file.seek(sum(lengths), 1)
            start = file.tell()
            shape, fortran, dtype = _HEADERS[npy.read_magic(file)](file)
            if dtype.hasobject:
                raise ValueError(f"{name} holds Python objects, which are never loaded")
            if file.tell() - start + math.prod(shape) * dtype.itemsize != member.file_size:
                raise ValueError(f"{name} claims {shape} of {dtype}, which is not what it fills")
            return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")
        except (*DAMAGED, struct.error) as error:
            raise DataError(f"{path} is damaged, or not an .npz file: {error}. Write it again.") from error


def _check_total(archive: zipfile.ZipFile, path: Path) -> None:
    total = sum(member.file_size for member in archive.infolist())
    if total > max(SMALL, PACKED * path.stat().st_size):
        raise DataError(
            f"{path} claims {total} bytes, over {PACKED} times its size. Write it again unpacked."
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    data = archive.read(member)  # whose checksum zipfile compares
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"{member.filename} is written in an unknown way")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        name = member.filename.removesuffix(".npy")
        raise DataError(
            f"{archive.filename} can't be read: {name} holds Python objects, which are never loaded. Write texts as "
            f"np.asarray({name}, dtype=str)."
        )
    count = 1
    for side in shape:
        count *= side  # exact, where numpy's product would wrap around
    if stream.tell() + count * dtype.itemsize != len(data) or min(shape, default=0) < 0:
        raise ValueError(f"{member.filename} claims {count} values, which it doesn't hold")
    values = np.frombuffer(data, dtype, count, stream.tell()) if dtype.itemsize else np.zeros(count, dtype)
    return values.reshape(shape, order="F" if fortran else "C").copy()
