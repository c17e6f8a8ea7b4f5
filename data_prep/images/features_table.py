"""Features that were computed elsewhere, in place of images: `.npz`, `.parquet` or arrays, one row per image."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    coarse : tuple of DataFrame and ndarray, or None
        Rows of which a macro-category is known (as `label`) and no class, with their vectors.
    """

    manifest: Manifest
    vectors: np.ndarray
    scan: ImageScan
    coarse: tuple[pd.DataFrame, np.ndarray] | None = None

    @classmethod
    def from_arrays(
        cls,
        X: Any,
        y: Any,
        *,
        products: Any = None,
        splits: Any = None,
        file_names: Any = None,
        columns: Mapping[str, Any] | None = None,
        hierarchy_column: str | None = None,
    ) -> "FeaturesTable":
        """Make a features table of arrays, lists or data frame columns, one entry per image.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features; finite.
        y : array-like of shape (n,)
            Classes, named by `str`.
        products : array-like of shape (n,), optional
            The product on each image: no product is in two splits. Each image is its own unless given.
        splits : array-like of shape (n,), optional
            train, val or test; made by product unless given.
        file_names : array-like of shape (n,), optional
            Names of the images, each once; row-0, row-1, ... unless given.
        columns : mapping of str to array-like of shape (n,), optional
            Further columns.
        hierarchy_column : str, optional
            The further column with the macro-category. Rows that have one there and no class are `coarse`.

        Raises
        ------
        DataError
            If shapes don't fit, a class is missing, or a feature is not finite.
        """
        named = {"label": y, "product": products, "split": splits, "file_name": file_names, **(columns or {})}
        given = {name: np.asarray(values) for name, values in named.items() if values is not None}
        if hasattr(X, "toarray"):
            X = X.toarray()
        return _table(given | {"features": np.asarray(X)}, "X", Path(), "label", hierarchy_column)

    def vectors_of(self, manifest: Manifest) -> np.ndarray:
        """Return the vectors of some of the rows, in a manifest's order."""
        place = pd.Index(self.manifest.table["file_name"]).get_indexer(pd.Index(manifest.table["file_name"]))
        return self.vectors[place]


def is_features_table(path: str | Path) -> bool:
    """Return whether a path names a features table."""
    return Path(path).suffix.lower() in SUFFIXES


def read_features_table(
    path: str | Path, *, label_column: str = "label", hierarchy_column: str | None = None
) -> FeaturesTable:
    """Read a features table.

    Parameters
    ----------
    path : path
        `.npz`: arrays `features` (n, d) and `label` (n,), further arrays (n,) are columns. `.parquet`: a column
        `features` of lists, further columns as in a manifest.
    label_column : str
        The column with the class.
    hierarchy_column : str, optional
        The column with the macro-category. Rows that have one there and no class are `FeaturesTable.coarse`.

    Raises
    ------
    DataError
        If the file can't be read, rows don't fit, or a feature is not finite.
    """
    path = Path(path)
    try:
        columns = read_arrays(path) if path.suffix.lower() == ".npz" else _read_parquet(path)
    except DataError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} can't be read: {error}. {_WHAT}") from error
    return _table(columns, str(path), path.parent, label_column, hierarchy_column)


def _table(
    columns: dict[str, np.ndarray],
    source: str,
    root: Path,
    label_column: str,
    hierarchy_column: str | None = None,
) -> FeaturesTable:
    vectors = np.asarray(columns.pop("features", None))
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or label_column not in columns:
        raise DataError(
            f"{source}: features must be numbers of shape (n, d), beside {label_column!r}. Received: "
            f"{vectors.dtype} of shape {vectors.shape} and {sorted(columns)}. {_WHAT}"
        )
    odd = {
        name: np.shape(values) for name, values in columns.items() if np.shape(values) != vectors.shape[:1]
    }
    if odd:
        raise DataError(
            f"{source}: every column must have one value per row of {vectors.shape}. Received: {odd}."
        )
    with np.errstate(over="ignore"):  # what float32 can't hold is infinite, and refused
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            f"{source}: {len(bad):,} rows have NaN or infinite features, the first is row {bad[0]}."
        )
    unnamed = pd.isna(pd.Series(columns[label_column])).to_numpy()
    if hierarchy_column in columns:
        unnamed = unnamed & pd.isna(pd.Series(columns[hierarchy_column])).to_numpy()
    unnamed = np.flatnonzero(unnamed)
    if len(unnamed):
        raise DataError(
            f"{source}: {len(unnamed):,} rows have no class, the first is row {unnamed[0]}. Name it, or leave them out."
        )
    table = pd.DataFrame({name: _as_text(values) for name, values in columns.items()})
    table = with_labels_from(table, label_column, source)
    if "file_name" not in table:
        table = table.assign(file_name=[f"row-{row}" for row in range(len(table))])
    coarse = None
    if hierarchy_column is not None and hierarchy_column in table:
        alone = np.asarray(
            (table["label"].str.strip() == "") & (table[hierarchy_column].str.strip() != ""), dtype=bool
        )
        if alone.any():
            rows = table.loc[alone].reset_index(drop=True)
            named = complete_table(rows.assign(label=rows[hierarchy_column]), source).table
            coarse = named, vectors[alone]
            table, vectors = table.loc[~alone].reset_index(drop=True), vectors[~alone]
    table, notes, warnings = complete_table(table, source)
    hashes = np.array([hashlib.sha256(row.tobytes()).hexdigest() for row in vectors], dtype=object)
    manifest = Manifest(table, root, tuple(notes)).with_warnings(*warnings)
    return FeaturesTable(manifest, vectors, _all_readable(hashes), coarse)


def _as_text(values: np.ndarray) -> pd.Series:
    """Write a column as text, missing values as nothing."""
    column = pd.Series(values)
    return column.astype(str).where(column.notna(), "")


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
            "Parquet files need pyarrow: python -m pip install '.[parquet]', or write an .npz."
        ) from error
    columns = {str(name): frame[name].to_numpy() for name in frame}
    return columns | {"features": np.stack(list(columns["features"]))}
