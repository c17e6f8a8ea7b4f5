"""What the methods and the macros are called in a report, and what they are."""

from collections.abc import Mapping
from typing import cast

import numpy as np

from aisles.experiments.methods.registry import describe
from aisles.experiments.runs.reader import FLAT, Run
from aisles.experiments.runs.schema import BenchmarkMetrics, ComparisonFacts, MethodFacts, SystemFacts


def products_known(metrics: BenchmarkMetrics) -> bool:
    """Return whether products are more than names of images: some product has several images."""
    return metrics["data"]["products"] < sum(metrics["data"]["images"].values())


def is_control(name: str, metrics: BenchmarkMetrics) -> bool:
    """Return whether a method is a control: the primary rule on random macros."""
    return name in metrics["methods"] and metrics["methods"][name]["role"] == "control"


def what_it_is(name: str, metrics: BenchmarkMetrics) -> str:
    """Describe a method as the run does; what a table puts together, such as all random partitions, as registered."""
    return metrics["methods"][name]["what"] if name in metrics["methods"] else describe(name)


def mean_of(method: MethodFacts | SystemFacts, metric: str) -> float | None:
    """Return the mean over seeds of a registered metric; None for bare answers where it needs probabilities."""
    values = cast(Mapping[str, list[float] | None], method)[metric]
    return None if values is None else float(np.mean(values))


def judged(comparison: ComparisonFacts) -> str:
    """Return a comparison's verdict, with the baseline's name if it isn't flat."""
    baseline = "" if comparison["a"] == FLAT else f" (against {comparison['a']})"
    return f"{comparison['verdict']}{baseline}"


def pair_name(comparison: ComparisonFacts) -> str:
    """Name who is compared: the method alone where its baseline is flat."""
    return comparison["b"] if comparison["a"] == FLAT else f"{comparison['b']} against {comparison['a']}"


def seeds_in_words(metrics: BenchmarkMetrics) -> str:
    """Return in words how many seeds there were."""
    n = len(metrics["seeds"])
    return "1 seed" if n == 1 else f"{n} seeds"


def color_class(run: Run, name: str) -> str:
    """Return the drawing class of a method: flat and the primary have colors of their own."""
    return {FLAT: "flat", run.primary: "two"}.get(name, "other")


def macro_tag(index: int) -> str:
    """Return the short name that ties a macro's places in the report together."""
    return f"M{index + 1}"
