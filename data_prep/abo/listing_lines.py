"""One line of a listing file -> what is needed of it. Without pandas, so that processes that parse start quickly."""

import codecs
import csv
import io
import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import orjson

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.escaping import formula_safe

from .sources import Source, read_lines

LISTING_COLUMNS = (
    "item_id", "domain_name", "country", "product_type", "main_image_id", "other_image_id", "item_name",
)  # fmt: skip
WHOLE_LIMIT = 1 << 28  # bytes of a file that is one JSON array
MALFORMED_LIMIT = 10_000  # in one file; if they are also the most, it is no file of listings


def parse_listing(line: bytes) -> tuple[str, ...]:
    """Take what is needed from one line.

    Parameters
    ----------
    line : bytes
        One JSON object.

    Returns
    -------
    tuple of str
        In the order of `LISTING_COLUMNS`.

    Raises
    ------
    ValueError
        If the line is no JSON object, has no item_id, or holds something else than text where ids belong.
    """
    try:
        return _columns(orjson.loads(line))
    except ValueError:  # The standard library reads more: lone surrogates, NaN, ids of more than 64 bits.
        return _columns(_read_slowly(line))


def _read_slowly(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _columns(listing: object) -> tuple[str, ...]:
    if not isinstance(listing, dict):
        raise ValueError(f"a JSON {type(listing).__name__}, not an object")
    get = listing.get
    return (
        _identifier(get("item_id"), "item_id", required=True),
        _identifier(get("domain_name"), "domain_name"),
        _identifier(get("country"), "country"),
        _product_type(_plain(get("product_type"))),
        _identifier(get("main_image_id"), "main_image_id"),
        " ".join([_identifier(other, "other_image_id") for other in _several(get("other_image_id"))]),
        _name(get("item_name")),
    )


def _several(images: object) -> list:
    """Return the ids of a list, or the one that stands there alone."""
    if images is None or images == "":
        return []
    if isinstance(images, list):
        return images
    if isinstance(images, (str, int)):
        return [images]
    raise ValueError(f"other_image_id is {_shown(images)}, not a list of ids")


def _plain(product_type: object) -> object:
    """Unwrap `[{"value": "SHOES"}]`; the documentation says, and some mirrors have, the plain text."""
    if isinstance(product_type, list) and product_type:
        product_type = product_type[0]
    return product_type.get("value") if isinstance(product_type, dict) else product_type


def _product_type(value: object) -> str:
    """Return a product type, which may be one's own, with blanks and accents, in one form."""
    if isinstance(value, str):
        value = " ".join(unicodedata.normalize("NFC", value).split())
        if value.isprintable():
            return value
    return _identifier(value, "product_type")


def _identifier(value: object, key: str, required: bool = False) -> str:
    if isinstance(value, str) and value and " " not in value and value.isprintable():
        return value
    if not value and not required and not isinstance(value, (int, float)):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{key} is {_shown(value)}, not a text without spaces" if value else f"no {key}")


def _shown(value: object) -> str:
    """Name a wrong value; a container by its kind alone, as it may be nested too deeply to be written."""
    return f"a {type(value).__name__}" if isinstance(value, (list, dict)) else repr(str(value)[:40])


def _name(names: object) -> str:
    """Choose the English name, else the first, in one line."""
    if isinstance(names, str):
        return " ".join(names.split())
    chosen = ""
    for entry in names if isinstance(names, list) else ():
        value = entry.get("value") if isinstance(entry, dict) else None
        if value and isinstance(value, (str, int, float)):
            language = entry.get("language_tag")
            if isinstance(language, str) and language.startswith("en"):
                chosen = value
                break
            chosen = chosen or value
    return " ".join(str(chosen).split())


def parse_file(source: Source) -> tuple[bytes, int, list[tuple[str, int, str]]]:
    """Return the rows of one file as CSV, their number, and the lines that can't be read."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    bad, n_rows = [], 0
    for number, line in _listings(source):
        try:
            write(map(formula_safe, parse_listing(line) if isinstance(line, bytes) else _columns(line)))
            n_rows += 1
        except ValueError as error:
            if not isinstance(line, bytes) or line.strip():
                bad.append((source.name, number, str(error)))
            if len(bad) > MALFORMED_LIMIT and len(bad) > n_rows:
                raise DataError(
                    f"{source.path}: most lines of {source.name} are no listings; line {number}: {error}."
                ) from error
    # A lone surrogate can be written in JSON and not in UTF-8.
    return text.getvalue().encode("utf-8", "replace"), n_rows, bad


def _listings(source: Source) -> Iterator[tuple[int, Any]]:
    """Yield number and line of each listing; of a file that is one JSON array, or written over several lines, objects.

    Numbers are those of lines, or of the objects in such a file.
    """
    lines = read_lines(source)
    held: list[bytes] = []
    for line in lines:
        held.append(line.removeprefix(codecs.BOM_UTF8) if not held else line)
        if held[-1].strip():
            break
    start = held[-1].strip() if held else b""
    if start.startswith(b"[") or start == b"{":
        whole = _objects(held, lines)
        if whole is not None:
            yield from enumerate(whole, start=1)
            return
        lines = iter(())
    yield from enumerate(held, start=1)
    yield from enumerate(lines, start=len(held) + 1)


def _objects(held: list[bytes], lines: Iterator[bytes]) -> list | None:
    """Read a whole file as one JSON array, or as objects one after the other; None if it is neither."""
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size > WHOLE_LIMIT:
            raise DataError(
                f"A listing file that is one JSON array may have {WHOLE_LIMIT:,} bytes. Write one object per line."
            )
    data = b"\n".join(held)
    try:
        found = orjson.loads(data)
        return found if isinstance(found, list) else [found]
    except ValueError:
        pass
    try:
        text, at, found = data.decode("utf-8"), 0, []
        decoder = json.JSONDecoder()
        while at < len(text):
            listing, at = decoder.raw_decode(text, at)
            found.append(listing)
            at += len(text[at : at + 64]) - len(text[at : at + 64].lstrip(" \t\r\n,"))
        return found
    except (ValueError, RecursionError):
        return None
