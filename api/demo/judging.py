"""From what every network said of some images to answers, without another pass: rule, restriction, threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.restriction import conditioned, conditioned_macros, possible_classes, possible_macros
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


def possible(only: tuple[str, ...], hierarchy: Hierarchy) -> np.ndarray | None:
    """Mark the classes that a restriction allows, as bool of shape (n_classes,); None for all of them.

    Raises
    ------
    ValueError
        If a name is neither a class nor a macro.
    """
    return possible_classes(only, hierarchy.classes, hierarchy) if only else None


def distributions(
    stages: Stages, hierarchy: Hierarchy, rule: str, only: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Compute class and macro distributions under a routing rule, as `Classifier.predict` does.

    Parameters
    ----------
    stages : Stages
    hierarchy : Hierarchy
    rule : str
        A routing rule, or `flat`.
    only : tuple of str
        The classes and macros that are possible; all, if there are none.

    Returns
    -------
    tuple of ndarray
        Of shape (n, n_classes) and (n, n_macros).

    Raises
    ------
    ValueError
        If the rule is unknown or needs a model that there isn't, or a name of `only` is unknown.
    """
    allowed = possible(only, hierarchy)
    if rule == FLAT:
        if stages.flat is None:
            raise ValueError("There is no flat model here. Choose a routing rule.")
        flat = stages.flat if allowed is None else conditioned(stages.flat, _rows(allowed, stages.flat))
        return flat, _implied(flat, stages, hierarchy)
    parsed = parse_rule(rule)
    flat, within = stages.flat, stages.within
    macro_probs: Any = _implied(flat, stages, hierarchy) if parsed.routes_by_flat else stages.router
    if allowed is not None:
        macros = possible_macros(_rows(allowed, macro_probs), hierarchy)
        macro_probs = conditioned(macro_probs, macros)
        flat = None if flat is None else conditioned(flat, _held_by(macros, hierarchy))
    given = {"macro_probs": macro_probs, "within_probs": within, "flat_probs": flat}
    probs = route(rule, hierarchy=hierarchy, **given)
    if allowed is not None:
        if within is not None and "within_probs" in parsed.needs and not parsed.selective:
            macro_probs = conditioned_macros(macro_probs, within, _rows(allowed, probs), hierarchy)
        probs = conditioned(probs, _rows(allowed, probs))
    return probs, np.asarray(macro_probs)


def _rows(allowed: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(allowed, (len(like), len(allowed)))


def _held_by(macros: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """Return which classes stand in one of the macros: bool (n, n_macros) to (n, n_classes)."""
    held = np.zeros((len(macros), hierarchy.n_classes), bool)
    for macro, label in zip(hierarchy.slot_macro, hierarchy.slot_class, strict=True):
        held[:, label] |= macros[:, macro]
    return held


def _implied(flat: np.ndarray | None, stages: Stages, hierarchy: Hierarchy) -> np.ndarray:
    """Return the flat model's macro distribution; the router's where macros share classes and flat implies none."""
    if hierarchy.overlapping:
        return np.asarray(stages.router)
    return macro_from_flat(np.asarray(flat), hierarchy)


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
