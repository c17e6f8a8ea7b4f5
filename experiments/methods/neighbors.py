"""Sub-models mixed with nearest neighbors, a share per macro; and the flat discriminant mixed with flat neighbors."""

from collections.abc import Callable

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rules import parse_rule, route

from .head_jobs import HeadJob, flat_job, submodel_job, with_head
from .registry import Context, MethodResult, register_method
from .routed import heads_of, passes_of, tables_of

HEAD, NEIGHBORS = "lda", "knn"
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
STRENGTH = 10.0
"""Validation images that the mean of all macros counts as, where a macro chooses its share."""
Mix = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def arithmetic(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Return (1 - share) first + share second."""
    return (1 - share) * first + share * second


def shares_per_macro(losses: np.ndarray, macros: np.ndarray, n_macros: int) -> np.ndarray:
    """Choose a share per macro by the likelihood of its validation images, drawn towards that of all.

    Parameters
    ----------
    losses : ndarray of shape (n_shares, n_images)
        -log P(class) of validation images at each share.
    macros : ndarray of int of shape (n_images,)
    n_macros : int

    Returns
    -------
    ndarray of int of shape (n_macros,)
        Places in the shares: the smallest sum of the macro's losses and `STRENGTH` times the mean loss of all images
        (ties: the first). The first for all without validation images.
    """
    if not losses.shape[1]:
        return np.zeros(n_macros, int)
    sums = np.stack([np.bincount(macros, row, minlength=n_macros) for row in losses])
    return (sums + STRENGTH * losses.mean(axis=1, keepdims=True)).argmin(axis=0)


def mixed_inside(
    hierarchy: Hierarchy,
    val: tuple[np.ndarray, np.ndarray],
    asked: tuple[np.ndarray, np.ndarray],
    val_truth: np.ndarray,
    mix: Mix,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mix two distributions inside macros, each macro with the share that its validation images prefer.

    Parameters
    ----------
    hierarchy : Hierarchy
        Every class in one macro.
    val, asked : pair of ndarray of shape (n_images, n_slots)
        Of validation and of other images; the values of a macro's slots sum to 1.
    val_truth : ndarray of int of shape (n_val,)
        Places of the true classes in the sorted classes.
    mix : callable
        (first, second, share) -> the mixture.

    Returns
    -------
    tuple of ndarray
        Mixtures of validation and of other images, and the share of each macro.
    """
    slot = np.argsort(hierarchy.slot_class)[val_truth]
    macros, rows = np.asarray(hierarchy.slot_macro)[slot], np.arange(len(slot))
    losses = np.empty((len(SHARES), len(slot)))
    for place, share in enumerate(SHARES):
        table = np.empty_like(val[0])
        for block in hierarchy.blocks:
            table[:, block] = mix(val[0][:, block], val[1][:, block], share)
        losses[place] = -np.log(np.maximum(table[rows, slot], 1e-12))
    chosen = np.array(SHARES)[shares_per_macro(losses, macros, hierarchy.n_macros)]
    mixtures = []
    for first, second in (val, asked):
        table = np.empty_like(first)
        for block, share in zip(hierarchy.blocks, chosen, strict=True):
            table[:, block] = mix(first[:, block], second[:, block], float(share))
        mixtures.append(table)
    return mixtures[0], mixtures[1], chosen


def _neighbor_jobs(context: Context) -> list[HeadJob]:
    jobs = [submodel_job(members, 0) for members in context.hierarchy.members if len(members) > 1]
    return [with_head(job, NEIGHBORS) for job in jobs]


def _heads(context: Context, parameter: str) -> list[HeadJob]:
    rule = parse_rule(parameter or context.primary)
    return [*heads_of(context, rule, context.hierarchy, 0, HEAD), *_neighbor_jobs(context)]


@register_method(
    "neighbors",
    description="two-stage discriminants, each sub-model mixed with nearest neighbors among its macro's images",
    baseline="flat-neighbors",
    heads=_heads,
    parameter="RULE",
    optional_parameter=True,
)
def neighbors(context: Context, parameter: str) -> MethodResult:
    """Route by a rule through sub-models that are mixtures; validation images choose each macro's share.

    Raises
    ------
    ValueError
        If the rule asks no sub-model.
    """
    rule, hierarchy = parse_rule(parameter or context.primary), context.hierarchy
    if "within_probs" not in rule.needs:
        raise ValueError(f"{rule} asks no sub-model that could be mixed. Write neighbors:soft.")
    rows = {"probs": context.rows("test"), "val_probs": context.rows("val")}
    given = {key: tables_of(context, 0, hierarchy, rule.needs, key, rows[key], HEAD) for key in rows}
    near = {key: context.trainer.within(hierarchy, 0, rows[key], key, NEIGHBORS) for key in rows}
    truth = context.targets[rows["val_probs"]]
    pairs = {key: (given[key]["within_probs"], near[key]) for key in rows}
    val, test, _ = mixed_inside(hierarchy, pairs["val_probs"], pairs["probs"], truth, arithmetic)
    given["val_probs"]["within_probs"], given["probs"]["within_probs"] = val, test
    answers = {key: route(rule, hierarchy=hierarchy, **given[key])[None] for key in rows}
    macro = {key: given[key].get("macro_probs") for key in rows}
    both, more = _heads(context, parameter), len(_neighbor_jobs(context))
    passes = float(len(both))
    if macro["probs"] is not None:  # a macro that is looked into asks a head of either kind
        once = passes_of(rule, macro["probs"][None], hierarchy, len(both) - more)
        passes = 2 * once - (len(both) - 2 * more)
    return MethodResult(
        answers["probs"],
        answers["val_probs"],
        tuple(tuple(both) for _ in context.seeds),
        hierarchy,
        _each(context, macro["probs"]),
        _each(context, macro["val_probs"]),
        head_passes=passes,
        searched=len(SHARES) * max([context.trainer.budget(job).searched for job in both], default=1),
        deterministic=True,
    )


def _each(context: Context, table: np.ndarray | None) -> np.ndarray | None:
    return None if table is None else np.repeat(table[None], len(context.seeds), axis=0).astype(np.float32)


def _flat_heads(context: Context) -> list[HeadJob]:
    return [with_head(flat_job(context.classes, 0), head) for head in (HEAD, NEIGHBORS)]


@register_method(
    "flat-neighbors",
    description="flat: shrinkage linear discriminant mixed with nearest neighbors, one share for all",
    role="ensemble",
    heads=_flat_heads,
)
def flat_neighbors(context: Context) -> MethodResult:
    """Mix the two flat heads; validation images choose the share. As `neighbors` with one macro of all classes."""
    everything, jobs = Hierarchy(("ALL",), (context.classes,)), _flat_heads(context)
    test, val = context.rows("test"), context.rows("val")
    first, second = (context.trainer.fitted(job) for job in jobs)
    said = (first.val_probs[val], second.val_probs[val]), (first.probs[test], second.probs[test])
    of_val, of_test, _ = mixed_inside(everything, *said, context.targets[val], arithmetic)
    return MethodResult(
        of_test[None],
        of_val[None],
        tuple(tuple(jobs) for _ in context.seeds),
        head_passes=2.0,
        searched=len(SHARES) * max(context.trainer.budget(job).searched for job in jobs),
        deterministic=True,
    )
