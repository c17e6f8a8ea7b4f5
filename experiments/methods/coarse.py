"""Methods that also learn from images of which only the macro-category is known, and flat's fair share of those."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from aisles.experiments.benchmark.coarse_images import CoarseImages
from aisles.hierarchy.rules import parse_rule, route
from aisles.models.heads.registry import HEADS, HeadDefinition
from aisles.models.heads.summed_likelihood import (
    fit_summed_lda,
    fit_summed_logistic,
    summed_lda_grid,
    summed_logistic_grid,
)
from aisles.models.heads.tuning import Parts, Tuned, tune

from .head_jobs import HeadJob, flat_job, submodel_job, with_head
from .registry import Context, MethodResult, register_method
from .routed import passes_of

HEAD = "lda"
FEWEST = 10
"""Validation images without which settings of the flat heads can't be chosen."""


def coarse_of(context: Context) -> CoarseImages:
    """Return the images that are known by their macro alone.

    Raises
    ------
    ValueError
        If there are none, or one has a macro that the hierarchy doesn't know.
    """
    coarse = context.prepared.coarse
    if coarse is None or not len(coarse):
        raise ValueError(
            "Methods on coarse labels need images with a macro-category and no class. Received: none. Leave their "
            "label empty in the manifest and name the column of macro-categories: --hierarchy-column."
        )
    unknown = sorted(set(coarse.macros) - set(context.hierarchy.macros))
    if unknown:
        raise ValueError(
            f"Images known by their macro alone must have a macro of the hierarchy. Unknown: {unknown[:5]}. Take the "
            "hierarchy from the same column: --hierarchy-column."
        )
    return coarse


def _rule_of(context: Context, parameter: str) -> str:
    return parameter or context.primary


def _submodel_heads(context: Context, parameter: str) -> list[HeadJob]:
    needs = parse_rule(_rule_of(context, parameter)).needs
    jobs = []
    if "within_probs" in needs:
        jobs += [submodel_job(m, 0) for m in context.hierarchy.members if len(m) > 1]
    if "flat_probs" in needs:
        jobs.append(flat_job(context.classes, 0))
    return [with_head(job, HEAD) for job in jobs]


@register_method(
    "coarse",
    description="two-stage discriminants whose router also learns from images known by their macro alone",
    baseline="flat-coarse-lda",
    brings=lambda rule: ("flat-coarse", "flat-lda", "flat-logistic", f"{rule or 'soft'}:{HEAD}"),
    heads=_submodel_heads,
    parameter="RULE",
    optional_parameter=True,
)
def coarse(context: Context, parameter: str) -> MethodResult:
    """Route by a discriminant of the macros on all images; sub-models, and flat where the rule wants it, as ever.

    Raises
    ------
    ValueError
        If no image is known by its macro alone, or the rule needs no router.
    """
    rule, images, hierarchy = parse_rule(_rule_of(context, parameter)), coarse_of(context), context.hierarchy
    if rule.routes_by_flat:
        raise ValueError(f"{rule} has no router that could learn from coarse labels. Write coarse:soft.")
    index = {name: i for i, name in enumerate(hierarchy.macros)}
    targets = np.concatenate(
        [hierarchy.macro_of[context.targets], [index[name] for name in images.macros]]
    ).astype(int)
    router = _tuned(context, images, HEADS[HEAD], targets, hierarchy.n_macros)
    tables = []
    for split, key in (("test", "probs"), ("val", "val_probs")):
        rows = context.rows(split)
        given: dict[str, Any] = {"macro_probs": getattr(router, key)[rows]}
        if "within_probs" in rule.needs:
            given["within_probs"] = context.trainer.within(hierarchy, 0, rows, key, HEAD)
        if "flat_probs" in rule.needs:
            given["flat_probs"] = getattr(context.trainer.flat(0, head=HEAD), key)[rows]
        tables.append((route(rule, hierarchy=hierarchy, **given), given["macro_probs"]))
    jobs = tuple(_submodel_heads(context, parameter))
    macro = np.stack([tables[0][1]])
    return MethodResult(
        tables[0][0][None],
        tables[1][0][None],
        tuple(jobs for _ in context.seeds),
        hierarchy,
        np.repeat(macro, len(context.seeds), axis=0).astype(np.float32),
        np.repeat(tables[1][1][None], len(context.seeds), axis=0).astype(np.float32),
        passes_of(rule, macro, hierarchy, len(jobs)) + 1.0,
        parameters=router.model.parameters,
        probabilities=rule.definition.probabilities,
        searched=router.searched,
        deterministic=True,
        coarse=True,
        fine_alone=f"{rule}:{HEAD}",
    )


def _register_flat(
    name: str,
    what: str,
    fit: Callable[..., Iterator[Any]],
    grid: Callable[[], Sequence[dict[str, Any]]],
    fine_alone: str,
) -> None:
    def flat(context: Context) -> MethodResult:
        images, hierarchy = coarse_of(context), context.hierarchy
        n_classes = len(context.classes)
        if len(context.rows("val")) < FEWEST:
            raise ValueError(
                f"{name} chooses its settings on at least {FEWEST} validation images. "
                f"Received: {len(context.rows('val'))}."
            )
        members = np.arange(hierarchy.n_macros)[:, None] == hierarchy.macro_of[None, :]
        allowed = np.concatenate([np.eye(n_classes, dtype=bool), members])
        index = {macro: n_classes + i for i, macro in enumerate(hierarchy.macros)}
        targets = np.concatenate([context.targets, [index[macro] for macro in images.macros]]).astype(int)
        definition = HeadDefinition(
            name,
            what,
            lambda x, y, _labels, settings, _background: fit(x, y, allowed, settings),
            lambda _background: grid(),
            deterministic=True,
        )
        found = _tuned(context, images, definition, targets, n_classes)
        test, val = context.rows("test"), context.rows("val")
        return MethodResult(
            found.probs[test][None],
            found.val_probs[val][None],
            parameters=found.model.parameters,
            searched=found.searched,
            deterministic=True,
            coarse=True,
            fine_alone=fine_alone,
        )

    register_method(name, description=what, role="flat", brings=(fine_alone,))(flat)


_register_flat(
    "flat-coarse",
    "flat: logistic regression by the summed likelihood, on images known by their macro alone too",
    fit_summed_logistic,
    summed_logistic_grid,
    "flat-logistic",
)
_register_flat(
    "flat-coarse-lda",
    "flat: shrinkage discriminant by expectation-maximization, on images known by their macro alone too",
    fit_summed_lda,
    summed_lda_grid,
    "flat-lda",
)


def _tuned(
    context: Context, images: CoarseImages, definition: HeadDefinition, targets: np.ndarray, n_labels: int
) -> Tuned:
    """Fit a head on the benchmark's images and on those known by their macro, appended as training images."""
    n = len(context.features)
    more = np.arange(n, n + len(images))
    products = [f"coarse {row}" for row in range(len(images))]
    parts = Parts(
        np.concatenate([context.features, images.vectors]),
        targets,
        np.concatenate([context.rows("train"), more]),
        context.rows("val"),
        np.concatenate([context.prepared.manifest.products.astype(str), products]),
    )
    return tune(definition, parts, n_labels, refit=context.settings.training.refit)
