"""Specialists: sub-models with an output for all other classes learn from all images; flat's weights are averaged in.

On frozen features a head is linear. Inside a macro only differences of logits count, and the mean of two linear heads'
logits is the logit of their mean weights (where validation images choose the same feature map for both), so averaging
weights is the geometric mean of the two distributions inside the macro. The macro itself is flat's.
"""

import hashlib
import json

import numpy as np

from aisles.hierarchy.rule_functions import implied, macro_from_flat

from .discriminant import geometric_mean
from .head_jobs import HeadJob, flat_job, with_head
from .neighbors import SHARES, mixed_inside
from .registry import Context, MethodResult, register_method

HEAD = "logistic"
OTHER = "(any other class)"


def specialist_job(classes: tuple[str, ...], members: tuple[str, ...], head: str = HEAD) -> HeadJob:
    """Describe the head over some of the classes and `OTHER`, which learns from the images of all classes."""
    digest = hashlib.sha256(json.dumps(members).encode()).hexdigest()[:10]
    label_of = tuple((name, name if name in members else OTHER) for name in classes)
    job = HeadJob(f"seed-0/specialist-{len(members)}-{digest}", (*members, OTHER), label_of, 0)
    return with_head(job, head)


def _members(context: Context) -> list[tuple[str, ...]]:
    """List the macros that need a specialist; one that holds all classes is flat."""
    n = len(context.classes)
    return [tuple(members) for members in context.hierarchy.members if 1 < len(members) < n]


def _heads(context: Context) -> list[HeadJob]:
    flat = with_head(flat_job(context.classes, 0), HEAD)
    return [flat, *(specialist_job(context.classes, members) for members in _members(context))]


def _inside(context: Context, key: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return flat's distribution, and inside macros flat's and the specialists', (n_images, n_slots)."""
    hierarchy = context.hierarchy
    fitted = context.trainer.fitted(with_head(flat_job(context.classes, 0), HEAD))
    flat = np.asarray(getattr(fitted, key)[rows])
    first = np.maximum(flat[:, hierarchy.slot_class], 1e-12)
    second = first.copy()
    for members, block in zip(hierarchy.members, hierarchy.blocks, strict=True):
        if tuple(members) in _members(context):
            fitted = context.trainer.fitted(specialist_job(context.classes, tuple(members)))
            second[:, block] = np.maximum(getattr(fitted, key)[rows][:, :-1], 1e-12)
        for table in (first, second):
            table[:, block] /= table[:, block].sum(axis=1, keepdims=True)
    return flat, first, second


@register_method(
    "specialists",
    description="flat logistic regression averaged inside macros with sub-models that know `any other class`",
    baseline="flat-logistic",
    heads=_heads,
)
def specialists(context: Context) -> MethodResult:
    """Return flat's macros, and inside each the average of flat and the macro's specialist.

    Validation images choose the specialist's share per macro, as in `neighbors`; 0 is flat.
    """
    hierarchy, jobs = context.hierarchy, _heads(context)
    test, val = context.rows("test"), context.rows("val")
    flat, first, second = _inside(context, "probs", test)
    val_flat, val_first, val_second = _inside(context, "val_probs", val)
    of_val, of_test, _ = mixed_inside(
        hierarchy, (val_first, val_second), (first, second), context.targets[val], geometric_mean
    )
    macro = np.repeat(macro_from_flat(flat, hierarchy)[None], len(context.seeds), axis=0)
    val_macro = np.repeat(macro_from_flat(val_flat, hierarchy)[None], len(context.seeds), axis=0)
    return MethodResult(
        implied(flat_probs=flat, within_probs=of_test, hierarchy=hierarchy)[None],
        implied(flat_probs=val_flat, within_probs=of_val, hierarchy=hierarchy)[None],
        tuple(tuple(jobs) for _ in context.seeds),
        hierarchy,
        macro.astype(np.float32),
        val_macro.astype(np.float32),
        head_passes=float(len(jobs)),
        searched=len(SHARES) * max(context.trainer.budget(job).searched for job in jobs),
        deterministic=True,
    )
