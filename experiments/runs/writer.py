"""What a run writes into its folder, apart from stages and predictions."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aisles.data_prep.images.manifest import write_manifest
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import write_whole
from aisles.data_prep.io.tables import write_table
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.settings.writing import write_settings
from aisles.hierarchy.dendrogram import draw_dendrogram

from .schema import RESULTS, Metrics, check_metrics

if TYPE_CHECKING:  # it brings TensorFlow, which a judgement of predictions does without
    from aisles.experiments.benchmark.preparation import FoundHierarchy, PreparedData

logger = logging.getLogger(__name__)


def check_apart(data: Path, output: Path) -> None:
    """Refuse a run folder among the class folders, where its images would be taken for a class.

    Raises
    ------
    DataError
        If `output` lies inside the folder of class folders `data`.
    """
    listed = not data.is_dir() or (data / "metadata.csv").is_file()
    if not listed and output.resolve().is_relative_to(data.resolve()):
        raise DataError(
            f"The run folder {output} lies inside the data folder {data}, where it would be taken for a class. "
            "Choose an --output outside."
        )


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


@contextmanager
def run_folder(output: Path) -> Iterator[None]:
    """Make the run folder; if what is done in it fails before it leaves anything, remove the folder again.

    Raises
    ------
    OSError
        If the folder can't be written.
    """
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    make_run_folder(output)
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that a person can read, whole or not at all."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n")


def write_metrics(folder: Path, content: Mapping[str, Any]) -> Metrics:
    """Write `metrics.json` if it has the shape that `schema` says.

    Parameters
    ----------
    folder : Path
    content : mapping
        Numbers may be numpy's, and lists tuples.

    Returns
    -------
    dict
        What `reader.read_metrics` reads from the file.

    Raises
    ------
    ValueError
        Naming what is missing, unknown or of another type; nothing is written then.
    """
    metrics = check_metrics(json.loads(json.dumps(content, default=_plain)))
    write_json(folder / "metrics.json", metrics)
    return metrics


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def log_counts(prepared: "PreparedData") -> None:
    """Return in words how many images there are."""
    counts = {split: len(prepared.rows(split)) for split in ("train", "val", "test")}
    logger.info(
        "%d images of %d classes: %s.",
        len(prepared.manifest),
        len(prepared.manifest.classes),
        ", ".join(f"{count} {split}" for split, count in counts.items()),
    )


def remove_results(output: Path) -> None:
    """Remove what another run found, `metrics.json` first, so that no folder tells of two runs."""
    for name in RESULTS:
        if (output / name).is_dir():
            shutil.rmtree(output / name)
        else:
            (output / name).unlink(missing_ok=True)


def write_inputs(
    output: Path,
    settings: BenchmarkSettings,
    prepared: "PreparedData",
    found: "FoundHierarchy",
    facts: Mapping[str, str],
    *,
    named: bool = True,
    command: str | None = None,
) -> None:
    """Write what a run starts from: settings, inputs, images, hierarchy and tree.

    The settings' backbone is left out unless the run uses the one that they name (`named`). The command is told at
    the top of the settings.
    """
    notes = [f"Written by: {command}"] if command else []
    write_settings(output / "settings.toml", settings, notes=notes, without=() if named else ("backbone",))
    write_json(output / "inputs.json", facts)
    write_manifest(prepared.manifest, output / "manifest.csv")
    write_table(output / "unreadable.csv", prepared.unreadable)
    write_table(output / "leaks.csv", prepared.leaks)
    found.hierarchy.write(output / "hierarchy.json")
    write_whole(output / "tree.json", found.tree.to_json())
    if not found.hierarchy.overlapping:
        draw_dendrogram(found.tree, found.hierarchy, output / "dendrogram")


def data_facts(prepared: "PreparedData") -> dict[str, Any]:
    """Return what a run says of its images."""
    return {
        "fingerprint": prepared.fingerprint,
        "test_images": test_images_hash(prepared),
        "images": {split: len(prepared.rows(split)) for split in ("train", "val", "test")},
        "products": len(set(prepared.manifest.products)),
        "unreadable": len(prepared.unreadable),
        "equal_files_across_splits_or_classes": len(prepared.leaks),
        "notes": list(prepared.manifest.notes),
        "warnings": list(prepared.manifest.warnings),
    }


def test_images_hash(prepared: "PreparedData") -> str:
    """Hash names, labels and bytes of the test images, whatever their order."""
    test, table = prepared.rows("test"), prepared.manifest.table
    facts = (table["file_name"].to_numpy(dtype=object), prepared.manifest.labels, prepared.sha256)
    rows = sorted(zip(*(map(str, column[test]) for column in facts), strict=True))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
