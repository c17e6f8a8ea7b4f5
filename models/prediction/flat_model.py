"""The flat classifier: one model over all classes, the baseline."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np

from aisles.hierarchy.calibration import fit_temperature
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.restriction import conditioned
from aisles.hierarchy.rule_functions import climb

from .answers import Outcome, macro_sums
from .guarantee import Confidence, remembered
from .images import ImageInput, check_iterable
from .label_model import AnyModel, given_model, in_order
from .predictor import BATCH_SIZE, Classifier, check_counts
from .processes import Origin
from .stored import Residents


class FlatClassifier(Classifier):
    """One model over all classes: the baseline.

    Parameters
    ----------
    model : LabelModel
        Over all classes, sorted.
    hierarchy : Hierarchy, optional
        Lets predictions name the macro that the class belongs to, and climb to it.
    residents : Residents, optional
        How many networks from disk may be in memory.
    engine : {'tensorflow', 'onnx', 'auto'}
        What runs the networks.
    """

    model: AnyModel
    hierarchy: Hierarchy | None
    classes_: np.ndarray
    confidence: Confidence | None = None
    learned_from: frozenset[str] = frozenset()
    origin: Origin | None = None

    def __init__(
        self,
        model: AnyModel,
        hierarchy: Hierarchy | None = None,
        *,
        residents: Residents | None = None,
        engine: str = "tensorflow",
    ):
        if list(model.labels) != sorted(set(model.labels)):
            raise ValueError("A flat model's labels must be sorted and unique.")
        if hierarchy is not None:
            hierarchy.check_classes(model.labels)
        self.model, self.hierarchy = model, hierarchy
        self.classes_ = np.array(model.labels)
        self._arrange({"flat": model}, residents, engine)

    @classmethod
    def from_model(
        cls,
        model: Any,
        classes: Sequence[str],
        hierarchy: Hierarchy | None = None,
        *,
        input_size: tuple[int, int] | None = None,
    ) -> "FlatClassifier":
        """Make a flat classifier of a model trained elsewhere, its outputs in the order of `classes`."""
        given = given_model((model, list(classes)), "flat model", sorted(classes), input_size)
        return cls(in_order(given, sorted(classes)), hierarchy)

    def calibrate(
        self, images: Iterable[ImageInput], labels: Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Self:
        """Fit the temperature on labelled images that the weights were not trained on; give itself."""
        truth = self._codes(labels)
        digests: list[str] = []
        probs, _, _ = self._arrays(remembered(check_iterable(images), digests), None, batch_size, False)
        check_counts(len(probs), len(truth))
        self.model = replace(self.model, temperature=fit_temperature(log_of(probs), truth))
        self.confidence, self.origin = None, None
        self.learned_from |= frozenset(digests)
        return self

    def _model(self, name):
        return self.model

    def _rule(self, rule, calibrated):
        if rule is None or rule == "flat":
            return None
        if self._climbs():
            chosen = self._read_rule(rule, calibrated)
            if chosen.name == "climb":
                return chosen
        raise ValueError(
            f"A flat model knows no routing rule but climb, and that only with a hierarchy whose macros don't "
            f"overlap. Received: rule={str(rule)!r}; leave it out."
        )

    def _guaranteed_rule(self):
        return None

    def _climbs(self):
        return self.hierarchy is not None and not self.hierarchy.overlapping

    def _stacks_for(self, rule):
        return self._stacks(["flat"])

    def _macro_stacks(self):
        return self._stacks(["flat"])

    def _outcome(self, batch, rule: Any, calibrated, complete):
        probs: Any = self._passed("flat", batch, calibrated=calibrated)
        probs = probs if batch.allowed is None else conditioned(probs, batch.allowed)
        hierarchy = cast(Hierarchy, self.hierarchy)
        macro_probs: Any = None if self.hierarchy is None else macro_sums(probs, hierarchy)
        answers = climb(probs, macro_probs, rule.parameter, hierarchy) if rule is not None else None
        return Outcome(probs, macro_probs, answers, batch.allowed)

    def _macro_probs(self, batch, calibrated):
        hierarchy: Any = self.hierarchy
        return macro_sums(self._passed("flat", batch, calibrated=calibrated), hierarchy)


def log_of(probs: np.ndarray) -> np.ndarray:
    """Return log probabilities, of at least 1e-12."""
    return np.log(np.maximum(probs, 1e-12))
