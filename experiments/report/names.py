"""What the methods and the macros are called in a report, and what they are."""

import re
from collections.abc import Mapping
from typing import Any

from .run import FLAT, Run

_WHAT = {
    "flat": "one head over all classes: the baseline",
    "ensemble": "as many flat heads as the two-stage classifier has heads, averaged",
    "hard": "the best class inside the router's most probable macro",
    "soft": "router times sub-model, over all macros",
    "implied": "flat's own macro probabilities in place of the router's, times the sub-models",
    "hie": "flat times router, no sub-models",
    "masked": "flat inside the macro that the router chose",
    "beam": "soft over the most probable macros",
    "threshold": "soft over the macros that are probable enough",
    "climb": "the class if sure, else the macro",
    "random": "control: the primary rule on random macros of the same sizes (sd over partitions)",
    "discriminant": "flat's own macro probabilities, times a linear discriminant a macro",
    "flat-discriminant": "flat times one linear discriminant over all classes",
    "hiclass": "HiClass on the same features: local classifier per parent node",
    "logistic": "scikit-learn's logistic regression on the same features",
    "flat-tuned": "the flat model, fine-tuned on the images (training images alone; validation images stop it)",
    "flat-tuned-again": "flat-tuned, fine-tuned once more, as the models of `trunk:separate-from-flat` are",
    "trunk:tuned": "router and sub-models as heads on the network of flat-tuned; judged against flat-tuned",
    "trunk:separate": "router and each sub-model fine-tuned on their own; judged against flat-tuned",
    "trunk:separate-from-flat": "the same, each from the network of flat-tuned; judged against flat-tuned-again",
    "flat-tuned-ensemble": "as many networks like flat-tuned as trunk:separate passes an image through, averaged",
    "flat-tuned-again-ensemble": "the same of flat-tuned-again and trunk:separate-from-flat",
    "column": "two-stage with the hierarchy that the manifest brings",
    "file": "two-stage with the hierarchy that a person brings",
    "backbone": "two-stage with the hierarchy learned from another backbone",
}
_VARIANTS = {"": "", "gray": " on gray images", "none": " without trained weights"}
_CONTROL = re.compile(r"random(\W\d+)?$", re.IGNORECASE)


def products_known(metrics: Mapping[str, Any]) -> bool:
    """Return whether products are more than names of images: some product has several images."""
    data = metrics.get("data", {})
    images, products = data.get("images"), data.get("products")
    if images and products is not None:
        return products < sum(images.values())
    return metrics.get("n_products", metrics["n_test"]) < metrics["n_test"]


def is_control(name: str) -> bool:
    """Return whether a method is one of the random partitions."""
    return bool(_CONTROL.match(name))


def what_it_is(name: str, metrics: Mapping[str, Any]) -> str:
    """Describe a method: as the study does, or by the routing rule in its name."""
    of_method = metrics.get("methods", {}).get(name, {})
    said = of_method.get("what") or of_method.get("description")
    if said:
        return str(said)
    if is_control(name):
        return _WHAT["random"]
    kind, _, of = name.partition(":")
    if kind == "backbone" and of:
        network, _, variant = of.partition(":")
        return f"two-stage with the hierarchy learned from {network}{_VARIANTS.get(variant, f' ({variant})')}"
    for word in (name, *re.split(r"[-_:. ]+", name)):
        if word.lower() in _WHAT:
            return _WHAT[word.lower()]
    return ""


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
