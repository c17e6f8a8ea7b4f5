"""How many images are done, on standard error, where nobody but a person sees it."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress_of(items: Iterable[T], unit: str = "img") -> Iterator[T]:
    """Go through items and show how many were taken and how fast; silent unless stderr is a terminal."""
    from tqdm import tqdm

    yield from tqdm(items, unit=unit, disable=None, file=sys.stderr)
