"""Tables of distributions: refusing what is none, and sums that no batch can change."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SUM_TOLERANCE = 1e-3


def check_distributions(
    probs: ArrayLike, name: str, n_columns: int | None, block: np.ndarray | None = None
) -> np.ndarray:
    """Turn into float64 and refuse what is no table of distributions.

    Parameters
    ----------
    probs
        Of shape (n, n_columns).
    name
        What error messages call it.
    n_columns
        The number of columns that it must have; None takes any.
    block
        For each column the block it belongs to, each of which must sum to 1; None means one block.

    Raises
    ------
    ValueError
        On another shape, a value that is negative or not finite, or a sum that is off by more than 1e-3.
    """
    array = np.asarray(probs, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0 or (n_columns is not None and array.shape[1] != n_columns):
        columns = "n_columns" if n_columns is None else n_columns
        raise ValueError(f"`{name}` must be of shape (n_images, {columns}). Received: shape {array.shape}.")
    if not np.isfinite(array).all() or (array < 0).any():
        row = int(np.argmax((~np.isfinite(array) | (array < 0)).any(axis=1)))
        raise ValueError(f"`{name}` must hold probabilities of 0 or more. Row {row} starts {array[row][:6]}.")
    block = np.zeros(array.shape[1], dtype=np.intp) if block is None else block
    sums = sum_columns(array, block, int(block.max()) + 1)
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        row, of = (int(value) for value in np.argwhere(off)[0])
        where = f"row {row}" if sums.shape[1] == 1 else f"row {row}, macro {of}"
        raise ValueError(
            f"`{name}` must sum to 1 (within {SUM_TOLERANCE}) in each row and block. "
            f"The sum in {where} is {sums[row, of]:.6g}. Pass softmax outputs, not logits."
        )
    return array


def check_same_images(**arrays: np.ndarray) -> None:
    """Refuse tables of different numbers of rows."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"All distributions must be of the same images. Received numbers of rows: {lengths}."
        )


def sum_columns(values: np.ndarray, target: np.ndarray, n_targets: int) -> np.ndarray:
    """Add column j of `values` to column target[j], one after another: no order that a batch could change."""
    result = np.zeros((len(values), n_targets))
    for column, to in enumerate(target.tolist()):
        result[:, to] += values[:, column]
    return result


def row_sums(values: np.ndarray) -> np.ndarray:
    """Sum each row, of shape (n, 1)."""
    return sum_columns(values, np.zeros(values.shape[1], dtype=np.intp), 1)


def among_top(truth: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Return whose true class is among the k most probable, and is not impossible, as bool (n,).

    Parameters
    ----------
    truth
        Columns of `scores`, of shape (n,).
    scores
        Probabilities or any score, of shape (n, n_columns). On equal scores the column that comes first wins, as with
        argmax. Where all scores of a row are 0 or more, a true class of exactly 0 is never among them: it would fill up
        the k in alphabetical order.
    k
        At least 1; from n_columns on the answer is true.
    """
    of_truth = scores[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(scores.shape[1]) < truth[:, None]
    ahead = (scores > of_truth) | ((scores == of_truth) & earlier)
    impossible = (of_truth[:, 0] == 0) & (scores >= 0).all(axis=1) & (k < scores.shape[1])
    return (ahead.sum(axis=1) < k) & ~impossible
