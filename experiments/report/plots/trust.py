"""The drawings of trust: confidence against accuracy, risk against coverage, and curves over the number of macros."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .drawing import WIDTH, Drawing, Scale

_LEFT = 40
_RIGHT = 14
_HEIGHT = 230
BINS = 15


@dataclass(frozen=True)
class Curve:
    """A line in a chart; `dashed` tells it from others without color."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    class_: str
    dashed: bool = False
    points: bool = True


@dataclass(frozen=True, eq=False)
class Reliability:
    """Images by the probability of their answer, in equal bins; empty bins are left out."""

    confidence: np.ndarray
    accuracy: np.ndarray
    images: np.ndarray


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Put answers into bins ((i - 1) / bins, i / bins] by their probability; means of each bin.

    Parameters
    ----------
    confidence : ndarray of shape (n_answers,)
    correct : ndarray of bool of shape (n_answers,)
    bins : int
    """
    place = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
    images = np.bincount(place, minlength=bins)
    full = images > 0
    sums = (np.bincount(place, weights=values, minlength=bins)[full] for values in (confidence, correct))
    mean_confidence, accuracy = (total / images[full] for total in sums)
    return Reliability(mean_confidence, accuracy, images[full])


def reliability_plot(tables: Mapping[str, Reliability], classes: Mapping[str, str]) -> Drawing:
    """Draw accuracy against confidence for each method; `classes` gives each one's drawing class."""
    curves = [
        Curve(name, 100 * t.confidence, 100 * t.accuracy, classes[name], dashed=i > 0)
        for i, (name, t) in enumerate(tables.items())
    ]
    said = "; ".join(f"{name} {_gap_words(table)}" for name, table in tables.items())
    return chart(
        curves,
        "Accuracy against confidence",
        f"On the diagonal, probabilities mean what they say. {said}.",
        x_name="probability of the answer, %",
        y_name="right, %",
        x_range=(0, 100),
        y_range=(0, 100),
        diagonal=True,
    )


def _gap_words(table: Reliability) -> str:
    gap = float(((table.confidence - table.accuracy) * table.images).sum() / table.images.sum())
    return f"is {100 * abs(gap):.1f} points {'over' if gap > 0 else 'under'}confident on average"


def chart(
    curves: Sequence[Curve],
    title: str,
    description: str,
    *,
    x_name: str,
    y_name: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    diagonal: bool = False,
    bands: Sequence[tuple[float, str]] = (),
    x_names: Sequence[str] | None = None,
) -> Drawing:
    """Draw lines over two axes, with a list of the lines beneath.

    Parameters
    ----------
    curves : sequence of Curve
    title, description, x_name, y_name : str
    x_range, y_range : tuple of float, optional
        What the axes span; the curves' own range, widened a little, unless given.
    diagonal : bool
        Whether to draw y = x.
    bands : sequence of (float, str)
        Upright dashed lines, and what to write beside them.
    x_names : sequence of str, optional
        What stands at 0, 1, 2, ... in place of numbers.
    """
    x_range = x_range or _span([v for curve in curves for v in curve.x], 0.02)
    y_range = y_range or _span([v for curve in curves for v in curve.y], 0.08)
    x, y = Scale(*x_range, _LEFT, WIDTH - _RIGHT), Scale(*y_range, _HEIGHT, 20)
    drawing = Drawing(WIDTH, _HEIGHT + 36 + 15 * len(curves), title, description)
    drawing.text(4, 11, f"{y_name} ↑", "soft small", room=WIDTH - 8)
    for tick in y.ticks():
        drawing.line(_LEFT, y(tick), WIDTH - _RIGHT, y(tick), "grid")
        drawing.text(_LEFT - 5, y(tick) + 4, f"{tick:g}", "soft small", "end")
    named = [(tick, f"{tick:g}") for tick in x.ticks()] if x_names is None else list(enumerate(x_names))
    room = (WIDTH - _LEFT - _RIGHT) / max(len(named), 1) - 2
    for tick, words in named:
        drawing.text(x(tick), _HEIGHT + 13, words, "soft small", "middle", room=room)
    drawing.line(_LEFT, _HEIGHT, WIDTH - _RIGHT, _HEIGHT)
    drawing.text(
        (_LEFT + WIDTH - _RIGHT) / 2, _HEIGHT + 26, f"{x_name} →", "soft small", "middle", room=WIDTH - _LEFT
    )
    if diagonal:
        drawing.line(x(x_range[0]), y(x_range[0]), x(x_range[1]), y(x_range[1]), "axis dash")
    for at, words in bands:
        drawing.line(x(at), 20, x(at), _HEIGHT, "axis dash")
        drawing.text(x(at) + 3, 29, words, "soft small")
    for row, curve in enumerate(curves):
        _draw_curve(drawing, curve, x, y)
        _legend_line(drawing, curve, _HEIGHT + 42 + 15 * row)
    return drawing


def _draw_curve(drawing: Drawing, curve: Curve, x: Scale, y: Scale) -> None:
    pairs = [(a, b) for a, b in zip(curve.x, curve.y, strict=True) if np.isfinite(a) and np.isfinite(b)]
    drawing.path([(x(a), y(b)) for a, b in pairs], _line_class(curve), curve.name)
    for a, b in pairs if curve.points else ():
        drawing.circle(x(a), y(b), 2.6, curve.class_, f"{curve.name}: {a:.3g}, {b:.3g}")


def _legend_line(drawing: Drawing, curve: Curve, y: float) -> None:
    drawing.line(_LEFT, y - 3.5, _LEFT + 24, y - 3.5, _line_class(curve))
    drawing.text(_LEFT + 30, y, curve.name, "small", room=WIDTH - _LEFT - 34)


def _line_class(curve: Curve) -> str:
    color = {"flat": "lf", "two": "lt"}.get(curve.class_, "lo")
    return f"l {color}{' dash' if curve.dashed else ''}"


def _span(values: Sequence[float], pad: float) -> tuple[float, float]:
    finite = [float(v) for v in values if np.isfinite(v)] or [0.0, 1.0]
    more = pad * (max(finite) - min(finite))
    return min(finite) - more, max(finite) + more


def thinned(x: np.ndarray, y: np.ndarray, most: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Keep at most so many points of a long curve, the last one always."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return x[keep], y[keep]
