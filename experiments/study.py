"""One study: flat against two-stage on one manifest, from photographs to a verdict and saved models."""

import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..data_prep.files import write_whole
from ..data_prep.manifest import write_manifest
from ..hierarchy.calibration import Temperatures, fit_composed_temperatures, fit_temperature
from ..hierarchy.dendrogram import draw_dendrogram
from ..hierarchy.routing import hard, soft
from ..models.backbones import Backbone
from ..models.bundle import save_bundle
from ..models.fitting import FittedModel, FittedTwoStage
from ..models.two_stage import FlatClassifier, TwoStageClassifier
from .config import StudySettings
from .contestants import Trainer
from .evaluation import evaluate
from .predictions import Predictions
from .preparation import FoundHierarchy, PreparedData, find_hierarchy, prepare_data, prepare_features

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study found.

    Attributes
    ----------
    folder : Path
        The run folder.
    metrics : dict
        As `metrics.json` holds it.
    """

    folder: Path
    metrics: dict[str, Any]


def run_study(
    data: str | Path,
    output: str | Path,
    settings: StudySettings | None = None,
    *,
    cache: str | Path | None = None,
    backbone: Backbone | None = None,
) -> StudyResult:
    """Compare flat and two-stage on a folder of labelled photographs.

    Stages that were made from the same inputs are not made again, so a killed study goes on where it stopped.

    Parameters
    ----------
    data : path
        A manifest or a folder of class folders; see `aisles.data_prep.manifest.read_manifest`.
    output : path
        The run folder.
    settings : StudySettings, optional
    cache : path, optional
        Folder for cached features.
    backbone : Backbone, optional
        One of your own, in place of the one that the settings name.

    Returns
    -------
    StudyResult
    """
    settings, output = settings or StudySettings(), Path(output)
    make_run_folder(output)
    prepared = prepare_data(data, settings.data)
    _log_counts(prepared)
    trunk, features = prepare_features(prepared, settings.backbone, cache, backbone)
    found = find_hierarchy(prepared, features, settings.hierarchy)
    _write_inputs(output, settings, prepared, found, trunk)

    trainer = Trainer(output / "models", prepared, features, trunk.key, settings.training)
    flats, two_stages = [], []
    for seed in range(settings.comparison.seeds):
        flats.append(trainer.flat(seed))
        two_stages.append(trainer.two_stage(found.hierarchy, seed))
        logger.info("Seed %d of %d is trained.", seed + 1, settings.comparison.seeds)

    predictions = _predictions(prepared, found, flats, two_stages)
    predictions.write(output / "predictions.csv")
    figures = evaluate(predictions, settings.comparison)
    figures |= {"data": _data_facts(prepared), "hierarchy": {"origin": found.origin}, "backbone": trunk.key}
    _save_bundles(output / "bundles", prepared, found, trunk, flats[0], two_stages[0], figures, settings)
    write_json(output / "metrics.json", figures)
    return StudyResult(output, figures)


def make_run_folder(output: Path) -> None:
    """Make the run folder and see that it can be written.

    Raises
    ------
    OSError
        If it can't be.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_whole(output / ".writable", "")
        (output / ".writable").unlink()
    except OSError as error:
        raise OSError(f"The output folder {output} can't be written: {error}. Choose another.") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that a person can read, whole or not at all."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _log_counts(prepared: PreparedData) -> None:
    counts = {split: len(prepared.rows(split)) for split in ("train", "val", "test")}
    logger.info(
        "%d images of %d classes: %s.",
        len(prepared.manifest),
        len(prepared.manifest.classes),
        ", ".join(f"{count} {split}" for split, count in counts.items()),
    )


def _write_inputs(
    output: Path, settings: StudySettings, prepared: PreparedData, found: FoundHierarchy, trunk: Backbone
) -> None:
    write_json(output / "settings.json", settings.model_dump(mode="json"))
    write_json(output / "environment.json", environment())
    write_manifest(prepared.manifest, output / "manifest.csv")
    prepared.unreadable.to_csv(output / "unreadable.csv", index=False)
    prepared.leaks.to_csv(output / "leaks.csv", index=False)
    found.hierarchy.write(output / "hierarchy.json")
    write_whole(output / "tree.json", found.tree.to_json())
    if not found.hierarchy.overlapping:
        draw_dendrogram(found.tree, found.hierarchy, output / "dendrogram")


def environment() -> dict[str, Any]:
    """Tell what a run was made with: versions, machine, processors."""
    packages = ("aisles", "keras", "tensorflow", "numpy", "scipy", "scikit-learn", "pandas", "pillow")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
    }


def _predictions(
    prepared: PreparedData, found: FoundHierarchy, flats: list[FittedModel], two_stages: list[FittedTwoStage]
) -> Predictions:
    test, manifest = prepared.rows("test"), prepared.manifest
    routers = [fitted.router.probs[test] for fitted in two_stages]
    withins = [fitted.within()[test] for fitted in two_stages]
    pairs = list(zip(routers, withins, strict=True))
    return Predictions(
        manifest.table["file_name"].to_numpy(dtype=object)[test],
        manifest.products[test],
        manifest.labels[test],
        found.hierarchy,
        tuple(range(len(flats))),
        {
            "flat": np.stack([fitted.probs[test] for fitted in flats]),
            "hard": np.stack([hard(*pair, found.hierarchy) for pair in pairs]),
            "soft": np.stack([soft(*pair, found.hierarchy) for pair in pairs]),
        },
        np.stack(routers),
    )


def _data_facts(prepared: PreparedData) -> dict[str, Any]:
    return {
        "fingerprint": prepared.fingerprint,
        "images": {split: len(prepared.rows(split)) for split in ("train", "val", "test")},
        "products": len(set(prepared.manifest.products)),
        "unreadable": len(prepared.unreadable),
        "equal_files_across_splits_or_classes": len(prepared.leaks),
        "notes": list(prepared.manifest.notes),
    }


def _save_bundles(
    folder: Path,
    prepared: PreparedData,
    found: FoundHierarchy,
    trunk: Backbone,
    flat: FittedModel,
    two_stage: FittedTwoStage,
    figures: dict[str, Any],
    settings: StudySettings,
) -> None:
    """Save the first seed's models, each with the temperatures that validation images ask for."""
    val = prepared.rows("val")
    truth = np.searchsorted(np.array(prepared.manifest.classes), prepared.manifest.labels[val].astype(str))
    flat_temperature = fit_temperature(_log(flat.val_probs[val]), truth)
    temperatures = fit_composed_temperatures(
        _log(two_stage.router.val_probs[val]),
        _log(two_stage.within("val_probs")[val]),
        found.hierarchy,
        truth,
    )
    flat_model = flat.on(trunk, flat_temperature)
    facts = {
        "data": {k: v for k, v in _data_facts(prepared).items() if k != "notes"},
        "settings": {"head": settings.training.head, "seed": 0, "hierarchy": found.origin},
    }
    save_bundle(
        FlatClassifier(flat_model, found.hierarchy), folder / "flat", facts=facts | _accuracy(figures, "flat")
    )
    classifier = TwoStageClassifier(
        *_stages(two_stage, trunk, temperatures),
        found.hierarchy,
        flat=flat_model,
        rule=settings.comparison.primary,
    )
    save_bundle(
        classifier, folder / "two-stage", facts=facts | _accuracy(figures, settings.comparison.primary)
    )


def _stages(two_stage: FittedTwoStage, trunk: Backbone, temperatures: Temperatures):
    submodels = [m.on(trunk, t) for m, t in zip(two_stage.submodels, temperatures.submodels, strict=True)]
    return two_stage.router.on(trunk, temperatures.router), submodels


def _accuracy(figures: dict[str, Any], contestant: str) -> dict[str, Any]:
    return {"figures": {"accuracy": round(figures["contestants"][contestant]["accuracy"][0], 4)}}


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, 1e-12))
