"""Listings as Amazon ships them -> tables of listings and images, streaming, nothing malformed fatal."""

import codecs
import csv
import hashlib
import io
import json
import logging
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import joblib
import pandas as pd

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.escaping import formula_safe
from aisles.data_prep.io.files import cached_place, whole_file, write_whole
from aisles.data_prep.io.progress import progress
from aisles.data_prep.io.tables import read_table

from .listing_lines import LISTING_COLUMNS, parse_file
from .sources import Source, find_image_table, find_listings, read_lines, stamp

log = logging.getLogger(__name__)

IMAGE_COLUMNS = ("image_id", "height", "width", "path")
INDEX_VERSION = 1
Problem = tuple[str, int, str]
"""File, line from 1, reason."""
# As nearly all are: an id, two numbers, and a path below the folder; the others are read more slowly.
_PLAIN_ROW = re.compile(rb"[\w+-]+,\d+,\d+,\w+/\w+\.\w+")
_PARALLEL_FROM = 1 << 23  # bytes; below, starting processes takes longer than reading


@dataclass(frozen=True)
class CatalogueIndex:
    """The tables that indexing writes, and what they hold.

    Attributes
    ----------
    folder : Path
        Where `listings.csv`, `images.csv` and `malformed.csv` are.
    n_listings, n_images, n_malformed, n_files : int
        Rows of the three tables; listing files read.
    reused : bool
        Whether the tables were there already and the archives unchanged.
    """

    folder: Path
    n_listings: int
    n_images: int
    n_malformed: int
    n_files: int
    reused: bool = False


def index_catalogue(
    directory: str | Path, output: str | Path | None = None, *, jobs: int = -1
) -> CatalogueIndex:
    """Read every listing and the image table of a catalogue into CSV tables.

    `listings.csv` has one row per line that could be read, in the order of the files and lines; all ids are
    text, `other_image_id` holds ids separated by spaces, `item_name` is the English name or else the first;
    what a listing leaves out is empty. `malformed.csv` has file, line (from 1) and reason of the rest.

    Parameters
    ----------
    directory : str or Path
        The catalogue: the two archives, or what was unpacked from them.
    output : str or Path, optional
        Where to write; by default `directory/index`, or the user's cache folder where that is not writable.
    jobs : int
        Processes, as in joblib; a small catalogue is read in this one.

    Returns
    -------
    CatalogueIndex
        What was found. If nothing has changed since the last time, nothing is read again.

    Raises
    ------
    DataError
        If there are no listings, none can be read, or an archive is damaged or hostile.
    """
    directory = Path(directory)
    places = (
        [Path(output)]
        if output is not None
        else [directory / "index", cached_place("catalogue-indexes", directory)]
    )
    listings, images = find_listings(directory), find_image_table(directory)
    key = hashlib.sha256(f"{INDEX_VERSION} {stamp([*listings, images])}".encode()).hexdigest()
    for place in places:
        known = _read_summary(place, key)
        if known:
            return known
    folder = next((place for place in places if _writable(place)), places[-1])
    parsed = _parsed(
        listings, jobs
    )  # other processes begin now, and this one reads the image table meanwhile
    with whole_file(folder / "images.csv") as part:  # in place only once the listings are
        n_images, bad_images = _write_images(part, images)
        n_listings, bad = _write_listings(folder / "listings.csv", parsed, len(listings))
    if not n_listings:
        told = f" The first: {bad[0][0]}, line {bad[0][1]}: {bad[0][2]}." if bad else ""
        raise DataError(
            f"{directory}: none of {len(listings)} files holds a listing that can be read, JSON objects with an "
            f"item_id.{told}"
        )
    bad += bad_images
    write_whole(folder / "malformed.csv", _as_csv(("file", "line", "reason"), bad))
    counts = {
        "n_listings": n_listings,
        "n_images": n_images,
        "n_malformed": len(bad),
        "n_files": len(listings),
    }
    write_whole(folder / "index.json", json.dumps({"key": key, **counts}, indent=1) + "\n")
    return CatalogueIndex(folder, n_listings, n_images, len(bad), len(listings))


def read_listings(folder: str | Path) -> pd.DataFrame:
    """Read the table of listings that `index_catalogue` wrote; every column is text, nothing is NaN."""
    return read_table(Path(folder) / "listings.csv", made_by="aisles data index")


def read_images(folder: str | Path) -> pd.DataFrame:
    """Read the table of images that `index_catalogue` wrote; every column is text."""
    return read_table(Path(folder) / "images.csv", made_by="aisles data index")


def _parsed(sources: list[Source], jobs: int) -> Iterator[tuple[bytes, int, list[Problem]]]:
    large = sum(path.stat().st_size for path in {source.path for source in sources}) > _PARALLEL_FROM
    parallel = joblib.Parallel(n_jobs=jobs if large else 1, return_as="generator", pre_dispatch="n_jobs")
    return cast(Iterator, parallel(joblib.delayed(parse_file)(source) for source in sources))


def _write_listings(path: Path, parsed: Iterator, n_files: int) -> tuple[int, list[Problem]]:
    n_rows, bad = 0, []
    with whole_file(path) as part, part.open("wb") as file:
        file.write((",".join(LISTING_COLUMNS) + "\n").encode())
        for rows, count, problems in progress(parsed, "Listings", n_files, "files"):
            file.write(rows)
            n_rows += count
            bad += problems
    return n_rows, bad


def _write_images(path: Path, source: Source) -> tuple[int, list[Problem]]:
    lines = read_lines(source)
    header = _fields(next(lines, b"").removeprefix(codecs.BOM_UTF8))
    if not set(IMAGE_COLUMNS) <= set(header):
        raise DataError(
            f"{source.path}: {source.name} needs the columns {', '.join(IMAGE_COLUMNS)}. It has: {header}."
        )
    in_order = tuple(header) == IMAGE_COLUMNS
    n_rows, bad = 0, []
    with path.open("wb") as file:
        file.write((",".join(IMAGE_COLUMNS) + "\n").encode())
        for number, line in enumerate(lines, start=2):
            row = line if in_order and _PLAIN_ROW.fullmatch(line) else _image_row(line, header)
            if row:
                file.write(row + b"\n")
                n_rows += 1
            elif line.strip():
                bad.append((source.name, number, "wrong number of fields, or a path that leads elsewhere"))
    return n_rows, bad


def _image_row(line: bytes, header: list[str]) -> bytes | None:
    """Read one row the long way; None if it can't be used."""
    fields = _fields(line)
    if len(fields) != len(header) or _leads_elsewhere(fields[header.index("path")]):
        return None
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([fields[header.index(name)] for name in IMAGE_COLUMNS])
    return text.getvalue().encode("utf-8")


def _fields(line: bytes) -> list[str]:
    """Return the fields of a line, none if it is no CSV (bare carriage return, over 131,072 characters)."""
    try:
        return next(csv.reader([line.decode("utf-8", "replace")]), [])
    except csv.Error:
        return []


def _leads_elsewhere(path: str) -> bool:
    return not path or path[0] == "/" or ".." in path or "\\" in path or ":" in path or not path.isprintable()


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        log.info("%s is not writable (%s).", folder, error.strerror)
        return False


def _read_summary(folder: Path, key: str) -> CatalogueIndex | None:
    try:
        summary = json.loads((folder / "index.json").read_text("utf-8"))
        if summary.pop("key") != key or not all(
            (folder / f"{name}.csv").is_file() for name in ("listings", "images", "malformed")
        ):
            return None
        return CatalogueIndex(folder, **summary, reused=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _as_csv(columns: tuple[str, ...], rows: list) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([formula_safe(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()
