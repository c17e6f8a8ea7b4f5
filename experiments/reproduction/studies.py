"""The studies that can be done again: a table."""

from collections.abc import Mapping
from dataclasses import dataclass

from aisles.data_prep.abo.fetch import BASE_URL, SIZES
from aisles.hierarchy.registry import Registry


@dataclass(frozen=True)
class Study:
    """A published study.

    Attributes
    ----------
    name : str
    description : str
    recipe : str
        How its data set is curated.
    preset : str
        Settings of its benchmark.
    base_url : str
        Where its archives are.
    sizes : mapping of str to int
        The archives and their bytes.
    n_images, n_compared : int
        Images of the curated data set, and images that curation compares, about.
    flat_minutes : float
        What training the flat model took on the authors' GPU.
    macro_f1 : float
        Of the flat model, as published.
    """

    name: str
    description: str
    recipe: str
    preset: str
    base_url: str
    sizes: Mapping[str, int]
    n_images: int
    n_compared: int
    flat_minutes: float
    macro_f1: float


STUDIES: Registry[Study] = Registry("study", "studies")
"""The studies by name."""

STUDIES.add(
    "abo65",
    Study(
        "abo65",
        "65 product types of Amazon Berkeley Objects, flat Inception-v3, and the two-stage design that was planned",
        recipe="abo65",
        preset="abo65-published",
        base_url=BASE_URL,
        sizes=SIZES,
        n_images=20_600,
        n_compared=60_000,
        flat_minutes=43.0,
        macro_f1=0.87,
    ),
)
