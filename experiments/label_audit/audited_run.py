"""The label audit of a run: its manifest's photographs judged out of fold, and its methods without the suspects."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.abo.contact_page import write_contact_sheets
from aisles.data_prep.abo.contact_sheet import SUREST, SUSPECTED, SheetImage
from aisles.data_prep.images.manifest import Manifest, read_manifest
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import whole_file, write_whole
from aisles.data_prep.io.tables import write_csv
from aisles.experiments.runs.reader import Run, read_run

from .confident_learning import (
    AccuracyWithout,
    OutOfFold,
    Suspects,
    accuracy_without,
    out_of_fold_probs,
    suspect_labels,
)

logger = logging.getLogger(__name__)
_MOST_SURE = 8
"""Images shown of each class that the models are surest of, to compare suspects with."""


@dataclass(frozen=True, eq=False)
class LabelAudit:
    """What an audit found.

    Attributes
    ----------
    folder : Path
        With `suspects.csv`, `audit.json` and `sheets/index.html`.
    suspects : DataFrame
        file_name, label, suggested, p_label, p_suggested, margin, split, product; the most suspicious first.
    facts : dict
        As `audit.json` holds it.
    """

    folder: Path
    suspects: pd.DataFrame
    facts: dict[str, Any]

    def summary(self) -> str:
        """Return in a few lines what was found and where to look."""
        splits = ", ".join(
            f"{part['n_suspected']} of {part['n_images']} {split}"
            for split, part in self.facts["splits"].items()
        )
        lines = [f"{len(self.suspects)} labels look wrong: {splits}."]
        for name, part in self.facts["methods"].items():
            lines.append(
                f"{name}: accuracy {part['all_images']:.4f}, without the suspected test images {part['without']:.4f}"
            )
        sheets = self.folder / "sheets" / "index.html"
        return "\n".join([*lines, f"Look at {sheets if sheets.exists() else self.folder}."])


def audit_run(
    run_folder: str | Path,
    features: np.ndarray | None = None,
    *,
    output: str | Path | None = None,
    cache: str | Path | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> LabelAudit:
    """Find the suspected labels of a run's photographs, all splits together.

    Parameters
    ----------
    run_folder : path
        What `run_benchmark` wrote.
    features : ndarray of shape (n_images, dimension), optional
        Of the manifest's images in its order; extracted (or taken from the cache) by the run's backbone unless given.
    output : path, optional
        The run folder's `audit` unless given; there the report finds it.
    cache : path, optional
        Folder of cached features.
    n_folds, seed : int
        As for `out_of_fold_probs`.

    Returns
    -------
    LabelAudit

    Raises
    ------
    DataError
        If the folder is no finished run.
    """
    run = read_run(run_folder)
    manifest = read_manifest(run.folder / "manifest.csv")
    _check_test_images(run, manifest)
    if features is None:
        features = _features(run, manifest, cache)
    found = out_of_fold_probs(features, manifest.labels, manifest.products, n_folds=n_folds, seed=seed)
    suspects = suspect_labels(found)
    folder = Path(output) if output is not None else run.folder / "audit"
    table = suspect_table(manifest, found, suspects)
    facts = _facts(run, manifest, found, suspects) | {"n_folds": n_folds, "seed": seed}
    with whole_file(folder / "suspects.csv") as part:
        write_csv(part, table, "%.4g")
    write_whole(folder / "audit.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    if len(suspects):
        title = f"{len(suspects)} suspected labels; score: probability of the suggested class less that of the label"
        sheets = _images(manifest, found, suspects)
        write_contact_sheets(sheets, folder / "sheets", title, (SUSPECTED, SUREST))
    return LabelAudit(folder, table, facts)


def suspect_table(manifest: Manifest, found: OutOfFold, suspects: Suspects) -> pd.DataFrame:
    """List the suspects with both classes' probabilities, the most suspicious first."""
    rows, classes = suspects.rows, np.array(found.classes, dtype=object)
    return pd.DataFrame(
        {
            "file_name": manifest.table["file_name"].to_numpy(dtype=object)[rows],
            "label": classes[found.given[rows]],
            "suggested": classes[suspects.suggested],
            "p_label": found.probs[rows, found.given[rows]],
            "p_suggested": found.probs[rows, suspects.suggested],
            "margin": suspects.margin,
            "split": manifest.splits[rows],
            "product": manifest.products[rows],
        }
    )


def _check_test_images(run: Run, manifest: Manifest) -> None:
    if list(manifest.labels[manifest.splits == "test"]) != list(run.labels):
        raise DataError(
            f"manifest.csv and predictions.csv of {run.folder} list different test images. Run the benchmark again."
        )


def _features(run: Run, manifest: Manifest, cache: str | Path | None) -> np.ndarray:
    from aisles.experiments.settings.benchmark import BackboneSettings
    from aisles.models.backbones.registry import build_backbone, in_precision
    from aisles.models.features import extract

    if "backbone" not in run.settings:
        raise DataError(
            f"The run in {run.folder} has a backbone of its own, {run.metrics['backbone']}, "
            "which can't be built from here. Extract its features in Python: audit_run(run, features)."
        )
    settings = BackboneSettings(**run.settings["backbone"])
    backbone = build_backbone(
        settings.name,
        weights=settings.weights,
        input_size=settings.input_size,
        color=settings.color,
        fit=settings.fit,
    )
    backbone = in_precision(backbone, settings.precision)
    return extract(backbone, manifest.paths, cache=cache, batch_size=settings.batch_size).vectors


def _facts(run: Run, manifest: Manifest, found: OutOfFold, suspects: Suspects) -> dict[str, Any]:
    suspected = np.zeros(len(manifest), dtype=bool)
    suspected[suspects.rows] = True
    test = manifest.splits == "test"
    return {
        "n_images": len(manifest),
        "n_suspected": len(suspects),
        "not_judged": int((~found.judged).sum()),
        "agreement": float(found.agrees.mean()),
        "splits": {
            split: _plain(accuracy_without(found.agrees[here], suspected[here]))
            for split in ("train", "val", "test")
            if (here := manifest.splits == split).any()
        },
        "methods": {
            name: _plain(accuracy_without(run.correct(name), suspected[test])) for name in run.answers_by
        },
    }


def _plain(accuracy: AccuracyWithout) -> dict[str, float | int | None]:
    return {key: None if value != value else value for key, value in asdict(accuracy).items()}


def _images(manifest: Manifest, found: OutOfFold, suspects: Suspects) -> dict[str, list[SheetImage]]:
    """Give, for each class with suspects, those, and the images that the models are surest of."""
    paths, classes = manifest.paths, found.classes
    own = found.probs[np.arange(len(found.given)), found.given]
    images: dict[str, list[SheetImage]] = {}
    for row, suggested, margin in zip(suspects.rows, suspects.suggested, suspects.margin, strict=True):
        label = classes[found.given[row]]
        image = SheetImage(paths[row], float(margin), SUSPECTED, f"{classes[suggested]}?")
        images.setdefault(label, []).append(image)
    for label, members in images.items():
        doubted = {str(image.path) for image in members}
        same = np.flatnonzero(found.given == classes.index(label))
        sure = [row for row in same[np.argsort(-own[same], kind="stable")] if str(paths[row]) not in doubted]
        members += [SheetImage(paths[row], float(own[row]), SUREST) for row in sure[:_MOST_SURE]]
    return images
