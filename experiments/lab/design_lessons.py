"""Heads of the design search that a study doesn't train: from trained ones, by a teacher, or both stages together."""

import json
import os
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from aisles.data_prep.io.progress import progress
from aisles.data_prep.io.step_cache import fingerprint, is_made, step
from aisles.experiments.methods.head_jobs import HeadJob, Trainer, flat_job, head_training, router_job
from aisles.hierarchy.calibration import apply_temperature
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import soft
from aisles.models.tensorflow_loading import load_in_worker

VERSION = 1
"""Raised whenever these trainings change what comes out."""
SOFTNESS = 2.0
"""Temperature of teachers, who are nearly certain of their own training images."""


@dataclass(frozen=True)
class Lesson:
    """How a head is trained where not as a study's heads are.

    Attributes
    ----------
    job : HeadJob
        What it tells apart, of which images.
    rate : float
        Adam's.
    from_flat : int
        It starts as the flat head of its seed after at most so many epochs, its last layer as the flat head's outputs
        of its own classes (anew if it tells macros apart). 0: all anew.
    last_only : bool
        Whether only the last layer is trained.
    epochs : int, optional
        A fixed number in place of patience.
    teacher : int or Hierarchy, optional
        So many flat heads, averaged; or soft of a hierarchy.
    stages : Hierarchy, optional
        Trained as its router and sub-models, by the likelihood of soft's distribution.
    shared : bool
        Whether these have their hidden layers in common.
    """

    job: HeadJob
    rate: float
    from_flat: int = 0
    last_only: bool = False
    epochs: int | None = None
    teacher: int | Hierarchy | None = None
    stages: Hierarchy | None = None
    shared: bool = True

    @property
    def name(self) -> str:
        """Folder of its step."""
        return f"{self.job.name}-{fingerprint(asdict(self))[:10]}"


@dataclass(frozen=True, eq=False)
class School:
    """Trains heads as lessons say, each kept as a step.

    Attributes
    ----------
    trainer : Trainer
        Of the heads that lessons start from, or are taught by.
    folder : Path
    """

    trainer: Trainer
    folder: Path

    def flats(self, epochs: int, refit: bool) -> Trainer:
        """Return the trainer of flat heads of at most so many epochs, with or without the last fit."""
        settings = self.trainer.settings.model_copy(update={"epochs": epochs, "refit": refit})
        folder = self.folder / f"flat-{epochs}-{'final' if refit else 'before'}"
        return replace(self.trainer, folder=folder, settings=settings, failures={})

    def inputs(self, lesson: Lesson) -> dict[str, Any]:
        """Return everything that a lesson's result depends on."""
        own = {"lesson": asdict(lesson), "version": VERSION, "softness": SOFTNESS}
        return self.trainer.inputs(lesson.job) | own

    def train(self, lessons: Iterable[Lesson]) -> None:
        """Train what is missing."""
        wanted = {lesson.name: lesson for lesson in lessons}.values()
        missing = [one for one in wanted if not is_made(self.folder / one.name, self.inputs(one))]
        if not missing:
            return
        for start in {one.from_flat for one in missing if one.from_flat}:
            for refit in (False, True):
                jobs = [self._flat(lesson) for lesson in missing if lesson.from_flat == start]
                self.flats(start, refit).train(jobs)
        workers = min(self.trainer.jobs or os.cpu_count() or 1, len(missing))
        calls = (joblib.delayed(_learn)(self, lesson, workers > 1) for lesson in missing)
        done = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(calls)
        for _ in progress(done, "Training", len(missing), "further heads"):
            pass

    def says(self, lesson: Lesson) -> tuple[np.ndarray, np.ndarray]:
        """Return a head's distributions of validation images (before the last fit) and of test images."""
        self.train([lesson])
        with np.load(self.folder / lesson.name / "said.npz", allow_pickle=False) as arrays:
            return arrays["val"], arrays["test"]

    def took(self, lesson: Lesson, what: str) -> int:
        """Return the `epochs` that a head was trained for, or the `parameters` that were trained."""
        return json.loads((self.folder / lesson.name / "budget.json").read_text())[what]

    def write(self, part: Path, lesson: Lesson) -> None:
        """Train a head and write what it says."""
        from .design_training import fit_network, log_soft

        start = time.perf_counter()
        prepared, job = self.trainer.prepared, lesson.job
        place = {label: index for index, label in enumerate(job.labels)}
        labels = job.image_labels(prepared.manifest.labels)
        said = fit_network(
            self._begin(lesson),
            self.trainer.features,
            np.array([place.get(label, -1) for label in labels]),
            prepared.manifest.splits,
            replace(head_training(self.trainer.settings), learning_rate=lesson.rate),
            n_labels=len(job.labels),
            seed=zlib.crc32(lesson.name.encode()),
            log_probs=log_soft(lesson.stages) if lesson.stages else None,
            taught=self.taught(lesson),
            epochs=lesson.epochs,
        )
        val, test = said.val_probs[prepared.rows("val")], said.probs[prepared.rows("test")]
        np.savez_compressed(part / "said.npz", val=val, test=test)
        seconds = round(time.perf_counter() - start, 3)
        budget = {"epochs": said.epochs, "parameters": said.parameters, "seconds": seconds}
        (part / "budget.json").write_text(json.dumps(budget))

    def taught(self, lesson: Lesson) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the teacher's softened distributions over a lesson's labels, for the first and for the last fit."""
        if lesson.teacher is None:
            return None
        classes, label_of = self.trainer.prepared.manifest.classes, dict(lesson.job.label_of)
        holds = np.array([[label_of.get(name) == label for label in lesson.job.labels] for name in classes])
        tables = []
        for key in ("val_probs", "probs"):
            mass = self._teacher(lesson, key) @ holds + 1e-12
            tables.append(apply_temperature(mass / mass.sum(axis=1, keepdims=True), SOFTNESS))
        return tables[0], tables[1]

    def _teacher(self, lesson: Lesson, key: str) -> np.ndarray:
        seed, teacher = lesson.job.seed, lesson.teacher
        if isinstance(teacher, Hierarchy):
            router = self.trainer.fitted(router_job(teacher, seed))
            return soft(getattr(router, key), self.trainer.within(teacher, seed, key), teacher)
        return np.mean([getattr(self.trainer.flat(seed, i), key) for i in range(teacher or 1)], axis=0)

    def _begin(self, lesson: Lesson) -> Callable[[bool], Any]:
        from .design_training import grown_from, plain, side_by_side

        head, dimension = self.trainer.settings.head, self.trainer.features.shape[1]
        labels, seed = lesson.job.labels, zlib.crc32(lesson.name.encode())

        def begin(final: bool) -> Any:
            if lesson.stages:
                widths = (lesson.stages.n_macros, *lesson.stages.sizes)
                if lesson.shared:
                    return plain(head, dimension, sum(widths), seed)
                return side_by_side(head, dimension, widths, seed)
            if not lesson.from_flat:
                return plain(head, dimension, len(labels), seed)
            flat = self._flat(lesson)
            trained = self.flats(lesson.from_flat, final).fitted(flat).network()
            known = set(labels) <= set(flat.labels)
            columns = [flat.labels.index(label) for label in labels] if known else None
            return grown_from(trained, head, columns, len(labels), seed, lesson.last_only)

        return begin

    def _flat(self, lesson: Lesson) -> HeadJob:
        return flat_job(self.trainer.prepared.manifest.classes, lesson.job.seed)


def _learn(school: School, lesson: Lesson, worker: bool) -> None:
    """Train one head as a step. Runs in any process."""
    if worker:
        load_in_worker()
    step(school.folder / lesson.name, school.inputs(lesson), lambda part: school.write(part, lesson))
