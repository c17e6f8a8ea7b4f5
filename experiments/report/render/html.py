"""A document as one HTML file: no file beside it, no request, and no script but its own can run in it."""

import base64
import hashlib
from collections.abc import Sequence
from functools import singledispatch
from itertools import groupby

from aisles.data_prep.io.escaping import escaped
from aisles.experiments.report.plots.drawing import WIDE

from .document import (
    WORDS,
    Block,
    Bullets,
    Card,
    Document,
    Folded,
    Gallery,
    Plot,
    Section,
    Table,
    Text,
    shown,
)
from .style import PAGE_SCRIPT, PAGE_STYLE

_ZOOMS = (("1", "Whole"), ("2", "2 ×"), ("4", "4 ×"))


def html_page(document: Document) -> str:
    """Write a document as HTML.

    Parameters
    ----------
    document : Document

    Returns
    -------
    str
        A complete page. Its content security policy lets in data URIs as images, its own style, and the one
        script whose hash it names.
    """
    digest = base64.b64encode(hashlib.sha256(PAGE_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escaped(policy)}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">',
            f"<title>{escaped(document.title)}</title><style>{PAGE_STYLE}</style></head>\n<body>",
            _contents(document.sections),
            f'<main id="verdict"><header><h1>{escaped(document.title)}</h1>',
            f'<p class="verdict">{escaped(document.verdict)}</p>',
            *(f'<p class="facts">{escaped(fact)}</p>' for fact in document.facts if fact),
            "</header>\n",
            _blocks(document.opening),
            *map(_section, document.sections),
            f"</main><output></output><script>{PAGE_SCRIPT}</script></body></html>\n",
        )
    )


def _contents(sections: Sequence[Section]) -> str:
    """Write the bar of contents, with a button that the page's script shows."""
    links = "".join(f'<a href="#{escaped(s.anchor)}">{escaped(s.title)}</a>' for s in sections)
    fold = '<button type="button" hidden>Fold all</button>'
    return f'<nav aria-label="Contents"><a href="#verdict">Verdict</a>{links}{fold}</nav>\n'


def _section(section: Section) -> str:
    anchor = escaped(section.anchor)
    return (
        f'<details open id="{anchor}" aria-labelledby="{anchor}-h"><summary><h2 id="{anchor}-h">'
        f"{escaped(section.title)}</h2></summary>\n{_blocks(section.blocks)}</details>\n"
    )


def _blocks(blocks: Sequence[Block]) -> str:
    """Write blocks one after another; plots that take half a screen or less stand beside each other."""
    written = []
    for small, group in groupby(blocks, key=_is_small_plot):
        inside = "".join(map(_block, group))
        written.append(f'<div class="beside">{inside}</div>\n' if small else inside)
    return "".join(written)


def _is_small_plot(block: Block) -> bool:
    if not isinstance(block, Plot) or block.zoomable:
        return False
    return block.wide is None or block.wide.width <= WIDE / 2


@singledispatch
def _block(block: object) -> str:
    raise TypeError(f"A report has no blocks of type {type(block).__name__}.")


@_block.register
def _(block: Text) -> str:
    return f"<p>{escaped(block.text)}</p>\n"


@_block.register
def _(block: Bullets) -> str:
    return f"<ul>{''.join(f'<li>{escaped(item)}</li>' for item in block.items)}</ul>\n"


@_block.register
def _(block: Table) -> str:
    numeric = [column.kind not in WORDS for column in block.columns]
    heads = "".join(
        f'<th scope="col"{" class=n" if right else ""}>{escaped(column.heading)}</th>'
        for column, right in zip(block.columns, numeric, strict=True)
    )
    rows = "".join(f"<tr>{_cells(block, row)}</tr>\n" for row in block.rows)
    kind = ' class="sortable"' if block.sortable else ""
    told = f"t-{escaped(block.name)}"
    return (
        f'<p class="facts" id="{told}">{escaped(block.caption)}</p><div class="scroll" tabindex="0" role="region" '
        f'aria-labelledby="{told}"><table{kind} aria-describedby="{told}"><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>\n"
    )


def _cells(table: Table, row: tuple) -> str:
    cells = []
    for i, (column, value) in enumerate(zip(table.columns, row, strict=True)):
        text = escaped(shown(value, column.kind))
        if i == 0:
            cells.append(f'<th scope="row">{text}</th>')
        elif column.kind in WORDS:
            cells.append(f"<td class={column.kind[0]}>{text}</td>")
        else:
            key = "" if value is None or value != value else value
            cells.append(f'<td class=n data-v="{escaped(key)}">{text}</td>')
    return "".join(cells)


@_block.register
def _(block: Plot) -> str:
    drawings = [(block.drawing, f"f-{block.name}", "narrow" if block.wide else "")]
    if block.wide:
        drawings.append((block.wide, f"w-{block.name}", "wide"))
    if block.zoomable:
        drawing, name, _ = drawings[-1]
        inside = _zoomer(block.name, drawing.inline(name))
    else:
        inside = "".join(drawing.inline(name, class_) for drawing, name, class_ in drawings)
    return f"<figure>{inside}<figcaption>{escaped(block.caption)}</figcaption></figure>\n"


def _zoomer(name: str, drawing: str) -> str:
    """Put a drawing behind three buttons that need no script."""
    name = escaped(name)
    buttons = "".join(
        f'<input type="radio" name="z-{name}" id="z-{name}-{level}" class="z{level}"'
        f'{" checked" if level == "1" else ""}><label for="z-{name}-{level}">{label}</label>'
        for level, label in _ZOOMS
    )
    return f'<div class="zoomer">{buttons}<div class="scroll zoom" tabindex="0">{drawing}</div></div>'


@_block.register
def _(block: Gallery) -> str:
    return f'<p class="facts">{escaped(block.caption)}</p><ul class="cards">{"".join(map(_card, block.cards))}</ul>\n'


@_block.register
def _(block: Folded) -> str:
    inside = _blocks(block.blocks)
    return f"<details><summary>{escaped(block.summary)}</summary>\n{inside}</details>\n"


def _card(card: Card) -> str:
    if card.image is None:
        image = '<div class="none">no image</div>'
    else:
        data = base64.b64encode(card.image).decode()
        image = f'<img alt="{escaped(card.title)}" src="data:image/jpeg;base64,{data}">'
    lines = "".join(f"<dt>{escaped(who)}</dt><dd>{escaped(what)}</dd>" for who, what in card.lines)
    return (
        f'<li class="card">{image}<h3>{escaped(card.title)}</h3><dl>{lines}</dl>'
        f'<p class="file">{escaped(card.file_name)}</p></li>'
    )
