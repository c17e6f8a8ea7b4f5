"""What a report is made of: sections of texts, tables, drawings and galleries, none of it marked up yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from aisles.experiments.report.plots.drawing import Drawing
from aisles.experiments.stats import points

Kind = Literal["text", "word", "share", "points", "spread", "p", "count", "number"]
NOTHING = "–"
WORDS: tuple[Kind, ...] = ("text", "word")


@dataclass(frozen=True)
class Column:
    """A table's column.

    Attributes
    ----------
    name : str
    kind : str
        How values are shown: "share" (0.688 as 68.8, in percent), "points" (a difference of shares, with its sign),
        "spread" (the same without), "p" (a p-value), "count" (whole where it is whole), "number" (three digits),
        "text", or "word" for texts that are short. CSV files hold the value itself.
    """

    name: str
    kind: Kind = "text"

    @property
    def heading(self) -> str:
        """The name with its unit."""
        return self.name + {"share": ", %", "points": ", points", "spread": ", points"}.get(self.kind, "")


@dataclass(frozen=True)
class Table:
    """A table; `name` is its file's, rows hold plain values in the order of the columns, None for nothing."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    sortable: bool = False


@dataclass(frozen=True, eq=False)
class Plot:
    """A drawing; `name` is its file's.

    Attributes
    ----------
    name, caption : str
    drawing : Drawing
        For a phone's width.
    wide : Drawing, optional
        The same for a screen's width. Plots without one stand beside each other there.
    zoomable : bool
        Whether it has more detail than a screen shows at once.
    """

    name: str
    caption: str
    drawing: Drawing
    wide: Drawing | None = None
    zoomable: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """A photograph and what is said about it.

    Attributes
    ----------
    image : bytes or None
        A small JPEG; None if the file can't be read.
    title, file_name : str
    lines : tuple of (str, str)
        Who says so, and what.
    """

    image: bytes | None
    title: str
    file_name: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Gallery:
    """Photographs side by side."""

    caption: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when a reader opens them; `summary` says what is inside."""

    summary: str
    blocks: "tuple[Block, ...]"


Block = Text | Bullets | Table | Plot | Gallery | Folded


@dataclass(frozen=True)
class Section:
    """A part of the report; `anchor` is where links to it lead."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A report: the verdict on top, then sections that can be folded.

    Attributes
    ----------
    title, verdict : str
        What was studied, and what came out in one plain sentence.
    facts : tuple of str
        On what it rests, a sentence a line: interval, test and power, then the protocol.
    opening : tuple of blocks
        What carries the verdict.
    sections : tuple of Section
    """

    title: str
    verdict: str
    facts: tuple[str, ...]
    opening: tuple[Block, ...]
    sections: tuple[Section, ...]

    def blocks(self) -> Iterator[Block]:
        """Return all blocks from top to bottom, those that are folded away too."""
        yield from _unfolded(self.opening)
        for section in self.sections:
            yield from _unfolded(section.blocks)

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables."""
        return tuple(block for block in self.blocks() if isinstance(block, Table))

    @property
    def metrics(self) -> tuple[Plot, ...]:
        """All drawings."""
        return tuple(block for block in self.blocks() if isinstance(block, Plot))


def _unfolded(blocks: tuple[Block, ...]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, Folded):
            yield from _unfolded(block.blocks)
        else:
            yield block


def shown(value: Any, kind: Kind) -> str:
    """Write a value for a person's eyes, as its column's kind says."""
    if value is None or value != value:
        return NOTHING
    if kind in WORDS or isinstance(value, str):
        return str(value)
    if kind in ("share", "spread"):
        return f"{100 * value:.1f}"
    if kind == "points":
        return signed(100 * value)
    if kind == "p":
        return p_text(value)
    if kind == "count" or float(value).is_integer():
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def signed(value: float, digits: int = 1) -> str:
    """Write a number with its sign; what rounds to zero has none."""
    return points.signed(value, digits).replace("-", "−")


def p_text(value: float) -> str:
    """Write a p-value."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
