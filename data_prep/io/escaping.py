"""Text that others wrote, made safe for HTML, SVG and Markdown."""

import re
from html import escape

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_STARTS = frozenset("'=+-@\t\r\uff1d\uff0b\uff0d\uff20")
"""What starts a formula somewhere (the last four are full-width forms), and the apostrophe that marks a text."""
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
    """Return a text for a person's CSV, such as a report's table: `visible`, and never a formula.

    What begins with =, +, -, @, tab or return gets an apostrophe in front, unless it is a number.
    """
    return formula_safe(visible(text))


def formula_safe(text: str) -> str:
    """Return a text for a CSV cell that no spreadsheet takes for a formula; `formula_restored` gives the text back.

    What begins with a character that starts formulas gets an apostrophe in front, unless it is a number. So does what
    begins with apostrophes and such a character, so that reading back is exact.
    """
    if text[:1] not in _STARTS or not _FORMULA.match(text) or _is_number(text):
        return text
    return f"'{text}"


def formula_restored(text: str) -> str:
    """Return the text from which `formula_safe` made the cell."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def file_name_safe(name: str) -> str:
    """Return a file's name for a CSV cell: `./` in front of what would start a formula; it still names the file."""
    return f"./{name}" if name[:1] in _STARTS and name[:1] != "'" else name


def file_name_restored(name: str) -> str:
    """Return the name from which `file_name_safe` made the cell."""
    return name[2:] if name[:2] == "./" and file_name_safe(name[2:]) == name else name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
