"""The sections of trust: calibration, risk and coverage."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..calibration_figures import brier, ece, nll, risk_coverage
from .document import Block, Column, Figure, Section, Table
from .names import color_class, is_control
from .run import FLAT, Run
from .trust_figures import Curve, chart, reliability, reliability_figure, thinned


def calibration_section(run: Run) -> Section:
    """Give how far probabilities can be believed, and what answering fewer images buys."""
    pair = (FLAT, run.primary)
    tables = {
        name: reliability(run.classes_by[name].max(axis=2).ravel(), run.correct(name).ravel())
        for name in pair
    }
    colors = {name: color_class(run, name) for name in pair}
    rows = tuple(_calibration_row(run, name) for name in run.classes_by if not is_control(name))
    columns = [
        Column("contestant"),
        Column("ECE", "number"),
        Column("NLL", "number"),
        Column("Brier", "number"),
        Column("ECE after temperature", "number"),
        Column("NLL after temperature", "number"),
        Column("Brier after temperature", "number"),
        Column("area under risk-coverage", "number"),
    ]
    if all(row[4] is None for row in rows):
        rows = tuple((*row[:4], row[7]) for row in rows)
        columns = [*columns[:4], columns[7]]
    caption = (
        "Lower is better everywhere. ECE: expected calibration error in 15 equal bins; NLL: mean negative log of the "
        "true class's probability; Brier: over all classes, from 0 to 2. Means over seeds."
    )
    blocks: tuple[Block, ...] = (
        Figure(
            "calibration",
            "Answers of all seeds in 15 bins of their probability; empty bins are left out.",
            reliability_figure(tables, colors),
        ),
        Table("calibration", caption, tuple(columns), rows),
        _risk_figure(run, pair),
    )
    return Section("calibration", "Calibration", blocks)


def _calibration_row(run: Run, name: str) -> tuple:
    said = _stored(run, name)
    probs = run.classes_by[name]
    sums = probs.sum(axis=2)
    # A contestant of scores only (an outside reference may have none better) has no calibration.
    if not np.allclose(sums, 1, atol=1e-3):
        return (name, *(None,) * 7)
    before = [np.mean([figure(seed, run.truth) for seed in probs]) for figure in (ece, nll, brier)]
    after = said.get("after") or said.get("scaled") or {}
    risk = [
        risk_coverage(seed.max(axis=1), right).aurc
        for seed, right in zip(probs, run.correct(name), strict=True)
    ]
    scaled = [_mean(after.get(key)) for key in ("ece", "nll", "brier")]
    return (name, *(float(v) for v in before), *scaled, float(np.mean(risk)))


def _stored(run: Run, name: str) -> Mapping[str, Any]:
    own = run.metrics["contestants"].get(name, {}).get("calibration")
    return own or run.metrics.get("calibration", {}).get(name) or {}


def _risk_figure(run: Run, pair: tuple[str, str]) -> Figure:
    curves, ends = [], []
    for i, name in enumerate(pair):
        found = [
            risk_coverage(seed.max(axis=1), right)
            for seed, right in zip(run.classes_by[name], run.correct(name), strict=True)
        ]
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
    return Figure("risk-coverage", "What answering only the surest images buys; means over seeds.", drawing)


def _mean(values: Any) -> float | None:
    return None if values is None else float(np.mean(values))
