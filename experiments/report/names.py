"""What the methods and the macros are called in a report, and what they are."""

from collections.abc import Mapping
from typing import Any

from aisles.experiments.methods.registry import describe

from .run import FLAT, Run


def products_known(metrics: Mapping[str, Any]) -> bool:
    """Return whether products are more than names of images: some product has several images."""
    data = metrics.get("data", {})
    images, products = data.get("images"), data.get("products")
    if images and products is not None:
        return products < sum(images.values())
    return metrics.get("n_products", metrics["n_test"]) < metrics["n_test"]


def is_control(name: str, metrics: Mapping[str, Any]) -> bool:
    """Return whether a method is a control: the primary rule on random macros."""
    return metrics.get("methods", {}).get(name, {}).get("role") == "control"


def what_it_is(name: str, metrics: Mapping[str, Any]) -> str:
    """Describe a method: as the run does, or as it is registered here."""
    return str(metrics.get("methods", {}).get(name, {}).get("what") or describe(name))


def judged(comparison: Mapping[str, Any]) -> str:
    """Return a comparison's verdict, with the baseline's name if it isn't flat."""
    baseline = "" if comparison["a"] == FLAT else f" (against {comparison['a']})"
    return f"{comparison['verdict']}{baseline}"


def pair_name(comparison: Mapping[str, Any]) -> str:
    """Name who is compared: the method alone where its baseline is flat."""
    return comparison["b"] if comparison["a"] == FLAT else f"{comparison['b']} against {comparison['a']}"


def seeds_in_words(metrics: Mapping[str, Any]) -> str:
    """Say how many seeds there were."""
    n = len(metrics["seeds"])
    return "1 seed" if n == 1 else f"{n} seeds"


def color_class(run: Run, name: str) -> str:
    """Return the drawing class of a method: flat and the primary have colors of their own."""
    return {FLAT: "flat", run.primary: "two"}.get(name, "other")


def macro_tag(index: int) -> str:
    """Return the short name that ties a macro's places in the report together."""
    return f"M{index + 1}"
