"""How good one system's answers are, and what changes from one system to the next. Pure functions of arrays.

Classes are columns in the order of `hierarchy.classes`: `truth` and `answers` hold indices into it. What
needs the hierarchy is in `hierarchy_metrics` (budget, ceilings, distances) and `confusion_forecast`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score

from aisles.hierarchy.distributions import among_top

ZERO: Any = 0.0
"""What scikit-learn gives where nothing can be divided by; its type there names only text."""


@dataclass(frozen=True, eq=False)
class ClassTable:
    """Precision, recall, F1 and support of every class; all arrays of shape (n_classes,).

    Attributes
    ----------
    names : tuple of str
        In the order of the class indices.
    precision, recall, f1 : ndarray of float
        0.0 where nothing was answered, or nothing is true.
    support : ndarray of int
        Images whose truth is the class.
    """

    names: tuple[str, ...]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    support: npt.NDArray[np.int64]

    def rows(self) -> list[dict[str, str | float | int]]:
        """Return one plain record per class, in class order: class, precision, recall, f1, support."""
        columns = (self.precision, self.recall, self.f1, self.support)
        return [
            dict(zip(("class", "precision", "recall", "f1", "support"), row, strict=True))
            for row in zip(self.names, *(column.tolist() for column in columns), strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Changes:
    """Images that only b gets right (corrected) or only a (broken), overall and per true class.

    Attributes
    ----------
    n_images : int
        All images.
    corrected_images, broken_images : ndarray of int
        Their rows, in increasing order.
    corrected_per_class, broken_per_class : ndarray of int of shape (n_classes,)
        Counted by true class.
    """

    n_images: int
    corrected_images: npt.NDArray[np.int64]
    broken_images: npt.NDArray[np.int64]
    corrected_per_class: npt.NDArray[np.int64]
    broken_per_class: npt.NDArray[np.int64]

    @property
    def corrected(self) -> int:
        """How many images only b gets right."""
        return len(self.corrected_images)

    @property
    def broken(self) -> int:
        """How many images only a gets right."""
        return len(self.broken_images)

    @property
    def difference(self) -> float:
        """Accuracy of b minus accuracy of a: (corrected - broken) / n_images."""
        return (self.corrected - self.broken) / self.n_images


def accuracy(truth: npt.ArrayLike, answers: npt.ArrayLike) -> float:
    """Return the share of right answers.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class (or macro) indices of the same images.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If there is no image, lengths differ, or an index is negative or no whole number.
    """
    true, answered = checked_answers(truth, answers)
    return float((true == answered).mean())


def top_k_accuracy(truth: npt.ArrayLike, probs: npt.ArrayLike, k: int = 5) -> float:
    """Return the share of images whose true class is among the k most probable, and is not impossible.

    Parameters
    ----------
    truth : array-like of int of shape (n_images,)
        Class indices.
    probs : array-like of shape (n_images, n_classes)
        Probabilities or any score. On equal scores the class that comes first wins, as with argmax. Where all scores
        of a row are probabilities with zeros among them, a true class of exactly 0 is never counted: it would fill up
        the k in alphabetical order.
    k : int
        At least 1; from n_classes on the answer is 1.0.

    Returns
    -------
    float
        In [0, 1]. k = 1 is the accuracy of argmax.

    Raises
    ------
    ValueError
        If the arrays do not fit or `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1. Received: k={k}.")
    true, scores = checked_scores(truth, probs)
    return float(among_top(true, scores, k).mean())


def balanced_accuracy(truth: npt.ArrayLike, answers: npt.ArrayLike) -> float:
    """Return the mean recall over the classes that occur in `truth`.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class indices of the same images.

    Returns
    -------
    float
        In [0, 1]; as scikit-learn's `balanced_accuracy_score`.
    """
    true, answered = checked_answers(truth, answers)
    return float(recall_score(true, answered, labels=np.unique(true), average="macro"))


def macro_f1(truth: npt.ArrayLike, answers: npt.ArrayLike) -> float:
    """Return the mean F1 over the classes that occur in `truth` or in `answers`.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class indices of the same images.

    Returns
    -------
    float
        In [0, 1]; as scikit-learn's `f1_score(average="macro")`. F1 = 2 right / (true + answered).
    """
    true, answered = checked_answers(truth, answers)
    return float(f1_score(true, answered, average="macro"))


def class_table(truth: npt.ArrayLike, answers: npt.ArrayLike, names: Sequence[str]) -> ClassTable:
    """Return every class's precision, recall, F1 and support, as scikit-learn's `classification_report`.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Indices into `names`.
    names : sequence of str
        Class names in index order.

    Returns
    -------
    ClassTable
        In the order of `names`; 0.0 where a share has nothing to divide by.

    Raises
    ------
    ValueError
        If an index has no name.
    """
    true, answered = checked_answers(truth, answers, len(names))
    parts = precision_recall_fscore_support(true, answered, labels=range(len(names)), zero_division=ZERO)
    precision, recall, f1, support = (np.asarray(part) for part in parts)
    support = support.astype(np.int64)  # scikit-learn counts in floats where no answer is right
    return ClassTable(tuple(names), precision, recall, f1, support)


def confusion(truth: npt.ArrayLike, answers: npt.ArrayLike, n_classes: int) -> npt.NDArray[np.int64]:
    """Count images by true class (row) and answered class (column).

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class indices of the same images.
    n_classes : int
        Rows and columns of the result.

    Returns
    -------
    ndarray of int of shape (n_classes, n_classes)
        Sums to n_images.

    Raises
    ------
    ValueError
        If an index is not below `n_classes`.
    """
    true, answered = checked_answers(truth, answers, n_classes)
    cells = np.bincount(true * n_classes + answered, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes)


def corrected_and_broken(
    truth: npt.ArrayLike, answers_a: npt.ArrayLike, answers_b: npt.ArrayLike, n_classes: int
) -> Changes:
    """List the images on which a and b differ in being right.

    Parameters
    ----------
    truth, answers_a, answers_b : array-like of int of shape (n_images,)
        Class indices of the same images.
    n_classes : int
        Length of the counts per class.

    Returns
    -------
    Changes
        Its `difference` is accuracy of b minus accuracy of a.

    Raises
    ------
    ValueError
        If lengths differ or an index is not below `n_classes`.
    """
    true, first = checked_answers(truth, answers_a, n_classes)
    _, second = checked_answers(truth, answers_b, n_classes)
    corrected = (second == true) & (first != true)
    broken = (first == true) & (second != true)
    return Changes(
        n_images=len(true),
        corrected_images=np.flatnonzero(corrected),
        broken_images=np.flatnonzero(broken),
        corrected_per_class=np.bincount(true[corrected], minlength=n_classes),
        broken_per_class=np.bincount(true[broken], minlength=n_classes),
    )


def checked_answers(
    truth: npt.ArrayLike, answers: npt.ArrayLike, n_classes: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Refuse truth and answers that do not fit together.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class indices of the same images.
    n_classes : int, optional
        What every index must be below.

    Returns
    -------
    tuple of ndarray of int
        Truth and answers.

    Raises
    ------
    ValueError
        If there is no image, lengths differ, or an index is negative, too large or no whole number.
    """
    true, answered = np.asarray(truth), np.asarray(answers)
    if true.ndim != 1 or true.shape != answered.shape or true.size == 0:
        raise ValueError(
            "`truth` and `answers` must have one class index per image, at least one image. "
            f"Received: {true.shape} and {answered.shape}."
        )
    for name, values in (("truth", true), ("answers", answered)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"`{name}` must hold class indices (whole numbers). Received: {values.dtype}.")
        if values.min() < 0 or (n_classes is not None and values.max() >= n_classes):
            raise ValueError(
                f"`{name}` must hold class indices from 0 to the number of classes less one ({n_classes} "
                f"classes). Received: {values.min()} to {values.max()}."
            )
    return true.astype(np.int64), answered.astype(np.int64)


def checked_scores(
    truth: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Refuse scores that do not fit the truth.

    Parameters
    ----------
    truth : array-like of int of shape (n_images,)
        Class indices.
    scores : array-like of shape (n_images, n_classes)
        No NaN.

    Returns
    -------
    tuple of ndarray
        Truth and scores.

    Raises
    ------
    ValueError
        If shapes differ, a score is NaN, or an index has no column.
    """
    table = np.asarray(scores)
    if table.ndim != 2 or table.shape[:1] != np.shape(truth) or np.isnan(table).any():
        raise ValueError(
            "Scores must have shape (n_images, n_classes) and no NaN. "
            f"Received: {table.shape} for {np.shape(truth)} truths."
        )
    true, _ = checked_answers(truth, truth, table.shape[1])
    return true, table
