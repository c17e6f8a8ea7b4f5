"""The drawings of the verdict: differences against a baseline, and where errors arise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aisles.experiments.report.render.document import signed

from .drawing import WIDE, WIDTH, Drawing, Scale, text_width

_EDGE = 14
_GAP = 16
_HATCH = 5.0


@dataclass(frozen=True)
class _Columns:
    """Where a row's name, drawing and numbers stand; on a phone the drawing has a line of its own."""

    width: int
    start: float
    end: float
    row: int
    line: float
    above: bool


def _narrow() -> _Columns:
    return _Columns(WIDTH, _EDGE, WIDTH - _EDGE, row=44, line=30, above=True)


def _broad(names: Sequence[str]) -> _Columns:
    """Return a screen's columns, the first as wide as the longest name or a quarter of the whole."""
    longest = max(text_width(name, 12, bold=True) for name in names)
    return _Columns(WIDE, min(longest, WIDE / 4) + _GAP + 6, WIDE - 290, row=27, line=13, above=False)


def difference_plots(
    comparisons: Sequence[Mapping[str, Any]], against: str = "flat", *, primary: str = "", ranked: bool = True
) -> tuple[Drawing, Drawing]:
    """Draw each comparison's difference in accuracy with its interval, its seeds, and the margin.

    Color and shape say the verdict, and the word beside it: a green triangle upwards is better, a red one downwards
    worse, a blue square equivalent, and a hollow circle no difference shown.

    Parameters
    ----------
    comparisons : sequence of mapping
        As `metrics.json` holds them.
    against : str
        What all are compared with.
    primary : str
        Whose name is strong.
    ranked : bool
        Whether the largest difference comes first, or the order given stays.

    Returns
    -------
    tuple of Drawing
        For a phone's width and for a screen's.
    """
    rows = sorted(comparisons, key=lambda c: -c["difference"]) if ranked else list(comparisons)
    broad = _broad([c["b"] for c in rows])
    return _differences(rows, against, primary, _narrow()), _differences(rows, against, primary, broad)


def _differences(rows: Sequence[Mapping[str, Any]], against: str, primary: str, columns: _Columns) -> Drawing:
    margin = 100 * rows[0]["margin"]
    bounds = [100 * v for c in rows for v in (*c["interval"], *c["difference_per_seed"])]
    low, high = min(*bounds, -1.6 * margin), max(*bounds, 1.6 * margin)
    pad = 0.04 * (high - low)
    x = Scale(low - pad, high + pad, columns.start, columns.end)
    top = 24
    bottom = top + columns.row * len(rows)
    said = "; ".join(f"{_difference_words(c)}, {c['verdict']}" for c in rows[:12])
    drawing = Drawing(
        columns.width, bottom + 50, f"Difference in accuracy against {against}", f"In points: {said}."
    )
    half = (columns.end - columns.start) / 2 - 6
    drawing.text(columns.start, 13, f"◂ worse than {against}", "bad small", room=half)
    drawing.text(columns.end, 13, f"better than {against} ▸", "good small", "end", room=half)
    for row, comparison in enumerate(rows):
        at = top + columns.row * row
        above, under = (at + 18, at + 42) if columns.above else (at, at + columns.row)
        drawing.rect(x(-margin), above, x(margin) - x(-margin), under - above, "band")
        for tick in x.ticks():
            drawing.line(x(tick), above, x(tick), under, "zero" if tick == 0 else "grid")
        _difference_row(drawing, comparison, x, at, columns, strong=comparison["b"] == primary)
    for tick in x.ticks():
        drawing.text(x(tick), bottom + 13, signed(tick, _digits(x.ticks())), "soft small", "middle")
    middle = (columns.start + columns.end) / 2
    drawing.text(middle, bottom + 28, "points of accuracy", "soft small", "middle")
    words = f"shaded: within ±{margin:g}, too small to matter"
    drawing.text(middle, bottom + 43, words, "soft small", "middle")
    return drawing


def _difference_row(
    drawing: Drawing, comparison: Mapping[str, Any], x: Scale, top: float, columns: _Columns, *, strong: bool
) -> None:
    low, high = (100 * value for value in comparison["interval"])
    middle, line = 100 * comparison["difference"], top + columns.line
    color, stroke = {"better": ("good", "lg"), "worse": ("bad", "lb"), "equivalent": ("two", "lt")}.get(
        comparison["verdict"], ("unclear", "lo")
    )
    hint = f"{_difference_words(comparison)}: {comparison['verdict']}"
    _difference_text(drawing, comparison, top, columns, "strong" if strong else "", color)
    for seed in comparison["difference_per_seed"] if len(comparison["difference_per_seed"]) > 1 else ():
        drawing.line(x(100 * seed), line - 6, x(100 * seed), line + 6, "seed")
    drawing.path([(x(low), line), (x(high), line)], f"l {stroke}", hint)
    for end in (low, high):
        drawing.line(x(end), line - 4, x(end), line + 4, f"l {stroke}")
    at = x(middle)
    if color == "unclear":
        drawing.circle(at, line, 5, color, hint)
    else:
        corners = {
            "good": [(-6.5, 5), (0, -7), (6.5, 5)],
            "bad": [(-6.5, -5), (0, 7), (6.5, -5)],
            "two": [(-5, -5), (5, -5), (5, 5), (-5, 5)],
        }[color]
        drawing.path([(at + dx, line + dy) for dx, dy in corners], color, hint, closed=True)


def _difference_text(
    drawing: Drawing, comparison: Mapping[str, Any], top: float, columns: _Columns, weight: str, color: str
) -> None:
    """Write a row's name, its numbers as far as they fit, and its verdict in the verdict's color."""
    low, high = (signed(100 * value) for value in comparison["interval"])
    difference, verdict = signed(100 * comparison["difference"]), comparison["verdict"]
    class_ = f"{color if color != 'unclear' else 'soft'} small"
    if columns.above:
        right = f"{difference}  {verdict}"
        drawing.text(columns.end, top + 13, right, class_, "end")
        room = columns.end - columns.start - text_width(right, 11) - 8
        drawing.text(columns.start, top + 13, comparison["b"], weight, room=room)
        return
    baseline = top + columns.line + 4
    drawing.text(
        columns.start - _GAP, baseline, comparison["b"], weight, "end", room=columns.start - _GAP - 4
    )
    drawing.text(columns.end + _GAP, baseline, f"{difference} ({low} to {high})", "small")
    drawing.text(columns.width - 130, baseline, verdict, class_)


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


_PARTS = (("right", "two", 0), ("wrong class", "mid", 1), ("wrong macro", "bad", 2))
"""Word, color and directions of hatching of a bar's parts."""


def budget_plots(budgets: Sequence[BudgetShares]) -> tuple[Drawing, Drawing]:
    """Draw each method's images as one bar, most right on top: right, wrong class of the right macro, wrong macro.

    Returns
    -------
    tuple of Drawing
        For a phone's width and for a screen's.
    """
    rows = sorted(budgets, key=lambda b: -b.right)
    return _budgets(rows, _narrow()), _budgets(rows, _broad([b.name for b in rows]))


def _budgets(budgets: Sequence[BudgetShares], columns: _Columns) -> Drawing:
    top = 28
    bottom = top + columns.row * len(budgets)
    said = "; ".join(
        f"{b.name}: {100 * b.right:.1f} % right, {100 * b.within_wrong:.1f} % right macro but wrong class, "
        f"{100 * b.router_wrong:.1f} % wrong macro"
        for b in budgets[:12]
    )
    drawing = Drawing(columns.width, bottom + 20, "Error budget of each method", f"{said}.")
    x = Scale(0, 100, columns.start, columns.end)
    right = columns.end if columns.above else columns.width - 4
    ends = [right - 98 * place for place in (2, 1, 0)]
    for (word, class_, ways), end in zip(_PARTS, ends, strict=True):
        drawing.text(end, 15, word, "small", "end")
        _hatched(drawing, end - text_width(word, 11) - 15, 5, 12, 12, class_, ways)
    for tick in range(0, 101, 20):
        anchor = {0: "start", 100: "end"}.get(tick, "middle")
        drawing.text(x(tick), bottom + 13, f"{tick} %", "soft small", anchor)
    for row, budget in enumerate(budgets):
        y = top + columns.row * row
        shares = (budget.right, budget.within_wrong, budget.router_wrong)
        baseline = y + 12 if columns.above else y + columns.line + 4
        for share, end in zip(shares, ends, strict=True):
            drawing.text(end, baseline, f"{100 * share:.1f} %", "small", "end")
        if columns.above:
            drawing.text(columns.start, baseline, budget.name, room=ends[0] - 60 - columns.start)
        else:
            left = columns.start - _GAP
            drawing.text(left, baseline, budget.name, "", "end", room=left - 4)
        start = 0.0
        for share, (word, class_, ways) in zip(shares, _PARTS, strict=True):
            above = y + 19 if columns.above else y + 5
            width = x(start + 100 * share) - x(start)
            _hatched(
                drawing,
                x(start),
                above,
                width,
                17,
                class_,
                ways,
                f"{budget.name}: {100 * share:.1f} % {word}",
            )
            start += 100 * share
    return drawing


def _hatched(
    drawing: Drawing,
    left: float,
    top: float,
    width: float,
    height: float,
    class_: str,
    ways: int,
    hint: str = "",
) -> None:
    """Draw a bar with upright (1) or upright and level (2) lines all over, so that no part rests on color alone."""
    drawing.rect(left, top, width, height, class_, hint)
    for i in range(int(width / _HATCH) if ways else 0):
        at = left + _HATCH * (i + 0.5)
        drawing.line(at, top, at, top + height, "hatch")
    for i in range(int(height / _HATCH) if ways > 1 and width > 1 else 0):
        at = top + _HATCH * (i + 0.5)
        drawing.line(left, at, left + width, at, "hatch")
