"""A curve on a page: accuracy, the paired difference with its band, and the table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aisles.experiments.report.plots.drawing import WIDTH, Drawing, Scale
from aisles.experiments.report.plots.trust import Curve, chart
from aisles.experiments.report.render.document import Bullets, Column, Document, Plot, Section, Table, Text
from aisles.experiments.report.writing import ReportFiles, write_document
from aisles.experiments.stats.points import signed

_LEFT, _RIGHT, _HEIGHT = 40, 14, 210


def write_page(facts: Mapping[str, Any], folder: Path, name: str = "curve") -> ReportFiles:
    """Write `curve.html`, `curve.md`, tables and plots of a curve's facts (see `run.CurveResult`)."""
    return write_document(curve_document(facts), folder, name)


def curve_document(facts: Mapping[str, Any]) -> Document:
    """Return the page of a curve."""
    data, primary = facts["data"], facts["primary"]
    rows, ends = facts["points"], facts["ends"]
    opening = (
        Plot("curve-accuracy", _accuracy_caption(facts), accuracy_plot(facts)),
        Plot(
            "curve-difference",
            f"{primary} less the best flat method, with its 95 % interval over images and draws at each value. "
            "Filled points: a difference is shown after Holm's correction over the points, and an advantage "
            "over every flat method.",
            difference_plot(rows, primary, "comparison", facts["description"]),
        ),
        difference_table(facts),
    )
    told = Bullets(tuple(end["sentence"] for end in ends.values()))
    sections = [Section("methods", "Every method's curve", (told, accuracy_table(facts)))]
    if facts["ends_against_fine"]:
        blocks = (
            Text(
                "The same against the best flat method that learned from fine labels alone: what images known by "
                "their macro are worth, whoever uses them."
            ),
            Bullets(tuple(end["sentence"] for end in facts["ends_against_fine"].values())),
            Plot(
                "curve-against-fine",
                f"{primary} less the best flat method on fine labels alone, with its 95 % interval.",
                difference_plot(rows, primary, "against_fine", facts["description"]),
            ),
        )
        sections.append(Section("coarse", "Coarse labels against fine labels alone", blocks))
    sections.append(Section("protocol", "How it was measured", (Bullets(protocol(facts)),)))
    images = data["images"]
    return Document(
        title=f"{data['name']}: {facts['description']}",
        verdict=ends[primary]["sentence"],
        facts=(
            f"{images['train']:,} training, {images['val']:,} validation and {images['test']:,} test images, "
            f"{data['classes']} classes, {data['macros']} macros {'brought' if data['brought'] else 'learned'}; "
            f"{facts['draws']} draws per point; features {facts['backbone']}.",
        ),
        opening=opening,
        sections=tuple(sections),
    )


def protocol(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in words how a curve was measured."""
    said = [
        "Features were extracted once. Heads are closed-form or nearly; their settings and temperatures come from "
        "validation images, and no head is fitted again on these.",
        "The best flat method is chosen at each value by validation accuracy, mean over draws, among flat methods that "
        "may learn from the same labels as the method judged.",
        "Draws are replications: intervals and p-values take other images and other draws as two sources of variance.",
        "A method that is better than this choice is called better only if it is shown better than each of the other "
        "flat methods too; else it is better than some.",
        "p-values of the pre-specified method are corrected over its points (Holm); all other methods' points are "
        "another family.",
    ]
    if facts["axis"] == "labels":
        said.insert(
            1,
            "At k, each class keeps k training images and at most k validation images; test images are untouched. "
            + (
                "Training images left out keep their macro, from which methods on coarse labels learn; the others "
                "do without them."
                if facts["data"]["brought"]
                else "Macros are learned at each point from the images that are left."
            ),
        )
    failed = {name: why for row in facts["points"] for name, why in row["failed"].items()}
    said += [f"Failed at some value: {name}: {why}" for name, why in failed.items()]
    if facts.get("command"):
        said.append(f"Command: {facts['command']}")
    return tuple(said)


def _accuracy_caption(facts: Mapping[str, Any]) -> str:
    return f"Test accuracy, mean over draws, by {facts['description']}."


def accuracy_plot(facts: Mapping[str, Any]) -> Drawing:
    """Draw accuracy over the values: flat, best flat, two-stage methods."""
    rows = facts["points"]
    names = list(dict.fromkeys(name for row in rows for name in row["methods"]))
    roles = {name: m["role"] for row in rows for name, m in row["methods"].items()}
    places = list(range(len(rows)))
    curves = [
        Curve(f"best flat ({', '.join(dict.fromkeys(str(row['best_flat']) for row in rows))})", places,
              [_share(row, row["best_flat"]) for row in rows], "flat"),
    ]  # fmt: skip
    if any(row["best_flat_fine"] != row["best_flat"] for row in rows):
        best = [_share(row, row["best_flat_fine"]) for row in rows]
        curves.append(Curve("best flat on fine labels alone", places, best, "flat", dashed=True))
    curves.append(Curve("flat-lda", places, [_share(row, "flat-lda") for row in rows], "other"))
    two = [name for name in names if roles[name] == "two-stage" and name != facts["primary"]]
    for name in (facts["primary"], *two):
        ys = [_share(row, name) for row in rows]
        curves.append(Curve(name, places, ys, "two", dashed=name != facts["primary"]))
    return chart(
        curves, "Accuracy", f"Accuracy by {facts['description']}; values in the table.",
        x_name=facts["description"], y_name="right, %", x_range=(-0.2, len(rows) - 0.8),
        x_names=[str(row["value"]) for row in rows],
    )  # fmt: skip


def difference_plot(rows: Sequence[Mapping[str, Any]], name: str, key: str, x_name: str) -> Drawing:
    """Draw a method's paired difference over the values, with the band of its intervals."""
    judged = [
        (place, row["methods"][name][key])
        for place, row in enumerate(rows)
        if key in row["methods"].get(name, {})
    ]
    lows = [100 * c["interval"][0] for _, c in judged] or [0.0]
    highs = [100 * c["interval"][1] for _, c in judged] or [0.0]
    pad = 0.08 * max(max(highs) - min(lows), 1.0)
    x = Scale(-0.2, len(rows) - 0.8, _LEFT, WIDTH - _RIGHT)
    y = Scale(min(*lows, 0.0) - pad, max(*highs, 0.0) + pad, _HEIGHT, 20)
    said = "; ".join(f"{rows[i]['value']}: {signed(100 * c['difference'])}" for i, c in judged)
    drawing = Drawing(WIDTH, _HEIGHT + 34, f"{name} less the best flat method", f"Points by value: {said}.")
    drawing.text(4, 11, "difference, points ↑", "soft small")
    upper = [(x(i), y(100 * c["interval"][1])) for i, c in judged]
    lower = [(x(i), y(100 * c["interval"][0])) for i, c in judged]
    drawing.path([*upper, *reversed(lower)], "band", closed=True)
    for tick in y.ticks():
        drawing.line(_LEFT, y(tick), WIDTH - _RIGHT, y(tick), "zero" if tick == 0 else "grid")
        drawing.text(_LEFT - 5, y(tick) + 4, f"{tick:g}", "soft small", "end")
    drawing.path([(x(i), y(100 * c["difference"])) for i, c in judged], "l lt", name)
    for i, c in judged:
        shown = c["verdict"] in ("better", "worse")
        hint = f"{rows[i]['value']}: {c['sentence']}"
        drawing.circle(x(i), y(100 * c["difference"]), 3.4, "two" if shown else "bare", hint)
    for place, row in enumerate(rows):
        drawing.text(x(place), _HEIGHT + 13, f"{row['value']}", "soft small", "middle")
    drawing.text((_LEFT + WIDTH - _RIGHT) / 2, _HEIGHT + 26, f"{x_name} →", "soft small", "middle")
    return drawing


def difference_table(facts: Mapping[str, Any]) -> Table:
    """List the primary's difference at each value."""
    columns = (
        Column(facts["description"], "text"), Column("draws", "count"), Column("best flat", "word"),
        Column("best flat right", "share"), Column(f"{facts['primary']} right", "share"),
        Column("difference", "points"), Column("from", "points"), Column("to", "points"), Column("p", "p"),
        Column("verdict", "word"),
    )  # fmt: skip
    rows = []
    for row in facts["points"]:
        c = row["methods"].get(facts["primary"], {}).get("comparison")
        if c is not None:
            rows.append(
                (str(row["value"]), row["n_draws"], c["a"], c["accuracy_a"], c["accuracy_b"], c["difference"],
                 *c["interval"], c["p_corrected"], _verdict(c))
            )  # fmt: skip
    end = facts["ends"][facts["primary"]]["nothing_from"]
    told = "an advantage is shown at every end" if end is None else f"no advantage is shown from {end} on"
    return Table(
        "curve-difference", f"{facts['primary']} against the best flat method: {told}.", columns, tuple(rows)
    )


def _verdict(comparison: Mapping[str, Any]) -> str:
    unbeaten = comparison.get("unbeaten")
    return comparison["verdict"] + (f" (not {', '.join(unbeaten)})" if unbeaten else "")


def accuracy_table(facts: Mapping[str, Any]) -> Table:
    """List every method's accuracy at each value."""
    names = list(dict.fromkeys(name for row in facts["points"] for name in row["methods"]))
    columns = (Column("method"), *(Column(str(row["value"]), "share") for row in facts["points"]))
    rows = tuple((name, *(_of(row, name) for row in facts["points"])) for name in names)
    return Table("curve-accuracy", _accuracy_caption(facts), columns, rows)


def _of(row: Mapping[str, Any], name: str | None) -> float | None:
    return row["methods"].get(name, {}).get("accuracy")


def _share(row: Mapping[str, Any], name: str | None) -> float:
    found = _of(row, name)
    return float("nan") if found is None else 100 * found
