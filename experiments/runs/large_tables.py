"""Tables too large for the memory: what a method says of many images and classes stays on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from aisles.experiments.methods.registry import MethodResult
from aisles.models.heads.predicted_rows import LARGE, array_of

from .predictions import file_name_of

TABLES = ("probs", "val_probs", "inside")


def on_disk(result: MethodResult, folder: Path, name: str) -> MethodResult:
    """Return a method's result with its large tables on disk, as float32; they come into memory as they are read.

    Parameters
    ----------
    result : MethodResult
    folder : Path
        Where they are written, to be deleted with the last user of the result.
    name : str
        The method's.
    """
    known = {key: getattr(result, key) for key in TABLES}
    tables = {key: table for key, table in known.items() if table is not None and table.size * 4 > LARGE}
    return replace(
        result, **{key: table_on_disk(table, folder, f"{name}-{key}") for key, table in tables.items()}
    )


def table_on_disk(table: np.ndarray, folder: Path, name: str) -> np.ndarray:
    """Write a table, as float32, and return it as it lies on disk; a small one comes back as it is."""
    if table.size * 4 <= LARGE:
        return table
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_name_of(name)}.npy"
    np.save(path, table.astype(np.float32, copy=False))
    return array_of(path)
