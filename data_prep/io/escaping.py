"""Text that others wrote, made safe for HTML, SVG and Markdown."""

import re
from html import escape

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#&~$!])")


def escaped(text: object) -> str:
    """Escape a text for HTML and SVG, between tags and inside quoted attributes.

    Control characters, halves of characters and marks that turn the direction of writing become U+FFFD: XML allows
    none of the first two, and the third could make a name look like another.
    """
    return escape(visible(text), quote=True)


def visible(text: object) -> str:
    """Put U+FFFD for every character that `escaped` does not let pass."""
    return _UNPRINTABLE.sub("\ufffd", str(text))


def markdown_escaped(text: object) -> str:
    """Escape a text for one line, or one table cell, of Markdown."""
    line = " ".join(visible(text).split())
    return _MARKDOWN.sub(r"\\\1", line)


def spreadsheet_safe(text: object) -> str:
    """Return a text for a CSV cell that no spreadsheet takes for a formula.

    What begins with =, +, -, @, tab or return gets an apostrophe in front, unless it is a number.
    """
    line = visible(text)
    return f"'{line}" if line[:1] in ("=", "+", "-", "@", "\t", "\r") else line
