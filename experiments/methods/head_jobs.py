"""Heads as jobs: each is trained once for the same inputs, here or by other processes, and kept as a step.

A job is named by what it tells apart, not by who asked for it: two hierarchies that share a macro share its sub-model.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import write_whole
from aisles.data_prep.io.progress import progress
from aisles.data_prep.io.step_cache import is_made, made_from, read_facts, step
from aisles.data_prep.io.workers import spread
from aisles.experiments.settings.benchmark import TrainingSettings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.heads.registry import HEADS
from aisles.models.tensorflow_loading import load_in_worker

if TYPE_CHECKING:
    from aisles.experiments.benchmark.preparation import PreparedData
    from aisles.models.heads.closed_form import Background
    from aisles.models.heads.fitting import FittedModel, FittedTwoStage
    from aisles.models.heads.training import History
    from aisles.models.prediction.label_model import LabelModel

logger = logging.getLogger(__name__)
TRAINING_VERSION = 2
"""Raised whenever the training itself changes what comes out."""
CLOSED_FORM_VERSION = 3
"""The same for heads whose settings validation images choose."""
WORTH_WORKERS = 12, 3
"""Heads from which on starting other processes pays: in general, and of a table of `LARGE` numbers or more."""
LARGE = 2_000_000
TOGETHER = 16
"""Heads that one worker makes in a row at most."""


@dataclass(frozen=True)
class HeadJob:
    """One head to train.

    Attributes
    ----------
    name : str
        Folder of its step.
    labels : tuple of str
        What it tells apart, in the order of its outputs.
    label_of : tuple of (str, str)
        (class, label) for every class whose images it is trained on.
    seed : int
    head : str
        A registered head; the settings' own unless given.
    """

    name: str
    labels: tuple[str, ...]
    label_of: tuple[tuple[str, str], ...]
    seed: int
    head: str = ""

    def image_labels(self, classes: Iterable[str]) -> np.ndarray:
        """Return each image's label, None for images of other classes."""
        label_of = dict(self.label_of)
        return np.array([label_of.get(name) for name in classes], dtype=object)


def with_head(job: HeadJob, head: str) -> HeadJob:
    """Return the job with another head than the settings'; a head without randomness has one job for all seeds."""
    if not head:
        return job
    seed = 0 if HEADS[head].deterministic else job.seed
    name = job.name.partition("/")[2]
    return replace(job, name=f"seed-{seed}/{head}-{name}", seed=seed, head=head)


def flat_job(classes: tuple[str, ...], seed: int, member: int = 0) -> HeadJob:
    """Describe the flat model, or another member (from 1 on) of the flat ensemble."""
    name = "flat" if member == 0 else f"member-{member:02d}"
    return HeadJob(f"seed-{seed}/{name}", classes, tuple((c, c) for c in classes), seed)


def router_job(hierarchy: Hierarchy, seed: int) -> HeadJob:
    """Describe a hierarchy's router; refuses overlapping macros."""
    macro_of = hierarchy.macro_of
    label_of = tuple(
        (name, hierarchy.macros[macro]) for name, macro in zip(hierarchy.classes, macro_of, strict=True)
    )
    name = f"router-{hierarchy.n_macros}-{_digest([hierarchy.macros, hierarchy.members])}"
    return HeadJob(f"seed-{seed}/{name}", hierarchy.macros, label_of, seed)


def submodel_job(members: tuple[str, ...], seed: int) -> HeadJob:
    """Describe the sub-model of some classes."""
    name = f"submodel-{len(members)}-{_digest(members)}"
    return HeadJob(f"seed-{seed}/{name}", tuple(members), tuple((c, c) for c in members), seed)


def two_stage_jobs(hierarchy: Hierarchy, seed: int) -> list[HeadJob]:
    """Describe router and sub-models of a hierarchy; macros of one class need none."""
    submodels = [submodel_job(members, seed) for members in hierarchy.members if len(members) > 1]
    return [router_job(hierarchy, seed), *submodels]


@dataclass(frozen=True)
class Budget:
    """What one head was given, and what it took.

    Attributes
    ----------
    images : int
        That the final head was trained on.
    epochs, refit_epochs : int
        Of the search for the number of epochs on training images, and of the last fit on training and validation
        images.
    image_steps : int
        Images passed through the head in training, over both.
    parameters : int
    seconds : float
        Of this machine; in `costs.json` only.
    searched : int
        Settings that were tried on validation images.
    """

    images: int
    epochs: int
    refit_epochs: int
    image_steps: int
    parameters: int
    seconds: float = field(compare=False)
    searched: int = 1


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains heads on one set of features, each kept as a step of the run.

    Attributes
    ----------
    folder : Path
        Where their steps lie.
    prepared : PreparedData
    features : ndarray of shape (n_images, dimension)
    feature_key : str
        What the features depend on, apart from the images.
    settings : TrainingSettings
        The same for every method.
    jobs : int, optional
        Processes that train heads. By default as many as there are processors, if enough heads are missing.
    failures : dict of str to str
        Jobs that failed, and why; filled by `train`.
    """

    folder: Path
    prepared: "PreparedData"
    features: np.ndarray
    feature_key: str
    settings: TrainingSettings
    jobs: int | None = None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def n_learning(self) -> int:
        """How many images methods learn from: training and validation images."""
        return len(self.prepared.rows("train")) + len(self.prepared.rows("val"))

    def inputs(self, job: HeadJob) -> dict[str, Any]:
        """Return everything that the job's result depends on."""
        return {
            "data": self.prepared.fingerprint,
            "features": self.feature_key,
            "training": self.settings.model_dump(),
            "made_with": _made_with(job.head or self.settings.head),
            "labels": list(job.labels),
            "label_of": dict(job.label_of),
            "seed": job.seed,
            "name": job.name,
        } | ({"head": job.head} if job.head else {})

    def train(self, jobs: Iterable[HeadJob]) -> None:
        """Train what is missing. A job that fails is noted in `failures`; the others are trained all the same."""
        wanted = {job.name: job for job in jobs}.values()
        missing = [job for job in wanted if not is_made(self.folder / job.name, self.inputs(job))]
        if not missing:
            return
        logger.info("Training %d heads; %d are there already.", len(missing), len(wanted) - len(missing))
        workers = self._workers(len(missing))
        calls = (
            (
                self.folder,
                [(job, self.inputs(job)) for job in some],
                self._images(),
                self.settings,
                workers > 1,
            )
            for some in dealt(missing, workers)
        )
        each = (outcome for some in spread(_make, calls, workers) for outcome in some)
        for name, reason in progress(each, "Training", len(missing), "heads"):
            if reason:
                self.failures[name] = reason
                logger.warning("%s failed: %s", name, reason)

    def fitted(self, job: HeadJob) -> "FittedModel":
        """Train if need be, and give the head and what it says of every image.

        Raises
        ------
        ValueError
            If its training failed.
        """
        from aisles.models.heads.fitting import load_fitted

        self.train([job])
        if job.name in self.failures:
            raise ValueError(self.failures[job.name])
        return load_fitted(self.folder / job.name)

    def flat(self, seed: int, member: int = 0, head: str = "") -> "FittedModel":
        """Return the flat model of a seed, or another member of its ensemble, or one with another head."""
        return self.fitted(with_head(flat_job(self.prepared.manifest.classes, seed, member), head))

    def two_stage(self, hierarchy: Hierarchy, seed: int, head: str = "") -> "FittedTwoStage":
        """Return router and sub-models of a hierarchy, with the settings' heads or others."""
        from aisles.models.heads.fitting import FittedTwoStage

        submodels = [self._submodel(members, seed, head) for members in hierarchy.members]
        router = self.fitted(with_head(router_job(hierarchy, seed), head))
        return FittedTwoStage(hierarchy, router, tuple(submodels))

    def within(
        self,
        hierarchy: Hierarchy,
        seed: int,
        rows: np.ndarray,
        attribute: str = "probs",
        head: str = "",
    ) -> np.ndarray:
        """Put the sub-models' distributions of some images side by side, float32 of shape (n_rows, n_slots).

        The router is not needed.
        """
        found = np.empty((len(rows), hierarchy.n_slots), np.float32)
        for members, block in zip(hierarchy.members, hierarchy.blocks, strict=True):
            found[:, block] = getattr(self._submodel(members, seed, head), attribute)[rows]
        return found

    def head(self, job: HeadJob) -> "LabelModel":
        """Return a trained head in memory, without a backbone: it predicts from features."""
        return self.fitted(job).on(None)

    def made_from(self, job: HeadJob) -> dict[str, Any]:
        """Return the inputs that a trained head's step was made from, as its folder records them."""
        return made_from(self.folder / job.name)

    def budget(self, job: HeadJob) -> Budget:
        """Return what a trained head was given, and what it took."""
        file = self.folder / job.name / "budget.json"
        facts = read_facts(file)
        if set(facts) != {each.name for each in fields(Budget)}:
            raise DataError(
                f"{file} is damaged. Delete the folder {file.parent} and run again: it is made anew."
            )
        return Budget(**facts)

    def _submodel(self, members: tuple[str, ...], seed: int, head: str = "") -> "FittedModel":
        from aisles.models.heads.fitting import FittedModel

        if len(members) > 1:
            return self.fitted(with_head(submodel_job(members, seed), head))
        ones = np.ones((len(self.features), 1))
        return FittedModel(members, None, ones, ones, None, 0)

    def _images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        manifest = self.prepared.manifest
        return self.features, manifest.labels, manifest.splits, manifest.products

    def _workers(self, n_missing: int) -> int:
        if self.jobs is not None:
            return min(self.jobs, n_missing)
        enough = WORTH_WORKERS[self.n_learning * self.features.shape[1] >= LARGE]
        if n_missing < enough or len(self.features) < 1000:
            return 1
        return min(os.cpu_count() or 1, 8, n_missing)


def _made_with(head: str) -> dict[str, str]:
    """Name the code that a trained head depends on, so that another version trains it again."""
    definition = HEADS[head]
    packages = dict(_versions())
    if definition.variant is None:
        made_by = getattr(definition.fit, "__code__", None)
        code = hashlib.sha256(getattr(made_by, "co_code", b"")).hexdigest()[:16]
        return {"steps": str(CLOSED_FORM_VERSION), "head": f"{head} {code}", **packages}
    return {"steps": str(TRAINING_VERSION), "head": repr(definition.variant), **packages}


def dealt(jobs: Sequence[HeadJob], workers: int) -> list[Sequence[HeadJob]]:
    """Divide jobs into parts for workers: the largest first and alone, the others in parts of at most `TOGETHER`.

    One worker reads the images and computes what is common to heads once for a part.
    """
    ordered = sorted(jobs, key=lambda job: -len(job.label_of))
    whole = len(ordered[0].label_of)
    large: list[Sequence[HeadJob]] = [[job] for job in ordered if len(job.label_of) == whole]
    small = ordered[len(large) :]
    size = min(max(len(small) // (4 * workers), 1), TOGETHER)
    return large + [small[start : start + size] for start in range(0, len(small), size)]


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    return tuple((name, version(name)) for name in ("tensorflow", "keras"))


def _make(
    folder: Path,
    jobs: Sequence[tuple[HeadJob, Mapping[str, Any]]],
    images: tuple,
    settings: TrainingSettings,
    worker: bool,
) -> list[tuple[str, str | None]]:
    """Train heads, each as a step; give their names and, where one failed, the reason. Runs in any process."""
    from aisles.models.heads.fitting import everyone

    if worker:  # more threads would give the same numbers
        load_in_worker()
    features, classes, splits, _ = images
    whole = len(set(classes[splits == "train"]))
    part_of_all = any(
        HEADS[job.head or settings.head].fit is not None and len(job.label_of) < whole for job, _ in jobs
    )
    background = everyone(features, classes, splits) if part_of_all else None
    return [_make_one(folder, job, inputs, images, settings, background) for job, inputs in jobs]


def _make_one(
    folder: Path,
    job: HeadJob,
    inputs: Mapping[str, Any],
    images: tuple,
    settings: TrainingSettings,
    background: "Background | None",
) -> tuple[str, str | None]:
    try:
        step(folder / job.name, inputs, lambda part: _write_head(part, job, images, settings, background))
    except Exception as error:
        return job.name, f"{type(error).__name__}: {error}"
    return job.name, None


def _write_head(
    part: Path, job: HeadJob, images: tuple, settings: TrainingSettings, background: "Background | None"
) -> None:
    from aisles.models.heads.fitting import fit_labels, save_fitted

    features, classes, splits, products = images
    start = time.perf_counter()
    fitted = fit_labels(
        features,
        job.image_labels(classes),
        splits,
        job.labels,
        head=job.head or settings.head,
        training=settings,
        refit=settings.refit,
        seed=job.seed,
        name=job.name,
        products=products,
        background=background,
        asked=asked_rows(splits),
    )
    seconds = time.perf_counter() - start
    if fitted.head is None:
        raise ValueError(f"{job.name} has one label: a constant is not trained.")
    save_fitted(fitted, part)
    budget = _budget(fitted, fitted.history, job, classes, splits, seconds)
    write_whole(part / "budget.json", json.dumps(asdict(budget)))
    if fitted.history is None:
        write_whole(part / "chosen.json", json.dumps(fitted.chosen))
        return
    curves = {k: v for k, v in asdict(fitted.history).items() if k != "best_epoch"}
    pd.DataFrame(curves).to_csv(part / "history.csv", index_label="epoch")


def asked_rows(splits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of validation and of test images: those that a benchmark asks heads about."""
    return np.flatnonzero(splits == "val"), np.flatnonzero(splits == "test")


def _budget(
    fitted: "FittedModel", history: "History | None", job: HeadJob, classes, splits, seconds: float
) -> Budget:
    known = np.array([label is not None for label in job.image_labels(classes)])
    n_train = int((known & (np.asarray(splits) == "train")).sum())
    parameters = fitted.network().count_params()
    if history is None:
        return Budget(fitted.n_train, 0, 0, 0, parameters, round(seconds, 3), fitted.searched)
    epochs = len(history.loss)
    refit_epochs = history.best_epoch + 1 if fitted.n_train > n_train else 0
    steps = epochs * n_train + refit_epochs * fitted.n_train
    return Budget(fitted.n_train, epochs, refit_epochs, steps, parameters, round(seconds, 3))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()[:10]
