"""A judgement's folder: metrics, answers, discordant images and the report."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.tables import write_table
from aisles.experiments.report.writing import ReportFiles, write_document
from aisles.experiments.runs.writer import run_folder, write_metrics

from .document import judgement_document
from .judgement import Judgement

logger = logging.getLogger(__name__)


@contextmanager
def judgement_folder(folder: Path) -> Iterator[None]:
    """Make the folder, or refuse one that holds something else; if nothing comes of it, none is left.

    Raises
    ------
    DataError
        If it holds a run of another kind.
    OSError
        If it can't be written.
    """
    if (folder / "settings.toml").exists():
        raise DataError(f"{folder} holds a benchmark or a training run. Choose another folder.")
    with run_folder(folder):
        yield


def write_judgement(judged: Judgement, folder: Path, *, images: Path | None = None) -> ReportFiles:
    """Write a judgement.

    Parameters
    ----------
    judged : Judgement
    folder : Path
        Gets `metrics.json`, `predictions.csv` (every answer; `aisles compare` reads it again), `discordant.csv`,
        `hierarchy.json` if there is one, and the report with its tables and plots.
    images : Path, optional
        Where file names are seen from; photographs that are there stand in the report.
    """
    write_metrics(folder, judged.metrics)
    write_table(folder / "predictions.csv", answers_table(judged))
    write_table(folder / "discordant.csv", judged.discordant())
    if judged.systems.hierarchy is not None:
        judged.systems.hierarchy.write(folder / "hierarchy.json")
    return write_document(judgement_document(judged, folder.resolve().name, images), folder, "report")


def answers_table(judged: Judgement) -> pd.DataFrame:
    """Return every system's answers, one row per system, seed and image: a predictions table of all of them."""
    systems = judged.systems
    classes = pd.Index(systems.classes, dtype=object)
    facts = {
        "file_name": systems.names,
        "truth": pd.Categorical.from_codes(systems.truth, categories=classes),
    }
    if systems.products is not None:
        names = pd.Index(systems.product_names, dtype=object)
        facts["product"] = pd.Categorical.from_codes(systems.products, categories=names)
    parts = [
        pd.DataFrame(
            facts
            | ({"seed": seed} if seed else {})
            | {"method": name, "answer": pd.Categorical.from_codes(np.asarray(row), categories=classes)}
        )
        for name, given in systems.answers.items()
        for seed, row in zip(systems.seeds, given, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)
