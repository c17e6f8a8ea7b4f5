"""Names of files on standard input, as shells and programs write them."""

import codecs
import io
from collections.abc import Iterator
from typing import IO

import click

_CHUNK = 1 << 16


def read_names(stream: IO[str], *, null: bool = False) -> Iterator[str]:
    """Yield the names that a stream holds, one per line, as they come; empty lines are passed over.

    UTF-8 with or without a byte order mark, and UTF-16 with one, as PowerShell writes it; bytes that are neither stay
    what they are (`surrogateescape`), as names of files may be any bytes.

    Parameters
    ----------
    stream : text stream
        Standard input; its bytes are read where it has any.
    null : bool
        Whether names end with a zero byte, as `find -print0` writes them, and may hold line breaks.

    Raises
    ------
    click.UsageError
        If lines hold zero bytes.
    """
    raw = getattr(stream, "buffer", None)
    if raw is None:
        yield from filter(None, (line.rstrip("\r\n") for line in stream))
    elif null:
        yield from _ended_by_null(raw)
    else:
        yield from filter(None, (line.rstrip("\r\n") for line in _lines(raw)))


def _lines(raw: IO[bytes]) -> Iterator[str]:
    first = raw.readline()
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        rest = ""
        for block in (first, *iter(lambda: raw.readline(), b"")):
            *lines, rest = (rest + decoder.decode(block)).split("\n")
            yield from lines
        yield rest + decoder.decode(b"", True)
        return
    line = first.removeprefix(codecs.BOM_UTF8)
    while line:
        if b"\0" in line:
            raise click.UsageError(
                "Names on standard input hold zero bytes. Give -0 for names from find -print0; UTF-16 needs a byte "
                "order mark."
            )
        yield line.decode("utf-8", "surrogateescape")
        line = raw.readline()


def _ended_by_null(raw: IO[bytes]) -> Iterator[str]:
    rest = b""
    read = raw.read1 if isinstance(raw, io.BufferedReader) else raw.read
    while block := read(_CHUNK):
        *names, rest = (rest + block).split(b"\0")
        yield from (name.decode("utf-8", "surrogateescape") for name in names if name)
    if rest:
        yield rest.decode("utf-8", "surrogateescape")
