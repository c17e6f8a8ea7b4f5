"""From what every network said of some images to answers, without another pass: rule, restriction, threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import climb, macro_from_flat, macros_holding
from aisles.hierarchy.rules import parse_rule, route

FLAT = "flat"
"""The name of what a flat model alone answers, where a routing rule's name stands otherwise."""


@dataclass(frozen=True, eq=False)
class Stages:
    """What every model said of n images.

    Attributes
    ----------
    router : ndarray of shape (n, n_macros), or None
    within : ndarray of shape (n, n_slots), or None
        The sub-models' distributions side by side; None, as `router`, without a two-stage classifier.
    flat : ndarray of shape (n, n_classes), or None
        The flat model's distribution.
    """

    router: np.ndarray | None
    within: np.ndarray | None
    flat: np.ndarray | None

    def rows(self, which: np.ndarray) -> "Stages":
        """Return the stages of some of the images."""
        parts = (None if part is None else part[which] for part in (self.router, self.within, self.flat))
        return Stages(*parts)


@dataclass(frozen=True)
class Answer:
    """The answer for one image at one threshold.

    Attributes
    ----------
    level : str
        `class`, `macro` or `none`: where the most probable class, or the macro that holds it, is sure.
    label, macro : str
        The most probable class, and of the macros that hold it the most probable one, sure or not.
    probability, macro_probability : float
        Of both.
    """

    level: str
    label: str
    macro: str
    probability: float
    macro_probability: float


def plain_hierarchy(classes: Sequence[str]) -> Hierarchy:
    """Return the hierarchy of a classifier that has none: each class is a macro of its own."""
    return Hierarchy(tuple(classes), tuple((name,) for name in classes))


def distributions(stages: Stages, hierarchy: Hierarchy, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Compute class and macro distributions under a routing rule.

    Parameters
    ----------
    stages : Stages
    hierarchy : Hierarchy
    rule : str
        A routing rule, or `flat`.

    Returns
    -------
    tuple of ndarray
        Of shape (n, n_classes) and (n, n_macros).

    Raises
    ------
    ValueError
        If the rule is unknown or needs a model that there isn't.
    """
    if rule == FLAT:
        if stages.flat is None:
            raise ValueError("There is no flat model here. Choose a routing rule.")
        return stages.flat, _implied(stages, hierarchy)
    given = {"macro_probs": stages.router, "within_probs": stages.within, "flat_probs": stages.flat}
    probs = route(rule, hierarchy=hierarchy, **given)
    return probs, _implied(stages, hierarchy) if parse_rule(rule).routes_by_flat else np.asarray(
        stages.router
    )


def _implied(stages: Stages, hierarchy: Hierarchy) -> np.ndarray:
    """Return the flat model's macro distribution; the router's where macros share classes and flat implies none."""
    if hierarchy.overlapping:
        return np.asarray(stages.router)
    return macro_from_flat(np.asarray(stages.flat), hierarchy)


def answers(
    probs: np.ndarray, macro_probs: np.ndarray, hierarchy: Hierarchy, threshold: float
) -> list[Answer]:
    """Return each image's answer: the class if its probability reaches the threshold, else its macro, else nothing."""
    found = climb(probs, macro_probs, (threshold, threshold), hierarchy)
    best = probs.argmax(1)
    macro = macros_holding(hierarchy, best, macro_probs)
    return [
        Answer(
            str(found.levels[i]),
            hierarchy.classes[best[i]],
            hierarchy.macros[macro[i]],
            float(probs[i, best[i]]),
            float(macro_probs[i, macro[i]]),
        )
        for i in range(len(probs))
    ]
