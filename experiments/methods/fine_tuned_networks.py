"""Networks fine-tuned on the images as methods of a benchmark: flat, and two-stage in each way of sharing backbones.

All of them start from the benchmark's backbone, see its images and splits, and have the settings of its section
`fine_tuning`. Validation images say when each network stops, and no network trains on them, where other heads are
refitted on training and validation images. So they are judged against the flat model that was fine-tuned alike.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.io.step_cache import made_from, read_facts, step
from aisles.hierarchy.rules import parse_rule, route
from aisles.models.fine_tuning.sharing import ClassifierTrainer, ImageTable
from aisles.models.fine_tuning.subprocess import train_ahead
from aisles.models.prediction.label_model import LabelModel
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

from .fine_tuned import ENSEMBLES, FLATS, TWO_STAGE
from .registry import Context, MethodResult
from .routed import passes_of

logger = logging.getLogger(__name__)
VERSION = 3
"""Raised whenever what is kept of a method changes."""
TABLES = ("probs", "val_probs", "macro_probs", "val_macro_probs", "inside")


@dataclass(frozen=True, eq=False)
class FineTuning:
    """What all methods with fine-tuned networks have in common."""

    context: Context

    def method(self, name: str) -> MethodResult:
        """Train what is missing, and give a method's answers.

        Parameters
        ----------
        name : str
            One of those registered below.

        Raises
        ------
        ValueError, OSError
            If a network can't be trained, or the primary rule needs a flat model where there is none.
        """
        context, place = self.context, self.context.place(name)
        settings, hierarchy = context.settings, context.hierarchy
        inputs = self.protocol() | {
            "name": name,
            "seeds": list(context.seeds),
            "rule": settings.comparison.primary,
            "members": hierarchy.members,
            "macros": hierarchy.macros,
        }
        step(place, inputs, lambda part: self._write(part, name))
        with np.load(place / "answers.npz", allow_pickle=False) as arrays:
            tables = {key: arrays[key] for key in TABLES if key in arrays}
        had = made_from(place)
        more = {
            "cost": read_facts(place / "cost.json"),
            "protocol": {k: had[k] for k in self.protocol()},
            "seconds": read_facts(place / "budget.json")["seconds"],
        }
        return MethodResult(hierarchy=hierarchy if "macro_probs" in tables else None, **more, **tables)

    def classifier(self, name: str) -> FlatClassifier | TwoStageClassifier:
        """Return the first seed's networks as a classifier, with temperatures from validation images."""
        trainer, context = self.trainer(0), self.context
        if name in TWO_STAGE:
            kind, start = TWO_STAGE[name]
            classifier = trainer.two_stage(context.hierarchy, kind, start, context.primary)
        else:
            model = (trainer.flat_again() if FLATS[name] else trainer.flat()).model
            classifier = FlatClassifier(model, context.hierarchy)
        labels = context.prepared.manifest.labels[context.rows("val")].astype(str).tolist()
        return classifier.calibrate(self._paths("val"), labels)

    def protocol(self) -> dict[str, Any]:
        """Return what is the same for all of them: images, backbone, settings of training."""
        settings = self.context.settings
        return {
            "version": VERSION,
            "data": self.context.prepared.fingerprint,
            "backbone": self.context.backbone.key,
            "fine_tuning": settings.fine_tuning.identity(),
        }

    def trainer(self, seed: int) -> ClassifierTrainer:
        """Return the trainer of one seed's networks; all methods share what it has trained."""
        prepared, settings = self.context.prepared, self.context.settings
        images = ImageTable.of(prepared.manifest, prepared.sha256)
        place = self.context.folder / "networks" / f"seed-{seed}"
        return ClassifierTrainer(
            self.context.backbone, images, settings.fine_tuning, place, seed, self.context.cache
        )

    def _write(self, part: Path, name: str) -> None:
        found: dict[str, list[np.ndarray]] = {}
        answers = (
            self._ensembles(name)
            if name in ENSEMBLES
            else map(partial(self._answers, name), self.context.seeds)
        )
        if name not in ENSEMBLES and TWO_STAGE.get(name) != ("separate", "imagenet"):
            train_ahead([self.trainer(seed).flat_task() for seed in self.context.seeds])
        costs = []
        for tables, cost in answers:
            for key, table in tables.items():
                found.setdefault(key, []).append(table.astype(np.float32))
            costs.append(cost)
        arrays = {key: np.stack(tables) for key, tables in found.items()}
        np.savez(part / "answers.npz", **arrays)  # type: ignore[arg-type]
        means = {key: float(np.mean([cost[key] for cost in costs])) for key in costs[0]}
        # What a machine takes is no part of a run's metrics, which are the same everywhere.
        seconds = means.pop("seconds")
        (part / "budget.json").write_text(json.dumps({"seconds": None if isnan(seconds) else seconds}))
        (part / "cost.json").write_text(json.dumps(means))

    def _answers(self, name: str, seed: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        trainer = self.trainer(seed)
        return self._two_stage(trainer, name) if name in TWO_STAGE else self._flat(trainer, name)

    def _ensembles(self, name: str) -> Iterator[tuple[dict[str, np.ndarray], dict[str, float]]]:
        """Average as many flat networks as the two-stage method passes an image through.

        Those of a seed are its own flat network and the next seeds', so neighboring seeds share members, and few
        networks are trained beyond the run's seeds.
        """
        two_stage, member = ENSEMBLES[name]
        cost = self.method(two_stage).cost or {}
        n_members = max(2, ceil(cost["backbone_passes"]))
        n_seeds = len(self.context.seeds)
        train_ahead([self.trainer(seed).flat_task() for seed in range(n_seeds + n_members - 1)])
        members = [self._answers(member, seed) for seed in range(n_seeds + n_members - 1)]
        for seed in self.context.seeds:
            tables, costs = zip(*members[seed : seed + n_members], strict=True)
            means = {key: np.mean([each[key] for each in tables], axis=0) for key in tables[0]}
            sums = {key: sum((each[key] for each in costs), 0.0) for key in costs[0]}
            sums["images"] = costs[0]["images"]
            yield means, sums

    def _flat(self, trainer: ClassifierTrainer, name: str) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        again = FLATS[name]
        model: FlatClassifier = trainer.flat_again() if again else trainer.flat()
        tables = {key: model.predict_proba(self._paths(split)) for key, split in _splits("probs")}
        folders: dict[str, tuple[str, ...] | None]
        folders = {"flat": None, "flat-from-flat": None} if again else {"flat": None}
        return tables, self._cost(trainer, [model.model], folders, 1.0, own_backbones=False)

    def _two_stage(
        self, trainer: ClassifierTrainer, name: str
    ) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        kind, start = TWO_STAGE[name]
        hierarchy, rule = self.context.hierarchy, parse_rule(self.context.primary)
        if "flat_probs" in rule.needs and (kind, start) == ("separate", "imagenet"):
            raise ValueError(f"the rule {rule} needs a flat model, and there is none")
        model: TwoStageClassifier = trainer.two_stage(hierarchy, kind, start)
        tables = {}
        for prefix, split in (("", "test"), ("val_", "val")):
            macro, within, flat = model.stage_proba(self._paths(split), calibrated=False)
            tables[f"{prefix}probs"] = route(
                rule, hierarchy=hierarchy, macro_probs=macro, within_probs=within, flat_probs=flat
            )
            tables[f"{prefix}macro_probs"] = macro
            if not prefix:
                tables["inside"] = within[:, np.argsort(hierarchy.slot_class)]
        suffix = "on-fine-tuned" if kind == "fine-tuned" else f"from-{start}"
        folders: dict[str, tuple[str, ...] | None] = {f"router-{suffix}": None}
        for number, members in enumerate(hierarchy.members):
            if len(members) > 1:
                folders[f"submodel-{number:02d}-{suffix}"] = members
        if kind == "fine-tuned" or start == "flat":
            folders["flat"] = None
        parts = {"macro_probs": [model.router], "flat_probs": [model.flat]}
        parts["within_probs"] = [m for m in model.submodels if not m.constant]
        models = [m for need in rule.needs for m in parts[need]]
        passes = passes_of(rule, tables["macro_probs"][None], hierarchy, len(models))
        return tables, self._cost(trainer, models, folders, passes, own_backbones=kind == "separate")

    def _cost(
        self,
        trainer: ClassifierTrainer,
        models: Iterable[Any],
        folders: dict[str, tuple[str, ...] | None],
        passes: float,
        *,
        own_backbones: bool,
    ) -> dict[str, float]:
        """Return what prediction needs, and what training took, the flat model's share included."""
        heads = [_head_parameters(model) for model in models]
        n_backbones = len(heads) if own_backbones else 1
        parameters = n_backbones * self.context.backbone.n_parameters + sum(heads)
        labels = self.context.prepared.manifest.labels[self.context.prepared.rows("train")]
        taken = [
            _taken(trainer, name, int(np.isin(labels, members).sum()) if members else len(labels))
            for name, members in folders.items()
        ]
        return {
            "backbone_passes": passes if own_backbones else 1.0, "head_passes": passes, "heads": len(heads),
            "parameters": parameters, "head_parameters": sum(heads), "weight_bytes": 4 * parameters,
            "images": len(labels), "epochs": sum(epochs for epochs, _, _ in taken),
            "image_steps": sum(steps for _, steps, _ in taken), "seconds": sum(seconds for *_, seconds in taken),
        }  # fmt: skip

    def _paths(self, split: str) -> list[Path]:
        paths = self.context.prepared.manifest.paths
        return [paths[i] for i in self.context.prepared.rows(split).tolist()]


def _splits(key: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (key, "test"), (f"val_{key}", "val")


def _head_parameters(model: LabelModel) -> int:
    loaded = model.loaded().head
    return 0 if loaded is None else loaded.count_params()  # type: ignore[union-attr]


def _taken(trainer: ClassifierTrainer, name: str, n_images: int) -> tuple[int, int, float]:
    """Return a model's epochs, the images that passed through it, and the seconds of training.

    Of views one counts an epoch, and no more than `max_steps` allows. Extracting features takes no part in the seconds.
    """
    folder, training = trainer.folder / name, trainer.training
    curves = folder / "trained" / "curves.csv"
    table = pd.read_csv(curves if curves.exists() else folder / "curves.csv")
    phases = table["phase"].tolist()
    frozen = phases.count("frozen")
    most = n_images if training.max_steps is None else min(n_images, training.max_steps * training.batch_size)
    online = curves.exists() and training.augmentation is not None and not training.views
    steps = frozen * (most if online else n_images) + (len(phases) - frozen) * most
    seconds = sum(table["seconds"].tolist()) if "seconds" in table else nan
    return len(phases), steps, seconds
