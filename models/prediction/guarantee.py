"""What a classifier guarantees after it has seen calibration images, as it is stored in a bundle."""

from dataclasses import asdict, dataclass
from typing import Any

from aisles.hierarchy.guarantees import ClimbGuarantee, SetRule


@dataclass(frozen=True)
class Confidence:
    """Guarantees that hold for images drawn like the calibration images.

    Attributes
    ----------
    climb : ClimbGuarantee or None
        The threshold under which the stated share of climb's given answers is right. None without a hierarchy.
    sets : SetRule
        Prediction sets that hold the true class for the stated share of images.
    """

    climb: ClimbGuarantee | None
    sets: SetRule

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, for JSON."""
        return {"climb": asdict(self.climb) if self.climb else None, "sets": asdict(self.sets)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Confidence":
        """Read what `to_dict` gives."""
        climb = content["climb"]
        return cls(ClimbGuarantee(**climb) if climb else None, SetRule(**content["sets"]))
