"""Listings as Amazon ships them -> tables of listings and images, streaming, nothing malformed fatal."""

import csv
import hashlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import joblib
import pandas as pd
from tqdm import tqdm

from .errors import DataError
from .files import whole_file, write_whole
from .sources import Source, find_image_table, find_listings, read_lines, stamp
from .tables import read_table

log = logging.getLogger(__name__)

LISTING_COLUMNS = (
    "item_id", "domain_name", "country", "product_type", "main_image_id", "other_image_id", "item_name",
)  # fmt: skip
IMAGE_COLUMNS = ("image_id", "height", "width", "path")
INDEX_VERSION = 1
MALFORMED_LIMIT = 10_000  # in one file; if they are also the most, it is no file of listings
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
        Where to write; by default `directory/index`.
    jobs : int
        Processes, as in joblib; a small catalogue is read in this one.

    Returns
    -------
    CatalogueIndex
        What was found. If nothing has changed since the last time, nothing is read again.

    Raises
    ------
    DataError
        If there are no listings, or an archive is damaged or hostile.
    """
    directory = Path(directory)
    folder = Path(output) if output is not None else directory / "index"
    listings, images = find_listings(directory), find_image_table(directory)
    key = hashlib.sha256(f"{INDEX_VERSION} {stamp([*listings, images])}".encode()).hexdigest()
    known = _read_summary(folder, key)
    if known:
        return known
    bad: list[tuple[str, int, str]] = []
    n_listings = _write_listings(folder / "listings.csv", listings, bad, jobs)
    n_images = _write_images(folder / "images.csv", images, bad)
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
        listing = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(listing, dict):
        raise ValueError(f"a JSON {type(listing).__name__}, not an object")
    get = listing.get
    others = get("other_image_id") or ()
    if isinstance(others, str):
        others = (others,)
    return (
        _identifier(get("item_id"), "item_id", required=True),
        _identifier(get("domain_name"), "domain_name"),
        _identifier(get("country"), "country"),
        _identifier(_plain(get("product_type")), "product_type"),
        _identifier(get("main_image_id"), "main_image_id"),
        " ".join([_identifier(other, "other_image_id") for other in others]),
        _name(get("item_name")),
    )


def _plain(product_type: object) -> object:
    """Unwrap `[{"value": "SHOES"}]`; the documentation says, and some mirrors have, the plain text."""
    if isinstance(product_type, list) and product_type:
        product_type = product_type[0]
    return product_type.get("value") if isinstance(product_type, dict) else product_type


def _identifier(value: object, key: str, required: bool = False) -> str:
    if isinstance(value, str) and value and not value.isspace() and " " not in value and value.isprintable():
        return value
    if not value and not required and not isinstance(value, (int, float)):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{key} is {str(value)[:40]!r}, not a text without spaces" if value else f"no {key}")


def _name(names: object) -> str:
    """Choose the English name, else the first, in one line."""
    if isinstance(names, str):
        return " ".join(names.split())
    entries = [n for n in names if isinstance(n, dict) and n.get("value")] if isinstance(names, list) else []
    english = (n for n in entries if str(n.get("language_tag")).startswith("en"))
    chosen = next(english, entries[0] if entries else {"value": ""})["value"]
    return " ".join(str(chosen).split())


def _parse_file(source: Source) -> tuple[bytes, int, list[tuple[str, int, str]]]:
    """Give the rows of one file as CSV, their number, and the lines that can't be read."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    bad, n_rows = [], 0
    for number, line in enumerate(read_lines(source), start=1):
        try:
            write(parse_listing(line))
            n_rows += 1
        except ValueError as error:
            if line.strip():
                bad.append((source.name, number, str(error)))
            if len(bad) > MALFORMED_LIMIT and len(bad) > n_rows:
                raise DataError(
                    f"{source.path}: most lines of {source.name} are no listings; line {number}: {error}."
                ) from error
    # A lone surrogate can be written in JSON and not in UTF-8.
    return text.getvalue().encode("utf-8", "replace"), n_rows, bad


def _write_listings(path: Path, sources: list[Source], bad: list, jobs: int) -> int:
    large = sum(path.stat().st_size for path in {source.path for source in sources}) > _PARALLEL_FROM
    parallel = joblib.Parallel(n_jobs=jobs if large else 1, return_as="generator", pre_dispatch="n_jobs")
    results = cast(Iterator, parallel(joblib.delayed(_parse_file)(source) for source in sources))
    n_rows = 0
    with whole_file(path) as part, part.open("wb") as file:
        file.write((",".join(LISTING_COLUMNS) + "\n").encode())
        for rows, count, problems in tqdm(
            results, total=len(sources), desc="Listings", unit="file", disable=None
        ):
            file.write(rows)
            n_rows += count
            bad += problems
    return n_rows


def _write_images(path: Path, source: Source, bad: list) -> int:
    rows = csv.reader(line.decode("utf-8", "replace") for line in read_lines(source))
    header = tuple(next(rows, ()))
    if not set(IMAGE_COLUMNS) <= set(header):
        raise DataError(
            f"{source.path}: {source.name} needs the columns {', '.join(IMAGE_COLUMNS)}. It has: {header}."
        )
    order = [header.index(name) for name in IMAGE_COLUMNS]
    in_order = order == list(range(len(header)))
    n_rows = 0
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        write(IMAGE_COLUMNS)
        for number, row in enumerate(rows, start=2):
            if len(row) != len(header) or _leads_elsewhere(row[header.index("path")]):
                bad.append((source.name, number, "wrong number of fields, or a path that leads elsewhere"))
                continue
            write(row if in_order else [row[k] for k in order])
            n_rows += 1
    return n_rows


def _leads_elsewhere(path: str) -> bool:
    return not path or path[0] == "/" or ".." in path or "\\" in path or ":" in path or not path.isprintable()


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
    writer.writerows(rows)
    return text.getvalue()
