"""What methods cost: what they were given (the same in every run), and what this machine took."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aisles.experiments.methods.head_jobs import HeadJob, Trainer
from aisles.experiments.methods.registry import MethodResult

from .given_features import GivenFeatures

if TYPE_CHECKING:
    from aisles.models.backbones.registry import Backbone

BATCH, REPEATS = 16, 5


def method_cost(method: MethodResult, trainer: Trainer, backbone_parameters: int) -> dict[str, float]:
    """Return a method's budget, a mean over seeds; part of `metrics.json`, so nothing of it depends on the machine.

    Parameters
    ----------
    method : MethodResult
    trainer : Trainer
        Of its heads.
    backbone_parameters : int
        Of the backbone, counted once since all heads share its features.

    Returns
    -------
    dict of str to float
        `backbone_passes`, `head_passes` an image; `heads`; `parameters`, `head_parameters`; `weight_bytes` (float32);
        `images`: distinct images the heads were trained on; `epochs` and `image_steps`: sums over the heads.
    """
    if method.cost is not None:
        return dict(method.cost)
    if not method.jobs:
        return {
            "backbone_passes": 1.0,
            "head_passes": method.head_passes,
            "parameters": backbone_parameters + method.parameters,
            "head_parameters": method.parameters,
            "weight_bytes": 4 * (backbone_parameters + method.parameters),
            "images": trainer.n_learning,
        }
    budgets = [[trainer.budget(job) for job in of_seed] for of_seed in method.jobs]
    heads = _mean([sum(b.parameters for b in of_seed) for of_seed in budgets])
    heads += method.parameters
    parameters = backbone_parameters + heads
    return {
        "backbone_passes": 1.0,
        "head_passes": method.head_passes,
        "heads": _mean([len(of_seed) for of_seed in budgets]),
        "parameters": parameters,
        "head_parameters": heads,
        "weight_bytes": 4 * parameters,
        "images": _mean([max(b.images for b in of_seed) for of_seed in budgets]),
        "epochs": _mean([sum(b.epochs + b.refit_epochs for b in of_seed) for of_seed in budgets]),
        "image_steps": _mean([sum(b.image_steps for b in of_seed) for of_seed in budgets]),
    }


def measured_costs(
    methods: Mapping[str, MethodResult], trainer: Trainer, backbone: "Backbone", features: np.ndarray
) -> dict[str, Any]:
    """Measure time and memory on this machine, for `costs.json`.

    Returns
    -------
    dict
        `backbone`: `images_per_second` in batches of 16 decoded images. `methods`: by name `training_seconds`
        (a seed), `bytes_on_disk` (its heads' files, a seed), `images_per_second` (backbone and heads, decoding left
        out); the last two are null where parts are no heads (discriminants, other libraries' models), as these are
        neither kept as files nor timed in prediction. `stages`: seconds of each head's training.
        `peak_memory_bytes`: of this process until now.
    """
    passing = None if isinstance(backbone, GivenFeatures) else _passing(backbone)
    stages = {job.name: trainer.budget(job).seconds for job in _all_jobs(methods)}
    head_seconds = _head_seconds(methods, trainer, features)
    measured = {}
    for name, method in methods.items():
        if not method.jobs or method.parameters:
            measured[name] = _not_all_heads(method, stages)
            continue
        per_head = np.mean([head_seconds[job.name] for job in method.jobs[0]])
        measured[name] = {
            "training_seconds": _mean([sum(stages[job.name] for job in jobs) for jobs in method.jobs]),
            "bytes_on_disk": _mean([sum(_file_size(trainer, job) for job in jobs) for jobs in method.jobs]),
            "images_per_second": None
            if passing is None
            else BATCH / float(passing + method.head_passes * per_head),
        }
    return {
        "backbone": {"images_per_second": None if passing is None else BATCH / passing},
        "methods": measured,
        "stages": stages,
        "peak_memory_bytes": peak_memory(),
    }


def _passing(backbone: "Backbone") -> float:
    """Time the backbone on a batch."""
    running, pixels = backbone.runner(), [_noise(fitting.size) for fitting in backbone.fittings]
    return seconds_of(lambda: running(*pixels))


def _not_all_heads(method: MethodResult, stages: Mapping[str, float]) -> dict[str, float | None]:
    """Return what is known of a method with other parts than heads: how long these and its heads were trained."""
    heads = [sum(stages[job.name] for job in jobs) for jobs in method.jobs]
    seconds = None if method.seconds is None else method.seconds + (_mean(heads) if heads else 0.0)
    return {"training_seconds": seconds, "bytes_on_disk": None, "images_per_second": None}


def seconds_of(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Return the median duration of some work, after once for warming up."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def peak_memory() -> int | None:
    """Return the largest resident size of this process so far, in bytes; None where the system doesn't tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _head_seconds(
    methods: Mapping[str, MethodResult], trainer: Trainer, features: np.ndarray
) -> dict[str, float]:
    """Time the first seed's heads one by one on a batch of features."""
    batch, found = np.resize(features, (BATCH, features.shape[1])), {}
    for job in _all_jobs(methods, first_seed=True):
        head = trainer.head(job)
        found[job.name] = seconds_of(lambda head=head: head.from_features(batch))
    return found


def _all_jobs(methods: Mapping[str, MethodResult], first_seed: bool = False) -> list[HeadJob]:
    tables = [c.jobs[:1] if first_seed else c.jobs for c in methods.values()]
    return list({job.name: job for table in tables for jobs in table for job in jobs}.values())


def _noise(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (BATCH, *size, 3), np.uint8)


def _file_size(trainer: Trainer, job: HeadJob) -> int:
    return (trainer.folder / job.name / "head.keras").stat().st_size


def _mean(values: list) -> float:
    return float(np.mean(values))
