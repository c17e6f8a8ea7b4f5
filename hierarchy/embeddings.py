"""Class embeddings: where the images of a class lie, as one direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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


def class_rows(features: np.ndarray, labels: Sequence[str] | np.ndarray) -> dict[str, np.ndarray]:
    """Check features against labels; give for each class, in sorted order, the rows of its images."""
    names = np.asarray(labels, dtype=str)
    if features.ndim != 2 or len(features) == 0 or names.shape != (len(features),):
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
