"""The classifiers that people use: flat and two-stage, with one interface."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from aisles.hierarchy.calibration import fit_composed_temperatures, fit_temperature
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.restriction import conditioned, conditioned_macros, possible_macros
from aisles.hierarchy.rule_functions import climb, macro_from_flat
from aisles.hierarchy.rules import RoutingRule, parse_rule, route

from .answers import HierarchicalPrediction, Outcome
from .flat_model import FlatClassifier, log_of
from .guarantee import Confidence, remembered
from .images import ImageInput, check_iterable
from .label_model import AnyModel, GivenModel, LabelModel, given_model, in_order
from .predictor import BATCH_SIZE, Classifier, check_counts
from .processes import Origin
from .stacks import ImageBatch
from .stored import Residents

__all__ = ["Classifier", "FlatClassifier", "GivenModel", "HierarchicalPrediction", "TwoStageClassifier"]


class TwoStageClassifier(Classifier):
    """A router, one sub-model a macro, and the rule that makes one answer of them.

    Models on the same backbone share one pass. Of models with backbones of their own only those run that the rule needs
    for an image, on full batches gathered over some hundred images.

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
    residents : Residents, optional
        How many networks from disk may be in memory.
    engine : {'tensorflow', 'onnx', 'auto'}
        What runs the networks.
    """

    router: AnyModel
    submodels: tuple[AnyModel, ...]
    flat: AnyModel | None
    rule: RoutingRule
    hierarchy: Hierarchy
    classes_: np.ndarray
    confidence: Confidence | None = None
    learned_from: frozenset[str] = frozenset()
    origin: Origin | None = None

    def __init__(
        self,
        router: AnyModel,
        submodels: Iterable[AnyModel],
        hierarchy: Hierarchy,
        *,
        flat: AnyModel | None = None,
        rule: str | RoutingRule = "soft",
        residents: Residents | None = None,
        engine: str = "tensorflow",
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
        self._submodel_names = [f"submodel {macro}" for macro in range(hierarchy.n_macros)]
        models = {"router": router, **dict(zip(self._submodel_names, self.submodels, strict=True))}
        self._arrange(models if flat is None else {**models, "flat": flat}, residents, engine)

    @classmethod
    def from_models(
        cls,
        router: Any,
        submodels: Mapping[str, Any] | Sequence[Any],
        hierarchy: Hierarchy,
        *,
        flat: Any = None,
        rule: str = "soft",
        input_size: tuple[int, int] | None = None,
    ) -> "TwoStageClassifier":
        """Make a two-stage classifier of models trained elsewhere.

        Each model says which output is which label: as a pair (model, labels), as a `GivenModel`, or by an
        attribute `classes_`. Labels may stand in another order than in the hierarchy; the outputs are put in
        order. Models may differ in everything, input size included.

        Parameters
        ----------
        router
            Over `hierarchy.macros`.
        submodels : mapping of macro to model, or sequence in the order of the macros
            Over `hierarchy.members` of its macro. A macro of one class needs none: leave it out, or give None.
        hierarchy : Hierarchy
        flat : optional
            Over `hierarchy.classes`, for implied, hie and masked.
        rule : str
        input_size : (height, width), optional
            For callables that don't say.

        Raises
        ------
        ValueError
            If a model is missing, doesn't say its labels, has other labels, or not one output a label.
        """
        given = _by_macro(submodels, hierarchy)
        parts = [
            _stage(model, f"sub-model of {macro}", members, input_size)
            for macro, model, members in zip(hierarchy.macros, given, hierarchy.members, strict=True)
        ]
        return cls(
            _stage(router, "router", hierarchy.macros, input_size),
            parts,
            hierarchy,
            flat=None if flat is None else _stage(flat, "flat model", hierarchy.classes, input_size),
            rule=rule,
        )

    def model_proba(
        self,
        name: str,
        images: Iterable[ImageInput],
        *,
        batch_size: int = BATCH_SIZE,
        calibrated: bool = True,
    ) -> np.ndarray:
        """Return one model's distribution over its own labels, running no other network.

        `name` is `router`, `flat`, or `submodel 0` and so on by the position of the macro.
        """
        model: AnyModel = self._model(name)
        width = len(model.labels)
        parts = [
            self._passed(name, batch, calibrated=calibrated)
            for batch, _ in self._batches(images, self._stacks([name]), batch_size, batch_size, True)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, width))

    def stage_proba(
        self, images: Iterable[ImageInput], *, batch_size: int = BATCH_SIZE, calibrated: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return what every model says, each image through each network once: what any routing rule starts from.

        Returns
        -------
        tuple of ndarray
            The router's (n, n_macros), the sub-models' side by side (n, n_slots), and the flat model's (n, n_classes),
            None without one.
        """
        names = ["router", *self._submodel_names, *(["flat"] if self.flat is not None else [])]
        hierarchy = self.hierarchy
        macro, within = [np.zeros((0, hierarchy.n_macros))], [np.zeros((0, hierarchy.n_slots))]
        flat = [np.zeros((0, hierarchy.n_classes))]
        for batch, _ in self._batches(images, self._stacks(names), batch_size, batch_size, True):
            given = [self._passed(name, batch, calibrated=calibrated) for name in names]
            macro.append(given[0])
            within.append(np.hstack(given[1 : 1 + len(self.submodels)]))
            flat += given[1 + len(self.submodels) :]
        return (
            np.concatenate(macro),
            np.concatenate(within),
            None if self.flat is None else np.concatenate(flat),
        )

    def calibrate(
        self, images: Iterable[ImageInput], labels: Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Self:
        """Fit all temperatures on labelled images that the weights were not trained on; give itself.

        Those of router and sub-models maximize the likelihood of the composed (soft) distribution, the flat
        model's that of its own. hard's answers stay as they are. A guarantee made before is void.
        """
        truth = self._codes(labels)
        digests: list[str] = []
        seen = remembered(check_iterable(images), digests)
        macro, within, flat = self.stage_proba(seen, batch_size=batch_size, calibrated=False)
        check_counts(len(macro), len(truth))
        found = fit_composed_temperatures(log_of(macro), log_of(within), self.hierarchy, truth)
        self.router = replace(self.router, temperature=found.router)
        pairs = zip(self.submodels, found.submodels, strict=True)
        self.submodels = tuple(replace(model, temperature=t) for model, t in pairs)
        if self.flat is not None and flat is not None:
            self.flat = replace(self.flat, temperature=fit_temperature(log_of(flat), truth))
        self.confidence, self.origin = None, None
        self.learned_from |= frozenset(digests)
        return self

    def _model(self, name) -> Any:
        if name == "router":
            return self.router
        return self.flat if name == "flat" else self.submodels[int(name.removeprefix("submodel "))]

    def _rule(self, rule, calibrated):
        chosen = self.rule if rule is None else self._read_rule(rule, calibrated)
        if "flat_probs" in chosen.needs and self.flat is None:
            raise ValueError(
                f"The routing rule {str(chosen)!r} needs a flat model, and this classifier has none. "
                "Use soft, hard, beam:K, threshold:T or climb:T."
            )
        if chosen.routes_by_flat and self.hierarchy.overlapping:
            _ = self.hierarchy.macro_of  # raises, naming the classes that stand in several macros
        return chosen

    def _guaranteed_rule(self):
        return parse_rule("soft")

    def _first(self, rule: RoutingRule) -> str:
        """Name the model that the rule asks first."""
        return "flat" if rule.routes_by_flat else "router"

    def _stacks_for(self, rule: Any):
        names = [self._first(rule)]
        names += self._submodel_names if "within_probs" in rule.needs else []
        names += ["flat"] if "flat_probs" in rule.needs else []
        return self._stacks(names)

    def _macro_stacks(self):
        return self._stacks(["router"])

    def _gathers(self, rule: Any):
        """Return whether the rule sends images to some networks and not to others."""
        chooses = rule.selective or rule.definition.several_levels
        return (chooses and len(self._stacks_for(rule)) > 1) or self.residents.limit is not None

    def _outcome(self, batch, rule: Any, calibrated, complete):
        flat: Any = self._passed("flat", batch, calibrated=calibrated) if "flat_probs" in rule.needs else None
        if rule.routes_by_flat:
            macro_probs = macro_from_flat(flat, self.hierarchy)
        else:
            macro_probs = self._passed("router", batch, calibrated=calibrated)
        allowed: Any = batch.allowed
        if allowed is not None:
            macros = possible_macros(allowed, self.hierarchy)
            macro_probs = conditioned(macro_probs, macros)
            flat = None if flat is None else conditioned(flat, self._held_by(macros))
        within: Any = None
        ran: Any = None
        if "within_probs" in rule.needs:
            ran = self._needed(batch, rule, macro_probs, complete)
            within = self._within(batch, ran, calibrated)
        probs = route(
            rule, hierarchy=self.hierarchy, macro_probs=macro_probs, within_probs=within, flat_probs=flat
        )
        hierarchy = self.hierarchy
        known: Any = None
        if rule.definition.several_levels and not ran.all():
            known = ~self._held_by(~ran)
        elif rule.selective:
            known = self._held_by(sent(rule, macro_probs, hierarchy))
        if allowed is not None:
            if within is not None and not rule.selective:
                macro_probs = conditioned_macros(macro_probs, within, allowed, hierarchy)
            probs, known = conditioned(probs, allowed), allowed if known is None else known & allowed
        several = rule.definition.several_levels
        return Outcome(
            probs,
            macro_probs,
            climb(probs, macro_probs, rule.parameter, hierarchy) if several else None,
            known,
        )

    def _macro_probs(self, batch, calibrated):
        return self._passed("router", batch, calibrated=calibrated)

    def _needed(
        self, batch: ImageBatch, rule: RoutingRule, macro_probs: np.ndarray, complete: bool
    ) -> np.ndarray:
        """Return which sub-models run for which images, as bool (n, n_macros): those on a passed stack run anyway."""
        if batch.allowed is None:
            needed = sent(rule, macro_probs, self.hierarchy, complete)
        else:  # how much of a macro is possible, its sub-model alone can tell
            needed = possible_macros(batch.allowed, self.hierarchy)
            needed &= rule.kept(macro_probs)
        for macro, name in enumerate(self._submodel_names):
            needed[:, macro] |= name not in self._places or batch.passed(self._places[name][0])
        return needed

    def _within(self, batch: ImageBatch, needed: np.ndarray, calibrated: bool) -> np.ndarray:
        """Run each sub-model on its images; elsewhere its block stays uniform."""
        blocks = []
        for macro, name in enumerate(self._submodel_names):
            n_labels = self.hierarchy.sizes[macro]
            block = np.full((len(batch), n_labels), 1 / n_labels)
            rows = np.flatnonzero(needed[:, macro])
            if len(rows):
                block[rows] = self._passed(name, batch, rows, calibrated)
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    def _held_by(self, macros: np.ndarray) -> np.ndarray:
        """Return which classes stand in one of the macros: bool (n, n_macros) to (n, n_classes)."""
        held = np.zeros((len(macros), self.hierarchy.n_classes), bool)
        for macro, label in zip(self.hierarchy.slot_macro, self.hierarchy.slot_class, strict=True):
            held[:, label] |= macros[:, macro]
        return held


def sent(
    rule: RoutingRule, macro_probs: np.ndarray, hierarchy: Hierarchy, complete: bool = False
) -> np.ndarray:
    """Return which sub-models a rule needs for each image, as bool (n, n_macros).

    hard, beam and threshold need those whose weight isn't 0. climb answers a class only where P(c) reaches the
    threshold, and P(c) is at most the summed probability of the macros that hold it: sub-models that can't lift
    any class so far aren't needed, unless the whole distribution is wanted (`complete`). Where a macro may be answered,
    those are needed, too, of which each could hold the most probable class: its P(c) is at least P(m) over the number
    of classes of m, for every m.
    """
    if rule.definition.several_levels and not complete:
        kept = np.zeros(macro_probs.shape, bool)
        parameter: Any = rule.parameter
        reach = np.zeros((len(macro_probs), hierarchy.n_classes))
        for macro, label in zip(hierarchy.slot_macro, hierarchy.slot_class, strict=True):
            reach[:, label] += macro_probs[:, macro]
        # Rounding may lift a sum by some 1e-16; a sub-model too many changes nothing, one too few would.
        enough = reach >= parameter[0] - 1e-9
        rivals = reach >= (macro_probs / np.array(hierarchy.sizes)).max(axis=1, keepdims=True) - 1e-9
        home = np.zeros(macro_probs.shape, bool)
        for macro, label in zip(hierarchy.slot_macro, hierarchy.slot_class, strict=True):
            home[:, macro] |= rivals[:, label]
        open_ = (home & (macro_probs >= parameter[1] - 1e-9)).any(axis=1) & (home.sum(axis=1) > 1)
        kept |= home & open_[:, None]
        for macro, label in zip(hierarchy.slot_macro, hierarchy.slot_class, strict=True):
            kept[:, macro] |= enough[:, label]
        return kept
    return rule.kept(macro_probs)


def _by_macro(submodels: Mapping[str, Any] | Sequence[Any], hierarchy: Hierarchy) -> list[Any]:
    """Return one model a macro, None where a macro of one class needs none."""
    if isinstance(submodels, Mapping):
        foreign = sorted(set(submodels) - set(hierarchy.macros))
        if foreign:
            raise ValueError(
                f"submodels names macros that the hierarchy {list(hierarchy.macros)} lacks: {foreign}."
            )
        given = [submodels.get(macro) for macro in hierarchy.macros]
    else:
        given = list(submodels)
        if len(given) != hierarchy.n_macros:
            raise ValueError(
                f"There must be one sub-model for each of the macros {list(hierarchy.macros)}, in this order. "
                f"Received: {len(given)}."
            )
    missing = [
        macro
        for macro, model, size in zip(hierarchy.macros, given, hierarchy.sizes, strict=True)
        if model is None and size > 1
    ]
    if missing:
        raise ValueError(f"Every macro of several classes needs a sub-model. Missing: {missing}.")
    return given


def _stage(model: Any, what: str, labels: Sequence[str], input_size: tuple[int, int] | None) -> AnyModel:
    if model is None or len(labels) == 1:
        return LabelModel(tuple(labels))
    return in_order(given_model(model, what, labels, input_size), labels)


def _check_order(what: str, labels: Sequence[str], wanted: Sequence[str]) -> None:
    if tuple(labels) == tuple(wanted):
        return
    hint = "The names agree, the order doesn't." if sorted(labels) == sorted(wanted) else "The names differ."
    raise ValueError(
        f"The labels of the {what} must be {list(wanted)}, in this order. Received: {list(labels)}. {hint}"
    )
