"""The strongest flat models that we know how to make on the same features: one method per registered head."""

from typing import TYPE_CHECKING

from aisles.models.heads.registry import HEADS

from .flat import averaged
from .head_jobs import HeadJob, flat_job, with_head
from .registry import Context, MethodResult, register_method
from .savable import flat_classifier

if TYPE_CHECKING:
    from aisles.models.prediction.two_stage import FlatClassifier


def _job(context: Context, head: str, seed: int) -> HeadJob:
    return with_head(flat_job(context.classes, seed), head)


def register_flat(name: str, head: str, *, full: bool = True) -> None:
    """Register a flat method: one head over all classes, its settings chosen on validation images."""

    def heads(context: Context) -> list[HeadJob]:
        return [_job(context, head, seed) for seed in context.seeds]

    def fit(context: Context) -> MethodResult:
        jobs = tuple((_job(context, head, seed),) for seed in context.seeds)
        return averaged(context, jobs, deterministic=HEADS[head].deterministic)

    def classifier(context: Context) -> "FlatClassifier":
        return flat_classifier(context, [_job(context, head, 0)])

    register_method(
        name,
        description=f"flat: {HEADS[head].description}",
        role="flat",
        heads=heads,
        classifier=classifier,
        full=full,
    )(fit)


register_flat("flat-lda", "lda")
register_flat("flat-logistic", "logistic")
register_flat("flat-knn", "knn")
register_flat("flat-tuned-head", "mlp")
register_flat("flat-rda", "rda", full=False)
