"""The classifiers that people use: flat and two-stage, with one interface."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..hierarchy.routing import ClimbAnswers, RoutingRule, climb, macro_from_flat, parse_rule, route
from ..hierarchy.taxonomy import Hierarchy
from .classifier import LabelModel, Picture, PictureBatch, batched

BATCH_SIZE = 32


@dataclass(frozen=True)
class HierarchicalPrediction:
    """The answer for one picture.

    Attributes
    ----------
    macro : str or None
        The macro-category of the answer; None for a flat model without a hierarchy, or where nothing is answered.
    macro_probability : float or None
        Of `macro`, by the router (by the flat model's sums for a flat model).
    label : str or None
        The class; None where the answer stops at the macro or before.
    probability : float
        Of the answer under the routing rule.
    top : tuple of (str, float)
        The most probable classes, best first.
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


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Distributions of one batch: classes (n, n_classes), macros (n, n_macros) or None, and climb's answers."""

    probs: np.ndarray
    macro_probs: np.ndarray | None
    answers: ClimbAnswers | None = None


class Classifier:
    """What flat and two-stage classifiers share: prediction from pictures, lazily and in order."""

    hierarchy: Hierarchy | None
    classes_: np.ndarray

    def predict(
        self,
        images: Iterable[Picture],
        *,
        rule: str | RoutingRule | None = None,
        top: int = 5,
        batch_size: int = BATCH_SIZE,
        calibrated: bool = True,
    ) -> list[HierarchicalPrediction]:
        """Predict pictures.

        Parameters
        ----------
        images : iterable
            Paths, bytes, PIL images or uint8 arrays.
        rule : str, optional
            A routing rule such as `soft`, `hard`, `beam:2`, `climb:0.8`; the bundle's own unless given.
        top : int
            How many classes `top` lists.
        batch_size : int
            Pictures a pass.
        calibrated : bool
            Whether temperatures are applied.

        Returns
        -------
        list of HierarchicalPrediction
            In the order of `images`.
        """
        return list(self.iter_predict(images, rule=rule, top=top, batch_size=batch_size, calibrated=calibrated))

    def iter_predict(
        self, images: Iterable[Picture], *, rule=None, top: int = 5, batch_size: int = BATCH_SIZE, calibrated=True
    ) -> Iterator[HierarchicalPrediction]:
        """Predict as `predict` does, giving each answer as soon as its batch is done."""
        chosen = self._rule(rule)
        for pictures in batched(_checked(images), batch_size):
            outcome = self._outcome(PictureBatch(pictures), chosen, calibrated)
            for row in range(len(pictures)):
                yield self._prediction(outcome, row, chosen, top)

    def predict_proba(
        self, images: Iterable[Picture], *, rule=None, batch_size: int = BATCH_SIZE, calibrated: bool = True
    ) -> np.ndarray:
        """Give the class distribution, of shape (n, n_classes), columns in the order of `classes_`."""
        chosen = self._rule(rule)
        parts = [
            self._outcome(PictureBatch(pictures), chosen, calibrated).probs
            for pictures in batched(_checked(images), batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.classes_)))

    def predict_macro_proba(
        self, images: Iterable[Picture], *, batch_size: int = BATCH_SIZE, calibrated: bool = True
    ) -> np.ndarray:
        """Give the macro distribution, of shape (n, n_macros), columns in the order of `hierarchy.macros`."""
        if self.hierarchy is None:
            raise ValueError("This flat model has no hierarchy, so no macros. Use predict_proba.")
        parts = [self._macro_probs(PictureBatch(some), calibrated) for some in batched(_checked(images), batch_size)]
        return np.concatenate(parts) if parts else np.zeros((0, self.hierarchy.n_macros))

    def _rule(self, rule: str | RoutingRule | None) -> RoutingRule | None:
        raise TypeError("Use FlatClassifier or TwoStageClassifier.")

    def _outcome(self, batch: PictureBatch, rule: RoutingRule | None, calibrated: bool) -> _Outcome:
        raise TypeError("Use FlatClassifier or TwoStageClassifier.")

    def _macro_probs(self, batch: PictureBatch, calibrated: bool) -> np.ndarray:
        raise TypeError("Use FlatClassifier or TwoStageClassifier.")

    def _prediction(self, outcome: _Outcome, row: int, rule, top: int) -> HierarchicalPrediction:
        probs, names = outcome.probs[row], self.classes_
        order = np.argsort(-probs, kind="stable")[:top]
        best = int(probs.argmax())
        answered, macro = "class", None
        if outcome.answers is not None:
            answered = str(outcome.answers.levels[row])
            best = int(outcome.answers.class_index[row]) if answered == "class" else best
            macro = int(outcome.answers.macro_index[row]) if answered == "macro" else None
        if self.hierarchy is not None and answered == "class":
            macro = _macro_of(self.hierarchy, best, outcome.macro_probs[row])
        path: list[tuple[str, float]] = []
        if macro is not None:
            path.append((self.hierarchy.macros[macro], float(outcome.macro_probs[row, macro])))
        if answered == "class":
            path.append((str(names[best]), float(probs[best])))
        return HierarchicalPrediction(
            macro=None if macro is None else self.hierarchy.macros[macro],
            macro_probability=None if macro is None else float(outcome.macro_probs[row, macro]),
            label=str(names[best]) if answered == "class" else None,
            probability=path[-1][1] if path else 0.0,
            top=tuple((str(names[i]), float(probs[i])) for i in order),
            path=tuple(path),
            answered=answered,
            rule="flat" if rule is None else str(rule),
        )


class FlatClassifier(Classifier):
    """One model over all classes: the baseline.

    Parameters
    ----------
    model : LabelModel
        Over all classes, sorted.
    hierarchy : Hierarchy, optional
        Lets predictions name the macro that the class belongs to.
    """

    def __init__(self, model: LabelModel, hierarchy: Hierarchy | None = None):
        if list(model.labels) != sorted(set(model.labels)):
            raise ValueError("A flat model's labels must be sorted and unique.")
        if hierarchy is not None:
            hierarchy.check_classes(model.labels)
        self.model, self.hierarchy = model, hierarchy
        self.classes_ = np.array(model.labels)

    def _rule(self, rule):
        if rule not in (None, "flat"):
            raise ValueError(f"A flat model has no routing rule. Received: rule={str(rule)!r}; leave it out.")
        return None

    def _outcome(self, batch, rule, calibrated):
        probs = self.model.probabilities(batch, calibrated=calibrated)
        return _Outcome(probs, None if self.hierarchy is None else _sums(probs, self.hierarchy))

    def _macro_probs(self, batch, calibrated):
        return _sums(self.model.probabilities(batch, calibrated=calibrated), self.hierarchy)


class TwoStageClassifier(Classifier):
    """A router, one sub-model a macro, and the rule that makes one answer of them.

    Parameters
    ----------
    router : LabelModel
        Labels are `hierarchy.macros`, in that order.
    submodels : sequence of LabelModel
        One a macro; labels are `hierarchy.members[macro]`, in that order.
    hierarchy : Hierarchy
    flat : LabelModel, optional
        A flat model over `hierarchy.classes`, for the rules that need one (implied, hie, masked).
    rule : str
        The routing rule unless a call says otherwise.
    """

    def __init__(
        self,
        router: LabelModel,
        submodels: Iterable[LabelModel],
        hierarchy: Hierarchy,
        *,
        flat: LabelModel | None = None,
        rule: str = "soft",
    ):
        self.router, self.submodels, self.hierarchy = router, tuple(submodels), hierarchy
        self.flat, self.rule = flat, parse_rule(rule)
        self.classes_ = np.array(hierarchy.classes)
        _check_order("router", router.labels, hierarchy.macros)
        if len(self.submodels) != hierarchy.n_macros:
            raise ValueError(
                f"There must be one sub-model for each of the {hierarchy.n_macros} macros. "
                f"Received: {len(self.submodels)}."
            )
        for macro, model, members in zip(hierarchy.macros, self.submodels, hierarchy.members, strict=True):
            _check_order(f"sub-model of {macro}", model.labels, members)
        if flat is not None:
            _check_order("flat model", flat.labels, hierarchy.classes)

    def with_rule(self, rule: str) -> "TwoStageClassifier":
        """Give the same classifier with another rule of its own."""
        return TwoStageClassifier(self.router, self.submodels, self.hierarchy, flat=self.flat, rule=rule)

    def _rule(self, rule):
        chosen = self.rule if rule is None else parse_rule(rule)
        if "flat_probs" in chosen.needs and self.flat is None:
            raise ValueError(
                f"The routing rule {str(chosen)!r} needs a flat model, and this classifier has none. "
                "Use soft, hard, beam:K, threshold:T or climb:T."
            )
        return chosen

    def _outcome(self, batch, rule, calibrated):
        flat = self.flat.probabilities(batch, calibrated=calibrated) if "flat_probs" in rule.needs else None
        if rule.name == "implied":
            macro_probs = macro_from_flat(flat, self.hierarchy)
        else:
            macro_probs = self.router.probabilities(batch, calibrated=calibrated)
        within = self._within(batch, rule, macro_probs, calibrated) if "within_probs" in rule.needs else None
        probs = route(
            rule, hierarchy=self.hierarchy, macro_probs=macro_probs, within_probs=within, flat_probs=flat
        )
        answers = climb(probs, macro_probs, rule.parameter) if rule.name == "climb" else None
        return _Outcome(probs, macro_probs, answers)

    def _macro_probs(self, batch, calibrated):
        return self.router.probabilities(batch, calibrated=calibrated)

    def _within(self, batch, rule: RoutingRule, macro_probs: np.ndarray, calibrated: bool) -> np.ndarray:
        """Run each sub-model on the pictures that the rule sends to it; elsewhere its block stays uniform."""
        sent = _sent(rule, macro_probs)
        blocks = []
        for macro, model in enumerate(self.submodels):
            block = np.full((len(batch), len(model.labels)), 1 / len(model.labels))
            rows = np.flatnonzero(sent[:, macro])
            if len(rows):
                block[rows] = model.probabilities(batch, rows, calibrated=calibrated)
            blocks.append(block)
        return np.concatenate(blocks, axis=1)


def calibrated_with(classifier: TwoStageClassifier, router: float, submodels: Iterable[float]) -> TwoStageClassifier:
    """Give the classifier with other temperatures."""
    cooled = [replace(m, temperature=t) for m, t in zip(classifier.submodels, submodels, strict=True)]
    return TwoStageClassifier(
        replace(classifier.router, temperature=router),
        cooled,
        classifier.hierarchy,
        flat=classifier.flat,
        rule=str(classifier.rule),
    )


def _sent(rule: RoutingRule, macro_probs: np.ndarray) -> np.ndarray:
    """Say which sub-models a rule needs for each picture, as bool (n, n_macros)."""
    if rule.name not in ("hard", "beam", "threshold"):
        return np.ones(macro_probs.shape, bool)
    order = np.argsort(-macro_probs, axis=1, kind="stable")
    kept = np.zeros(macro_probs.shape, bool)
    k = int(rule.parameter) if rule.name == "beam" else 1
    np.put_along_axis(kept, order[:, :k], True, axis=1)
    return kept | (macro_probs >= rule.parameter) if rule.name == "threshold" else kept


def _sums(probs: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    sums = np.zeros((len(probs), hierarchy.n_macros))
    for macro, block in enumerate(hierarchy.blocks):
        sums[:, macro] = probs[:, hierarchy.slot_class[block]].sum(1)
    return sums


def _macro_of(hierarchy: Hierarchy, label: int, macro_probs: np.ndarray) -> int:
    """Name the macro that holds a class: the most probable one where several do."""
    holders = hierarchy.slot_macro[hierarchy.slot_class == label]
    return int(holders[macro_probs[holders].argmax()])


def _check_order(what: str, labels: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    if tuple(labels) == tuple(wanted):
        return
    hint = "The names agree, the order doesn't." if sorted(labels) == sorted(wanted) else "The names differ."
    raise ValueError(
        f"The labels of the {what} must be {list(wanted)}, in this order. Received: {list(labels)}. {hint}"
    )


def _checked(images: Iterable[Picture]) -> Iterable[Picture]:
    if isinstance(images, str | bytes | np.ndarray) and not (isinstance(images, np.ndarray) and images.ndim == 4):
        raise TypeError("Give a list of pictures, even if it is one: predict([picture]).")
    return images
