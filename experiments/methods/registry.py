"""Methods by name: whatever is compared. One table, `METHODS`; settings, help, dispatch, costs and reports read it.

A method learns from training and validation images and gives class probabilities for validation and test images. Every
routing rule that answers with classes is a method as well, under the name that `parse_rule` reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aisles.hierarchy.registry import Registry, UnknownNameError
from aisles.hierarchy.rules import RULES, parse_rule, rule_names
from aisles.models.heads.registry import HEADS

if TYPE_CHECKING:
    from aisles.experiments.benchmark.preparation import PreparedData
    from aisles.experiments.settings.benchmark import BenchmarkSettings
    from aisles.hierarchy.hierarchy import Hierarchy
    from aisles.models.backbones.registry import Backbone
    from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

    from .head_jobs import HeadJob, Trainer
    from .sent import SentShares

logger = logging.getLogger(__name__)
Role = Literal["flat", "ensemble", "two-stage", "hierarchy", "control", "reference"]
FLAT = "flat"
OURS = (
    "flat",
    "flat_heads",
    "routed",
    "external",
    "discriminant",
    "coarse",
    "macro_loss",
    "neighbors",
    "specialists",
    "bagged",
    "second_look",
    "two_networks",
    "fine_tuned",
)
"""Modules of this folder that register what comes with the package."""


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What one method says, and what that rests on.

    Attributes
    ----------
    probs, val_probs : ndarray of shape (n_seeds, n_images, n_classes)
        Class distributions of the test and of the validation images, columns in the order of `context.classes`; those
        of validation images from models that never trained on them. A method without randomness may give one seed.
    jobs : tuple of tuple of HeadJob
        For each seed the heads that prediction needs; empty for methods without heads of the shared trainer.
    hierarchy : Hierarchy or None
        None for methods without macros.
    macro_probs, val_macro_probs : ndarray of shape (n_seeds, n_images, n_macros), or None
        What the method's router says; None without a router.
    head_passes : float
        Heads that an image passes when it is predicted, on average.
    parameters : int
        Of parts that are no heads of `jobs`.
    inside : ndarray of shape (n_seeds, n_test, n_classes), or None
        What orders the classes of one macro before anything is routed: the sub-models' distributions, or the flat
        model's for rules without sub-models; None where `probs` itself is that.
    answers_only : bool
        Whether `probs` merely marks the answers, as of a library that gives no probabilities.
    probabilities : bool
        Whether `probs` say how sure the method is; no calibration is shown otherwise.
    searched : int
        How many settings were tried on validation images.
    deterministic : bool
        Whether another seed would give the same.
    cost : mapping of str to float, or None
        As `costs.method_cost` gives it, where it doesn't follow from `jobs` and `parameters`.
    seconds : float or None
        Training time of parts that are no heads of `jobs`.
    protocol : mapping, or None
        What fine-tuned networks were trained on and with, as their stage records it.
    coarse : bool
        Whether it also learned from images that are known by their macro alone.
    fine_alone : str
        The same method on images of known class alone, for one that learned from coarse labels too.
    sent : SentShares or None
        How many images passed the stronger of two networks; None where all images pass the same ones.
    """

    probs: np.ndarray
    val_probs: np.ndarray
    jobs: tuple[tuple[HeadJob, ...], ...] = ()
    hierarchy: Hierarchy | None = None
    macro_probs: np.ndarray | None = None
    val_macro_probs: np.ndarray | None = None
    head_passes: float = 1.0
    parameters: int = 0
    inside: np.ndarray | None = None
    answers_only: bool = False
    probabilities: bool = True
    searched: int = 1
    deterministic: bool = False
    cost: Mapping[str, float] | None = None
    seconds: float | None = None
    protocol: Mapping[str, Any] | None = None
    coarse: bool = False
    fine_alone: str = ""
    sent: SentShares | None = None
    name: str = ""
    role: str = ""
    what: str = ""
    baseline: str = FLAT


@dataclass(frozen=True, eq=False)
class Context:
    """What every method is given: the same images, splits, features, hierarchy, settings and seeds.

    Attributes
    ----------
    prepared : PreparedData
        Manifest, splits and hashes.
    features : ndarray of shape (n_images, dimension)
        Of the frozen backbone, in the order of the manifest.
    backbone : Backbone
    hierarchy : Hierarchy
        The benchmark's.
    settings : BenchmarkSettings
    trainer : Trainer
        Trains heads once for all methods that need the same ones.
    folder : Path
        For what methods keep; each has a folder of its own there (`place`).
    learn_elsewhere : callable
        From a backbone's name (`vgg16`, `efficientnet_lite0:gray`) to the hierarchy learned from its features.
    cache : path, optional
        Folder of cached features.
    """

    prepared: PreparedData
    features: np.ndarray
    backbone: Backbone
    hierarchy: Hierarchy
    settings: BenchmarkSettings
    trainer: Trainer
    folder: Path
    learn_elsewhere: Callable[[str], Hierarchy]
    cache: str | Path | None = None
    known_hierarchies: dict[str, Hierarchy] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, sorted: the columns of every class distribution."""
        return self.prepared.manifest.classes

    @property
    def seeds(self) -> range:
        """The seeds, 0 and up."""
        return range(self.settings.comparison.seeds)

    @property
    def primary(self) -> str:
        """The pre-specified routing rule."""
        return self.settings.comparison.primary

    @cached_property
    def targets(self) -> np.ndarray:
        """Each image's class as index into `classes`."""
        return np.searchsorted(np.array(self.classes), self.prepared.manifest.labels.astype(str))

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split: train, val or test."""
        return self.prepared.rows(split)

    def place(self, name: str) -> Path:
        """Return the folder in which a method may keep what it made."""
        return self.folder / "".join(
            letter if letter.isalnum() or letter in "._-" else "-" for letter in name
        )


@dataclass(frozen=True)
class MethodDefinition:
    """A registered method; see `register_method`."""

    name: str
    fit: Callable[..., MethodResult]
    description: str
    role: Role
    baseline: str | Callable[[str], str] = FLAT
    brings: tuple[str, ...] | Callable[[str], tuple[str, ...]] = ()
    heads: Callable[..., list[HeadJob]] | None = None
    classifier: Callable[..., FlatClassifier | TwoStageClassifier] | None = None
    parameter: str = ""
    optional_parameter: bool = False
    expand: Callable[[BenchmarkSettings], tuple[str, ...]] | None = None
    module: str | None = None
    extra: str | None = None
    full: bool = False
    fine_tunes: bool = False


@dataclass(frozen=True)
class Method:
    """A method as a person writes it: a definition, and its parameter if it has one."""

    name: str
    definition: MethodDefinition
    parameter: str = ""

    @property
    def role(self) -> Role:
        """What part it plays: flat, ensemble, two-stage, hierarchy, control or reference."""
        return self.definition.role

    @property
    def baseline(self) -> str:
        """The method that it is judged against."""
        baseline = self.definition.baseline
        return baseline if isinstance(baseline, str) else baseline(self.parameter)

    @property
    def brings(self) -> tuple[str, ...]:
        """The methods that take part with it."""
        brings = self.definition.brings
        return brings(self.parameter) if callable(brings) else brings

    @property
    def description(self) -> str:
        """What it is, in half a sentence."""
        return self.definition.description.format(parameter=self.parameter)

    def heads(self, context: Context) -> list[HeadJob]:
        """List the heads of the shared trainer that it needs, over all seeds."""
        return [] if self.definition.heads is None else self.definition.heads(context, *self._arguments)

    @property
    def savable(self) -> bool:
        """Whether it can become a classifier for images."""
        return self.definition.classifier is not None

    def classifier(self, context: Context) -> FlatClassifier | TwoStageClassifier:
        """Return the first seed's models as a classifier for images.

        Raises
        ------
        ValueError
            If the method can't be saved.
        """
        if self.definition.classifier is None:
            raise ValueError(f"The method {self.name} can't be saved.")
        return self.definition.classifier(context, *self._arguments)

    def fit(self, context: Context) -> MethodResult:
        """Train what is missing and return its answers, checked against the images and classes.

        Raises
        ------
        ValueError
            If the result doesn't fit; besides whatever the method itself raises.
        """
        from dataclasses import replace

        result = self.definition.fit(context, *self._arguments)
        n_seeds = len(context.seeds)
        tables = {}
        for key, split in (("probs", "test"), ("val_probs", "val")):
            table = np.asarray(getattr(result, key), dtype=np.float32)
            shape = (len(context.rows(split)), len(context.classes))
            if table.ndim == 2:
                table = table[None]
            if table.shape[1:] != shape or table.shape[0] not in (1, n_seeds):
                raise ValueError(
                    f"The method {self.name} must give `{key}` of shape (n_seeds, {shape[0]}, {shape[1]}) with "
                    f"{n_seeds} seeds (or 1). Received: {table.shape}."
                )
            if not np.isfinite(table).all() or np.abs(table.sum(axis=2) - 1).max(initial=0) > 1e-3:
                raise ValueError(f"The method {self.name} gives `{key}` whose rows don't sum to 1.")
            tables[key] = np.repeat(table, n_seeds, axis=0) if table.shape[0] < n_seeds else table
        if result.sent is not None and (warning := result.sent.warning(self.name)):
            logger.warning("%s", warning)
        return replace(
            result, name=self.name, role=self.role, what=self.description, baseline=self.baseline, **tables
        )

    @property
    def _arguments(self) -> tuple[str, ...]:
        return (self.parameter,) if self.definition.parameter else ()


def _register_ours() -> None:
    for module in OURS:
        import_module(f".{module}", __package__)


METHODS: Registry[MethodDefinition] = Registry("method", "methods", _register_ours)
"""The methods by name, routing rules apart."""


def register_method(
    name: str,
    *,
    description: str,
    role: Role = "two-stage",
    baseline: str | Callable[[str], str] = FLAT,
    brings: tuple[str, ...] | Callable[[str], tuple[str, ...]] = (),
    heads: Callable[..., list[HeadJob]] | None = None,
    classifier: Callable[..., FlatClassifier | TwoStageClassifier] | None = None,
    parameter: str = "",
    optional_parameter: bool = False,
    expand: Callable[[BenchmarkSettings], tuple[str, ...]] | None = None,
    module: str | None = None,
    extra: str | None = None,
    full: bool = False,
    fine_tunes: bool = False,
) -> Callable[[Callable[..., MethodResult]], Callable[..., MethodResult]]:
    """Make a function a method that benchmarks can name.

    Parameters
    ----------
    name : str
    description : str
        What the method is, in half a sentence; stands in tables, reports and help. `{parameter}` is filled in.
    role : str
        `flat` (one model over all classes), `ensemble` (several flat ones), `two-stage` (whatever learns from the
        macros), `hierarchy` (the primary rule on another hierarchy), `control` (on random macros) or `reference`
        (another library).
    baseline : str, or callable
        The method that it is judged against; takes part unasked. A callable is given the parameter.
    brings : tuple of str
        Further methods that take part whenever this one does.
    heads : callable, optional
        (context[, parameter]) -> the heads of the shared trainer that it needs, trained together beforehand.
    classifier : callable, optional
        (context[, parameter]) -> the first seed's models as a `FlatClassifier` or `TwoStageClassifier`, for bundles; a
        method without can't be saved. Its temperatures come from validation images; without them
        (`calibrated=False`) it gives the probabilities of `fit`. `savable` makes them of heads.
    parameter : str
        What stands after the colon, as help shows it (`NAME`); empty for a method without.
    optional_parameter : bool
        Whether the name alone is allowed, too; the parameter is "" then.
    expand : callable, optional
        From the settings to the names that take part in place of this one.
    module, extra : str, optional
        A module that must be installed, and the extra of this package that brings it.
    full : bool
        Whether it takes part in full benchmarks.
    fine_tunes : bool
        Whether it trains networks on the images.

    Returns
    -------
    callable
        Decorator that returns the function unchanged. The function is called as fit(context[, parameter]) and returns
        a `MethodResult`.
    """

    def register(fit: Callable[..., MethodResult]) -> Callable[..., MethodResult]:
        definition = MethodDefinition(
            name, fit, description, role, baseline, brings, heads, classifier, parameter, optional_parameter,
            expand, module, extra, full, fine_tunes,
        )  # fmt: skip
        METHODS.add(name, definition)
        return fit

    return register


def find_method(text: str) -> Method:
    """Read a method's name: `flat`, `random`, `beam:2`, `column:coarse`, or a rule with a head, `soft:lda`.

    Raises
    ------
    ValueError
        If there is no such method, or its parameter is missing, superfluous or wrong.
    """
    name, colon, parameter = text.partition(":")
    if name in METHODS:
        definition = METHODS[name]
        if colon and not definition.parameter:
            raise ValueError(f"The method {name!r} takes no parameter. Received: {text!r}.")
        if definition.parameter and not parameter and not definition.optional_parameter:
            raise ValueError(
                f"The method {name!r} is written {name}:{definition.parameter}. Received: {text!r}."
            )
        return Method(text, definition, parameter)
    if name not in RULES:
        raise UnknownNameError(METHODS.unknown(text, method_names()), f"method {text!r}")
    written, _, head = text.rpartition(":")
    if written and head in HEADS:
        text = written
    else:
        head = ""
    rule = parse_rule(text)
    if rule.definition.several_levels:
        raise ValueError(
            f"{name} answers at several levels; its metrics belong to soft, it is not a method of its own."
        )
    definition = _routed(rule, head)
    return Method(definition.name, definition)


def method_names() -> tuple[str, ...]:
    """Return every method as it is written, routing rules with an example's parameter."""
    written = (
        f"{name}:{definition.parameter}"
        if definition.parameter and not definition.optional_parameter
        else name
        for name, definition in METHODS.items()
    )
    names = dict.fromkeys((FLAT, *rule_names(), *written))
    return tuple(names)


def full_methods() -> tuple[str, ...]:
    """Return the methods of a full benchmark that can run here."""
    with_heads = (
        f"{rule}:lda" for rule in ("soft", "implied", "hie")
    )  # two-stage has flat's strongest head, too
    ours = (name for name, d in METHODS.items() if d.full and (d.module is None or find_spec(d.module)))
    return tuple(dict.fromkeys((FLAT, *rule_names(), *with_heads, *ours)))


def everyone(names: Iterable[str]) -> tuple[str, ...]:
    """Return the methods with their baselines and whatever they bring along; fine-tuned ones last, as registered."""
    found: dict[str, Method] = {}
    todo = list(dict.fromkeys(names))
    while todo:
        method = find_method(todo.pop(0))
        if method.name in found:
            continue
        found[method.name] = method
        todo += [method.baseline, *method.brings]
    frozen = [name for name, method in found.items() if not method.definition.fine_tunes]
    order = list(METHODS)
    tuned = [method for method in found.values() if method.definition.fine_tunes]
    tuned.sort(key=lambda method: order.index(method.definition.name))
    return (*frozen, *(method.name for method in tuned))


def taking_part(settings: BenchmarkSettings) -> tuple[Method, ...]:
    """Return the methods of a benchmark, those that stand for several replaced by these."""
    found: list[Method] = []
    for name in settings.comparison.everyone:
        method = find_method(name)
        expand = method.definition.expand
        parts = expand(settings) if expand is not None and not method.parameter else (name,)
        found += [find_method(part) for part in parts]
    return tuple(found)


def check_savable(names: Iterable[str], known: Iterable[str]) -> None:
    """Check that methods take part and can be saved.

    Parameters
    ----------
    names : iterable of str
        Methods to save.
    known : iterable of str
        Those that take part.

    Raises
    ------
    ValueError
        For a name that is none of these, or a method that can't become a classifier, with those that can.
    """
    known = list(known)
    for name in names:
        method = find_method(name)
        if name not in known and method.definition.name not in known:
            raise ValueError(
                f"{name!r} takes no part, so there is nothing to save. Add it to `comparison.methods`, or choose "
                f"among {', '.join(known)}."
            )
        if not _saves(method):
            why = f"it stands for several, write {name}:1" if method.savable else "it is no Keras network"
            can = [each for each in known if _saves(find_method(each))]
            raise ValueError(f"{name!r} can't be saved: {why}. Those that can: {', '.join(can)}.")


def _saves(method: Method) -> bool:
    """Return whether it becomes one classifier: `random` without a number stands for several."""
    return method.savable and (method.definition.expand is None or bool(method.parameter))


def describe(name: str) -> str:
    """Return what a method is, in half a sentence; "" if there is no such method here."""
    try:
        return find_method(name).description
    except ValueError:
        return ""


def fine_tunes(names: Iterable[str]) -> bool:
    """Return whether some of the methods train networks on the images."""
    return any(find_method(name).definition.fine_tunes for name in names)


def _routed(rule: Any, head: str) -> MethodDefinition:
    from .routed import definition_of

    return definition_of(rule, head)
