"""The map's page: what each region says, with its intervals and the number of data sets, then every curve."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from aisles.data_prep.io.files import write_whole
from aisles.experiments.curves.page import difference_plot
from aisles.experiments.report.render.document import Bullets, Column, Document, Plot, Section, Table, Text
from aisles.experiments.report.writing import write_document
from aisles.experiments.stats.points import change_in_points, interval_in_points
from aisles.experiments.stats.significance import holm

from .data import DataSet
from .plan import Planned

Measured = tuple[DataSet, Planned, Mapping[str, Any], float | None]
ALPHA = 0.05


KEPT = ("a", "difference", "interval", "p_value", "p_every", "p_corrected", "verdict", "unbeaten")
"""What `curves.json` holds of a comparison."""


def write_map(found: Sequence[Measured], folder: Path, command: str) -> Document:
    """Write `map.html`, `map.md`, tables, plots, and `curves.json`, from the same rounded numbers."""
    found = [(data, planned, _rounded(facts), seconds) for data, planned, facts, seconds in found]
    document = map_document(found, command, date.today().isoformat())
    write_document(document, folder, "map")
    curves = [_short(*each) for each in found]
    write_whole(folder / "curves.json", json.dumps(curves, separators=(",", ":")) + "\n")
    return document


def _short(
    data: DataSet, planned: Planned, facts: Mapping[str, Any], seconds: float | None
) -> dict[str, Any]:
    """Return a curve without what only a whole run needs."""
    points = []
    for point in facts["points"]:
        methods = {
            name: {
                key: {k: value[k] for k in KEPT if k in value} if isinstance(value, Mapping) else value
                for key, value in method.items()
                if key in ("accuracy", "sd", "comparison", "against_fine")
            }
            for name, method in point["methods"].items()
        }
        points.append(point | {"methods": methods})
    keep = ("axis", "draws", "data", "primary", "missing")
    return {
        "data_set": data.name,
        "curve": planned.name,
        "seconds": None if seconds is None else round(seconds, 1),
        **{key: facts[key] for key in keep},
        "points": points,
    }


def _rounded(value: Any) -> Any:
    """Round numbers to 4 significant digits."""
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def map_document(found: Sequence[Measured], command: str, day: str) -> Document:
    """Return the page."""
    sets = list(dict.fromkeys(data for data, *_ in found))
    names = {planned.name: planned for _, planned, *_ in found}
    judged = judgements(found)
    regions = {name: region_sentences(planned, judged) for name, planned in names.items()}
    draws = max(facts["draws"] for *_, facts, _ in found)
    known = [seconds for *_, seconds in found if seconds is not None]
    sections = [_section(planned, regions[name], judged, found) for name, planned in names.items()]
    return Document(
        title="The map: where does a hierarchy pay?",
        verdict=verdict(judged),
        facts=(
            f"{_sets(len(sets))}, {len(found)} curves, {len(judged)} points, {draws} draws per point where "
            f"something is drawn (seeds 0 to {draws - 1}); {sum(known) / 60:.0f} processor minutes for the "
            f"{len(known)} curves that ran in one go; {day}.",
        ),
        opening=(
            Bullets(tuple(s for name in names for s in regions[name])),
            *fine_sentences(found),
            regions_table(judged),
        ),
        sections=(
            *sections,
            Section("fine-tuned", "Fine-tuned networks", (Text(FINE_TUNED),)),
            Section("data-sets", "Data sets", (sets_table(found),)),
            Section("protocol", "How it was measured", (Bullets(protocol(found, command)),)),
        ),
    )


def fine_sentences(found: Sequence[Measured]) -> tuple[Text | Bullets, ...]:
    """Say what images known by their macro are worth: each curve's sentences, that of the same labels first."""
    told = tuple(
        f"{data.name}: {facts['ends'][facts['primary']]['sentence']} "
        f"{facts['ends_against_fine'][facts['primary']]['sentence']}"
        for data, _, facts, _ in found
        if facts["primary"] in facts["ends_against_fine"]
    )
    if not told:
        return ()
    said = (
        "What coarse labels are worth (p-values corrected inside each curve). Flat methods that learn from the same "
        "coarse labels are the fair baseline and come first; the second sentence, against flat methods on fine labels "
        "alone, says what these labels are worth whoever uses them, not that two stages are."
    )
    return Text(said), Bullets(told)


FINE_TUNED = (
    "All curves stand on frozen features. The one fine-tuned comparison (grocery, 81 classes, all labels, 3 seeds, one "
    "accelerator; ../grocery-fine-tuned.md) shows no advantage either: two-stage against the flat ensemble of equal "
    "cost -1.0 points (-2.1 to +0.1), against one flat network +0.5 (-0.3 to +1.3)."
)


# ---- judgements ---------------------------------------------------------------------------------


def judgements(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """List the pre-specified method's comparison at every point of every curve.

    `p_map` is the p-value (the largest of all flat methods' where an advantage is claimed), corrected by Holm over all
    of them; `shown` is better or worse where that is below 0.05 and the curve's own verdict says so, else nothing.
    """
    rows = []
    for data, planned, facts, _ in found:
        for point in facts["points"]:
            c = point["methods"].get(facts["primary"], {}).get("comparison")
            if c is not None:
                rows.append(
                    {"data": data, "planned": planned, "value": _written(point["value"]), "c": c,
                     "draws": point["n_draws"], "primary": facts["primary"]}
                )  # fmt: skip
    for row, p in zip(rows, holm([row["c"]["p_every"] for row in rows]), strict=True):
        row["p_map"] = float(p)
        sure = p < ALPHA and row["c"]["verdict"] in ("better", "worse")
        row["shown"] = row["c"]["verdict"] if sure else ""
    return rows


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def region_sentences(planned: Planned, judged: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return for each value of an axis where the pre-specified method is shown better or worse, and on how many sets.

    Neighboring values at which nothing is shown share a sentence.
    """
    mine = [row for row in judged if row["planned"].name == planned.name]
    told, quiet = [], []
    for value in dict.fromkeys(row["value"] for row in mine):
        rows = [row for row in mine if row["value"] == value]
        if any(row["shown"] for row in rows):
            told += _quiet(planned, quiet) + [_loud(planned, value, rows)]
            quiet = []
        else:
            quiet.append((value, rows))
    return tuple(told + _quiet(planned, quiet))


def _loud(planned: Planned, value: str, rows: Sequence[Mapping[str, Any]]) -> str:
    n, parts = len(rows), []
    for word in ("better", "worse"):
        here = [row for row in rows if row["shown"] == word]
        if here:
            each = ", ".join(f"{row['data'].name} {_interval(row['c'])}" for row in here)
            parts.append(f"{word} on {len(here)} of {_sets(n)}: {each}")
    rest = [row for row in rows if not row["shown"]]
    text = f"{planned.condition.format(value=value)}: {rows[0]['primary']} is shown {'; '.join(parts)}"
    return text + (f"; elsewhere no difference is shown, {_most(rest)}." if rest else ".")


def _quiet(planned: Planned, quiet: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    if not quiet:
        return []
    values = [value for value, _ in quiet]
    rows = [row for _, some in quiet for row in some]
    listed = values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"
    n = len({row["data"] for row in rows})
    where = "the one data set" if n == 1 else f"any of {_sets(n)}"
    if len(rows) < n * len(values):
        where += ", each at some of these values"
    condition = planned.condition.format(value=listed)
    return [f"{condition}: no difference from the best flat method is shown on {where}, {_most(rows)}."]


def _sets(n: int) -> str:
    return f"{n} data set{'s' * (n != 1)}"


def _most(rows: Sequence[Mapping[str, Any]]) -> str:
    top = max(rows, key=lambda row: row["c"]["interval"][1])
    most = change_in_points(top["c"]["interval"][1])
    return f"at most {most} (upper end of the interval on {top['data'].name})"


def _interval(c: Mapping[str, Any]) -> str:
    return f"{change_in_points(c['difference'])} ({interval_in_points(c['interval'])})"


def verdict(judged: Sequence[Mapping[str, Any]]) -> str:
    """Return in two sentences what the map shows."""
    told = []
    for word in ("better", "worse"):
        rows = [row for row in judged if row["shown"] == word]
        places = [
            f"{name.lower()} ({', '.join(dict.fromkeys(row['value'] for row in here))}; "
            f"{_sets(len({row['data'] for row in here}))})"
            for name in dict.fromkeys(row["planned"].title for row in rows)
            if (here := [row for row in rows if row["planned"].title == name])
        ]
        told.append(
            f"Two-stage is shown {word} than the best flat method at {len(rows)} of {len(judged)} points"
            + (f": {'; '.join(places)}." if places else ".")
        )
    return " ".join(told)


# ---- tables and sections ------------------------------------------------------------------------


def regions_table(judged: Sequence[Mapping[str, Any]]) -> Table:
    """List the points at which something is shown."""
    rows = [row for row in judged if row["shown"]]
    return _table("map-shown", "Every point of the map at which a difference is shown.", rows)


def _table(name: str, caption: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        Column("curve", "text"), Column("data set", "word"), Column("value", "word"), Column("draws", "count"),
        Column("best flat", "word"), Column("best flat right", "share"), Column("two-stage", "word"),
        Column("right", "share"), Column("difference", "points"), Column("from", "points"), Column("to", "points"),
        Column("p in its curve", "p"), Column("p in the map", "p"), Column("shown", "word"),
    )  # fmt: skip
    found = tuple(
        (row["planned"].title, row["data"].name, row["value"], row["draws"], c["a"], c["accuracy_a"], c["b"],
         c["accuracy_b"], c["difference"], *c["interval"], c["p_corrected"], row["p_map"], row["shown"] or "no")
        for row in rows
        for c in [row["c"]]
    )  # fmt: skip
    return Table(name, caption, columns, found)


def _section(
    planned: Planned,
    sentences: tuple[str, ...],
    judged: Sequence[Mapping[str, Any]],
    found: Sequence[Measured],
) -> Section:
    blocks: list[Any] = [Bullets(sentences)]
    for data, own, facts, _ in found:
        if own.name == planned.name:
            name, primary = f"{planned.name}-{data.name}", facts["primary"]
            end = facts["ends"][primary]["sentence"]
            drawing = difference_plot(facts["points"], primary, "comparison", facts["description"])
            blocks.append(Plot(name, f"{data.name}: {end}", drawing))
            if facts["missing"]:
                left = ", ".join(map(_written, facts["missing"]))
                blocks.append(Text(f"{data.name}: not measured at {left}; the run was stopped there."))
            fine = facts["ends_against_fine"].get(primary)
            if fine is not None:
                blocks.append(Text(f"{data.name}: {fine['sentence']}"))
    mine = [row for row in judged if row["planned"].name == planned.name]
    blocks.append(_table(f"map-{planned.name}", f"{planned.title}: every point.", mine))
    return Section(planned.name, planned.title, tuple(blocks))


def sets_table(found: Sequence[Measured]) -> Table:
    """List the data sets."""
    columns = (
        Column("data set", "word"), Column("what", "text"), Column("training", "count"),
        Column("validation", "count"), Column("test", "count"), Column("classes", "count"),
        Column("macros", "count"), Column("macros are", "text"),
    )  # fmt: skip
    rows: dict[str, tuple[Any, ...]] = {}
    for data, _, facts, _ in found:
        images = facts["data"]["images"]
        if facts["data"]["brought"] and data.name not in rows:
            rows[data.name] = (
                data.name, data.what, images["train"], images["val"], images["test"], facts["data"]["classes"],
                facts["data"]["macros"], data.macros,
            )  # fmt: skip
    return Table("map-data-sets", "What was measured on.", columns, tuple(rows.values()))


def protocol(found: Sequence[Measured], command: str) -> tuple[str, ...]:
    """Return in words how the map was measured."""
    stand_in = [data.name for data in dict.fromkeys(data for data, *_ in found) if not data.brought]
    return (
        "Every curve is one run of aisles benchmark --curve: heads in closed form or nearly, settings and temperatures "
        "by validation images, no head fitted again on these, test images untouched.",
        "The best flat method is chosen at each value by validation images among flat-lda, flat-logistic and flat-knn; "
        "where images keep their macro alone, flat-coarse and flat-coarse-lda are candidates too. A method that is "
        "better than this choice is called better only if it is shown better than each of the others too.",
        "The pre-specified method is coarse:soft where images keep their macro alone, else soft:lda. Other methods "
        "are in curves.json.",
        "Intervals are 95 % over images and draws, each for itself. A difference is called shown if its p-value, "
        "corrected by Holm over all points of the map, is below 0.05, and its curve's own verdict says so.",
        f"On {', '.join(stand_in) or 'no data set'} nobody brings macros: they were learned from all training images "
        "with their classes, which favors two-stage where few labels are said to be known.",
        "What is the same in several curves (no noise, all classes, brought macros) is a point in each: numbers "
        "of points are no numbers of independent findings.",
        "Points of one data set share test images, and the data sets were chosen because they are at hand: they are "
        "no sample of all data sets.",
        f"Command: {command}",
    )
