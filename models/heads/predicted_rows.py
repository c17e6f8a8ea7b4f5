"""Probabilities of some of the images: what a head says of those that were asked for, in memory or on disk."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LARGE = 64 * 2**20
"""Bytes from which on a table stays on disk, and only the parts that are looked at come into memory."""


@dataclass(frozen=True, eq=False)
class PredictedRows:
    """Probabilities of some of the images, asked for by row numbers of all images.

    Attributes
    ----------
    rows : ndarray of int of shape (n_rows,)
        Increasing.
    table : ndarray of shape (n_rows, n_labels)
    """

    rows: np.ndarray
    table: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities of some of the rows, (n, n_labels).

        Raises
        ------
        IndexError
            If one of them was not predicted.
        """
        if np.array_equal(rows, self.rows):
            return self.table
        place = np.minimum(np.searchsorted(self.rows, rows), max(len(self.rows) - 1, 0))
        if len(rows) and not (len(self.rows) and np.array_equal(self.rows[place], rows)):
            raise IndexError(
                "Of validation and test images alone is known what this head says. Ask for those."
            )
        return self.table[place]


Table = np.ndarray | PredictedRows


def of_rows(rows: np.ndarray | None, table: np.ndarray) -> Table:
    """Return a table of all images as it is (rows: None), or one of some of them."""
    return table if rows is None else PredictedRows(rows, table)


def save_table(table: Table, folder: Path, name: str) -> None:
    """Write a table into a folder, as float32."""
    if isinstance(table, PredictedRows):
        np.save(folder / f"{name}-rows.npy", table.rows)
        table = table.table
    np.save(folder / f"{name}.npy", table.astype(np.float32, copy=False))


def load_table(folder: Path, name: str) -> Table:
    """Read a table that `save_table` wrote.

    Raises
    ------
    OSError, ValueError
        If a file is gone or damaged.
    """
    table, rows = array_of(folder / f"{name}.npy"), folder / f"{name}-rows.npy"
    return PredictedRows(np.load(rows, allow_pickle=False), table) if rows.is_file() else table


def array_of(path: Path) -> np.ndarray:
    """Read an array; a large one stays on disk and can't be written to."""
    mode = "r" if path.stat().st_size > LARGE else None
    return np.load(path, mmap_mode=mode, allow_pickle=False)
