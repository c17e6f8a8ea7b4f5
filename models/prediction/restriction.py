"""Which classes are possible for each image of a stream, kept in step with the images."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.restriction import possible_classes

from .images import ImageInput

Only = Iterable[str] | Iterable[Iterable[str] | None] | Callable[[Any], Iterable[str] | None]
"""Possible classes or macros: one list for all images, one per image, or a function from image to list (None: all)."""


class Restrictions:
    """The possible classes of each image, taken one by one as the images are.

    Parameters
    ----------
    only : iterable of str, iterable of (iterable of str or None), or callable
        Classes or macros: one list for all images; one per image, taken lazily; or a function from image to list.
    classes : sequence of str
    hierarchy : Hierarchy, optional

    Raises
    ------
    TypeError
        If it is a single text, or not a list at all.
    ValueError
        If a list for all images names nothing, or something unknown.
    """

    def __init__(self, only: Only, classes: Sequence[str], hierarchy: Hierarchy | None):
        if isinstance(only, str | bytes) or not (callable(only) or isinstance(only, Iterable)):
            raise TypeError(f"Give a list of classes or macros, even of one: only=[{only!r}].")
        self._classes, self._hierarchy = [str(name) for name in classes], hierarchy
        self._found: dict[tuple[str, ...] | None, np.ndarray] = {None: np.ones(len(self._classes), bool)}
        self._waiting: deque[np.ndarray] = deque()
        self._list_of: Callable[[Any], Any] | None = None
        self._lists: Iterator[Any] = iter(())
        if callable(only):
            self._list_of = only
            return
        source: Iterator[Any] = iter(only)
        first: Any = next(source, "")
        if isinstance(first, str):
            names = (first, *source) if first else ()
            self._marked(names)
            self._list_of = lambda _: names
        else:
            self._lists = chain([first], source)

    def _marked(self, names: Any) -> np.ndarray:
        if isinstance(names, str):
            raise TypeError(f"Give a list of classes or macros per image, even of one: [{names!r}].")
        key = None if names is None else tuple(map(str, names))
        if key not in self._found:
            self._found[key] = possible_classes(key or (), self._classes, self._hierarchy)
        return self._found[key]

    def beside(self, images: Iterable[ImageInput]) -> Iterator[ImageInput]:
        """Hand images on, and take each one's list.

        Raises
        ------
        ValueError
            If there are more images than lists or more lists than images, or a list is refused.
        """
        n = 0
        for image in images:
            names = next(self._lists, self) if self._list_of is None else self._list_of(image)
            if names is self:
                raise ValueError(
                    f"`only` must be one list for all images or one per image. There are {n} lists and more images."
                )
            self._waiting.append(self._marked(names))
            n += 1
            yield image
        if next(self._lists, self) is not self:
            raise ValueError(
                f"`only` must be one list for all images or one per image. There are {n} images and more lists."
            )

    def rows(self, readable: Sequence[bool]) -> np.ndarray:
        """Return the possible classes of the next images, bool (n_readable, n_classes), unreadable ones left out."""
        taken = [self._waiting.popleft() for _ in readable]
        kept = [row for row, good in zip(taken, readable, strict=True) if good]
        return np.array(kept, bool).reshape(len(kept), len(self._classes))
