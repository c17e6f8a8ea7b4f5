"""What the service answers, apart from HTTP: image bytes in, dictionaries out, within stated limits."""

import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from aisles.data_prep.io.errors import UnreadableImage
from aisles.models.prediction.predictor import Classifier

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much a request may ask for.

    Attributes
    ----------
    image_bytes : int
        Of one image's file.
    images : int
        Of one request.
    waiting : int
        Requests that are received or answered at once; of more each is sent away with 503.
    passes : int
        Requests whose images pass the networks at once; the others wait.
    seconds : float
        That a request may take to arrive.
    """

    image_bytes: int = 32 * MEGABYTE
    images: int = 64
    waiting: int = 32
    passes: int = field(default_factory=lambda: os.cpu_count() or 1)
    seconds: float = 60.0

    @property
    def request_bytes(self) -> int:
        """Of a whole request: its images, and the lines around them."""
        return 4 * self.image_bytes + MEGABYTE


class Service:
    """A classifier that answers requests from any number of threads.

    Parameters
    ----------
    classifier : Classifier
    rule : str, optional
        The routing rule unless a request says otherwise; the bundle's own unless given.
    limits : Limits, optional
    """

    def __init__(self, classifier: Classifier, *, rule: str | None = None, limits: Limits | None = None):
        self.classifier, self.rule, self.limits = classifier, rule, limits or Limits()
        self._passing = threading.Semaphore(self.limits.passes)

    def warm_up(self) -> None:
        """Load the networks, so that the first request needn't wait for them."""
        self.classifier.predict([np.zeros((8, 8, 3), np.uint8)], rule=self.rule)

    def info(self) -> dict[str, Any]:
        """Describe the bundle and the limits."""
        hierarchy = self.classifier.hierarchy
        rule = self.rule or getattr(self.classifier, "rule", None)
        return {
            "classes": [str(name) for name in self.classifier.classes_],
            "macros": dict(zip(hierarchy.macros, map(list, hierarchy.members), strict=True))
            if hierarchy
            else None,
            "rule": "flat" if rule is None else str(rule),
            "engine": self.classifier.engine,
            "limits": {
                "image_bytes": self.limits.image_bytes,
                "images": self.limits.images,
                "waiting": self.limits.waiting,
            },
            "version": version("aisles"),
        }

    def answers(
        self, images: Sequence[tuple[str, bytes]], *, rule: str | None, only: Sequence[str], top: int
    ) -> list[dict[str, Any]]:
        """Answer for images, in order: what `aisles predict --json` prints, or `file_name` and `error`.

        Raises
        ------
        ValueError
            For a rule, a class, a macro or a number that is not to be had; no image is looked at then.
        """
        with self._passing:
            found = self.classifier.predict(
                [self._checked(data) for _, data in images], rule=rule or self.rule, only=list(only) or None, top=top,
                unreadable="give",
            )  # fmt: skip
        return [
            {"file_name": name, **_told(answer, len(data), self.limits.image_bytes)}
            for (name, data), answer in zip(images, found, strict=True)
        ]

    def _checked(self, data: bytes) -> bytes:
        return data if len(data) <= self.limits.image_bytes else b""  # which no decoder reads


def _told(answer: Any, n_bytes: int, most: int) -> dict[str, Any]:
    if n_bytes > most:
        return {"error": f"The image has {n_bytes} bytes; the limit is {most}."}
    return {"error": f"The image {answer}."} if isinstance(answer, UnreadableImage) else asdict(answer)
