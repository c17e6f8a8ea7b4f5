"""One point of a curve: every method on one world, with heads that are fitted in memory and leave no files."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.experiments.benchmark.given_features import GivenFeatures
from aisles.experiments.benchmark.preparation import find_hierarchy
from aisles.experiments.methods.head_jobs import (
    Budget,
    HeadJob,
    Trainer,
    asked_rows,
    submodel_job,
    with_head,
)
from aisles.experiments.methods.registry import Context, find_method
from aisles.models.heads.closed_form import Background
from aisles.models.heads.fitting import everyone
from aisles.models.heads.predicted_rows import Table, of_rows
from aisles.models.heads.registry import HEADS
from aisles.models.heads.tuning import Parts, tune

from .axes import World


@dataclass(frozen=True, eq=False)
class FittedHead:
    """What a head says of every image; see `models.heads.fitting.FittedModel`."""

    labels: tuple[str, ...]
    val_probs: Table
    probs: Table
    n_train: int
    searched: int = 1
    parameters: int = 0


@dataclass(frozen=True, eq=False)
class MemoryTrainer(Trainer):
    """Fits heads when they are asked for, and keeps them in memory; those in closed form need no Keras."""

    heads: dict[str, FittedHead] = field(default_factory=dict)
    backgrounds: dict[str, Background] = field(default_factory=dict)

    def train(self, jobs: Iterable[HeadJob]) -> None:
        """Do nothing: heads are fitted when they are asked for."""

    def fitted(self, job: HeadJob) -> Any:
        """Fit if need be."""
        if job.name not in self.heads:
            self.heads[job.name] = self._fit(job)
        return self.heads[job.name]

    def budget(self, job: HeadJob) -> Budget:
        """Return what a head was given."""
        head = self.fitted(job)
        return Budget(head.n_train, 0, 0, 0, head.parameters, 0.0, head.searched)

    def made_from(self, job: HeadJob) -> dict[str, Any]:
        """Return the inputs of a head."""
        return self.inputs(job)

    def _submodel(self, members: tuple[str, ...], seed: int, head: str = "") -> Any:
        if len(members) > 1:
            return self.fitted(with_head(submodel_job(members, seed), head))
        ones = np.ones((len(self.features), 1))
        return FittedHead(members, ones, ones, 0)

    def _fit(self, job: HeadJob) -> FittedHead:
        features, classes, splits, products = self._images()
        definition = HEADS[job.head or self.settings.head]
        if definition.fit is None:
            from aisles.models.heads.fitting import fit_labels

            found = fit_labels(
                features, job.image_labels(classes), splits, job.labels, head=definition.name,
                training=self.settings, refit=self.settings.refit, seed=job.seed, name=job.name,
                products=products, asked=asked_rows(splits),
            )  # fmt: skip
            return FittedHead(job.labels, found.val_probs, found.probs, found.n_train)
        place = {label: i for i, label in enumerate(job.labels)}
        targets = np.array([place.get(label, -1) for label in job.image_labels(classes)], np.int32)
        known = targets >= 0
        train, val = (np.flatnonzero(known & (splits == split)) for split in ("train", "val"))
        n_everyone = int((splits == "train").sum())
        background = self._background(classes, splits) if len(train) < n_everyone else None
        asked = asked_rows(splits)
        parts = Parts(features, targets, train, val, products, background, asked)
        tuned = tune(definition, parts, len(job.labels), refit=self.settings.refit, seed=job.seed)
        learned = len(train) + (len(val) if self.settings.refit else 0)
        parameters = getattr(tuned.model, "parameters", 0)
        val_probs, probs = of_rows(asked[0], tuned.val_probs), of_rows(asked[1], tuned.probs)
        return FittedHead(job.labels, val_probs, probs, learned, tuned.searched, parameters)

    def _background(self, classes: np.ndarray, splits: np.ndarray) -> Background:
        if "train" not in self.backgrounds:
            self.backgrounds["train"] = everyone(self.features, classes, splits)
        return self.backgrounds["train"]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one method answered at one point in one draw.

    Attributes
    ----------
    correct : ndarray of bool of shape (n_test,)
    val_accuracy, val_loss : float
        On validation images, by which the best flat method is chosen.
    role : str
    coarse : bool
        Whether it learned from images known by their macro alone.
    """

    correct: np.ndarray
    val_accuracy: float
    val_loss: float
    role: str
    coarse: bool


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw of one point.

    Attributes
    ----------
    answers : mapping of str to Answers
    failed : mapping of str to str
        Reasons by method.
    test, products : ndarray of str of shape (n_test,)
        The test images' names and products.
    """

    answers: Mapping[str, Answers]
    failed: Mapping[str, str]
    test: np.ndarray
    products: np.ndarray


def measure(world: World, methods: Iterable[str], folder: Path) -> Draw:
    """Fit every method on a world and see which test images it gets right.

    Parameters
    ----------
    world : World
    methods : iterable of str
        Names as in a benchmark.
    folder : Path
        Where methods that keep files may keep them.

    Returns
    -------
    Draw
    """
    prepared, settings = world.prepared, world.settings
    trainer = MemoryTrainer(folder, prepared, world.features, "curve", settings.training)
    hierarchy = world.hierarchy or find_hierarchy(prepared, world.features, settings.hierarchy).hierarchy
    stand_in: Any = GivenFeatures()
    context = Context(prepared, world.features, stand_in, hierarchy, settings, trainer, folder, _nowhere)
    val, test = context.rows("val"), context.rows("test")
    truth, val_truth = context.targets[test], context.targets[val]
    found: dict[str, Answers] = {}
    failed: dict[str, str] = {}
    for name in methods:
        try:
            result = find_method(name).fit(context)
        except (ValueError, np.linalg.LinAlgError) as error:
            failed[name] = str(error)
            continue
        of_truth = result.val_probs[:, np.arange(len(val)), val_truth].astype(np.float64)
        found[name] = Answers(
            result.probs.argmax(2)[0] == truth,
            float((result.val_probs.argmax(2) == val_truth).mean()),
            float(-np.log(np.maximum(of_truth, 1e-12)).mean()),
            result.role,
            result.coarse,
        )
    files = prepared.manifest.table["file_name"].to_numpy(dtype=object)
    return Draw(found, failed, files[test].astype(str), prepared.manifest.products[test].astype(str))


def _nowhere(name: str) -> Any:
    raise ValueError(f"A curve learns no hierarchy from another backbone. Received: {name!r}.")


def save_draw(draw: Draw, folder: Path) -> None:
    """Write one draw of a point into an existing folder."""
    facts = {
        name: {"val_accuracy": a.val_accuracy, "val_loss": a.val_loss, "role": a.role, "coarse": a.coarse}
        for name, a in draw.answers.items()
    }
    write_whole(folder / "answers.json", json.dumps({"methods": facts, "failed": dict(draw.failed)}))
    np.savez_compressed(folder / "test.npz", test=draw.test, products=draw.products)
    correct: dict[str, Any] = {name: a.correct for name, a in draw.answers.items()}
    np.savez_compressed(folder / "correct.npz", **correct)


def load_draw(folder: Path) -> Draw:
    """Read what `save_draw` wrote."""
    facts = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    with np.load(folder / "correct.npz", allow_pickle=False) as arrays:
        answers = {name: Answers(arrays[name], **more) for name, more in facts["methods"].items()}
    with np.load(folder / "test.npz", allow_pickle=False) as arrays:
        return Draw(answers, facts["failed"], arrays["test"], arrays["products"])
