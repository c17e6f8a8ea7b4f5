"""Heads by name: trained layers, and classifiers whose settings validation images choose. One table, `HEADS`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aisles.hierarchy.registry import Registry

if TYPE_CHECKING:
    from .closed_form import Background

__all__ = ["HEADS", "HeadDefinition", "register_head"]


@dataclass(frozen=True)
class HeadDefinition:
    """A registered head; see `register_head`. `variant` is set for layers trained by gradient descent alone."""

    name: str
    description: str
    fit: Callable[..., Iterable[Any]] | None = None
    grid: Callable[["Background | None"], Sequence[Mapping[str, Any]]] | None = None
    variant: Any = None
    deterministic: bool = False


def _register_ours() -> None:
    from . import ours  # noqa: F401


HEADS: Registry[HeadDefinition] = Registry("head", "heads", _register_ours)
"""The heads by name. Flat model, router and sub-models may have any of them."""


def register_head(
    name: str,
    *,
    description: str,
    grid: Callable[["Background | None"], Sequence[Mapping[str, Any]]] | Sequence[Mapping[str, Any]] = ({},),
    deterministic: bool = False,
) -> Callable[[Callable[..., Iterable[Any]]], Callable[..., Iterable[Any]]]:
    """Make a function a head: a classifier on features that flat model, router and sub-models may have.

    Parameters
    ----------
    name : str
    description : str
        What it is, in half a sentence.
    grid : sequence of mapping, or callable
        The settings that are tried; validation images choose among them by likelihood after one temperature. A
        callable is given the background (all training images, for a head over some of the classes) or None.
    deterministic : bool
        Whether another seed gives the same.

    Returns
    -------
    callable
        Decorator that returns the function unchanged. The function is called as
        fit(features, targets, n_labels, settings, background[, seed=...]) with features (n_images, dimension), targets
        (n_images,) from 0 to n_labels - 1, and yields, per setting and in order, a Keras model from features to
        probabilities (n, n_labels), or an object with `logits(features)`, `divided(temperature)` and `network()`.
    """

    def register(fit: Callable[..., Iterable[Any]]) -> Callable[..., Iterable[Any]]:
        settings: Any = grid

        def choices(background: "Background | None") -> Sequence[Mapping[str, Any]]:
            found: Any = settings(background) if callable(settings) else settings
            return found

        HEADS.add(name, HeadDefinition(name, description, fit, choices, deterministic=deterministic))
        return fit

    return register
