"""What a classifier guarantees after it has seen calibration images, as it is stored in a bundle."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aisles.data_prep.images.decoding import read_image_bytes
from aisles.data_prep.io.errors import DataError, UnreadableImage
from aisles.hierarchy.guarantees import ClimbGuarantee, SetRule
from aisles.hierarchy.hierarchical_sets import HierarchicalSetRule

from .images import ImageInput


@dataclass(frozen=True)
class Confidence:
    """Guarantees that hold for images drawn like the calibration images.

    Attributes
    ----------
    climb : ClimbGuarantee or None
        The threshold under which the stated share of climb's given answers is right. None without a hierarchy, or
        where there were too few calibration images for it.
    sets : SetRule
        Prediction sets that hold the true class for the stated share of images.
    hierarchical_sets : HierarchicalSetRule or None
        The same with a macro in place of two or more of its classes. None without a hierarchy, or where a class stands
        in several macros.
    """

    climb: ClimbGuarantee | None
    sets: SetRule
    hierarchical_sets: HierarchicalSetRule | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, for JSON."""
        along = self.hierarchical_sets
        return {
            "climb": asdict(self.climb) if self.climb else None,
            "sets": asdict(self.sets),
            "hierarchical_sets": asdict(along) if along else None,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Confidence":
        """Read what `to_dict` gives."""
        climb, along = content["climb"], content["hierarchical_sets"]
        return cls(
            ClimbGuarantee(**climb) if climb else None,
            SetRule(**content["sets"]),
            HierarchicalSetRule(**along) if along else None,
        )


def remembered(images: Iterable[ImageInput], digests: list[str]) -> Iterator[ImageInput]:
    """Hand images on, and add the SHA-256 of each that is a file or the bytes of one to `digests`."""
    for image in images:
        content = image
        if isinstance(image, str | Path):
            try:
                content = read_image_bytes(image)
            except UnreadableImage:  # who decodes it says so
                content = None
        if isinstance(content, bytes | bytearray | memoryview):
            digests.append(hashlib.sha256(content).hexdigest())
        yield image


def check_unseen(digests: Iterable[str], learned_from: frozenset[str]) -> None:
    """Refuse calibration images that the classifier learned from.

    Raises
    ------
    DataError
        Saying how many there are.
    """
    digests = list(digests)
    known = sum(digest in learned_from for digest in digests)
    if known:
        raise DataError(
            f"A guarantee needs images that nothing was learned from. {known} of {len(digests)} are training or "
            "validation images of this classifier, on which it is better than on new ones. Leave them out; test "
            "images will do."
        )
