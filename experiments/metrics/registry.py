"""Metrics by name: numbers per training seed that say how good a method's answers are. One table, `METRICS`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisles.experiments.runs.schema import MethodFacts
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.registry import Registry

from . import answers
from .hierarchical import error_budget, hierarchical_scores

__all__ = ["METRICS", "MetricDefinition", "register_metric"]


@dataclass(frozen=True)
class MetricDefinition:
    """A registered metric; see `register_metric`."""

    name: str
    label: str
    description: str
    compute: Callable[[np.ndarray, np.ndarray, Hierarchy], float]
    higher_is_better: bool = True
    probabilities: bool = False
    shown: bool = True

    def value(self, truth: np.ndarray, probs: np.ndarray, hierarchy: Hierarchy) -> float:
        """Compute the metric of one method and seed.

        Raises
        ------
        ValueError
            If the metric's function fails, or gives something else than one finite number.
        """
        try:
            value = float(self.compute(truth, probs, hierarchy))
        except Exception as error:
            raise ValueError(
                f"The metric {self.name} fails: {type(error).__name__}: {error}. It is called with truth "
                f"{truth.shape}, probabilities {probs.shape} and the hierarchy, and returns one number."
            ) from error
        if not np.isfinite(value):
            raise ValueError(f"The metric {self.name} gives {value}: a metric is a finite number.")
        return value

    def facts(self) -> dict[str, Any]:
        """Return what a run keeps of it, so that its report needs no plugin."""
        return {
            "label": self.label,
            "description": self.description,
            "higher_is_better": self.higher_is_better,
            "shown": self.shown,
        }


TAKEN = frozenset(MethodFacts.__required_keys__ | MethodFacts.__optional_keys__) - {"accuracy"}
"""What else metrics.json says of a method: no metric may have such a name, its values would be lost."""

METRICS: Registry[MetricDefinition] = Registry("metric", "metrics")
"""The metrics by name, in the order in which tables show them."""


def register_metric(
    name: str,
    *,
    description: str,
    label: str = "",
    higher_is_better: bool = True,
    probabilities: bool = False,
    shown: bool = True,
) -> Callable[[Callable[[np.ndarray, np.ndarray, Hierarchy], float]], Callable[..., float]]:
    """Make a function a metric that every benchmark computes: in metrics.json, in tables and in the report.

    Parameters
    ----------
    name : str
        Its key in metrics.json, for example `top3_accuracy`.
    description : str
        What it is, in half a sentence.
    label : str
        The head of its column; the name unless given.
    higher_is_better : bool
    probabilities : bool
        Whether it needs more than the answers; it is null then for methods that give bare answers.
    shown : bool
        Whether tables have a column for it.

    Returns
    -------
    callable
        Decorator that returns the function unchanged. The function is called once per method and seed as
        metric(truth, probs, hierarchy) with truth (n_images,) as indices into `hierarchy.classes` and probs (n_images,
        n_classes), and returns one number.

    Raises
    ------
    ValueError
        If another metric, or something else that metrics.json says of a method, has that name.
    """
    if name in TAKEN:
        raise ValueError(
            f"`{name}` is something else that metrics.json says of a method. Choose another name."
        )

    def register(compute: Callable[[np.ndarray, np.ndarray, Hierarchy], float]) -> Callable[..., float]:
        definition = MetricDefinition(
            name, label or name, description, compute, higher_is_better, probabilities, shown
        )
        METRICS.add(name, definition)
        return compute

    return register


@register_metric("accuracy", description="share of images whose answer is right", shown=False)
def _accuracy(truth: np.ndarray, probs: np.ndarray, hierarchy: Hierarchy) -> float:
    return answers.accuracy(truth, probs.argmax(1))


@register_metric(
    "top5_accuracy",
    label="top-5",
    description="share of images whose class is among the five most probable",
    probabilities=True,
)
def _top5(truth: np.ndarray, probs: np.ndarray, hierarchy: Hierarchy) -> float:
    return answers.top_k_accuracy(truth, probs, 5)


@register_metric("balanced_accuracy", label="balanced", description="mean recall over the classes")
def _balanced(truth: np.ndarray, probs: np.ndarray, hierarchy: Hierarchy) -> float:
    return answers.balanced_accuracy(truth, probs.argmax(1))


@register_metric(
    "macro_f1", label="macro-F1", description="mean F1 over the classes that occur or are answered"
)
def _macro_f1(truth: np.ndarray, probs: np.ndarray, hierarchy: Hierarchy) -> float:
    return answers.macro_f1(truth, probs.argmax(1))


@register_metric(
    "macro_accuracy", description="share of images answered in the right macro-category", shown=False
)
def _macro_accuracy(truth: np.ndarray, probs: np.ndarray, hierarchy: Hierarchy) -> float:
    return answers.accuracy(hierarchy.macro_of[truth], hierarchy.macro_of[probs.argmax(1)])


@register_metric("hierarchical_f1", description="mean of class and macro accuracy", shown=False)
def _hierarchical_f1(truth: np.ndarray, probs: np.ndarray, hierarchy: Hierarchy) -> float:
    return hierarchical_scores(truth, probs.argmax(1), hierarchy.macro_of).f1


@register_metric(
    "cross_macro_share",
    description="share of the wrong answers that leave the macro-category",
    higher_is_better=False,
    shown=False,
)
def _cross_macro_share(truth: np.ndarray, probs: np.ndarray, hierarchy: Hierarchy) -> float:
    return error_budget(truth, probs.argmax(1), hierarchy.macro_of).cross_macro_share
