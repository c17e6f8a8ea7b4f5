"""How far something long is: a bar on a terminal, elsewhere a line in the log now and then."""

import logging
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Self, TypeVar

from tqdm import tqdm

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
        self._bar = tqdm(desc=description, total=total, unit=unit, unit_scale=unit == "B", disable=None)
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
