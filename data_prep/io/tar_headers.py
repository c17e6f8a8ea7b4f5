"""The headers of a tar: which files it holds and where they lie, without reading or unpacking them.

Format: POSIX ustar with its path prefix, pax extended headers and GNU long names
(https://www.gnu.org/software/tar/manual/html_node/Standard.html).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import DataError

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
FILE_TYPES = (b"0", b"\0", b"7")
PACKERS = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
EXTRA_NAME_LIMIT = 1 << 20  # bytes; a longer "long name" or pax header is an attack, not a name
REFUSED_TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
}


class ArchiveError(DataError):
    """An archive, or a member of it, can't be used; the message names the member and says why."""


@dataclass(frozen=True)
class TarIndex:
    """Where each file of a tar lies; rows in the order of the archive.

    Attributes
    ----------
    names : list of str
        Member names with forward slashes.
    offsets, sizes : ndarray of int64
        Where each member's content begins and how long it is, in bytes.
    headers : ndarray of int64
        Where the first header that tells of the member begins: its own, or that of its long name.
    """

    names: list[str]
    offsets: np.ndarray
    sizes: np.ndarray
    headers: np.ndarray


def scan_tar(file: int, path: Path) -> TarIndex:
    """Read every header of a tar, skipping the contents.

    Parameters
    ----------
    file : int
        Descriptor of the open tar.
    path : Path
        Its name, for messages.

    Returns
    -------
    TarIndex
        Its regular files; directories are left out.

    Raises
    ------
    ArchiveError
        As in `TarImages`.
    """
    total = os.fstat(file).st_size
    names: list[str] = []
    offsets: list[int] = []
    sizes: list[int] = []
    headers: list[int] = []
    for name, kind, start, size, header in _members(file, path, total):
        if kind in REFUSED_TYPES:
            raise ArchiveError(
                f"{path}: member {name!r} is {REFUSED_TYPES[kind]}. Only regular files are read from "
                "an archive; make it again without links and devices."
            )
        is_folder = kind == b"5" or name.endswith("/")
        clean = safe_name(name, path)
        if is_folder:
            continue
        if kind not in FILE_TYPES:
            raise ArchiveError(f"{path}: member {name!r} has the unsupported tar type {kind!r}.")
        names.append(clean)
        offsets.append(start)
        sizes.append(size)
        headers.append(header)
    return TarIndex(names, *(np.array(numbers, dtype=np.int64) for numbers in (offsets, sizes, headers)))


def member_at(file: int, path: Path, total: int, header: int) -> tuple[str, int, int] | None:
    """Return (name, offset of the content, size) of the regular file whose first header begins at a byte.

    None if no such header is there.
    """
    try:
        name, kind, start, size, _ = next(_members(file, path, total, header))
        return (safe_name(name, path), start, size) if kind in FILE_TYPES else None
    except (ArchiveError, StopIteration, OSError):
        return None


def _members(file: int, path: Path, total: int, at: int = 0) -> Iterator[tuple[str, bytes, int, int, int]]:
    """Yield (name, type, offset of the content, size, first header), with long names and pax headers applied."""
    first = at
    always: dict[str, str] = {}
    once: dict[str, str] = {}
    while True:
        header = os.pread(file, BLOCK, at)
        if header == ZERO_BLOCK:
            return
        if len(header) < BLOCK:
            packed = at == 0 and header[:2] in PACKERS
            raise _not_a_header(header, path, at) if packed else _cut_off(path, at, total)
        name, kind, size = _parse_header(header, path, at)
        start = at + BLOCK
        if kind in b"LKxg":
            if size > EXTRA_NAME_LIMIT:
                raise ArchiveError(f"{path}: the extended header at byte {at} claims {size} bytes.")
            if start + size > total:
                raise _cut_off(path, at, total)
            content = os.pread(file, size, start)
            if kind == b"L":
                once["path"] = content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            elif kind == b"x":
                once.update(_pax_records(content, path, at))
            elif kind == b"g":
                always.update(_pax_records(content, path, at))
                if always.keys() & {"path", "size"}:
                    raise ArchiveError(
                        f"{path}: the global header at byte {at} gives all members one name or size. "
                        "Make the tar again."
                    )
            at = start + _padded(size)
            continue
        if once or always:
            extra = {**always, **once}
            name, size = _apply_extra(name, size, extra, path)
            once = {}
        content_size = 0 if kind in b"123456" else size
        if start + content_size > total:
            raise _cut_off(path, at, total, name)
        yield name, kind, start, content_size, first
        at = first = start + _padded(content_size)


def _parse_header(header: bytes, path: Path, at: int) -> tuple[str, bytes, int]:
    """Return the name, the type and the size of one 512-byte header after checking its sum."""
    try:
        stored = int(header[148:156].strip(b" \0"), 8)
        size = _number(header[124:136])
    except ValueError:
        raise _not_a_header(header, path, at) from None
    # The sum counts its own field as blanks (8 x 32).
    if sum(header) - sum(header[148:156]) + 256 != stored and _signed_sum(header) != stored:
        raise _not_a_header(header, path, at)
    raw = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345]:
        raw = header[345:500].split(b"\0", 1)[0] + b"/" + raw
    return raw.decode("utf-8", "surrogateescape"), header[156:157], size


def _signed_sum(header: bytes) -> int:
    """Sum the header as some old programs did, with signed bytes."""
    field = header[:148] + b" " * 8 + header[156:]
    return int(np.frombuffer(field, dtype=np.int8).sum(dtype=np.int64))


def _number(field: bytes) -> int:
    """Read an octal number, or GNU's base-256 form for large ones."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        if field[0] == 0xFF:
            raise ValueError("negative size")
        return value
    text = field.strip(b" \0")
    if text.startswith((b"-", b"+")):
        raise ValueError("signed size")
    return int(text, 8) if text else 0


def _pax_records(content: bytes, path: Path, at: int) -> dict[str, str]:
    """Read pax records: "LENGTH KEY=VALUE" and a line feed, LENGTH counting the whole record."""
    records: dict[str, str] = {}
    at_record, end = 0, len(content.rstrip(b"\0"))
    while at_record < end:
        blank = content.find(b" ", at_record, at_record + 10)
        digits = content[at_record:blank] if blank > at_record else b""
        after = at_record + (int(digits) if digits.isdigit() else 0)
        key, equals, value = content[blank + 1 : max(after - 1, 0)].partition(b"=")
        if not equals or after > len(content):
            raise ArchiveError(f"{path}: the pax header at byte {at} is damaged. Copy the tar again.")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at_record = after
    return records


def _apply_extra(name: str, size: int, extra: dict[str, str], path: Path) -> tuple[str, int]:
    sparse = next((key for key in extra if key.startswith("GNU.sparse")), None)
    if sparse:
        raise ArchiveError(f"{path}: member {name!r} is stored sparse, which is not supported.")
    text = extra.get("size", str(size))
    if not text.isascii() or not text.isdigit():
        raise ArchiveError(f"{path}: member {name!r} has the size {text!r} in its pax header.")
    return extra.get("path", name), int(text)


def safe_name(name: str, path: Path) -> str:
    """Return the name without `./`, or refuse one that points out of the archive's folder."""
    if name.startswith("./") or "//" in name or "/./" in name or "\\" in name or "\0" in name:
        if "\0" in name:
            raise ArchiveError(f"{path}: member {name!r} has a zero byte in its name.")
        clean = "/".join(part for part in name.split("/") if part not in ("", "."))
        clean = "/" + clean if name.startswith("/") else clean
    else:
        clean = name.rstrip("/")
    absolute = clean.startswith(("/", "\\")) or clean[1:3] in (":/", ":\\")
    if absolute or (".." in clean and ".." in clean.replace("\\", "/").split("/")):
        raise ArchiveError(
            f"{path}: member {name!r} points outside the archive (absolute, or with '..'). "
            "An honest archive has none; get it again from its source."
        )
    return clean


def _padded(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK * BLOCK


def _cut_off(path: Path, at: int, total: int, member: str | None = None) -> ArchiveError:
    where = f"inside member {member!r}" if member else "without the end mark"
    return ArchiveError(
        f"{path}: the archive is cut off: it ends {where} (last header at byte {at}, {total} bytes long). "
        "Download or copy it again."
    )


def _not_a_header(header: bytes, path: Path, at: int) -> ArchiveError:
    if at:
        return ArchiveError(f"{path}: the archive is damaged at byte {at}. Download or copy it again.")
    packer = PACKERS.get(header[:2])
    if packer:
        return ArchiveError(f"{path} is compressed ({packer}). Random reads need a plain tar: unpack it.")
    return ArchiveError(f"{path} is not a tar archive.")
