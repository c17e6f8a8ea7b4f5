"""Flat methods: one head over all classes, and several of them averaged."""

from typing import TYPE_CHECKING

import numpy as np

from .head_jobs import HeadJob, flat_job, two_stage_jobs
from .registry import Context, MethodResult, register_method
from .savable import flat_classifier

if TYPE_CHECKING:
    from aisles.models.prediction.two_stage import FlatClassifier


def _flat_heads(context: Context) -> list[HeadJob]:
    return [flat_job(context.classes, seed) for seed in context.seeds]


def _member_heads(context: Context) -> list[HeadJob]:
    return [job for seed in context.seeds for job in _members(context, seed)]


def _members(context: Context, seed: int) -> list[HeadJob]:
    n_members = len(two_stage_jobs(context.hierarchy, seed))
    return [flat_job(context.classes, seed, member) for member in range(n_members)]


def _flat_saved(context: Context) -> "FlatClassifier":
    return flat_classifier(context, [flat_job(context.classes, 0)])


def _ensemble_saved(context: Context) -> "FlatClassifier":
    return flat_classifier(context, _members(context, 0))


@register_method(
    "flat",
    description="one head over all classes: the baseline",
    role="flat",
    heads=_flat_heads,
    classifier=_flat_saved,
    full=True,
)
def flat(context: Context) -> MethodResult:
    """Return the flat model's answers."""
    return averaged(context, tuple((flat_job(context.classes, seed),) for seed in context.seeds))


@register_method(
    "ensemble",
    description="as many flat heads as the two-stage classifier has heads, averaged",
    role="ensemble",
    heads=_member_heads,
    classifier=_ensemble_saved,
    full=True,
)
def ensemble(context: Context) -> MethodResult:
    """Return the mean of as many flat heads as a two-stage classifier of the same hierarchy has heads."""
    return averaged(context, tuple(tuple(_members(context, seed)) for seed in context.seeds))


def averaged(
    context: Context, jobs: tuple[tuple[HeadJob, ...], ...], *, deterministic: bool = False
) -> MethodResult:
    """Average the distributions of each seed's heads, all of them over all classes."""
    fitted = [[context.trainer.fitted(job) for job in of_seed] for of_seed in jobs]
    test, val = (
        np.stack(
            [np.mean([getattr(m, key)[context.rows(split)] for m in models], axis=0) for models in fitted]
        )
        for key, split in (("probs", "test"), ("val_probs", "val"))
    )
    searched = max(context.trainer.budget(job).searched for job in jobs[0])
    return MethodResult(
        test, val, jobs, head_passes=float(len(jobs[0])), searched=searched, deterministic=deterministic
    )
