"""Errors about data that a caller may want to catch."""

from pathlib import Path


class DataError(ValueError):
    """Input data breaks a rule: the message names the rule, the evidence and the next step."""


class UnreadableImage(DataError):
    """One image can't be decoded; the message says why.

    Attributes
    ----------
    path : str, Path or None
        Its file, where whoever read it knew of one.
    """

    path: str | Path | None = None
