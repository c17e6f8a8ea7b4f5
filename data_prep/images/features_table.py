"""Features that were computed elsewhere, in place of images: `.npz` or `.parquet`, one row per image."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.io.arrays import read_arrays
from aisles.data_prep.io.errors import DataError

from .columns import complete_table, with_labels_from
from .manifest import Manifest
from .scan import ImageScan

SUFFIXES = (".npz", ".parquet")
_WHAT = "A features table has `features` (n, d) and `label`; file_name, product, split, coarse columns if there are."


@dataclass(frozen=True, eq=False)
class FeaturesTable:
    """A manifest and one feature vector for each of its rows.

    Attributes
    ----------
    manifest : Manifest
    vectors : ndarray of float32 of shape (n, d)
    scan : ImageScan
        All rows are readable; each one's hash is that of its vector.
    """

    manifest: Manifest
    vectors: np.ndarray
    scan: ImageScan

    def vectors_of(self, manifest: Manifest) -> np.ndarray:
        """Return the vectors of some of the rows, in a manifest's order."""
        place = pd.Index(self.manifest.table["file_name"]).get_indexer(pd.Index(manifest.table["file_name"]))
        return self.vectors[place]


def is_features_table(path: str | Path) -> bool:
    """Return whether a path names a features table."""
    return Path(path).suffix.lower() in SUFFIXES


def read_features_table(path: str | Path, *, label_column: str = "label") -> FeaturesTable:
    """Read a features table.

    Parameters
    ----------
    path : path
        `.npz`: arrays `features` (n, d) and `label` (n,), further arrays (n,) are columns. `.parquet`: a column
        `features` of lists, further columns as in a manifest.
    label_column : str
        The column with the class.

    Raises
    ------
    DataError
        If the file can't be read, rows don't fit, or a feature is not finite.
    """
    path = Path(path)
    try:
        columns = read_arrays(path) if path.suffix.lower() == ".npz" else _read_parquet(path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} can't be read: {error}. {_WHAT}") from error
    vectors = np.asarray(columns.pop("features", None))
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or label_column not in columns:
        raise DataError(
            f"{path}: features must be numbers of shape (n, d), beside {label_column!r}. Received: {vectors.shape} and "
            f"{sorted(columns)}. {_WHAT}"
        )
    odd = {
        name: np.shape(values) for name, values in columns.items() if np.shape(values) != vectors.shape[:1]
    }
    if odd:
        raise DataError(
            f"{path}: every column must have one value per row of {vectors.shape}. Received: {odd}."
        )
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: {len(bad):,} rows have NaN or infinite features, the first is row {bad[0]}."
        )
    table = pd.DataFrame({name: pd.Series(values).astype(str) for name, values in columns.items()})
    table = with_labels_from(table, label_column, str(path))
    if "file_name" not in table:
        table = table.assign(file_name=[f"row-{row}" for row in range(len(table))])
    table, notes, warnings = complete_table(table, str(path))
    hashes = np.array([hashlib.sha256(row.tobytes()).hexdigest() for row in vectors], dtype=object)
    return FeaturesTable(
        Manifest(table, path.parent, tuple(notes)).with_warnings(*warnings), vectors, _all_readable(hashes)
    )


def _all_readable(hashes: np.ndarray) -> ImageScan:
    nothing = pd.DataFrame({"file_name": [], "label": [], "reason": []}, dtype=str)
    return ImageScan(
        readable=np.ones(len(hashes), dtype=bool),
        sha256=hashes,
        reasons=nothing,
        leaks=pd.DataFrame(),
        tiny=np.zeros(len(hashes), dtype=bool),
    )


def _read_parquet(path: Path) -> dict:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise DataError(
            "Parquet files need pyarrow: pip install 'aisles[parquet]', or write an .npz."
        ) from error
    columns = {str(name): frame[name].to_numpy() for name in frame}
    return columns | {"features": np.stack(list(columns["features"]))}
