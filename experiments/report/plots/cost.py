"""The drawing of accuracy against cost, each point with its name beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aisles.experiments.report.render.document import shown

from .drawing import WIDTH, Box, Drawing, Scale, fitted, text_box

_LEFT, _RIGHT = 38, 14
_TOP, _SIZE, _ROOM = 14, 11, 130
_POINT = 6


@dataclass(frozen=True)
class CostPoint:
    """A method's cost, in any one unit, and its accuracy with the spread over seeds (0 with one seed).

    `flat` methods are circles, all others squares.
    """

    name: str
    cost: float
    accuracy: float
    spread: float
    class_: str
    flat: bool = False


def cost_plot(points: Sequence[CostPoint], unit: str) -> Drawing:
    """Draw accuracy against cost, one point a method, named where there is room, with a line to it if that is far."""
    height = 150 + 16 * len(points)
    low = min(100 * (p.accuracy - p.spread) for p in points)
    high = max(100 * (p.accuracy + p.spread) for p in points)
    pad = 0.12 * (high - low) + 0.1
    said = "; ".join(f"{p.name}: {shown(p.cost, 'number')} {unit}, {100 * p.accuracy:.1f} %" for p in points)
    drawing = Drawing(WIDTH, height + 34, "Accuracy against cost", f"{said}.")
    x = Scale(0, 1.08 * max(p.cost for p in points), _LEFT, WIDTH - _RIGHT)
    y = Scale(low - pad, high + pad, height, _TOP + 10)
    drawing.text(2, 11, "accuracy, % ↑", "soft small")
    for tick in y.ticks(5):
        drawing.line(_LEFT - 4, y(tick), _LEFT, y(tick))
        drawing.text(_LEFT - 7, y(tick) + 4, f"{tick:g}", "soft small", "end")
    for tick in x.ticks(4):
        drawing.text(x(tick), height + 14, shown(tick, "number"), "soft small", "middle")
    drawing.line(_LEFT, _TOP, _LEFT, height)
    drawing.line(_LEFT, height, WIDTH - _RIGHT, height)
    drawing.text((_LEFT + WIDTH) / 2, height + 29, f"{unit} →", "soft small", "middle", room=WIDTH - 60)
    marks: list[Box] = []
    for p in points:
        at, bar = (x(p.cost), y(100 * p.accuracy)), 100 * p.spread * abs(y(1) - y(0))
        hint = f"{p.name}: {100 * p.accuracy:.1f} % at {shown(p.cost, 'number')}"
        drawing.line(at[0], at[1] - bar, at[0], at[1] + bar, "axis")
        if p.flat:
            drawing.circle(*at, 5, p.class_, hint)
        else:
            drawing.rect(at[0] - 4.5, at[1] - 4.5, 9, 9, p.class_, hint)
        reach = max(bar, _POINT)
        marks.append(Box(at[0] - _POINT, at[1] - reach, at[0] + _POINT, at[1] + reach))
    inside = Box(_LEFT + 2, _TOP, WIDTH, height - 1)
    for p in sorted(points, key=lambda p: (-p.cost, -p.accuracy)):
        _name(drawing, p, (x(p.cost), y(100 * p.accuracy)), marks, inside)
    return drawing


def _name(drawing: Drawing, point: CostPoint, at: tuple[float, float], marks: list[Box], inside: Box) -> None:
    """Write a point's name at the nearest place where it meets neither text nor mark, nor its line to the point one."""
    text = fitted(point.name, _ROOM, _SIZE)
    for dx, dy, anchor in _places():
        left, baseline = at[0] + dx, at[1] + dy + 4
        box = text_box(left, baseline, text, _SIZE, anchor)
        end = (left, baseline - 4)
        line = _stepping_stones(at, end) if abs(dy) > 14 else []
        taken = [*drawing.boxes, *marks]
        within = inside.left <= box.left and box.right <= inside.right
        within = within and inside.top <= box.top and box.bottom <= inside.bottom
        if within and not any(part.meets(other) for part in (box, *line) for other in taken):
            if line:
                drawing.line(*line[0][:2], *end, "leader")
                marks += line
            drawing.text(left, baseline, point.name, "small", anchor, room=_ROOM)
            return


def _places() -> Iterator[tuple[float, float, str]]:
    """Return steps from a point to where its name may start or end, the nearest first."""
    for step in range(40):
        for dy in {0: (0,)}.get(step, (7 * step, -7 * step)):
            for dx in (9, 22) if abs(dy) > 14 else (9,):
                yield dx, dy, "start"
                yield -dx, dy, "end"


def _stepping_stones(at: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    """Return small boxes along the line from just outside a point to its name."""
    steps = max(int(max(abs(end[0] - at[0]), abs(end[1] - at[1])) / 2), 1)
    length = max(((end[0] - at[0]) ** 2 + (end[1] - at[1]) ** 2) ** 0.5, 1e-9)
    places = (
        (at[0] + (end[0] - at[0]) * i / steps, at[1] + (end[1] - at[1]) * i / steps)
        for i in range(steps)
        if length * i / steps > 1.5 * _POINT
    )
    return [Box(a - 0.8, b - 0.8, a + 0.8, b + 0.8) for a, b in places] or [Box(*end, *end)]
