"""Links of README, documentation and code: those inside the repository are followed, the others well-formed.

`python -m pytest -m slow tests/test_docs_links.py` asks every address; it needs a network.
"""

import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIB = ROOT / "experiments" / "judge" / "sources.bib"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments" / "lab").rglob("*.md")]
ROOMS = ("api", "data_prep", "experiments", "hierarchy", "models")
WITH_ADDRESSES = [
    *PAGES, BIB, ROOT / "CITATION.cff", ROOT / "pyproject.toml", *(ROOT / ".github").rglob("*.yml"),
    *(path for room in ROOMS for path in (ROOT / room).rglob("*.py")),
]  # fmt: skip
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
ADDRESS = re.compile(r"https?://[^\s)\"'`<>}\]\\]+")
OWN = re.compile(
    r"https?://(127\.0\.0\.1|localhost|0\.0\.0\.0|www\.w3\.org/(2000/svg|1999/xlink)|[^/]*[{%]|[^/.]*(/|$)|\.{3})"
)
"""This machine, names of XML's, and patterns that code fills in."""
FOLDERS = {"https://amazon-berkeley-objects.s3.amazonaws.com/archives/": "abo-listings.tar"}
"""Addresses that code completes, and a file there."""


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#{1,6} +(.+?)\s*$", without_code(page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_inside() -> list[tuple[str, Path, str]]:
    found = []
    for page in PAGES:
        for target in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
            if not re.match(r"[a-z]+:", target):
                path, _, anchor = target.partition("#")
                found.append(
                    (page.relative_to(ROOT).as_posix(), (page.parent / path if path else page), anchor)
                )
    return found


def addresses() -> list[str]:
    found = set()
    for path in WITH_ADDRESSES:
        for address in ADDRESS.findall(path.read_text(encoding="utf-8")):
            address = address.rstrip(".,;:")
            if not OWN.match(address):
                found.add(address + FOLDERS.get(address, ""))
    return sorted(found)


def test_links_inside_the_repository_lead_to_files_and_headings():
    inside = links_inside()
    assert len(inside) > 80
    lost = [(page, str(path)) for page, path, _ in inside if not path.exists()]
    assert not lost
    headless = [
        (page, path.name, anchor)
        for page, path, anchor in inside
        if anchor and path.suffix == ".md" and anchor not in anchors(path)
    ]
    assert not headless


def test_addresses_are_well_formed():
    found = addresses()
    assert "https://nicolaspavon.github.io/ABO-eng.html" in found and len(found) >= 8
    assert not [a for a in found if not re.fullmatch(r"https?://([\w-]+\.)+[a-z]{2,}(:\d+)?(/[^\s]*)?", a)]


def test_identifiers_of_papers_are_well_formed():
    for path in WITH_ADDRESSES:
        text = path.read_text(encoding="utf-8")
        for found in re.findall(r"\barxiv(?:\.org/(?:abs|pdf)/|:)(\S+)", text, re.I):
            assert re.match(r"\d{4}\.\d{4,5}(v\d+)?\b|[a-z-]+/\d{7}\b", found), (path.name, found)
        for found in re.findall(r"\bdoi(?:\.org/|:\s*)(\S+)", text, re.I):
            assert re.match(r"10\.\d{4,9}/\S+", found), (path.name, found)


def test_every_source_has_what_a_reader_needs_to_find_it():
    entries = re.findall(r"^@(\w+)\{(\w+),\n(.*?)^\}", BIB.read_text(encoding="utf-8"), re.M | re.S)
    assert len(entries) == len({key for _, key, _ in entries}) >= 25
    for kind, key, fields in entries:
        names = set(re.findall(r"^ *(\w+) = \{", fields, re.M))
        where = {"article": "journal", "inproceedings": "booktitle", "misc": "note"}[kind]
        assert {"author", "title", "year", where} <= names, key
        year = re.search(r"year = \{(.+)\}", fields)
        assert year and (re.fullmatch(r"(19|20)\d\d|n\.d\.", year[1])), key
        assert year[1] == "n.d." or year[1] in key, key


@pytest.mark.slow
@pytest.mark.parametrize("address", addresses())
def test_an_address_answers(address):
    asked = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check)"}, method="HEAD")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status < 400
    except urllib.error.HTTPError as error:
        assert error.code in {403, 405, 429}, f"{address}: {error.code}"  # asked too often, or not by HEAD
    except urllib.error.URLError as error:
        pytest.skip(f"No network: {error.reason}")
