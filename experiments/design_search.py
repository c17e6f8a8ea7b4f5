"""The search for a two-stage design that beats flat, flat being searched with the same care.

    python -m aisles.experiments.design_search DATA FOLDER experiments/results/NAME.json

Every candidate is trained on training images and chosen by validation images, over 5 seeds. Two leagues: `light`, whose
heads have at most twice the flat head's parameters, and `heavy`, with at most eight of its heads. In each the best
flat and the best two-stage candidate by validation accuracy (then likelihood) meet on test images. Whatever was tried
is reported, losers included.
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data_prep.files import write_whole
from ..hierarchy.clustering import ClassTree
from ..hierarchy.routing import hie, implied, macro_from_flat, soft
from ..hierarchy.taxonomy import Hierarchy
from .calibration_figures import nll
from .config import StudySettings
from .discriminants import discriminant_tables, geometric_mean, in_macros, with_flat
from .heads import HeadJob, Trainer, flat_job, router_job, submodel_job, two_stage_jobs
from .preparation import PreparedData, class_tree, prepare_data, prepare_features
from .statistics import as_json, compare

logger = logging.getLogger(__name__)
SEEDS, MEMBERS, MACROS = range(5), 7, (2, 3, 5, 8, 12)
OTHER = "~other"
LEAGUES = {"light": 2.0, "heavy": 8.0}
DESIGN = "flat's macros, a discriminant each, 5 macros"
STANDING = tuple((rival, DESIGN) for rival in ("flat", "flat times one discriminant", "6 flat heads, mean"))
"""Comparisons with as many macros as the study has by default, whatever validation images say of other numbers."""

Tables = tuple[np.ndarray, np.ndarray]
"""Class distributions of validation and of test images, both of shape (n_seeds, n_images, n_classes)."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A design: its kind (`flat` or `two-stage`), its heads' parameters against flat's, and what it says."""

    name: str
    kind: str
    cost: float
    tables: Tables


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
        """Give one head's distributions of validation and test images."""
        fitted = self.trainer.fitted(job)
        return fitted.val_probs[self.prepared.rows("val")], fitted.probs[self.prepared.rows("test")]

    def flats(self, members: int) -> Tables:
        """Give the mean of some flat heads."""
        said = [[self.says(flat_job(self.tree.classes, seed, i)) for i in range(members)] for seed in SEEDS]
        return _both(lambda part: np.stack([np.mean([s[part] for s in some], axis=0) for some in said]))

    def router(self, hierarchy: Hierarchy) -> Tables:
        """Give the router's distributions."""
        said = [self.says(router_job(hierarchy, seed)) for seed in SEEDS]
        return _both(lambda part: np.stack([s[part] for s in said]))

    def within(self, hierarchy: Hierarchy) -> Tables:
        """Give the sub-models' distributions, macro after macro."""
        rows = [self.prepared.rows(split) for split in ("val", "test")]
        keys = ("val_probs", "probs")
        return _both(
            lambda part: np.stack([self.trainer.within(hierarchy, s, keys[part])[rows[part]] for s in SEEDS])
        )

    def cost(self, jobs: list[HeadJob], further: int = 0) -> float:
        """Give the parameters of some heads, against the flat head's."""
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
        """Give one flat head, and means of several."""
        for members in range(1, MEMBERS + 1):
            name = "flat" if members == 1 else f"{members} flat heads, mean"
            yield Candidate(name, "flat", float(members), self.flats(members))

    def routed_candidates(self, k: int, hierarchy: Hierarchy) -> Iterator[Candidate]:
        """Give what router and sub-models of one cut allow, alone and together with flat."""
        flat, router, within = self.flats(1), self.router(hierarchy), self.within(hierarchy)
        jobs = two_stage_jobs(hierarchy, 0)
        one = flat_job(self.tree.classes, 0)

        def each(rule: Callable, first: Tables, second: Tables) -> Tables:
            return _both(
                lambda part: np.stack(
                    [rule(a, b, hierarchy) for a, b in zip(first[part], second[part], strict=True)]
                )
            )

        routed = each(soft, router, within)
        yield Candidate(f"soft, {k} macros", "two-stage", self.cost(jobs), routed)
        yield Candidate(
            f"implied, {k} macros", "two-stage", self.cost([one, *jobs[1:]]), each(implied, flat, within)
        )
        yield Candidate(f"hie, {k} macros", "two-stage", self.cost([one, jobs[0]]), each(hie, flat, router))
        both = self.cost([one, *jobs])
        for weight in (0.3, 0.5):
            mixed = _each_pair(lambda a, b, w=weight: geometric_mean(a, b, w), flat, routed)
            yield Candidate(f"flat times soft^{weight}, {k} macros", "two-stage", both, mixed)
            inside = _both(
                lambda part, w=weight: np.stack(
                    [
                        mixed_inside(f, r, s, hierarchy, w)
                        for f, r, s in zip(flat[part], router[part], within[part], strict=True)
                    ]
                )
            )
            yield Candidate(
                f"flat and stages mixed inside macros, {weight}, {k} macros", "two-stage", both, inside
            )
        six = self.flats(6)
        yield Candidate(
            f"6 flat heads reweighed by the router, {k} macros",
            "two-stage",
            6 + self.cost(jobs[:1]),
            each(hie, six, router),
        )

    def open_candidates(self) -> Iterator[Candidate]:
        """Give sub-models that were told of foreign images."""
        hierarchy = self.hierarchies[5]
        order, tables = np.argsort(hierarchy.slot_class), []
        for seed in SEEDS:
            said = [self.says(job) for job in self.open_jobs(hierarchy, seed)]
            tables.append(
                [np.concatenate([s[part][:, :-1] for s in said], axis=1)[:, order] for part in (0, 1)]
            )
        alone = _both(lambda part: np.stack([t[part] / t[part].sum(1, keepdims=True) for t in tables]))
        cost = self.cost(self.open_jobs(hierarchy, 0))
        yield Candidate("sub-models with an 'other' class, 5 macros", "two-stage", cost, alone)
        with_flat_ = _each_pair(lambda a, b: geometric_mean(a, b, 0.5), self.flats(1), alone)
        yield Candidate("flat times sub-models with an 'other' class", "two-stage", cost + 1, with_flat_)

    def discriminant_candidates(self) -> Iterator[Candidate]:
        """Give discriminants a macro, and one over all classes."""
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


def run_search(data: str | Path, folder: str | Path, cache: str | Path | None = None) -> dict[str, Any]:
    """Search, and give everything that was tried.

    Returns
    -------
    dict
        `standing`: the comparisons of `STANDING`. `candidates`: `name`, `kind`, `cost` (head parameters against
        flat's), `val_accuracy`, `val_nll`, `test_accuracy`, `test_sd` (over seeds), `against_flat` (difference in
        accuracy, low, high). `leagues`: by name the two
        that validation images chose, how they compare on test images, and the two-stage one against one flat head.
    """
    settings, folder = StudySettings(), Path(folder)
    prepared = prepare_data(data, settings.data)
    trunk, features = prepare_features(prepared, settings.backbone, cache)
    trainer = Trainer(folder / "models", prepared, features, trunk.key, settings.training)
    search = Search(prepared, trainer, class_tree(prepared, features, "ward"), folder)
    search.train()
    candidates = list(search.candidates())
    products = prepared.manifest.products[prepared.rows("test")]
    return report(candidates, search.truth, products)


def report(candidates: list[Candidate], truth: dict[str, np.ndarray], products: np.ndarray) -> dict[str, Any]:
    """Choose by validation images, and set the chosen beside each other on test images."""
    right = {c.name: c.tables[1].argmax(2) == truth["test"] for c in candidates}
    rows = {c.name: _row(c, truth, right, products) for c in candidates}
    leagues = {}
    for league, most in LEAGUES.items():
        chosen = {}
        for kind in ("flat", "two-stage"):
            known = [c for c in candidates if c.kind == kind and c.cost <= most]
            best = max(known, key=lambda c: (rows[c.name]["val_accuracy"], -rows[c.name]["val_nll"]))
            chosen[kind] = best.name
        names = (chosen["flat"], chosen["two-stage"])
        judged = compare(right[names[0]], right[names[1]], products, names=names)
        alone = compare(right["flat"], right[names[1]], products, names=("flat", names[1]))
        leagues[league] = {
            "most_head_parameters": most,
            "chosen": chosen,
            "comparison": as_json(judged),
            "against_flat_alone": as_json(alone),
        }
    standing = [
        as_json(compare(right[a], right[b], products, names=(a, b))) for a, b in STANDING if b in right
    ]
    return {"candidates": list(rows.values()), "leagues": leagues, "standing": standing, "seeds": len(SEEDS)}


def _row(candidate: Candidate, truth, right, products) -> dict[str, Any]:
    val, _ = candidate.tables
    against = compare(right["flat"], right[candidate.name], products, names=("flat", candidate.name))
    shares = right[candidate.name].mean(axis=1)
    return {
        "name": candidate.name,
        "kind": candidate.kind,
        "cost": round(candidate.cost, 3),
        "val_accuracy": round(float((val.argmax(2) == truth["val"]).mean()), 6),
        "val_nll": round(float(np.mean([nll(probs, truth["val"]) for probs in val])), 4),
        "test_accuracy": round(float(shares.mean()), 6),
        "test_sd": round(float(shares.std(ddof=1)), 6),
        "against_flat": [round(v, 6) for v in (against.difference, *against.interval)],
    }


def _both(make: Callable[[int], np.ndarray]) -> Tables:
    return make(0), make(1)


def _each_pair(rule: Callable, first: Tables, second: Tables) -> Tables:
    return _both(lambda part: np.stack([rule(a, b) for a, b in zip(first[part], second[part], strict=True)]))


def main(arguments: list[str] | None = None) -> None:
    """Search and write the result; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("data", "folder", "result"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = run_search(given.data, given.folder)
    write_whole(given.result, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
