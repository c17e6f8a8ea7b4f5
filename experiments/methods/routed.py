"""Two-stage methods with heads on shared features: every routing rule, and the primary rule on other hierarchies."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import macro_from_flat
from aisles.hierarchy.rules import RoutingRule, in_parts, parse_rule
from aisles.models.heads.registry import HEADS

from .head_jobs import HeadJob, flat_job, router_job, two_stage_jobs, with_head
from .registry import Context, MethodDefinition, MethodResult, register_method
from .savable import routed_classifier

if TYPE_CHECKING:
    from aisles.models.prediction.two_stage import TwoStageClassifier


def definition_of(rule: RoutingRule, head: str = "") -> MethodDefinition:
    """Return the method that a routing rule is on the benchmark's hierarchy, with the settings' heads or others."""

    def fit(context: Context) -> MethodResult:
        return routed(context, rule, context.hierarchy, head)

    def heads(context: Context) -> list[HeadJob]:
        return _all_heads(context, rule, context.hierarchy, head)

    def classifier(context: Context) -> "TwoStageClassifier":
        return routed_classifier(context, rule, context.hierarchy, head)

    name, what = str(rule), rule.definition.description
    if head:
        name, what = f"{name}:{head}", f"{what}; each model a {HEADS[head].description}"
    return MethodDefinition(name, fit, what, "two-stage", heads=heads, classifier=classifier)


def routed(context: Context, rule: RoutingRule, hierarchy: Hierarchy, head: str = "") -> MethodResult:
    """Route through heads of a hierarchy by a rule.

    Raises
    ------
    ValueError
        If the training of a head failed.
    """
    jobs = tuple(tuple(heads_of(context, rule, hierarchy, seed, head)) for seed in context.seeds)
    parts = (("probs", "test"), ("val_probs", "val"))
    tables = [
        [
            tables_of(context, seed, hierarchy, rule.needs, key, context.rows(split), head)
            for seed in context.seeds
        ]
        for key, split in parts
    ]
    test, val = (_as_float32([in_parts(rule, hierarchy, t) for t in some]) for some in tables)
    macro, val_macro = (_as_float32([_macro_probs(t, hierarchy) for t in some]) for some in tables)
    return MethodResult(
        test,
        val,
        jobs,
        hierarchy,
        macro,
        val_macro,
        passes_of(rule, macro, hierarchy, len(jobs[0])),
        inside=_as_float32([_inside(t, hierarchy) for t in tables[0]]),
        probabilities=rule.definition.probabilities,
        searched=max(context.trainer.budget(job).searched for job in jobs[0]) if jobs[0] else 1,
        deterministic=bool(head) and HEADS[head].deterministic,
    )


def heads_of(
    context: Context, rule: RoutingRule, hierarchy: Hierarchy, seed: int, head: str = ""
) -> list[HeadJob]:
    """List the heads that a rule needs: router and sub-models, or flat in place of either."""
    flat, two_stage = flat_job(context.classes, seed), two_stage_jobs(hierarchy, seed)
    router, submodels = two_stage[:1], two_stage[1:]
    jobs = [flat] if "flat_probs" in rule.needs else []
    jobs += router if "macro_probs" in rule.needs else []
    jobs += submodels if "within_probs" in rule.needs else []
    return [with_head(job, head) for job in jobs]


def passes_of(rule: RoutingRule, macro: np.ndarray, hierarchy: Hierarchy, n_heads: int) -> float:
    """Count the heads that an image passes: those of the macros that the rule looks into, and router or flat."""
    if not rule.selective:
        return float(n_heads)
    has_head = np.array([size > 1 for size in hierarchy.sizes])
    kept = rule.kept(macro.reshape(-1, hierarchy.n_macros))
    others = n_heads - int(has_head.sum())
    return others + float((kept & has_head).sum(axis=1).mean())


def _all_heads(context: Context, rule: RoutingRule, hierarchy: Hierarchy, head: str = "") -> list[HeadJob]:
    return [job for seed in context.seeds for job in heads_of(context, rule, hierarchy, seed, head)]


def _column(context: Context, name: str) -> Hierarchy:
    from aisles.experiments.benchmark.preparation import column_hierarchy

    return column_hierarchy(context.prepared.manifest, name)


def _file(context: Context, path: str) -> Hierarchy:
    from aisles.experiments.benchmark.preparation import read_hierarchy

    return read_hierarchy(path, context.classes)


def _elsewhere(context: Context, name: str) -> Hierarchy:
    return context.learn_elsewhere(name)


def _random(context: Context, number: str) -> Hierarchy:
    if not number.isdigit() or int(number) < 1:
        raise ValueError(f"A random partition is written random:1, random:2, ... Received: random:{number}.")
    return context.hierarchy.same_sizes_at_random(int(number))


def _found(
    context: Context, kind: str, find: Callable[[Context, str], Hierarchy], parameter: str
) -> Hierarchy:
    """Find a hierarchy once for a benchmark."""
    name = f"{kind}:{parameter}"
    if name not in context.known_hierarchies:
        context.known_hierarchies[name] = find(context, parameter)
    return context.known_hierarchies[name]


def _fit_on(kind: str, find: Callable, context: Context, parameter: str) -> MethodResult:
    return routed(context, parse_rule(context.primary), _found(context, kind, find, parameter))


def _heads_on(kind: str, find: Callable, context: Context, parameter: str) -> list[HeadJob]:
    return _all_heads(context, parse_rule(context.primary), _found(context, kind, find, parameter))


def _saved_on(kind: str, find: Callable, context: Context, parameter: str) -> "TwoStageClassifier":
    return routed_classifier(context, parse_rule(context.primary), _found(context, kind, find, parameter))


for _kind, _find, _parameter, _description in (
    ("column", _column, "NAME", "two-stage on the macros of the manifest's column {parameter}"),
    ("file", _file, "PATH", "two-stage on the hierarchy in {parameter}"),
    ("backbone", _elsewhere, "NAME", "two-stage on the macros learned from the backbone {parameter}"),
):
    register_method(
        _kind,
        description=_description,
        role="hierarchy",
        heads=partial(_heads_on, _kind, _find),
        classifier=partial(_saved_on, _kind, _find),
        parameter=_parameter,
    )(partial(_fit_on, _kind, _find))

register_method(
    "random",
    description="control: the primary rule on random macros of the same sizes",
    role="control",
    heads=partial(_heads_on, "random", _random),
    classifier=partial(_saved_on, "random", _random),
    parameter="NUMBER",
    optional_parameter=True,
    expand=lambda settings: tuple(f"random:{i + 1}" for i in range(settings.comparison.random_partitions)),
    full=True,
)(partial(_fit_on, "random", _random))


def tables_of(
    context: Context,
    seed: int,
    hierarchy: Hierarchy,
    needs: tuple[str, ...],
    key: str,
    rows: np.ndarray,
    head: str,
) -> dict[str, np.ndarray]:
    """Return the distributions that a rule needs, by name; `key` is `probs` or `val_probs`, `rows` the images."""
    trainer, tables = context.trainer, {}
    if "flat_probs" in needs:
        tables["flat_probs"] = getattr(trainer.flat(seed, head=head), key)[rows]
    if "macro_probs" in needs:
        router = with_head(router_job(hierarchy, seed), head)
        tables["macro_probs"] = getattr(trainer.fitted(router), key)[rows]
    if "within_probs" in needs:
        tables["within_probs"] = trainer.within(hierarchy, seed, rows, key, head)
    return tables


def _macro_probs(tables: dict[str, np.ndarray], hierarchy: Hierarchy) -> np.ndarray:
    if "macro_probs" in tables:
        return tables["macro_probs"]
    return macro_from_flat(tables["flat_probs"], hierarchy)


def _inside(tables: dict[str, np.ndarray], hierarchy: Hierarchy) -> np.ndarray:
    if "within_probs" in tables:
        return tables["within_probs"][:, np.argsort(hierarchy.slot_class)]
    return tables["flat_probs"]


def _as_float32(tables: list[np.ndarray]) -> np.ndarray:
    return np.stack(tables).astype(np.float32, copy=False)
