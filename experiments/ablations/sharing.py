"""Flat against two-stage with each trunk, all of them trained on the same images with the same settings."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.io.files import whole_file
from aisles.experiments.benchmark.preparation import PreparedData, check_hierarchy, prepare_data
from aisles.experiments.benchmark.run import environment, make_run_folder, write_json
from aisles.experiments.metrics.answers import accuracy, macro_f1
from aisles.experiments.settings.training import TrainSettings
from aisles.experiments.stats.verdict import Comparison, apply_holm, compare
from aisles.experiments.training.runs import check_layer, learned_hierarchy, start_backbone
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import Backbone
from aisles.models.fine_tuning.curves import PHASES
from aisles.models.fine_tuning.result import load_trained
from aisles.models.fine_tuning.sharing import ImageTable, TrunkTrainer
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

logger = logging.getLogger(__name__)
FLAT, FLAT_AGAIN = "flat", "flat, more epochs"
FROM_FLAT = "separate from flat"
TRUNKS = ("shared", "tuned", "separate from imagenet", FROM_FLAT)
PRIMARY = "soft"
"""The rule that the trunks are judged by, named before anything is measured; the others are further questions."""


@dataclass(frozen=True, eq=False)
class TrunkComparison:
    """What `compare_trunks` gives.

    Attributes
    ----------
    table : DataFrame
        One row a method: accuracy, macro_f1; against the fine-tuned flat model difference, low, high,
        p_uncorrected, p, verdict; and `family`: `primary` (the trunks under the rule `PRIMARY`, and flat with more
        epochs) or `further`. In each family p and verdict are corrected for its number of rows (Holm).
    sentences : tuple of str
        The verdicts in words.
    validation : dict
        The flat model's validation accuracy by phase: before and after fine-tuning.
    """

    table: pd.DataFrame
    sentences: tuple[str, ...]
    validation: dict[str, float | None]


def compare_trunks(
    data: str | Path,
    output: str | Path,
    settings: TrainSettings | None = None,
    *,
    trunks: Sequence[str] = TRUNKS,
    rules: Sequence[str] = ("soft", "hard", "implied", "hie"),
    cache: str | Path | None = None,
    backbone: Backbone | None = None,
) -> TrunkComparison:
    """Fine-tune a flat model, then train two-stage classifiers with each trunk, and judge them on the test images.

    Parameters
    ----------
    data : path
        A manifest or a folder of class folders, with test images.
    output : path
        The run folder; run again, it goes on where it stopped.
    settings : TrainSettings, optional
        `classifier.model`, `trunk` and `start` are not used.
    trunks : sequence of str
        Of `TRUNKS`.
    rules : sequence of str
        Routing rules; those that need a flat model are left out where a trunk has none.
    cache : path, optional
        Folder of cached features.
    backbone : Backbone, optional
        One of your own.

    Returns
    -------
    TrunkComparison
        Also written: `trunks.csv`, `trunks.json`, `hierarchy.json`. With the trunk `separate from flat`, whose models
        are trained on from the flat model, comes the flat model trained on for as many epochs: `flat, more epochs`.
    """
    settings, output = settings or TrainSettings(), Path(output)
    make_run_folder(output)
    prepared = prepare_data(data, settings.data)
    check_hierarchy(prepared, settings.hierarchy)
    backbone = backbone or start_backbone(settings)
    check_layer(backbone, settings.training)
    hierarchy = learned_hierarchy(prepared, backbone, settings, cache)
    table = ImageTable.of(prepared.manifest, prepared.sha256)
    trainer = TrunkTrainer(
        backbone, table, settings.training, output / "models", settings.classifier.seed, cache
    )
    answers = {
        FLAT: _answers(trainer.flat(), prepared),
        "flat, frozen": _answers(trainer.flat("shared"), prepared),
    }
    if FROM_FLAT in trunks:
        answers[FLAT_AGAIN] = _answers(trainer.flat_again(), prepared)
    for trunk in trunks:
        kind, _, start = trunk.partition(" from ")
        classifier = trainer.two_stage(hierarchy, kind, start or "imagenet")
        for rule in rules:
            if classifier.flat is not None or rule not in ("implied", "hie", "masked"):
                answers[f"{trunk}, {rule}"] = _answers(classifier, prepared, rule)
        logger.info("%s is trained.", trunk)
    compared = _judged(answers, prepared)
    result = TrunkComparison(
        _table(answers, compared, prepared),
        tuple(comparison.sentence() for comparison in compared),
        _validation(output / "models" / "flat"),
    )
    _write(result, output, settings, hierarchy, prepared)
    return result


def _answers(
    classifier: FlatClassifier | TwoStageClassifier, prepared: PreparedData, rule: str | None = None
):
    """Return the answered class of each test image, as index into the sorted classes."""
    paths = prepared.manifest.paths
    return classifier.predict_proba([paths[i] for i in prepared.rows("test").tolist()], rule=rule).argmax(1)


def _truth(prepared: PreparedData) -> np.ndarray:
    labels = prepared.manifest.labels[prepared.rows("test")]
    return np.searchsorted(np.array(prepared.manifest.classes), labels.astype(str))


def _judged(answers: dict[str, np.ndarray], prepared: PreparedData) -> list[Comparison]:
    truth, products = _truth(prepared), prepared.manifest.products[prepared.rows("test")]
    right = {name: given == truth for name, given in answers.items()}
    found: dict[str, Comparison] = {}
    for family in ("primary", "further"):
        names = [name for name in answers if name != FLAT and _family(name) == family]
        given = [compare(right[FLAT], right[name], products, names=(FLAT, name)) for name in names]
        found |= dict(zip(names, apply_holm(given), strict=True))
    return [found[name] for name in answers if name in found]


def _family(name: str) -> str:
    """Say to which question a method belongs; each family is corrected for its own number of comparisons."""
    return "primary" if name == FLAT_AGAIN or name.endswith(f", {PRIMARY}") else "further"


def _table(
    answers: dict[str, np.ndarray], compared: list[Comparison], prepared: PreparedData
) -> pd.DataFrame:
    truth, by_name = _truth(prepared), {comparison.b: comparison for comparison in compared}
    rows = []
    for name, given in answers.items():
        row: dict[str, Any] = {
            "method": name,
            "accuracy": accuracy(truth, given),
            "macro_f1": macro_f1(truth, given),
        }
        if comparison := by_name.get(name):
            low, high = comparison.interval
            row |= {"difference": comparison.difference, "low": low, "high": high}
            row |= {"p_uncorrected": comparison.p_value, "p": comparison.p_corrected}
            row |= {"verdict": comparison.verdict, "family": _family(name)}
        rows.append(row)
    return pd.DataFrame(rows)


def _validation(folder: Path) -> dict[str, float | None]:
    trained = load_trained(folder)
    return {phase: trained.accuracy(phase) if trained else None for phase in PHASES}


def _write(
    result: TrunkComparison,
    output: Path,
    settings: TrainSettings,
    hierarchy: Hierarchy,
    prepared: PreparedData,
) -> None:
    hierarchy.write(output / "hierarchy.json")
    with whole_file(output / "trunks.csv") as part:
        result.table.to_csv(part, index=False, float_format="%.4f", lineterminator="\n")
    splits, counts = np.unique(prepared.manifest.splits.astype(str), return_counts=True)
    content = {
        "images": dict(zip(splits.tolist(), counts.tolist(), strict=True)),
        "fingerprint": prepared.fingerprint,
        "hierarchy": dict(zip(hierarchy.macros, map(list, hierarchy.members), strict=True)),
        "flat_validation_accuracy": result.validation,
        "methods": result.table.astype(object).where(result.table.notna(), None).to_dict("records"),
        "verdicts": list(result.sentences),
        "primary_rule": PRIMARY,
        "training": asdict(settings.training),
        "environment": environment(),
    }
    write_json(output / "trunks.json", content)
