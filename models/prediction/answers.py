"""From distributions to the answer for one image."""

from dataclasses import dataclass

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import ClimbAnswers, macros_holding
from aisles.hierarchy.rules import RoutingRule


@dataclass(frozen=True, repr=False)
class HierarchicalPrediction:
    """The answer for one image.

    Attributes
    ----------
    macro : str or None
        The macro-category of the answer; None for a flat model without a hierarchy, or where nothing is answered.
    macro_probability : float or None
        Of `macro`, by the router (by the flat model's sums for a flat model).
    label : str or None
        The class; None where the answer stops at the macro or before.
    probability : float
        Of the answer under the routing rule: of the class, or of the macro where it stops there; 0 for no answer.
    top : tuple of (str, float)
        The most probable classes, best first. Classes of sub-models that did not have to run are left out: under
        hard, beam and threshold those outside the macros that the rule keeps.
    path : tuple of (str, float)
        From the root down: (macro, probability), (class, probability), as far as answered.
    answered : str
        `class`, `macro` or `none`.
    rule : str
        The routing rule; `flat` for a flat model.
    """

    macro: str | None
    macro_probability: float | None
    label: str | None
    probability: float
    top: tuple[tuple[str, float], ...]
    path: tuple[tuple[str, float], ...]
    answered: str
    rule: str

    def __repr__(self) -> str:
        return f"<HierarchicalPrediction by {self.rule}: {self._in_words()}>"

    def _repr_html_(self) -> str:
        from html import escape

        others = [f"{name} {probability:.2f}" for name, probability in self.top if name != self.label]
        also = f"<br><small>{escape(', '.join(others))}</small>" if others else ""
        return f"<p><b>{escape(self._in_words())}</b> ({escape(self.rule)}){also}</p>"

    def _in_words(self) -> str:
        """Write the path, as far as it is answered."""
        steps = [f"{name} {probability:.2f}" for name, probability in self.path]
        return " > ".join(steps) if steps else "nothing is sure enough"


@dataclass(frozen=True, eq=False)
class Outcome:
    """Distributions of one batch.

    Attributes
    ----------
    probs : ndarray of shape (n, n_classes)
    macro_probs : ndarray of shape (n, n_macros), or None
    answers : ClimbAnswers or None
    known : bool ndarray of shape (n, n_classes), or None
        Which classes have a probability under the rule, where it can spare sub-models; None if all have.
    """

    probs: np.ndarray
    macro_probs: np.ndarray | None
    answers: ClimbAnswers | None = None
    known: np.ndarray | None = None


def make_prediction(
    outcome: Outcome,
    row: int,
    classes: np.ndarray,
    hierarchy: Hierarchy | None,
    rule: RoutingRule | None,
    top: int,
) -> HierarchicalPrediction:
    """Put one row of a batch's outcome into words."""
    probs = outcome.probs[row]
    best, answered, macro = int(probs.argmax()), "class", None
    if outcome.answers is not None:
        answered = str(outcome.answers.levels[row])
        macro = int(outcome.answers.macro_index[row]) if answered == "macro" else None
    path: list[tuple[str, float]] = []
    macro_probability = None
    if hierarchy is not None and outcome.macro_probs is not None:
        if answered == "class":
            macro = int(macros_holding(hierarchy, np.array([best]), outcome.macro_probs[row : row + 1])[0])
        if macro is not None:
            macro_probability = float(outcome.macro_probs[row, macro])
            path.append((hierarchy.macros[macro], macro_probability))
    if answered == "class":
        path.append((str(classes[best]), float(probs[best])))
    return HierarchicalPrediction(
        macro=hierarchy.macros[macro] if hierarchy is not None and macro is not None else None,
        macro_probability=macro_probability,
        label=str(classes[best]) if answered == "class" else None,
        probability=path[-1][1] if path else 0.0,
        top=_top(outcome, row, classes, top),
        path=tuple(path),
        answered=answered,
        rule="flat" if rule is None else str(rule),
    )


def _top(outcome: Outcome, row: int, classes: np.ndarray, top: int) -> tuple[tuple[str, float], ...]:
    probs = outcome.probs[row]
    order = np.argsort(-probs, kind="stable")
    if outcome.known is not None:
        order = order[outcome.known[row][order]]
    return tuple((str(classes[i]), float(probs[i])) for i in order[:top])


def macro_sums(probs: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """Sum class probabilities over each macro; with overlapping macros the rows may sum to more than 1."""
    sums = np.zeros((len(probs), hierarchy.n_macros))
    for macro, block in enumerate(hierarchy.blocks):
        sums[:, macro] = probs[:, hierarchy.slot_class[block]].sum(1)
    return sums
