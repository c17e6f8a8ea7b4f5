"""Networks fine-tuned on the images as methods of a study: flat, and two-stage on each trunk.

All of them start from the study's backbone, see its images and splits, and have the settings of `fine_tuning`.
Validation images say when each network stops, and no network trains on them, where the study's other heads are
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

from aisles.experiments.runs.predictions import file_name_of
from aisles.experiments.runs.stages import made_from, stage
from aisles.experiments.settings.benchmark import ENSEMBLES, FLAT_TUNED
from aisles.hierarchy.rules import route
from aisles.models.backbones.registry import Backbone
from aisles.models.fine_tuning.sharing import ClassifierTrainer, ImageTable
from aisles.models.prediction.label_model import LabelModel
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

from .roster import MethodResult, Roster, passes_of

logger = logging.getLogger(__name__)
VERSION = 3
"""Raised whenever what is kept of a method changes."""
TABLES = ("probs", "val_probs", "macro_probs", "val_macro_probs", "inside")


@dataclass(frozen=True, eq=False)
class FineTuning:
    """What all methods with fine-tuned networks have in common.

    Attributes
    ----------
    roster : Roster
        Of the study.
    backbone : Backbone
        To start from.
    folder : Path
        Where models and answers are kept.
    cache : path, optional
        Folder of cached features.
    """

    roster: Roster
    backbone: Backbone
    folder: Path
    cache: str | Path | None = None

    def method(self, name: str) -> MethodResult:
        """Train what is missing, and give a method's answers.

        Parameters
        ----------
        name : str
            One of `config.FINE_TUNED`.

        Raises
        ------
        ValueError, OSError
            If a network can't be trained, or the primary rule needs a flat model where there is none.
        """
        roster, place = self.roster, self.folder / file_name_of(name)
        settings, hierarchy = roster.settings, roster.hierarchy
        inputs = self.terms() | {
            "name": name,
            "seeds": list(roster.seeds),
            "rule": settings.comparison.primary,
            "members": hierarchy.members,
            "macros": hierarchy.macros,
        }
        stage(place, inputs, lambda part: self._write(part, name))
        with np.load(place / "answers.npz", allow_pickle=False) as arrays:
            tables = {key: arrays[key] for key in TABLES if key in arrays}
        had = made_from(place)
        more = {
            "cost": json.loads((place / "cost.json").read_text()),
            "terms": {k: had[k] for k in self.terms()},
        }
        if "macro_probs" in tables:
            return MethodResult(name, "two-stage", hierarchy=hierarchy, **more, **tables)
        return MethodResult(name, "ensemble" if name in ENSEMBLES else "flat", **more, **tables)

    def terms(self) -> dict[str, Any]:
        """Return what is the same for all of them: images, backbone, settings of training."""
        settings = self.roster.settings
        return {
            "version": VERSION,
            "data": self.roster.prepared.fingerprint,
            "backbone": self.backbone.key,
            "fine_tuning": settings.fine_tuning.identity(),
        }

    def trainer(self, seed: int) -> ClassifierTrainer:
        """Return the trainer of one seed's networks; all methods share what it has trained."""
        prepared, settings = self.roster.prepared, self.roster.settings
        images = ImageTable.of(prepared.manifest, prepared.sha256)
        place = self.folder / "networks" / f"seed-{seed}"
        return ClassifierTrainer(self.backbone, images, settings.fine_tuning, place, seed, self.cache)

    def _write(self, part: Path, name: str) -> None:
        found: dict[str, list[np.ndarray]] = {}
        answers = (
            self._ensembles(name)
            if name in ENSEMBLES
            else map(partial(self._answers, name), self.roster.seeds)
        )
        costs = []
        for tables, cost in answers:
            for key, table in tables.items():
                found.setdefault(key, []).append(table.astype(np.float32))
            costs.append(cost)
        arrays = {key: np.stack(tables) for key, tables in found.items()}
        np.savez(part / "answers.npz", **arrays)  # type: ignore[arg-type]
        means = {key: float(np.mean([cost[key] for cost in costs])) for key in costs[0]}
        # What a machine takes is no part of a study's metrics, which are the same everywhere.
        seconds = means.pop("seconds")
        (part / "budget.json").write_text(json.dumps({"seconds": None if isnan(seconds) else seconds}))
        (part / "cost.json").write_text(json.dumps(means))

    def _answers(self, name: str, seed: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        trainer = self.trainer(seed)
        return self._two_stage(trainer, name) if ":" in name else self._flat(trainer, name)

    def _ensembles(self, name: str) -> Iterator[tuple[dict[str, np.ndarray], dict[str, float]]]:
        """Average as many flat networks as the two-stage method passes an image through.

        Those of a seed are its own flat network and the next seeds', so neighboring seeds share members, and few
        networks are trained beyond the study's seeds.
        """
        trunk, member = ENSEMBLES[name]
        cost = self.method(trunk).cost or {}
        n_members = max(2, ceil(cost["backbone_passes"]))
        n_seeds = len(self.roster.seeds)
        members = [self._answers(member, seed) for seed in range(n_seeds + n_members - 1)]
        for seed in self.roster.seeds:
            tables, costs = zip(*members[seed : seed + n_members], strict=True)
            means = {key: np.mean([each[key] for each in tables], axis=0) for key in tables[0]}
            sums = {key: sum((each[key] for each in costs), 0.0) for key in costs[0]}
            sums["images"] = costs[0]["images"]
            yield means, sums

    def _flat(self, trainer: ClassifierTrainer, name: str) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        model: FlatClassifier = trainer.flat() if name == FLAT_TUNED else trainer.flat_again()
        tables = {key: model.predict_proba(self._paths(split)) for key, split in _splits("probs")}
        folders: dict[str, tuple[str, ...] | None]
        folders = {"flat": None} if name == FLAT_TUNED else {"flat": None, "flat-from-flat": None}
        return tables, self._cost(trainer, [model.model], folders, 1.0, own_trunks=False)

    def _two_stage(
        self, trainer: ClassifierTrainer, name: str
    ) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        kind, _, start = name.removeprefix("trunk:").partition("-from-")
        sharing, start = {"tuned": "fine-tuned"}.get(kind, kind), start or "imagenet"
        hierarchy, rule = self.roster.hierarchy, self.roster.rule(name)
        if "flat_probs" in rule.needs and (sharing, start) == ("separate", "imagenet"):
            raise ValueError(f"the rule {rule} needs a flat model, and this trunk has none")
        model: TwoStageClassifier = trainer.two_stage(hierarchy, sharing, start)
        tables = {}
        for prefix, split in (("", "test"), ("val_", "val")):
            macro, within, flat = model.stage_proba(self._paths(split), calibrated=False)
            tables[f"{prefix}probs"] = route(
                rule, hierarchy=hierarchy, macro_probs=macro, within_probs=within, flat_probs=flat
            )
            tables[f"{prefix}macro_probs"] = macro
            if not prefix:
                tables["inside"] = within[:, np.argsort(hierarchy.slot_class)]
        suffix = "on-fine-tuned" if sharing == "fine-tuned" else f"from-{start}"
        folders: dict[str, tuple[str, ...] | None] = {f"router-{suffix}": None}
        for number, members in enumerate(hierarchy.members):
            if len(members) > 1:
                folders[f"submodel-{number:02d}-{suffix}"] = members
        if sharing == "fine-tuned" or start == "flat":
            folders["flat"] = None
        parts = {"macro_probs": [model.router], "flat_probs": [model.flat]}
        parts["within_probs"] = [m for m in model.submodels if not m.constant]
        models = [m for need in rule.needs for m in parts[need]]
        passes = passes_of(rule, tables["macro_probs"][None], hierarchy, len(models))
        return tables, self._cost(trainer, models, folders, passes, own_trunks=sharing == "separate")

    def _cost(
        self,
        trainer: ClassifierTrainer,
        models: Iterable[Any],
        folders: dict[str, tuple[str, ...] | None],
        passes: float,
        *,
        own_trunks: bool,
    ) -> dict[str, float]:
        """Return what prediction needs, and what training took, the flat model's share included."""
        heads = [_head_parameters(model) for model in models]
        n_trunks = len(heads) if own_trunks else 1
        parameters = n_trunks * self.backbone.model.count_params() + sum(heads)
        labels = self.roster.prepared.manifest.labels[self.roster.prepared.rows("train")]
        taken = [
            _taken(trainer, name, int(np.isin(labels, members).sum()) if members else len(labels))
            for name, members in folders.items()
        ]
        return {
            "backbone_passes": passes if own_trunks else 1.0, "head_passes": passes, "heads": len(heads),
            "parameters": parameters, "head_parameters": sum(heads), "weight_bytes": 4 * parameters,
            "images": len(labels), "epochs": sum(epochs for epochs, _, _ in taken),
            "image_steps": sum(steps for _, steps, _ in taken), "seconds": sum(seconds for *_, seconds in taken),
        }  # fmt: skip

    def _paths(self, split: str) -> list[Path]:
        paths = self.roster.prepared.manifest.paths
        return [paths[i] for i in self.roster.prepared.rows(split).tolist()]


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
