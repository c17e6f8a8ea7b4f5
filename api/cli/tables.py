"""Tables for a person to read in a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

LONGEST_CELL = 60


def as_text(table: "pd.DataFrame") -> str:
    """Lay a table out in columns: numbers with three decimals, nothing where there is nothing, no long cells."""
    shown = table.rename(columns=lambda name: str(name).replace("_", " "))
    return shown.map(_cell).to_string(index=False)


def as_records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows for JSON, with None where there is nothing."""
    records: Any = table.astype(object).where(table.notna(), None).to_dict("records")
    return records


def as_columns(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows of text out in columns, the last one as long as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = [
        [cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]] for row in rows
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None or value != value:  # None, or not a number
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) > 1 else f"{value:.3f}"
    text = str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."
