"""The section of trust: calibration, risk against coverage, and answering coarser instead of wrong."""

from typing import Any

import numpy as np

from aisles.experiments.metrics.probabilistic import risk_coverage
from aisles.experiments.report.names import color_class, is_control
from aisles.experiments.report.plots.trust import Curve, chart, reliability, reliability_plot, thinned
from aisles.experiments.report.render.document import Block, Column, Plot, Section, Table, Text
from aisles.experiments.runs.reader import FLAT, Run

_NAMES = {"ece": "ECE", "nll": "NLL", "brier": "Brier score"}
_KEYS = tuple(_NAMES)


def calibration_section(run: Run) -> Section:
    """Return how far probabilities can be believed, and what answering fewer or coarser buys."""
    pair = (FLAT, run.primary)
    tables = {
        name: reliability(run.classes_by[name].max(axis=2).ravel(), run.correct(name).ravel())
        for name in pair
    }
    colors = {name: color_class(run, name) for name in pair}
    blocks: list[Block] = [
        Plot(
            "calibration",
            "Answers of all seeds in 15 bins of their probability; empty bins are left out.",
            reliability_plot(tables, colors),
        ),
        _risk_plot(run, pair),
        _climb_plot(run, run.metrics["climb"]),
        *_apart_words(run, run.metrics["climb"]),
        _table(run),
    ]
    stages = run.metrics["calibrated_stages"]
    if stages is not None:
        metrics = ", ".join(f"{_NAMES[key]} {_mean(stages[key]):.3g}" for key in _KEYS)
        blocks.append(
            Text(
                f"With one temperature for the router and one for each sub-model, {run.primary} reaches {metrics} "
                f"and an accuracy of {100 * (_mean(stages['accuracy']) or 0):.1f} %."
            )
        )
    return Section("calibration", "Calibration", tuple(blocks))


def has_temperatures(run: Run) -> bool:
    """Return whether the run fitted temperatures."""
    return any(f["calibration"] is not None for f in run.metrics["methods"].values())


def _table(run: Run) -> Table:
    rows = tuple(_row(run, name) for name in run.metrics["methods"] if not is_control(name, run.metrics))
    columns = [
        Column("method"),
        *(Column(name, "number") for name in ("ECE", "NLL", "Brier")),
        *(Column(f"{name} after temperature", "number") for name in ("ECE", "NLL", "Brier")),
        Column("area under risk-coverage", "number"),
    ]
    if not has_temperatures(run):
        rows = tuple((*row[:4], row[7]) for row in rows)
        columns = [*columns[:4], columns[7]]
    caption = (
        "Lower is better everywhere. ECE: expected calibration error in 15 equal bins; NLL: mean negative log of the "
        "true class's probability; Brier: over all classes, from 0 to 2. Means over seeds; temperatures were fitted on "
        "validation images, and kept where they held on halves of them that they were not fitted on. Left out: "
        "methods that give bare answers, and rules that leave macros out (hard, beam, threshold, masked), whose "
        "classes there have the probability 0."
    )
    return Table("calibration", caption, tuple(columns), tuple(row for row in rows if row[1] is not None))


def _row(run: Run, name: str) -> tuple:
    method = run.metrics["methods"][name]
    calibration, risk = method["calibration"], method["risk_coverage"]
    if calibration is None or risk is None:
        return (name, *(None,) * 7)
    before, after = (
        [_mean(scores["ece"]), _mean(scores["nll"]), _mean(scores["brier"])]
        for scores in (calibration["before"], calibration["after"])
    )
    return (name, *before, *after, _mean(risk["aurc"]))


def _risks(run: Run, name: str):
    pairs = zip(run.classes_by[name], run.correct(name), strict=True)
    return [risk_coverage(probs.max(axis=1), right) for probs, right in pairs]


def _risk_plot(run: Run, pair: tuple[str, str]) -> Plot:
    curves, ends = [], []
    for i, name in enumerate(pair):
        found = _risks(run, name)
        coverage, risk = thinned(found[0].coverage, np.mean([curve.risk for curve in found], axis=0))
        curves.append(
            Curve(name, 100 * coverage, 100 * risk, color_class(run, name), dashed=i > 0, points=False)
        )
        half = float(np.interp(0.5, coverage, risk))
        ends.append(f"{name}: {100 * risk[-1]:.1f} % wrong of all, {100 * half:.1f} % of the surest half")
    drawing = chart(
        curves,
        "Risk against coverage",
        "; ".join(ends) + ".",
        x_name="images answered, the surest first, %",
        y_name="wrong, %",
        x_range=(0, 100),
        y_range=(0, max(1.0, *(float(v) for curve in curves for v in curve.y))),
    )
    return Plot("risk-coverage", "What answering only the surest images buys; means over seeds.", drawing)


def _climb_plot(run: Run, climb: dict[str, Any]) -> Plot:
    curves = []
    for i, (name, metrics) in enumerate(climb.items()):
        x = [100 * share for share in metrics["class_share"]]
        y = [float("nan") if value is None else 100 * value for value in metrics["accuracy"]]
        curves.append(Curve(name, x, y, color_class(run, name), dashed=i > 0))
    drawing = chart(
        curves,
        "Answering coarser instead of wrong",
        "Each point is a threshold: the class is answered if its probability reaches it, else the macro if its does, "
        "else nothing.",
        x_name="answered with a class, %",
        y_name="right among all answered, %",
    )
    caption = (
        "climb: the class if probable enough, else the macro, else nothing; right at the level answered."
    )
    return Plot("climb", caption, drawing)


def _apart_words(run: Run, climb: dict[str, Any]) -> list[Block]:
    """Say how often the most probable macro holds another class than the most probable one, and which is right."""
    apart = climb.get(run.primary, {}).get("macros_apart")
    if apart is None or not apart["share"]:
        return []
    return [
        Text(
            f"climb answers the macro that holds the most probable class. For {100 * apart['share']:.1f} % of the test "
            f"images the most probable macro is another one: among these the former is right for "
            f"{100 * apart['holding_right']:.0f} %, the latter for {100 * apart['likeliest_right']:.0f} % "
            f"({run.primary}, means over seeds)."
        )
    ]


def _mean(values: Any) -> float | None:
    if isinstance(values, int | float):
        return float(values)
    return None if not values else float(np.mean(values))
