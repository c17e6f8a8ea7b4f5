"""Class embeddings: where the images of a class lie, as one direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_CONSTANT, _LEAST = 1e-6, 1e-12


@dataclass(frozen=True, eq=False)
class ClassEmbeddings:
    """One unit vector a class.

    Attributes
    ----------
    classes
        Sorted names, one a row.
    vectors
        Of shape (n_classes, n_features), float64, rows of length 1.
    """

    classes: tuple[str, ...]
    vectors: np.ndarray


def class_embeddings(features: np.ndarray, labels: Sequence[str] | np.ndarray) -> ClassEmbeddings:
    """Average the L2-normalised features of each class, and normalise the average.

    Only the direction of each image's features counts, so bright or busy images weigh no more than others
    (the mean direction of directional statistics; the class means of iCaRL, Rebuffi et al., CVPR 2017, are
    the same). Pass training images only.

    Parameters
    ----------
    features
        Of shape (n_images, n_features). Rows of zeros have no direction and count nothing.
    labels
        The class of each image.

    Raises
    ------
    ValueError
        If shapes disagree, there is no image, a feature is not finite, or a class has no direction.
    """
    rows = class_rows(features, labels)
    sums = np.stack([unit_rows(features[index]).sum(axis=0) for index in rows.values()])
    return embeddings_from_sums(tuple(rows), sums)


def centered_embeddings(
    features: Any, labels: Sequence[str] | np.ndarray, weights: np.ndarray | None = None
) -> ClassEmbeddings:
    """Average directions from the mean of all rows, for features of any origin, which need not be positive.

    A constant of 1e-6 of the largest deviation is appended to each row, so that a class in the very middle has a
    direction too: one that tells nothing.

    Parameters
    ----------
    features : ndarray or scipy sparse matrix of shape (n_rows, n_features)
        Missing values (nan) count as the mean of their column. Sparse ones are not made dense.
    labels
        The class of each row.
    weights : ndarray of shape (n_rows,), optional
        Of each row; a class whose weights are all 0 counts unweighted.

    Raises
    ------
    ValueError
        If shapes disagree.
    """
    from scipy import sparse

    rows = class_rows(features, labels)
    weights = np.ones(features.shape[0]) if weights is None else np.asarray(weights, dtype=np.float64)
    weighing = sparse.lil_matrix((len(rows), features.shape[0]))
    for position, index in enumerate(rows.values()):
        weighing[position, index] = weights[index] if weights[index].any() else 1.0
    weighing = weighing.tocsr()
    total = np.asarray(weighing.sum(axis=0)).ravel()
    counted = total > 0
    x = sparse.csr_matrix(features, dtype=np.float64) if sparse.issparse(features) else features
    mean = _column_means(x, total)
    if sparse.issparse(x):
        inside = x[counted]
        low, high = (
            np.asarray(value.todense()).ravel() for value in (inside.min(axis=0), inside.max(axis=0))
        )
        size = max(float(np.maximum(np.abs(low - mean), np.abs(high - mean)).max()), _LEAST)
        squares = np.asarray(x.multiply(x).sum(axis=1)).ravel() - 2 * (x @ mean) + mean @ mean
        lengths = np.sqrt(np.maximum(squares, 0) / size**2 + _CONSTANT**2)
        shares = weighing @ sparse.diags(1 / lengths)
        each = np.asarray(shares.sum(axis=1))
        sums = ((shares @ x).toarray() - each * mean) / size
    else:
        deviations = np.where(np.isnan(x), 0.0, x - mean)
        size = max(float(np.abs(deviations[counted]).max()), _LEAST)
        deviations /= size
        lengths = np.sqrt((deviations**2).sum(axis=1) + _CONSTANT**2)
        shares = weighing @ sparse.diags(1 / lengths)
        each = np.asarray(shares.sum(axis=1))
        sums = shares @ deviations
    return embeddings_from_sums(tuple(rows), np.c_[sums, _CONSTANT * each])


def _column_means(x: Any, weights: np.ndarray) -> np.ndarray:
    """Return each column's weighted mean of what isn't missing, 0 where all is; zeros of sparse rows count."""
    if not isinstance(x, np.ndarray):
        x.data = np.nan_to_num(x.data, copy=True)
        return (weights @ x) / weights.sum()
    known = ~np.isnan(x)
    if known.all():
        return (weights @ x) / weights.sum()
    present = weights @ known
    return (weights @ np.where(known, x, 0.0)) / np.where(present > 0, present, 1)


def class_rows(features: np.ndarray, labels: Sequence[str] | np.ndarray) -> dict[str, np.ndarray]:
    """Check features against labels; give for each class, in sorted order, the rows of its images."""
    names = np.asarray(labels, dtype=str)
    if features.ndim != 2 or features.shape[0] == 0 or names.shape != features.shape[:1]:
        raise ValueError(
            "`features` must be of shape (n_images, n_features) with one label a row and at least one row. "
            f"Received: features of shape {features.shape}, {names.size} labels."
        )
    classes, codes = np.unique(names, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))[:-1]
    return dict(zip(classes.tolist(), np.split(order, ends), strict=True))


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Divide each row by its length, in float64; rows of zeros stay."""
    features = np.asarray(features, dtype=np.float64)
    if not np.isfinite(features).all():
        raise ValueError(
            "`features` must be finite. Received: infinite or missing values. Extract the features again."
        )
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def embeddings_from_sums(classes: tuple[str, ...], sums: np.ndarray) -> ClassEmbeddings:
    """Normalise each class's sum of unit features, which points where the mean points."""
    lengths = np.linalg.norm(sums, axis=1)
    lost = [name for name, length in zip(classes, lengths, strict=True) if length <= 1e-12]
    if lost:
        raise ValueError(
            f"Every class needs features with a mean direction. Without: {lost}. Look at their images, or "
            "drop these classes."
        )
    return ClassEmbeddings(classes, sums / lengths[:, None])
