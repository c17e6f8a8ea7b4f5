"""The published comparison of heads, on any images: each variant trained in both phases on the same start."""

import logging
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pandas as pd

from ..data_prep.tables import write_table
from ..models.heads import HEADS
from ..models.trunks import ImageTable, TrunkTrainer
from .image_runs import start_backbone
from .image_settings import TrainSettings
from .preparation import prepare_data
from .study import make_run_folder

logger = logging.getLogger(__name__)


def ablate_heads(
    data: str | Path,
    output: str | Path,
    settings: TrainSettings | None = None,
    *,
    heads: tuple[str, ...] = tuple(HEADS),
    cache: str | Path | None = None,
    backbone=None,
) -> pd.DataFrame:
    """Train a flat model with each head.

    Parameters
    ----------
    data : path
        A manifest or a folder of class folders.
    output : path
        The run folder; `heads.csv` and one folder a head. Run again, it goes on where it stopped.
    settings : TrainSettings, optional
        Augmentation is used for the heads that the study trained with it.
    heads : tuple of str
        Keys of `aisles.models.heads.HEADS`.
    cache : path, optional
        Folder of cached features.
    backbone : Backbone, optional
        One of your own.

    Returns
    -------
    DataFrame
        The published table's columns: version, dense_units, augmentation, batch_norm, dropout, then accuracy, loss,
        val_accuracy, val_loss of the epoch with the lowest validation loss; with published figures beside them
        where the settings name a study.
    """
    settings, output = settings or TrainSettings(), Path(output)
    make_run_folder(output)
    prepared = prepare_data(data, settings.data)
    backbone = backbone or start_backbone(settings)
    table = ImageTable.of(prepared.manifest, prepared.sha256)
    rows = []
    for name in heads:
        training = training_of(name, settings)
        trainer = TrunkTrainer(backbone, table, training, output / name, settings.classifier.seed, cache)
        epochs = trainer.tuned_flat().epochs
        best = min(epochs, key=lambda epoch: epoch.val_loss)
        rows.append(
            {
                "version": name,
                "dense_units": "+".join(map(str, HEADS[name].dense_units)),
                "augmentation": _yes(training.augmentation is not None),
                "batch_norm": _yes(HEADS[name].batch_norm),
                "dropout": _yes(HEADS[name].dropout > 0),
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


def training_of(name: str, settings: TrainSettings):
    """Give the training of a head: with augmentation if the study trained that head with it and the settings do."""
    training = settings.training
    if not HEADS[name].augmentation:
        return replace(training, head=name, augmentation=None, views=0)
    return replace(training, head=name)


def published_heads(study: str) -> pd.DataFrame:
    """Give a study's figures by version, as published_accuracy, published_loss and so on."""
    with (files("aisles.experiments") / "published" / f"{study}_heads.csv").open() as file:
        table = pd.read_csv(file)
    figures = ["accuracy", "loss", "val_accuracy", "val_loss"]
    return table.loc[:, ["version", *figures]].rename(columns={name: f"published_{name}" for name in figures})


def _yes(value: bool) -> str:
    return "yes" if value else "no"
