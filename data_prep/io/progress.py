"""How far something long is: a bar on a terminal, elsewhere a line in the log now and then."""

import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from typing import Self, TypeVar

from tqdm import TqdmExperimentalWarning, TqdmWarning

with warnings.catch_warnings():  # without ipywidgets a notebook gets the bar of a terminal, and no warning
    warnings.simplefilter("ignore", TqdmWarning)
    warnings.simplefilter("ignore", TqdmExperimentalWarning)
    from tqdm.auto import tqdm

logger = logging.getLogger(__name__)
T = TypeVar("T")
EVERY = 30.0
"""Seconds between two lines."""


class Progress:
    """What is counted while it goes on; a context manager.

    Parameters
    ----------
    description : str
    total : int, optional
        None if nobody knows.
    unit : str
        Such as `img`; `B` for bytes.
    """

    def __init__(self, description: str, total: int | None = None, unit: str = "img"):
        self.description, self.done, self.total, self.unit = description, 0, total, unit
        hidden = False if _in_notebook() else None  # None: only where there is no terminal
        self._bar = tqdm(desc=description, total=total, unit=unit, unit_scale=unit == "B", disable=hidden)
        self._start = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, n: int = 1) -> None:
        """Count `n` more."""
        self.done += n
        self._bar.update(n)
        now = time.monotonic()
        if self._bar.disable and now - self._told >= EVERY:
            self._told = now
            logger.info("%s: %s after %.0f s.", self.description, self._counted(), now - self._start)

    def begin_at(self, done: int, total: int | None) -> None:
        """Set how much is done already, and how much there is."""
        self.done = self._bar.n = done
        self.total = self._bar.total = total

    def _counted(self) -> str:
        scale, unit = (1e6, "MB") if self.unit == "B" else (1, self.unit)
        of = "" if self.total is None else f" of {self.total / scale:,.0f}"
        return f"{self.done / scale:,.0f}{of} {unit}"


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def progress(
    items: Iterable[T], description: str, total: int | None = None, unit: str = "img"
) -> Iterator[T]:
    """Go through items and show how many were taken; arguments as of `Progress`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(description, total, unit) as shown:
        for item in items:
            yield item
            shown.update()
