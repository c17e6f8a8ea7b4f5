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
    kept = {}
    for key in TABLES:
        table = getattr(result, key)
        if table is not None and table.size * 4 > LARGE:
            path = folder / f"{file_name_of(name)}-{key}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, table.astype(np.float32, copy=False))
            kept[key] = array_of(path)
    return replace(result, **kept)
