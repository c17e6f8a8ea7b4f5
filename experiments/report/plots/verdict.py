"""The drawings of the verdict: differences against flat, where errors arise, and accuracy against cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisles.experiments.report.render.document import shown, signed

from .drawing import WIDTH, Drawing, Scale, cut, text_width

_ROW = 40
_EDGE = 14


def difference_plot(comparisons: Sequence[Mapping[str, Any]], against: str = "flat") -> Drawing:
    """Draw each comparison's difference in accuracy with its interval, its seeds, and the margin.

    Parameters
    ----------
    comparisons : sequence of mapping
        As `metrics.json` holds them; the first is drawn strongest.
    against : str
        What all are compared with.
    """
    margin = 100 * comparisons[0]["margin"]
    bounds = [100 * v for c in comparisons for v in (*c["interval"], *c["difference_per_seed"])]
    low, high = min(*bounds, -1.6 * margin), max(*bounds, 1.6 * margin)
    pad = 0.04 * (high - low)
    x = Scale(low - pad, high + pad, _EDGE, WIDTH - _EDGE)
    top, bottom = 20, 20 + _ROW * len(comparisons)
    said = "; ".join(_difference_words(c) for c in comparisons[:12])
    drawing = Drawing(WIDTH, bottom + 34, f"Difference in accuracy against {against}", f"In points: {said}.")
    drawing.rect(x(-margin), top - 4, x(margin) - x(-margin), bottom - top + 4, "band")
    for tick in x.ticks():
        for row in range(len(comparisons)):  # not behind the words
            drawing.line(x(tick), top + _ROW * row + 17, x(tick), top + _ROW * row + 35, "grid")
        drawing.text(x(tick), bottom + 13, signed(tick, _digits(x.ticks())), "soft small", "middle")
    for row in range(len(comparisons)):
        drawing.line(x(0), top + _ROW * row + 17, x(0), top + _ROW * row + 35, "zero")
    drawing.text(_EDGE, 11, f"◂ {against} better", "soft small")
    drawing.text(WIDTH - _EDGE, 11, f"{against} worse ▸", "soft small", "end")
    drawing.text(
        WIDTH / 2,
        bottom + 28,
        f"points of accuracy; band: ±{margin:g}, too small to matter",
        "soft small",
        "middle",
    )
    for row, comparison in enumerate(comparisons):
        _difference_row(drawing, comparison, x, top + _ROW * row, first=row == 0)
    return drawing


def _difference_row(
    drawing: Drawing, comparison: Mapping[str, Any], x: Scale, top: float, *, first: bool
) -> None:
    low, high = (100 * value for value in comparison["interval"])
    middle, line = 100 * comparison["difference"], top + 26
    right = f"{signed(middle)} ({signed(low)} to {signed(high)}), {comparison['verdict']}"
    room = int((WIDTH - 2 * _EDGE - text_width(right, 10)) / text_width("n"))
    drawing.text(_EDGE, top + 13, cut(comparison["b"], max(room, 6)), "strong" if first else "")
    drawing.text(WIDTH - _EDGE, top + 13, right, "small", "end")
    drawing.line(x(low), line, x(high), line, "l lt" if first else "l lo")
    for end in (low, high):
        drawing.line(x(end), line - 5, x(end), line + 5, "l lt" if first else "l lo")
    for seed in comparison["difference_per_seed"]:
        drawing.circle(x(100 * seed), line, 2.6, "bare", f"one seed: {signed(100 * seed, 2)} points")
    size = 6 if first else 5
    corners = [(-size, 0), (0, -size), (size, 0), (0, size)]
    drawing.path(
        [(x(middle) + dx, line + dy) for dx, dy in corners],
        "two" if first else "other",
        _difference_words(comparison),
        closed=True,
    )


def _difference_words(comparison: Mapping[str, Any]) -> str:
    low, high = (100 * value for value in comparison["interval"])
    return f"{comparison['b']} {signed(100 * comparison['difference'])} ({signed(low)} to {signed(high)})"


def _digits(ticks: Sequence[float]) -> int:
    return 0 if all(float(tick).is_integer() for tick in ticks) else 1


@dataclass(frozen=True)
class BudgetShares:
    """A method's error budget as shares of all images, which sum to 1."""

    name: str
    right: float
    within_wrong: float
    router_wrong: float


def budget_plot(budgets: Sequence[BudgetShares]) -> Drawing:
    """Draw each method's images as one bar: right, right macro but wrong class, wrong macro."""
    top, bottom = 34, 34 + _ROW * len(budgets)
    said = "; ".join(
        f"{b.name}: {100 * b.right:.1f} % right, {100 * b.within_wrong:.1f} % right macro but wrong class, "
        f"{100 * b.router_wrong:.1f} % wrong macro"
        for b in budgets[:12]
    )
    drawing = Drawing(WIDTH, bottom + 20, "Error budget of each method", f"{said}.")
    x = Scale(0, 100, _EDGE, WIDTH - _EDGE)
    _budget_legend(drawing)
    for tick in range(0, 101, 20):
        drawing.line(x(tick), top, x(tick), bottom, "grid")
        drawing.text(x(tick), bottom + 13, f"{tick} %", "soft small", "middle")
    for row, budget in enumerate(budgets):
        y = top + _ROW * row
        drawing.text(_EDGE, y + 12, cut(budget.name, 56))
        parts = (("two", budget.right, 0), ("mid", budget.within_wrong, 7), ("bad", budget.router_wrong, 3.5))
        start = 0.0
        for class_, share, gap in parts:
            end = start + 100 * share
            _budget_part(drawing, x(start), y + 17, x(end), class_, gap, f"{100 * share:.1f}")
            start = end
    return drawing


def _budget_part(
    drawing: Drawing, start: float, y: float, end: float, class_: str, gap: float, label: str
) -> None:
    """Draw a part of a bar, hatched if there is a gap between hatches, with its share if that fits."""
    width, middle = end - start, (start + end) / 2
    room = text_width(label, 12) + 2
    drawing.rect(start, y, width, 18, class_, f"{label} %")
    for i in range(int(width / gap) if gap else 0):
        at = start + gap * (i + 0.5)
        if width < room or abs(at - middle) > room / 2:
            drawing.line(at, y, at, y + 18, "hatch")
    if width >= room:
        drawing.text(middle, y + 13, label, "label", "middle")


def _budget_legend(drawing: Drawing) -> None:
    at = float(_EDGE)
    for class_, gap, word in (
        ("two", 0, "right"),
        ("mid", 7, "right macro, wrong class"),
        ("bad", 3.5, "wrong macro"),
    ):
        drawing.rect(at, 6, 14, 12, class_)
        for i in range(int(14 / gap) if gap else 0):
            drawing.line(at + gap * (i + 0.5), 6, at + gap * (i + 0.5), 18, "hatch")
        drawing.text(at + 18, 16, word, "small")
        at += 32 + text_width(word, 9.8)


@dataclass(frozen=True)
class CostPoint:
    """A method's cost, in any one unit, and its accuracy with the spread over seeds (0 with one seed)."""

    name: str
    cost: float
    accuracy: float
    spread: float
    class_: str


def cost_plot(points: Sequence[CostPoint], unit: str) -> Drawing:
    """Draw accuracy against cost, one point a method, numbered as in the list beneath."""
    height = 210
    low = min(100 * (p.accuracy - p.spread) for p in points)
    high = max(100 * (p.accuracy + p.spread) for p in points)
    pad = 0.12 * (high - low) + 0.1
    drawing = Drawing(
        WIDTH,
        height + 40 + 14 * len(points),
        "Accuracy against cost",
        "; ".join(f"{p.name}: {shown(p.cost, 'number')} {unit}, {100 * p.accuracy:.1f} %" for p in points)
        + ".",
    )
    most = max(p.cost for p in points)
    x, y = Scale(0, 1.08 * most, 38, WIDTH - _EDGE), Scale(low - pad, high + pad, height, 12)
    for tick in y.ticks(5):
        drawing.line(38, y(tick), WIDTH - _EDGE, y(tick), "grid")
        drawing.text(33, y(tick) + 4, f"{tick:g}", "soft small", "end")
    for tick in x.ticks(6):
        drawing.text(x(tick), height + 14, shown(tick, "number"), "soft small", "middle")
    drawing.line(38, height, WIDTH - _EDGE, height)
    drawing.text(WIDTH / 2, height + 27, f"{unit} →   (accuracy, % ↑)", "soft small", "middle")
    placed: list[tuple[float, float]] = []
    for number, point in enumerate(points, start=1):
        at = (x(point.cost), y(100 * point.accuracy))
        ends = (y(100 * (point.accuracy - point.spread)), y(100 * (point.accuracy + point.spread)))
        drawing.line(at[0], ends[0], at[0], ends[1], "axis")
        drawing.circle(*at, 4.5, point.class_, f"{point.name}: {100 * point.accuracy:.1f} %")
        drawing.text(*_free_place(at, placed), str(number), "small strong")
        words = (
            f"{number}  {cut(point.name, 36)}: {100 * point.accuracy:.1f} % at {shown(point.cost, 'number')}"
        )
        drawing.text(38, height + 30 + 14 * number, words, "small")
    return drawing


def _free_place(at: tuple[float, float], placed: list[tuple[float, float]]) -> tuple[float, float]:
    """Find a place for a number near its point that no other number has."""
    steps = [(6, -4), (6, 10), (-14, -4), (-14, 10), (16, 3), (-24, 3), (6, -15), (6, 21), (-14, -15)]
    places = [(at[0] + dx, at[1] + dy) for dx, dy in steps]
    free = (p for p in places if all(np.hypot(p[0] - x, p[1] - y) > 10 for x, y in placed))
    place = next(free, places[-1])
    placed.append(place)
    return place
