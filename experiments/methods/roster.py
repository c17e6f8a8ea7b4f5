"""The methods of a study: what each of them trains, and what it says of validation and test images."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from aisles.experiments.benchmark.preparation import PreparedData, column_hierarchy, read_hierarchy
from aisles.experiments.settings.benchmark import FINE_TUNED, OTHER_HIERARCHIES, BenchmarkSettings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rules import macro_from_flat, parse_rule, route

from .head_jobs import HeadJob, Trainer, flat_job, router_job, two_stage_jobs

logger = logging.getLogger(__name__)
Made = TypeVar("Made")
OTHERWISE_MADE = ("logistic", "hiclass", "discriminant", "flat-discriminant", *FINE_TUNED)
"""Methods whose parts are not all heads."""


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What one method says, and what that rests on.

    Attributes
    ----------
    name : str
    role : str
        `flat`, `ensemble`, `two-stage`, `hierarchy` (the primary rule on another hierarchy), `control` (on random
        macros) or `reference` (another library).
    probs, val_probs : ndarray of float32 of shape (n_seeds, n_images, n_classes)
        Class distributions of the test and of the validation images, those of the latter from heads that never
        trained on them.
    jobs : tuple of tuple of HeadJob
        For each seed the heads that prediction needs; empty for references.
    hierarchy : Hierarchy or None
        None for methods without macros.
    macro_probs, val_macro_probs : ndarray of float32 of shape (n_seeds, n_images, n_macros), or None
        What the method's router says; None without a router.
    head_passes : float
        Heads that an image passes when it is predicted, on average.
    further_parameters : int
        Of parts that are no heads of `jobs`.
    inside : ndarray of float32 of shape (n_seeds, n_test, n_classes), or None
        What orders the classes of one macro before anything is routed: the sub-models' distributions, or the flat
        model's for rules without sub-models; None where `probs` itself is that.
    answers_only : bool
        Whether `probs` merely marks the answers, as of a library that gives no probabilities.
    cost : mapping of str to float, or None
        As `costs.method_cost` gives it, where it doesn't follow from `jobs`: of fine-tuned networks.
    terms : mapping, or None
        On what terms fine-tuned networks were trained, as their stage records it.
    """

    name: str
    role: str
    probs: np.ndarray
    val_probs: np.ndarray
    jobs: tuple[tuple[HeadJob, ...], ...] = ()
    hierarchy: Hierarchy | None = None
    macro_probs: np.ndarray | None = None
    val_macro_probs: np.ndarray | None = None
    head_passes: float = 1.0
    further_parameters: int = 0
    inside: np.ndarray | None = None
    answers_only: bool = False
    cost: Mapping[str, float] | None = None
    terms: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Roster:
    """All methods of a study by name: their heads to be trained, then their answers.

    Attributes
    ----------
    trainer : Trainer
    prepared : PreparedData
    hierarchy : Hierarchy
        The study's.
    settings : BenchmarkSettings
    learn_elsewhere : callable
        From a backbone's name (`vgg16`, `efficientnet_lite0:gray`) to the hierarchy learned from its features.
    """

    trainer: Trainer
    prepared: PreparedData
    hierarchy: Hierarchy
    settings: BenchmarkSettings
    learn_elsewhere: Callable[[str], Hierarchy]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Methods with heads, `random` replaced by its partitions."""
        comparison, names = self.settings.comparison, []
        for name in comparison.everyone:
            if name == "random":
                names += [f"random-{i + 1}" for i in range(comparison.random_partitions)]
            elif name not in OTHERWISE_MADE:
                names.append(name)
        return tuple(names)

    @property
    def otherwise_made(self) -> tuple[str, ...]:
        """Methods whose parts are not all heads: other libraries, discriminants, fine-tuned networks."""
        return tuple(name for name in self.settings.comparison.everyone if name in OTHERWISE_MADE)

    @property
    def seeds(self) -> range:
        """The seeds, 0 and up."""
        return range(self.settings.comparison.seeds)

    def jobs(self, name: str) -> list[HeadJob]:
        """List the heads of a method, over all seeds.

        Raises
        ------
        ValueError, OSError
            If its hierarchy can't be had.
        """
        return [job for seed in self.seeds for job in self._jobs(name, seed)]

    def answers(self, name: str) -> MethodResult:
        """Return a method's answers; its heads are trained if they aren't yet.

        Raises
        ------
        ValueError, OSError
            If its hierarchy can't be had, or the training of a head failed.
        """
        jobs = tuple(tuple(self._jobs(name, seed)) for seed in self.seeds)
        if name in ("flat", "ensemble"):
            return self._flat_heads(name, jobs)
        return self._two_stage(name, jobs)

    def hierarchy_of(self, name: str) -> Hierarchy:
        """Return the hierarchy that a method routes by."""
        return self._hierarchies.get(name) or self._hierarchies.setdefault(name, self._find_hierarchy(name))

    @cached_property
    def _hierarchies(self) -> dict[str, Hierarchy]:
        return {}

    def _find_hierarchy(self, name: str) -> Hierarchy:
        if name.startswith("random-"):
            return self.hierarchy.same_sizes_at_random(int(name.removeprefix("random-")))
        kind, _, rest = name.partition(":")
        manifest = self.prepared.manifest
        if kind == "column":
            return column_hierarchy(manifest, rest)
        if kind == "file":
            return read_hierarchy(rest, manifest.classes)
        return self.learn_elsewhere(rest) if kind == "backbone" else self.hierarchy

    def _jobs(self, name: str, seed: int) -> list[HeadJob]:
        classes = self.prepared.manifest.classes
        flat = flat_job(classes, seed)
        if name == "flat":
            return [flat]
        hierarchy = self.hierarchy_of(name)
        two_stage = two_stage_jobs(hierarchy, seed)
        if name == "ensemble":
            return [flat_job(classes, seed, member) for member in range(len(two_stage))]
        rule = self.rule(name)
        if "within_probs" not in rule.needs:
            return [flat, two_stage[0]]
        return two_stage if "macro_probs" in rule.needs else [flat, *two_stage[1:]]

    def rule(self, name: str):
        """Return the routing rule of a two-stage method: its own, or the primary one on another hierarchy."""
        other = name.partition(":")[0] in (*OTHER_HIERARCHIES, "trunk") or name.startswith("random-")
        return parse_rule(self.settings.comparison.primary if other else name)

    def _flat_heads(self, name: str, jobs: tuple[tuple[HeadJob, ...], ...]) -> MethodResult:
        fitted = [[self.trainer.fitted(job) for job in of_seed] for of_seed in jobs]
        test, val = (
            _as_float32([np.mean([getattr(m, key)[rows] for m in models], axis=0) for models in fitted])
            for key, rows in self._parts
        )
        return MethodResult(name, name, test, val, jobs, head_passes=float(len(jobs[0])))

    def _two_stage(self, name: str, jobs: tuple[tuple[HeadJob, ...], ...]) -> MethodResult:
        rule, hierarchy = self.rule(name), self.hierarchy_of(name)
        tables = [
            [self._tables(seed, hierarchy, rule.needs, *part) for seed in self.seeds] for part in self._parts
        ]
        test, val = (_as_float32([route(rule, hierarchy=hierarchy, **t) for t in some]) for some in tables)
        macro, val_macro = (_as_float32([_macro_probs(t, hierarchy) for t in some]) for some in tables)
        role = "two-stage"
        if name.startswith("random-"):
            role = "control"
        elif name.partition(":")[0] in OTHER_HIERARCHIES:
            role = "hierarchy"
        passes = passes_of(rule, macro, hierarchy, len(jobs[0]))
        inside = _as_float32([_inside(t, hierarchy) for t in tables[0]])
        return MethodResult(name, role, test, val, jobs, hierarchy, macro, val_macro, passes, inside=inside)

    def _tables(
        self, seed: int, hierarchy: Hierarchy, needs: tuple[str, ...], key: str, rows: np.ndarray
    ) -> dict:
        tables: dict[str, np.ndarray] = {}
        if "flat_probs" in needs:
            tables["flat_probs"] = getattr(self.trainer.flat(seed), key)[rows]
        if "macro_probs" in needs:
            tables["macro_probs"] = getattr(self.trainer.fitted(router_job(hierarchy, seed)), key)[rows]
        if "within_probs" in needs:
            tables["within_probs"] = self.trainer.within(hierarchy, seed, key)[rows]
        return tables

    @cached_property
    def _parts(self) -> tuple[tuple[str, np.ndarray], tuple[str, np.ndarray]]:
        return ("probs", self.prepared.rows("test")), ("val_probs", self.prepared.rows("val"))


def collect(
    names: tuple[str, ...], make: Callable[[str], Made], must: tuple[str, ...]
) -> tuple[dict[str, Made], dict[str, str]]:
    """Ask every method for its answers; one that fails becomes a reason.

    Parameters
    ----------
    names : tuple of str
    make : callable
        Gives what is wanted of a method, by its name, or raises.
    must : tuple of str
        Methods without which there is nothing to compare: their failure is raised.

    Returns
    -------
    tuple of dict
        What was made by name, and reasons by name.
    """
    found: dict[str, Made] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            found[name] = make(name)
        except Exception as error:
            if name in must:
                raise
            failed[name] = f"{type(error).__name__}: {error}"
            logger.warning("The method %s failed: %s", name, error)
    return found, failed


def check_same_terms(trainer: Trainer, methods: Mapping[str, MethodResult]) -> None:
    """Check that every head was trained on the same images, features, settings and seeds as flat's.

    And that all fine-tuned networks started from one backbone, on these images, with the same settings.

    Raises
    ------
    ValueError
        Naming the head that differs, and in what.
    """
    flat = methods["flat"]
    common = ("data", "features", "training")
    wanted = {key: trainer.made_from(flat.jobs[0][0])[key] for key in common}
    for name, method in methods.items():
        for seed, jobs in enumerate(method.jobs):
            for job in jobs:
                had = trainer.made_from(job)
                differing = [key for key in common if had[key] != wanted[key]]
                if differing or had["seed"] != seed:
                    raise ValueError(
                        f"Every method must be trained on the same terms. {job.name} of {name} differs in "
                        f"{differing or ['seed']}. Delete its folder and start the study again."
                    )
    tuned = [method for method in methods.values() if method.terms is not None]
    for method in tuned:
        had = method.terms or {}
        differing = [key for key in had if had[key] != (tuned[0].terms or {}).get(key)]
        if differing or had.get("data") != wanted["data"]:
            raise ValueError(
                f"All fine-tuned networks must be trained on the same terms. {method.name} differs in "
                f"{differing or ['data']}. Delete its folder and start the study again."
            )


def _macro_probs(tables: dict[str, np.ndarray], hierarchy: Hierarchy) -> np.ndarray:
    if "macro_probs" in tables:
        return tables["macro_probs"]
    return macro_from_flat(tables["flat_probs"], hierarchy)


def _inside(tables: dict[str, np.ndarray], hierarchy: Hierarchy) -> np.ndarray:
    if "within_probs" in tables:
        return tables["within_probs"][:, np.argsort(hierarchy.slot_class)]
    return tables["flat_probs"]


def passes_of(rule, macro: np.ndarray, hierarchy: Hierarchy, n_heads: int) -> float:
    """Count the heads that an image passes: those of the macros that the rule looks into, and router or flat."""
    if rule.name not in ("hard", "beam", "threshold"):
        return float(n_heads)
    has_head = np.array([size > 1 for size in hierarchy.sizes])
    place = np.argsort(np.argsort(-macro, axis=2, kind="stable"), axis=2)
    kept = place < (rule.parameter if rule.name == "beam" else 1)
    if rule.name == "threshold":
        kept |= macro >= rule.parameter
    return 1.0 + float((kept & has_head).sum(axis=2).mean())


def _as_float32(tables: list[np.ndarray]) -> np.ndarray:
    return np.stack(tables).astype(np.float32)
