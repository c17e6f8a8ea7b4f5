"""The table of backbones: what each is, how images reach it, where its weights lie; no network is built here.

Ours are registered as anybody's are: `register_backbone` decorates the function that builds the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from aisles.data_prep.images.fitting import Filter, Fit, Fitting
from aisles.hierarchy.registry import Registry

from .weights import WeightsFile

__all__ = [
    "BACKBONES",
    "BackboneDefinition",
    "backbone_names",
    "check_backbone",
    "register_backbone",
    "split_joined",
]

JOIN = "+"
OURS = ("lite_networks", "keras_networks", "dinov2_small")
"""Modules of this folder that register what comes with the package."""

BACKBONES: "Registry[BackboneDefinition]" = Registry(
    "backbone", "backbones", lambda: [import_module(f"aisles.models.backbones.{name}") for name in OURS]
)


@dataclass(frozen=True)
class BackboneDefinition:
    """A registered backbone; attributes as the parameters of `register_backbone`."""

    name: str
    build: Callable[[tuple[int, int]], Any]
    description: str
    input_size: tuple[int, int]
    normalization: str
    crop_share: float = 1.0
    filter: Filter = "bilinear"
    fit: Fit = "crop"
    dimension: int | None = None
    smallest: int = 1
    weights: Callable[[], WeightsFile] | None = None
    read_weights: Callable[[Any, Any], None] | None = None
    license: str = ""
    source: str = ""

    def fitting(self, size: tuple[int, int] | None = None, fit: str = "published") -> Fitting:
        """Return how images reach the network: as published, unless another size or fit is wanted."""
        chosen = self.fit if fit == "published" else cast(Fit, fit)
        return Fitting(size or self.input_size, chosen, self.crop_share, self.filter)

    @property
    def summary(self) -> str:
        """What it is and how images reach it, in one line."""
        height, width = self.input_size
        rule = f"crop {self.crop_share:.3g}" if self.fit == "crop" else self.fit
        license = self.license or "not stated"
        return f"{self.description} {height} x {width} pixels, {rule}, {self.filter}. License: {license}."


def register_backbone(
    name: str,
    *,
    input_size: tuple[int, int],
    normalization: str = "none",
    description: str = "",
    crop_share: float = 1.0,
    filter: Filter = "bilinear",
    fit: Fit = "crop",
    dimension: int | None = None,
    smallest: int = 1,
    weights: Callable[[], WeightsFile] | None = None,
    read_weights: Callable[[Any, Any], None] | None = None,
    license: str = "",
    source: str = "",
) -> Callable:
    """Register a backbone: a decorator for the function that builds its network.

    Parameters
    ----------
    name : str
        How `--backbone`, settings, reports and cached features call it.
    input_size : (height, width)
        In pixels, unless settings ask for another.
    normalization : str
        A key of `aisles.models.backbones.registry.PREPROCESSING`: what happens to pixels, RGB, 0-255.
    description : str
        Half a sentence for help texts.
    crop_share, filter, fit
        How an image of any size becomes `input_size`, as the weights were evaluated; see
        `aisles.data_prep.images.fitting.Fitting`.
    dimension : int, optional
        Length of a feature vector, where known without building the network.
    smallest : int
        The fewest pixels of a side that the network takes.
    weights : callable, optional
        Return the `WeightsFile` of the pretrained weights, without opening it. Where there is none, `build` gives a
        network that has its weights already.
    read_weights : callable, optional
        (network, path) puts a file of pretrained weights into the network; Keras' own formats are read without it.
    license, source : str
        Of the weights; where preprocessing and weights are published.

    Returns
    -------
    callable
        Decorator that returns the function unchanged. It is called as build((height, width)) and returns a
        `keras.Model` without its top, or a finished backbone of its own kind (see `onnx_file`).

    Examples
    --------
    >>> @register_backbone("tiny", input_size=(32, 32), normalization="symmetric")   # doctest: +SKIP
    ... def tiny(size):
    ...     pixels = keras.Input((*size, 3))
    ...     return keras.Model(pixels, keras.layers.Conv2D(16, 3)(pixels))
    """

    def register(build: Callable[[tuple[int, int]], Any]) -> Callable[[tuple[int, int]], Any]:
        definition = BackboneDefinition(
            name, build, description, (input_size[0], input_size[1]), normalization, crop_share, filter, fit,
            dimension, smallest, weights, read_weights, license, source,
        )  # fmt: skip
        definition.fitting()  # refuses what makes no sense
        BACKBONES.add(name, definition)
        return build

    return register


def backbone_names() -> tuple[str, ...]:
    """List the registered backbones, in the order of registration."""
    return tuple(BACKBONES)


def split_joined(name: str) -> tuple[str, ...]:
    """Split `efficientnet_lite0+efficientnet_lite2` into the backbones that are joined.

    Raises
    ------
    ValueError
        For an unknown name, with the one that was probably meant, or one named twice.
    """
    parts = tuple(part.strip() for part in name.split(JOIN))
    for part in parts:
        BACKBONES[part]
    if len(set(parts)) < len(parts):
        raise ValueError(f"Every backbone may be joined once. Received: {name!r}.")
    return parts


def check_backbone(name: str) -> str:
    """Return a backbone's name, or several joined by +, if they are registered; raises as `split_joined`."""
    split_joined(name)
    return name


def backbones_help() -> str:
    """Return the names as a help text lists them."""
    few = [name for name in BACKBONES if not name[0].isupper()]
    return f"{', '.join(few)}, any name of keras.applications (ResNet50), or several joined by {JOIN}"
