"""Amazon's two archives, downloaded so that a broken download goes on where it broke."""

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import sha256_of, write_whole
from aisles.data_prep.io.progress import Progress

from .sources import IMAGES_TAR, LISTINGS_TAR

log = logging.getLogger(__name__)

BASE_URL = "https://amazon-berkeley-objects.s3.amazonaws.com/archives/"
SIZES: Mapping[str, int] = {LISTINGS_TAR: 87_480_320, IMAGES_TAR: 3_253_381_120}
ATTRIBUTION = """Amazon Berkeley Objects (ABO), licensed under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/).
Credit for the data, including all images and 3D models: Amazon.com.
Credit for building the data set, archives and benchmark sets: Matthieu Guillaumin, Thomas Dideriksen,
Kenan Deng, Himanshu Arora, Arnab Dhua (Amazon.com), Jasmine Collins, Jitendra Malik (UC Berkeley).
Collins et al., "ABO: Dataset and Benchmarks for Real-World 3D Object Understanding", CVPR 2022.
"""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Fetched:
    """One archive that is here now.

    Attributes
    ----------
    path : Path
        The file.
    url : str
        Where it came from.
    n_bytes : int
        Its size.
    sha256 : str
        Its hash, also recorded in `fetched.json`.
    reused : bool
        Whether it was here already.
    """

    path: Path
    url: str
    n_bytes: int
    sha256: str
    reused: bool


def fetch_archives(
    directory: str | Path,
    *,
    base_url: str = BASE_URL,
    sizes: Mapping[str, int | None] | None = None,
    attempts: int = 8,
    timeout: float = 60.0,
) -> tuple[Fetched, ...]:
    """Download the archives of listings and small images, 3.3 GB together.

    Parameters
    ----------
    directory : str or Path
        Where they go. An unfinished archive is `NAME.part`, and is continued.
    base_url : str
        Their folder on the server: `http://` or `https://`.
    sizes : mapping of str to int or None, optional
        The archives and the bytes that each must have (None: whatever the server says); by default ABO's.
    attempts : int
        How often in a row a download may break without a byte gained, before it is given up.
    timeout : float
        Seconds of silence after which a download counts as broken.

    Returns
    -------
    tuple of Fetched
        In the order of `sizes`. `ATTRIBUTION` says what to credit.

    Raises
    ------
    DataError
        If the address is none, or an archive has another size than it must have, or another hash than
        when it was fetched.
    OSError
        If the download breaks again and again, or the disk is full.
    """
    if not base_url.startswith(("http://", "https://")):
        raise DataError(f"`base_url` must begin with http:// or https://. Received: {base_url!r}.")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    wanted = SIZES if sizes is None else sizes
    record = _read_record(directory / "fetched.json")
    write_whole(directory / "ATTRIBUTION.txt", ATTRIBUTION)
    fetched = []
    for name, size in wanted.items():
        url = f"{base_url.rstrip('/')}/{name}"
        archive = _fetch(directory / name, url, size, attempts, timeout, record.get(name))
        entry = asdict(archive) | {"path": name}
        del entry["reused"]
        record[name] = entry
        write_whole(directory / "fetched.json", json.dumps(list(record.values()), indent=1) + "\n")
        fetched.append(archive)
    return tuple(fetched)


def _read_record(path: Path) -> dict[str, dict]:
    """Read what was fetched here before, by file name; nothing if there is no record or it is damaged."""
    try:
        return {entry["path"]: entry for entry in json.loads(path.read_text("utf-8"))}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _check_record(archive: Fetched, known: dict | None) -> None:
    if known and known.get("sha256") != archive.sha256:
        raise DataError(
            f"{archive.path} is not the file that was fetched: its SHA-256 is {archive.sha256}, and fetched.json "
            f"has {known.get('sha256')}. Delete it and fetch it again."
        )


def _fetch(
    path: Path, url: str, size: int | None, attempts: int, timeout: float, known: dict | None
) -> Fetched:
    if path.is_file():
        _check_size(path, size)
        archive = Fetched(path, url, path.stat().st_size, sha256_of(path), reused=True)
        _check_record(archive, known)
        return archive
    part = path.with_name(path.name + ".part")
    failures = 0
    with Progress(path.name, size, "B") as bar:
        while True:
            before = _length(part)
            try:
                if _continue(part, url, timeout, bar):
                    break
                problem: Exception = OSError("the connection was closed early")
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in (408, 429) and error.code < 500:
                    raise DataError(f"{url}: the server says {error.code} {error.reason}.") from error
                problem = error
            except (OSError, http.client.HTTPException) as error:
                problem = error
            failures = 0 if _length(part) > before else failures + 1
            if failures >= attempts:
                raise OSError(
                    f"{url}: the download broke {failures} times in a row after {_length(part):,} bytes "
                    f"({problem}). Run the command again to go on from there."
                ) from problem
            log.warning("%s broke after %s bytes (%s); going on.", path.name, f"{_length(part):,}", problem)
            time.sleep(min(30.0, 0.5 * 2**failures) if failures else 0)
    _check_size(part, size)
    digest = sha256_of(part)
    part.replace(path)
    return Fetched(path, url, path.stat().st_size, digest, reused=False)


def _continue(part: Path, url: str, timeout: float, bar: Progress) -> bool:
    """Append what is missing to the unfinished file; say whether it is complete now."""
    start = _length(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start and _total(error.headers.get("Content-Range")) == start:
            return True
        if error.code == 416 and start:
            log.warning("%s is longer than what the server has; starting again.", part.name)
            part.unlink()
            return False
        raise
    with response:
        if response.status != 206:
            start = 0  # the server gives the whole file, whatever was asked for
        total = _total(response.headers.get("Content-Range")) or _expected(response, start)
        bar.begin_at(start, total or bar.total)
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    return total is None or _length(part) >= total


def _expected(response, start: int) -> int | None:
    length = response.headers.get("Content-Length")
    return start + int(length) if length and length.isdigit() else None


def _total(content_range: str | None) -> int | None:
    total = (content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_size(path: Path, size: int | None) -> None:
    found = path.stat().st_size
    if size is not None and found != size:
        raise DataError(f"{path} has {found:,} bytes and must have {size:,}. Delete it and fetch it again.")
