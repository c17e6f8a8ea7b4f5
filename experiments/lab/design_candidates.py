"""The images, the heads and the first candidates of the design search: flat heads, routing rules, discriminants."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from aisles.experiments.benchmark.preparation import PreparedData
from aisles.experiments.label_audit.confident_learning import out_of_fold_probs
from aisles.experiments.methods.discriminant import discriminant_tables, geometric_mean, in_macros, with_flat
from aisles.experiments.methods.head_jobs import (
    HeadJob,
    Trainer,
    flat_job,
    router_job,
    submodel_job,
    two_stage_jobs,
)
from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import hie, implied, macro_from_flat, soft

SEEDS, MEMBERS, MACROS = range(5), 7, (2, 3, 5, 8, 12)
OTHER = "~other"

FIRST = "first search"

Tables = tuple[np.ndarray, np.ndarray]
"""Class distributions of validation and of test images, both of shape (n_seeds, n_images, n_classes)."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A design.

    Attributes
    ----------
    name : str
    kind : str
        `flat` or `two-stage`.
    cost : float
        Its heads' parameters against flat's.
    tables : pair of ndarray
        What it says.
    family : str
        The trick that it tries; a flat and a two-stage candidate of one family were given the same.
    """

    name: str
    kind: str
    cost: float
    tables: Tables
    family: str = FIRST


@dataclass(frozen=True, eq=False)
class Search:
    """The images, the features and the heads that all candidates are made of."""

    prepared: PreparedData
    trainer: Trainer
    tree: ClassTree
    folder: Path

    @cached_property
    def hierarchies(self) -> dict[int, Hierarchy]:
        """The cuts that are tried."""
        return {k: self.tree.cut(k) for k in MACROS if k <= len(self.tree.classes)}

    @cached_property
    def truth(self) -> dict[str, np.ndarray]:
        """True classes of validation and test images, as column indices."""
        labels = self.prepared.manifest.labels.astype(str)
        return {
            split: np.searchsorted(np.array(self.tree.classes), labels[self.prepared.rows(split)])
            for split in ("val", "test")
        }

    @cached_property
    def held_out_mass(self) -> np.ndarray:
        """The mean distribution of each class's training images, by models that didn't see them."""
        rows = self.prepared.rows("train")
        judged = out_of_fold_probs(
            self.trainer.features[rows], self.prepared.manifest.labels[rows].astype(str)
        )
        return np.stack([judged.probs[judged.given == i].mean(axis=0) for i in range(len(self.tree.classes))])

    def train(self) -> None:
        """Train every head that a candidate needs."""
        classes = self.tree.classes
        jobs = [flat_job(classes, seed, member) for seed in SEEDS for member in range(MEMBERS)]
        for hierarchy in self.hierarchies.values():
            jobs += [job for seed in SEEDS for job in two_stage_jobs(hierarchy, seed)]
        jobs += [job for seed in SEEDS for job in self.open_jobs(self.hierarchies[5], seed)]
        self.trainer.train(jobs)

    def open_jobs(self, hierarchy: Hierarchy, seed: int) -> list[HeadJob]:
        """Describe sub-models that also see foreign images, as one more class."""
        found = []
        for members in hierarchy.members:
            label_of = tuple((name, name if name in members else OTHER) for name in hierarchy.classes)
            name = submodel_job(members, seed).name.replace("submodel", "open")
            found.append(HeadJob(name, (*members, OTHER), label_of, seed))
        return found

    def says(self, job: HeadJob) -> Tables:
        """Return one head's distributions of validation and test images."""
        fitted = self.trainer.fitted(job)
        return fitted.val_probs[self.prepared.rows("val")], fitted.probs[self.prepared.rows("test")]

    def flats(self, members: int) -> Tables:
        """Return the mean of some flat heads."""
        said = [[self.says(flat_job(self.tree.classes, seed, i)) for i in range(members)] for seed in SEEDS]
        return both(lambda part: np.stack([np.mean([s[part] for s in some], axis=0) for some in said]))

    def router(self, hierarchy: Hierarchy) -> Tables:
        """Return the router's distributions."""
        said = [self.says(router_job(hierarchy, seed)) for seed in SEEDS]
        return both(lambda part: np.stack([s[part] for s in said]))

    def within(self, hierarchy: Hierarchy) -> Tables:
        """Return the sub-models' distributions, macro after macro."""
        rows = [self.prepared.rows(split) for split in ("val", "test")]
        keys = ("val_probs", "probs")
        return both(
            lambda part: np.stack([self.trainer.within(hierarchy, s, keys[part])[rows[part]] for s in SEEDS])
        )

    def cost(self, jobs: list[HeadJob], further: int = 0) -> float:
        """Return the parameters of some heads, against the flat head's."""
        flat = self.trainer.budget(flat_job(self.tree.classes, 0)).parameters
        return (sum(self.trainer.budget(job).parameters for job in jobs) + further) / flat

    def candidates(self) -> Iterator[Candidate]:
        """Make every candidate."""
        yield from self.flat_candidates()
        for k, hierarchy in self.hierarchies.items():
            yield from self.routed_candidates(k, hierarchy)
        yield from self.open_candidates()
        yield from self.discriminant_candidates()

    def flat_candidates(self) -> Iterator[Candidate]:
        """Return one flat head, and means of several."""
        for members in range(1, MEMBERS + 1):
            name = "flat" if members == 1 else f"{members} flat heads, mean"
            yield Candidate(name, "flat", float(members), self.flats(members))

    def routed_candidates(self, k: int, hierarchy: Hierarchy) -> Iterator[Candidate]:
        """Return what router and sub-models of one cut allow, alone and together with flat."""
        flat, router, within = self.flats(1), self.router(hierarchy), self.within(hierarchy)
        jobs = two_stage_jobs(hierarchy, 0)
        one = flat_job(self.tree.classes, 0)

        def each(rule: Callable, first: Tables, second: Tables) -> Tables:
            return each_pair(lambda a, b: rule(a, b, hierarchy), first, second)

        routed = each(soft, router, within)
        yield Candidate(f"soft, {k} macros", "two-stage", self.cost(jobs), routed)
        yield Candidate(
            f"implied, {k} macros", "two-stage", self.cost([one, *jobs[1:]]), each(implied, flat, within)
        )
        yield Candidate(f"hie, {k} macros", "two-stage", self.cost([one, jobs[0]]), each(hie, flat, router))
        together = self.cost([one, *jobs])
        for weight in (0.3, 0.5):
            mixed = each_pair(lambda a, b, w=weight: geometric_mean(a, b, w), flat, routed)
            yield Candidate(f"flat times soft^{weight}, {k} macros", "two-stage", together, mixed)
            inside = both(
                lambda part, w=weight: np.stack(
                    [
                        mixed_inside(f, r, s, hierarchy, w)
                        for f, r, s in zip(flat[part], router[part], within[part], strict=True)
                    ]
                )
            )
            yield Candidate(
                f"flat and stages mixed inside macros, {weight}, {k} macros", "two-stage", together, inside
            )
        six = self.flats(6)
        yield Candidate(
            f"6 flat heads reweighed by the router, {k} macros",
            "two-stage",
            6 + self.cost(jobs[:1]),
            each(hie, six, router),
        )

    def open_candidates(self) -> Iterator[Candidate]:
        """Return sub-models that were told of foreign images."""
        hierarchy = self.hierarchies[5]
        order, tables = np.argsort(hierarchy.slot_class), []
        for seed in SEEDS:
            said = [self.says(job) for job in self.open_jobs(hierarchy, seed)]
            tables.append(
                [np.concatenate([s[part][:, :-1] for s in said], axis=1)[:, order] for part in (0, 1)]
            )
        alone = both(lambda part: np.stack([t[part] / t[part].sum(1, keepdims=True) for t in tables]))
        cost = self.cost(self.open_jobs(hierarchy, 0))
        yield Candidate("sub-models with an 'other' class, 5 macros", "two-stage", cost, alone)
        with_flat_ = each_pair(lambda a, b: geometric_mean(a, b, 0.5), self.flats(1), alone)
        yield Candidate("flat times sub-models with an 'other' class", "two-stage", cost + 1, with_flat_)

    def discriminant_candidates(self) -> Iterator[Candidate]:
        """Return discriminants a macro, and one over all classes."""
        dimension = self.trainer.features.shape[1] + 1
        whole = {0: Hierarchy(("ALL",), (self.tree.classes,))}
        for k, hierarchy in (whole | self.hierarchies).items():
            tables = discriminant_tables(
                self.folder / f"discriminants-{k}", self.prepared, self.trainer.features,
                self.trainer.feature_key, hierarchy,
            )  # fmt: skip
            further = self.cost([], dimension * sum(size for size in hierarchy.sizes if size > 1))
            for members in (1, 6):
                val, test = self.flats(members)
                combine = in_macros if k else with_flat
                probs, val_probs = combine(tables, hierarchy, list(test), list(val), self.truth["val"])[:2]
                base = "flat" if members == 1 else "6 flat heads"
                whose = "flat's" if members == 1 else "6 flat heads'"
                name = (
                    f"{whose} macros, a discriminant each, {k} macros"
                    if k
                    else f"{base} times one discriminant"
                )
                kind = "two-stage" if k else "flat"
                yield Candidate(name, kind, members + further, (np.stack(val_probs), np.stack(probs)))


def mixed_inside(
    flat: np.ndarray, router: np.ndarray, within: np.ndarray, hierarchy: Hierarchy, weight: float
):
    """Mix flat's and the router's macros, and inside each macro flat and sub-model, by geometric means."""
    macros = macro_from_flat(flat, hierarchy)
    mixed_macros = geometric_mean(macros, router, weight)
    inside = (
        np.maximum(flat[:, hierarchy.slot_class], 1e-12) ** (1 - weight) * np.maximum(within, 1e-12) ** weight
    )
    sums = np.stack([inside[:, block].sum(axis=1) for block in hierarchy.blocks], axis=1)
    return soft(mixed_macros, inside / sums[:, hierarchy.slot_macro], hierarchy)


def both(make: Callable[[int], np.ndarray]) -> Tables:
    """Make the tables of validation (0) and of test images (1)."""
    return make(0), make(1)


def each_pair(rule: Callable, first: Tables, second: Tables) -> Tables:
    """Apply a rule to two tables, seed by seed."""
    return both(lambda part: np.stack([rule(a, b) for a, b in zip(first[part], second[part], strict=True)]))
