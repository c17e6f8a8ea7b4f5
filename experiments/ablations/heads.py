"""The published comparison of heads, on any images: each variant trained in both phases on the same start."""

import logging
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pandas as pd

from aisles.data_prep.io.files import features_cache
from aisles.data_prep.io.tables import write_table
from aisles.experiments.benchmark.preparation import prepare_data
from aisles.experiments.runs.writer import run_folder
from aisles.experiments.settings.training import TrainSettings
from aisles.experiments.training.runs import check_layer, start_backbone
from aisles.models.backbones.registry import Backbone
from aisles.models.fine_tuning.settings import FineTuningSettings
from aisles.models.fine_tuning.sharing import ClassifierTrainer, ImageTable
from aisles.models.heads.variants import VARIANTS

logger = logging.getLogger(__name__)


def ablate_heads(
    data: str | Path,
    output: str | Path,
    settings: TrainSettings | None = None,
    *,
    heads: tuple[str, ...] = tuple(VARIANTS),
    cache: str | Path | None = None,
    backbone: Backbone | None = None,
) -> pd.DataFrame:
    """Train a flat model with each head.

    Parameters
    ----------
    data : path
        A manifest or a folder of class folders.
    output : path
        The run folder; `heads.csv` and one folder a head. Run again, it goes on where it stopped.
    settings : TrainSettings, optional
        Augmentation is used for the heads that the published study trained with it. Where the settings name a published
        study, each head gets at most the epochs that it had there. What says which classifier to train is not used.
    heads : tuple of str
        Keys of `aisles.models.heads.variants.VARIANTS`.
    cache : path, optional
        Folder of cached features.
    backbone : Backbone, optional
        One of your own.

    Returns
    -------
    DataFrame
        The published table's columns: version, dense_units, augmentation, batch_norm, dropout, then accuracy, loss,
        val_accuracy, val_loss of the epoch with the lowest validation loss; with published metrics beside them
        where the settings name a published study.
    """
    settings, output = settings or TrainSettings(), Path(output)
    with run_folder(output):
        return _table_of_heads(data, output, settings, heads, cache, backbone)


def _table_of_heads(
    data: str | Path,
    output: Path,
    settings: TrainSettings,
    heads: tuple[str, ...],
    cache: str | Path | None,
    backbone: Backbone | None,
) -> pd.DataFrame:
    features_cache(cache)  # what can't be written is said before images are read
    prepared = prepare_data(data, settings.data)
    backbone = backbone or start_backbone(settings)
    check_layer(backbone, settings.fine_tuning)
    table = ImageTable.of(prepared.manifest, prepared.sha256)
    rows, trained = [], {}
    for name in heads:
        training = training_of(name, settings)
        same = training.changed(head="v1.1"), replace(VARIANTS[name], augmentation=False)
        if same in trained:
            logger.warning(
                "%s is not trained: without augmentation (--augment) it is the same model as %s.",
                name, trained[same][0],
            )  # fmt: skip
        else:
            trainer = ClassifierTrainer(
                backbone, table, training, output / name, settings.classifier.seed, cache
            )
            trained[same] = name, trainer.fine_tuned_flat().epochs
        epochs = trained[same][1]
        best = min(epochs, key=lambda epoch: epoch.val_loss)
        rows.append(
            {
                "version": name,
                "dense_units": "+".join(map(str, VARIANTS[name].dense_units)),
                "augmentation": _yes(training.augmentation is not None),
                "batch_norm": _yes(VARIANTS[name].batch_norm),
                "dropout": _yes(VARIANTS[name].dropout > 0),
                "accuracy": best.accuracy,
                "loss": best.loss,
                "val_accuracy": best.val_accuracy,
                "val_loss": best.val_loss,
            }
        )
        logger.info("Head %s: validation accuracy %.3f.", name, best.val_accuracy)
    found = pd.DataFrame(rows)
    if settings.classifier.published:
        found = found.merge(published_heads(settings.classifier.published), on="version", how="left")
    write_table(output / "heads.csv", found)
    return found


def training_of(name: str, settings: TrainSettings) -> FineTuningSettings:
    """Return the training of a head.

    It is augmented if the published study trained that head so and the settings ask for it. In a recipe of that study
    it takes at most the epochs that the head had there.
    """
    variant, training = VARIANTS[name], settings.fine_tuning.changed(head=name)
    if not variant.augmentation:
        training = training.changed(augmentation=None, views=0)
    if settings.classifier.published is None:
        return training
    frozen, tuned = variant.study_epochs
    return training.changed(
        frozen_epochs=min(frozen, training.frozen_epochs),
        tuned_epochs=min(tuned, training.tuned_epochs),
    )


def published_heads(study: str) -> pd.DataFrame:
    """Return a published study's metrics by version, as published_accuracy, published_loss and so on."""
    with (files("aisles.experiments") / "published" / f"{study}_heads.csv").open() as file:
        table = pd.read_csv(file)
    metrics = ["accuracy", "loss", "val_accuracy", "val_loss"]
    return table.loc[:, ["version", *metrics]].rename(columns={name: f"published_{name}" for name in metrics})


def _yes(value: bool) -> str:
    return "yes" if value else "no"
