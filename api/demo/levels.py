"""What the slider guarantees: from a share of right answers to climb's threshold, and how it is known."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aisles.hierarchy.guarantees import ClimbGuarantee, climb_guarantee, climb_images_needed
from aisles.hierarchy.hierarchy import Hierarchy

from .judging import Stages, distributions, possible

DELTA = 0.1
"""The chance, over draws of calibration images, that a guarantee is not kept."""
LOWEST, HIGHEST = 0.5, 0.99
"""What the slider offers."""


@dataclass(frozen=True)
class Guarantee:
    """A threshold, and what stands behind it.

    Attributes
    ----------
    target : float
        What the slider says.
    threshold : float
        For climb.
    kind : str
        `checked`: found on calibration images. `never`: on these images no threshold keeps the guarantee. `few`: there
        are too few of them, and the target itself is the threshold. `unchecked`: there are none; the same.
    n_images, n_given, n_right : int
        Calibration images, those answered at this threshold, those answered right. `n_images` is, of `few`, how many
        there are.
    n_needed : int
        How many the target needs at least.
    delta : float
    """

    target: float
    threshold: float
    kind: str
    n_images: int = 0
    n_given: int = 0
    n_right: int = 0
    n_needed: int = 0
    delta: float = DELTA


class Levels:
    """Guarantees for every target and routing rule.

    Parameters
    ----------
    hierarchy : Hierarchy
    stages : Stages, optional
        What the networks said of calibration images, from which nothing was learned.
    truth : ndarray of int of shape (n,), optional
        Their true classes as indices into `hierarchy.classes`.
    stored : ClimbGuarantee, optional
        What the bundle itself guarantees, under `stored_rule` and without a restriction.
    stored_rule : str
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        stages: Stages | None = None,
        truth: np.ndarray | None = None,
        *,
        stored: ClimbGuarantee | None = None,
        stored_rule: str = "soft",
    ):
        self.hierarchy, self.stages, self.truth = hierarchy, stages, truth
        self.stored, self.stored_rule = stored, stored_rule
        self.at = lru_cache(maxsize=4096)(self._at)

    @property
    def start(self) -> float:
        """Where the slider stands at first."""
        return self.stored.target if self.stored is not None and self.stages is None else 0.95

    def _at(self, target: float, rule: str, only: tuple[str, ...] = ()) -> Guarantee:
        """Return the guarantee for a target under a rule.

        Under a restriction it is about images whose true class is possible: calibration images of others are left out.
        """
        stored = self.stored
        if self.stages is None or self.truth is None:
            if (
                stored is not None
                and not only
                and rule == self.stored_rule
                and abs(stored.target - target) < 1e-9
            ):
                return _found(stored)
            return Guarantee(target, target, "unchecked")
        stages, truth, allowed = self.stages, self.truth, possible(only, self.hierarchy)
        if allowed is not None:
            stages, truth = stages.rows(allowed[truth]), truth[allowed[truth]]
        needed = climb_images_needed(target, DELTA)
        if len(truth) < needed:
            return Guarantee(target, target, "few", n_images=len(truth), n_needed=needed)
        probs, macro_probs = distributions(stages, self.hierarchy, rule, only)
        return _found(climb_guarantee(probs, macro_probs, self.hierarchy, truth, target, DELTA))


def _found(found: ClimbGuarantee) -> Guarantee:
    kind = "checked" if found.threshold <= 1 else "never"
    counts = (found.n_images, found.n_given, found.n_right)
    return Guarantee(found.target, found.threshold, kind, *counts, delta=found.delta)
