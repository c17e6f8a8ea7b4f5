"""Drawings as small SVG by hand: text stays text, colors follow the page's, light or dark.

A drawing is inlined into the page, or written as a file of its own with the style that it needs. Every one has a
title and a description; every mark may carry a title, which browsers show as a hint and the page on a tap. A drawing
knows the box of each of its texts, by widths of letters that are those of a wide font, so that no text is put over
another one (`tests/experiments/report/plots/test_layout.py`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from aisles.data_prep.io.escaping import escaped
from aisles.experiments.report.render.style import DRAWING_STYLE, TEXT_SIZES

WIDTH = 360
"""Units across on a phone: about its screen, so that a unit is about a pixel."""
WIDE = 1000
"""Units across on a screen."""
_LETTERS = ((0.32, " .,'|!ijlIJ·"), (0.42, 'frt-:;()[]/"`*'), (1.0, "mwMW%@−+±…→◂▸"))
_CAPITAL, _LETTER, _SQUARE = 0.77, 0.636, 1.0
_WIDTHS = {letter: width for width, letters in _LETTERS for letter in letters}
_BOLD = 1.13


class Box(NamedTuple):
    """A rectangle from its upper left to its lower right corner."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Return whether two rectangles share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


class Drawing:
    """An SVG under construction; the origin is at the top left.

    Parameters
    ----------
    width, height : float
        In units; the page scales them.
    title, description : str
        For those who can't see it: what it shows, and what is to be seen in it.
    """

    def __init__(self, width: float, height: float, title: str, description: str):
        self.width: float = width
        self.height: float = height
        self.title: str = title
        self.description: str = description
        self.boxes: list[Box] = []
        self._parts: list[str] = []

    def add(self, tag: str, hint: str = "", **attributes: Any) -> None:
        """Append an element; `class_` and underscores are written as SVG writes them."""
        inside = f"<title>{escaped(hint)}</title>" if hint else ""
        self._parts.append(f"<{tag}{_attributes(attributes)}>{inside}</{tag}>" if inside else
                           f"<{tag}{_attributes(attributes)}/>")  # fmt: skip

    def rect(
        self, x: float, y: float, width: float, height: float, class_: str, hint: str = "", **more: Any
    ) -> None:
        """Append a rectangle."""
        self.add("rect", hint, x=x, y=y, width=max(width, 0.0), height=height, class_=class_, **more)

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str = "axis", **more: Any) -> None:
        """Append a line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, **more)

    def path(
        self, points: Sequence[tuple[float, float]], class_: str, hint: str = "", closed: bool = False
    ) -> None:
        """Append a line through points."""
        steps = "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        self.add("path", hint, d=f"M{steps}{'Z' if closed else ''}", class_=class_)

    def circle(self, x: float, y: float, radius: float, class_: str, hint: str = "") -> None:
        """Append a circle."""
        self.add("circle", hint, cx=x, cy=y, r=radius, class_=class_)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        class_: str = "",
        anchor: str = "start",
        *,
        room: float | None = None,
        size: float | None = None,
        upwards: bool = False,
        hint: str = "",
    ) -> None:
        """Append a line of text.

        Parameters
        ----------
        x, y : float
            Where its baseline starts, has its middle or ends.
        text, class_ : str
        anchor : {"start", "middle", "end"}
        room : float, optional
            Units that it may take: a longer text is cut in its middle, and carries the whole one as its hint.
        size : float, optional
            Of the letters; that of the class unless given.
        upwards : bool
            Whether it runs from bottom to top.
        hint : str
        """
        height = size or letter_size(class_)
        bold = "strong" in class_.split()
        shown = text if room is None else fitted(text, room, height, bold=bold)
        hint = hint or (text if shown != text else "")
        turned = f"rotate(-90 {_number(x)} {_number(y)})" if upwards else None
        at = {"x": x, "y": y, "class_": class_ or None, "text_anchor": None if anchor == "start" else anchor}
        at |= {"font_size": size, "transform": turned}
        title = f"<title>{escaped(hint)}</title>" if hint else ""
        self._parts.append(f"<text{_attributes(at)}>{title}{escaped(shown)}</text>")
        self.boxes.append(text_box(x, y, shown, height, anchor, bold=bold, upwards=upwards))

    def inline(self, name: str, class_: str = "") -> str:
        """Return the markup for an HTML page, in which `name` is unique, with a class of its own."""
        return self._markup(name, "", class_=class_)

    def file(self) -> str:
        """Return the markup of a file of its own."""
        head = ' xmlns="http://www.w3.org/2000/svg"'
        return self._markup("drawing", head, f"<style>{DRAWING_STYLE}</style>") + "\n"

    def _markup(self, name: str, head: str, style: str = "", class_: str = "") -> str:
        name = escaped(name)
        size = f"{_number(self.width)} {_number(self.height)}"
        return (
            f'<svg{head} viewBox="0 0 {size}" role="img" aria-labelledby="{name}-t {name}-d" '
            f'class="{f"drawing {class_}".strip()}">'
            f'<title id="{name}-t">{escaped(self.title)}</title><desc id="{name}-d">{escaped(self.description)}'
            f"</desc>{style}{''.join(self._parts)}</svg>"
        )


class Scale:
    """A straight axis from values to units.

    Parameters
    ----------
    low, high : float
        Values at the two ends; widened if they are equal.
    start, end : float
        Where those lie in the drawing.
    """

    def __init__(self, low: float, high: float, start: float, end: float):
        if high <= low:
            low, high = low - 0.5, low + 0.5
        self.low: float = low
        self.high: float = high
        self.start: float = start
        self.end: float = end

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values inside the range, at most about so many."""
        rough = (self.high - self.low) / most
        power = 10.0 ** _floor_log10(rough)
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
        first = int(-(-(self.low - 1e-9 * step) // step))
        last = int((self.high + 1e-9 * step) // step)
        return [round(i * step, 10) for i in range(first, last + 1)]


def letter_size(class_: str) -> float:
    """Return the height of the letters of a text's classes."""
    return next((TEXT_SIZES[name] for name in class_.split() if name in TEXT_SIZES), TEXT_SIZES[""])


def text_width(text: str, size: float = TEXT_SIZES[""], *, bold: bool = False) -> float:
    """Estimate the width of a text in units, rather too wide than too narrow."""
    widths = (_WIDTHS.get(c, _SQUARE if c > "\u2e7f" else _CAPITAL if c.isupper() else _LETTER) for c in text)
    return size * sum(widths) * (_BOLD if bold else 1.0)


def text_box(
    x: float,
    y: float,
    text: str,
    size: float,
    anchor: str = "start",
    *,
    bold: bool = False,
    upwards: bool = False,
) -> Box:
    """Return the box of a line of text."""
    width = text_width(text, size, bold=bold)
    before = {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    if upwards:
        return Box(x - 0.8 * size, y + before - width, x + 0.22 * size, y + before)
    return Box(x - before, y - 0.8 * size, x - before + width, y + 0.22 * size)


def fitted(text: str, room: float, size: float = TEXT_SIZES[""], *, bold: bool = False) -> str:
    """Cut a text in its middle until it takes no more than some units."""
    shown, most = text, len(text)
    while most > 2 and text_width(shown, size, bold=bold) > room:
        most -= 1
        shown = cut(text, most)
    return shown


def cut(text: str, most: int) -> str:
    """Shorten a long name in the middle, where names of one family differ least."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 3
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def _floor_log10(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _attributes(attributes: dict[str, Any]) -> str:
    pairs = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    return "".join(f' {name}="{_value(value)}"' for name, value in pairs if value is not None)


def _value(value: Any) -> str:
    return _number(value) if isinstance(value, int | float) else escaped(str(value))


def _number(value: float) -> str:
    text = f"{float(value):.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
