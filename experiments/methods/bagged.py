"""The flat ensemble of equal cost for heads without randomness: each learns from a bootstrap sample of images."""

from dataclasses import replace

import numpy as np

from aisles.models.heads.registry import HEADS
from aisles.models.heads.tuning import Parts, tune

from .head_jobs import two_stage_jobs
from .registry import Context, MethodResult, register_method

HEAD = "lda"


def bootstrap(targets: np.ndarray, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return as many rows of each class, drawn with replacement; no class is lost."""
    drawn = [
        generator.choice(own, len(own))
        for label in np.unique(targets[rows])
        for own in [rows[targets[rows] == label]]
    ]
    return np.concatenate(drawn)


@register_method(
    "flat-bagged",
    description="as many flat heads as the two-stage classifier has heads, each on a bootstrap sample, averaged",
    role="ensemble",
    parameter="HEAD",
    optional_parameter=True,
)
def flat_bagged(context: Context, head: str) -> MethodResult:
    """Choose settings once on all training images, then fit every member with these (Breiman, Bagging, 1996).

    Each member learns from a bootstrap sample of the training images; where heads are fitted again on validation
    images, all of these join every sample, so members differ by the training images alone.

    Raises
    ------
    ValueError
        If the head is trained by epochs: `ensemble` has members of such heads.
    """
    definition = HEADS[head or HEAD]
    if definition.fit is None:
        raise ValueError(
            f"flat-bagged takes heads whose settings are chosen at once. Received: {head!r}. See ensemble."
        )
    n_classes, n_members = len(context.classes), len(two_stage_jobs(context.hierarchy, 0))
    train, val, test = (context.rows(split) for split in ("train", "val", "test"))
    products, refit = context.prepared.manifest.products, context.settings.training.refit
    parts = Parts(context.features, context.targets, train, val, products, asked=(val, test))
    chosen = tune(definition, parts, n_classes, refit=False)
    setting = {key: value for key, value in chosen.chosen.items() if key != "temperature"}
    one = replace(definition, grid=lambda _background: [setting])
    of_test, of_val, parameters = [], [], 0
    for seed in context.seeds:
        generator, tables = np.random.default_rng([seed, n_members]), []
        for _ in range(n_members):
            sample = replace(parts, train=bootstrap(context.targets, train, generator))
            member = tune(one, sample, n_classes, refit=refit, seed=seed)
            tables.append((member.probs, member.val_probs))
            parameters = n_members * getattr(member.model, "parameters", 0)
        of_test.append(np.mean([table for table, _ in tables], axis=0))
        of_val.append(np.mean([table for _, table in tables], axis=0))
    return MethodResult(
        np.stack(of_test),
        np.stack(of_val),
        head_passes=float(n_members),
        parameters=parameters,
        searched=chosen.searched,
    )
