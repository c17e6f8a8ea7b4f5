"""A document as Markdown, its drawings linked as files beside it."""

from functools import singledispatch

from aisles.data_prep.io.escaping import markdown_escaped

from .document import WORDS, Bullets, Document, Folded, Gallery, Plot, Section, Table, Text, shown


def markdown_page(document: Document) -> str:
    """Write a document as Markdown (with GitHub's tables).

    Returns
    -------
    str
        Metrics are expected as `plots/<name>.svg`, tables as `tables/<name>.csv`; galleries become lists.
    """
    top = [
        f"# {markdown_escaped(document.title)}",
        f"**{markdown_escaped(document.verdict)}**",
        *(markdown_escaped(fact) for fact in document.facts if fact),
        *map(_block, document.opening),
    ]
    return "\n\n".join([*top, *map(_section, document.sections)]) + "\n"


def _section(section: Section) -> str:
    return "\n\n".join([f"## {markdown_escaped(section.title)}", *map(_block, section.blocks)])


@singledispatch
def _block(block: object) -> str:
    raise TypeError(f"A report has no blocks of type {type(block).__name__}.")


@_block.register
def _(block: Text) -> str:
    return markdown_escaped(block.text)


@_block.register
def _(block: Bullets) -> str:
    return "\n".join(f"- {markdown_escaped(item)}" for item in block.items)


@_block.register
def _(block: Table) -> str:
    heads = " | ".join(markdown_escaped(column.heading) for column in block.columns)
    rules = " | ".join("---" if column.kind in WORDS else "---:" for column in block.columns)
    rows = [
        " | ".join(
            markdown_escaped(shown(value, column.kind))
            for column, value in zip(block.columns, row, strict=True)
        )
        for row in block.rows
    ]
    table = "\n".join(f"| {line} |" for line in (heads, rules, *rows))
    return f"{table}\n\n{markdown_escaped(block.caption)} ([CSV](tables/{block.name}.csv))"


@_block.register
def _(block: Plot) -> str:
    title = markdown_escaped(block.drawing.title)
    return f"![{title}](plots/{block.name}.svg)\n\n{markdown_escaped(block.caption)}"


@_block.register
def _(block: Gallery) -> str:
    lines = [markdown_escaped(block.caption), ""]
    for card in block.cards:
        said = "; ".join(f"{who}: {what}" for who, what in card.lines)
        lines.append(
            f"- {markdown_escaped(card.title)} ({markdown_escaped(card.file_name)}): {markdown_escaped(said)}"
        )
    return "\n".join(lines)


@_block.register
def _(block: Folded) -> str:
    return "\n\n".join([f"### {markdown_escaped(block.summary)}", *map(_block, block.blocks)])
