"""What is wrong with settings, in words that name the setting that was probably meant."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def explained(error: ValidationError, kind: type[BaseModel]) -> str:
    """Return in words what is wrong with settings.

    Parameters
    ----------
    error : ValidationError
    kind : type
        The model that refused them.

    Returns
    -------
    str
        One sentence a fault: the setting, the rule and what was received; of an unknown one what there is.
    """
    return " ".join(_fault(fault, kind) for fault in error.errors())


def _fault(fault: Any, kind: type[BaseModel]) -> str:
    *parents, last = map(str, fault["loc"] or ("settings",))
    where = ".".join([*parents, last])
    if fault["type"] != "extra_forbidden":
        rule = fault["msg"].removeprefix("Value error, ").rstrip(".")
        return f"{where}: {rule}. Received: {fault['input']!r}."
    known = _names(kind, parents)
    meant = get_close_matches(last, known, n=1)
    if meant:
        return f"{where} is unknown. Did you mean {'.'.join([*parents, meant[0]])}?"
    return f"{where} is unknown." + (f" There are: {', '.join(known)}." if known else "")


def _names(kind: Any, parents: list[str]) -> list[str]:
    """Name the settings of a section; of one that isn't found, none."""
    for parent in parents:
        field = kind.model_fields.get(parent)
        kind = getattr(field, "annotation", None)
        # A section that may be left out is a union with None.
        kind = next((part for part in (kind, *get_args(kind)) if hasattr(part, "model_fields")), None)
        if kind is None:
            return []
    return sorted(kind.model_fields)
