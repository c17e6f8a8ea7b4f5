"""What a run rests on, as BibTeX: its data set, its networks, its methods and its statistics."""

import csv
import json
import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from aisles.experiments.runs.reader import read_metrics
from aisles.experiments.runs.schema import BENCHMARK

STATISTICS = (
    ("sign-flip test over products", ("winkler2014permutation",)),
    ("bootstrap over products", ("field2007bootstrapping",)),
    ("McNemar's test", ("mcnemar1947note", "dietterich1998approximate")),
    ("test of equivalence", ("schuirmann1987comparison", "bonett2012adjusted")),
    ("smallest difference shown", ("connor1987sample",)),
)
BACKBONES = (
    ("efficientnet", "tan2019efficientnet"),
    ("inception_v3", "szegedy2016inception"),
    ("vgg16", "simonyan2015vgg"),
    ("dinov2", "oquab2024dinov2"),
)
METHODS = {
    "soft": "yan2015hdcnn",
    "threshold": "yan2015hdcnn",
    "hard": "silla2011survey",
    "hie": "jain2023testtime",
    "flat-lda": "friedman1989regularized",
    "lda": "friedman1989regularized",
    "discriminant": "friedman1989regularized",
    "hiclass": "miranda2023hiclass",
}
"""By what stands before or after a colon in a benchmark's method: rule, head or method."""
FOLDERS_UP = 5


@dataclass(frozen=True)
class Citation:
    """Something that a run used, and where it comes from.

    Attributes
    ----------
    used : str
        What the run used.
    bibtex : tuple of str
        Entries; empty where the source is not recorded here.
    note : str
        What to do where there is none.
    """

    used: str
    bibtex: tuple[str, ...] = ()
    note: str = ""


def citations(folder: str | Path) -> tuple[Citation, ...]:
    """Return the sources that a run used.

    Parameters
    ----------
    folder : path
        Of a run of `aisles benchmark` or `aisles compare`. A data set brings its own source as `CITATION.bib` beside
        its images; Amazon's is recognized by what `aisles data` left there.

    Raises
    ------
    DataError
        If the folder is no finished run.
    """
    folder = Path(folder)
    metrics, settings = read_metrics(folder), _settings(folder)
    found = [Citation("aisles", (_aisles(folder),)), _data_set(folder)]
    benchmark = metrics["kind"] == BENCHMARK
    backbone = metrics["backbone"] if benchmark else ""
    keys = tuple(key for name, key in BACKBONES if name in backbone)
    if backbone:
        note = "" if keys else "a backbone of your own: cite where it comes from"
        found.append(Citation(f"backbone {backbone.split(' ')[0]}", _entries(keys), note))
    if "imagenet" in backbone:
        found.append(Citation("ImageNet weights", _entries(("deng2009imagenet",))))
    if benchmark and metrics["hierarchy"]["origin"].startswith("ward"):
        found.append(Citation("hierarchy by Ward's linkage", _entries(("ward1963grouping",))))
    if "abo65" in str(settings.get("data", {}).get("note", "")):
        found.append(
            Citation("settings of the published study of 65 product types", _entries(("pavon_abo",)))
        )
    if benchmark:
        found += _methods(tuple(metrics["methods"]))
    found += [Citation(what, _entries(keys)) for what, keys in STATISTICS]
    if len(metrics["seeds"]) > 1:
        found.append(
            Citation("interval over images and training seeds", _entries(("cochran1964approximate",)))
        )
    if len(metrics["comparisons"]) > 1:
        found.append(
            Citation("correction for several comparisons", _entries(("romano2005exact", "holm1979simple")))
        )
    methods = metrics["methods"].values()
    if any(facts["calibration"] for facts in methods):
        keys = ("naeini2015obtaining", "guo2017calibration", "brier1950verification")
        found.append(Citation("calibration", _entries(keys)))
    return tuple(found)


def as_bibtex(found: tuple[Citation, ...]) -> str:
    """Write citations as a BibTeX file whose comments say what each source is for."""
    blocks = []
    for citation in found:
        said = f"% {citation.used}" + (f": {citation.note}" if citation.note else "")
        blocks.append("\n".join([said, *citation.bibtex]))
    return "\n\n".join(blocks)


def known_sources() -> dict[str, str]:
    """Return the entries of `sources.bib` by key."""
    text = files("aisles.experiments.judge").joinpath("sources.bib").read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=@)", text)[1:]
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry.strip() for entry in entries}


def _entries(keys: tuple[str, ...]) -> tuple[str, ...]:
    known = known_sources()
    return tuple(known[key] for key in keys)


def _aisles(folder: Path) -> str:
    """Return an entry for aisles in the version that made the run; the installed one where none is recorded."""
    try:
        made_with = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        used, revision = made_with["packages"]["aisles"], made_with["revision"]
    except (OSError, ValueError, KeyError, TypeError):
        used, revision = None, None
    fields = {
        "title": "aisles: hierarchical two-stage image classification of products, refereed against one flat model",
        "author": "{The aisles developers}",
        "version": used or version("aisles"),
    } | ({"note": f"git revision {revision}"} if revision else {})
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@software{{aisles,\n{lines}\n}}"


def _methods(names: tuple[str, ...]) -> list[Citation]:
    """Return the sources of a benchmark's methods, each once, with the methods that rest on it."""
    by_source: dict[str, list[str]] = {}
    for name in names:
        for word in name.split(":"):
            if word in METHODS:
                by_source.setdefault(METHODS[word], []).append(name)
    return [Citation(f"methods {', '.join(resting)}", _entries((key,))) for key, resting in by_source.items()]


def _data_set(folder: Path) -> Citation:
    """Find the source of the images: a CITATION.bib beside them, or Amazon's."""
    place = _first_image(folder)
    for parent in () if place is None else list(place.parents)[:FOLDERS_UP]:
        own = parent / "CITATION.bib"
        if own.is_file():
            return Citation(f"data set {parent.name}", (own.read_text(encoding="utf-8").strip(),))
        if (parent / "curation.json").is_file():
            return Citation("Amazon Berkeley Objects", _entries(("collins2022abo",)))
    return Citation(
        "data set", note="not known here; put a CITATION.bib beside its images, and it is named from then on"
    )


def _first_image(folder: Path) -> Path | None:
    try:
        with open(folder / "manifest.csv", encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file))
        return (folder / row["file_name"]).resolve()
    except (OSError, KeyError, StopIteration):
        return None


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "settings.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
