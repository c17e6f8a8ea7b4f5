"""What changes from flat to another method, image by image and class by class, over all seeds. Pure."""

from dataclasses import dataclass

import numpy as np

from aisles.experiments.runs.reader import FLAT, Run


@dataclass(frozen=True, eq=False)
class ClassChanges:
    """Each class under two systems; counts are means over seeds. All arrays in class order.

    Attributes
    ----------
    support : ndarray of int
        Test images of the class.
    recall_flat, recall, precision, f1 : ndarray of float
        Of flat, and of the other; NaN where there is nothing to divide by.
    corrected, broken : ndarray of float
        Images that only the other gets right, and that only flat gets right.
    confused_with : ndarray of int
        The class answered most often instead, by the other; -1 if there is none.
    confused : ndarray of float
        How many images that is.
    """

    support: np.ndarray
    recall_flat: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    f1: np.ndarray
    corrected: np.ndarray
    broken: np.ndarray
    confused_with: np.ndarray
    confused: np.ndarray

    @property
    def net(self) -> np.ndarray:
        """Images won, a seed; over all classes they sum to the difference in accuracy times n."""
        return self.corrected - self.broken


@dataclass(frozen=True, eq=False)
class ImageChanges:
    """Which images change hands, over the seeds that both systems have.

    Attributes
    ----------
    only_other, only_flat : ndarray of bool of shape (n_seeds, n_test)
        Whether only the other, or only flat, is right.
    gain : ndarray of shape (n_test,)
        Probability of the true class, mean over seeds: the other's less flat's.
    """

    only_other: np.ndarray
    only_flat: np.ndarray
    gain: np.ndarray

    @property
    def n_seeds(self) -> int:
        """Seeds that both systems have."""
        return len(self.only_other)

    @property
    def corrected_seeds(self) -> np.ndarray:
        """In how many seeds each image is corrected."""
        return self.only_other.sum(axis=0)

    @property
    def broken_seeds(self) -> np.ndarray:
        """In how many seeds each image is broken."""
        return self.only_flat.sum(axis=0)

    def corrected(self, most: int) -> list[int]:
        """Return the images corrected in most seeds, those with the largest gain first among equals."""
        return _foremost(self.corrected_seeds, self.gain, most)

    def broken(self, most: int) -> list[int]:
        """Return the images broken in most seeds, those with the largest fall first among equals."""
        return _foremost(self.broken_seeds, -self.gain, most)


def mean_confusion(run: Run, method: str) -> np.ndarray:
    """Count images by true class (row) and answered class (column), mean over seeds, in class order."""
    answers, n = run.answers(method), len(run.classes)
    cells = np.bincount((run.truth * n + answers).ravel(), minlength=n * n)
    return cells.reshape(n, n) / len(answers)


def class_changes(run: Run, method: str) -> ClassChanges:
    """Set a method beside flat, class by class."""
    flat, other = mean_confusion(run, FLAT), mean_confusion(run, method)
    support, given, right = flat.sum(axis=1), other.sum(axis=0), np.diag(other)
    only_other, only_flat = _hands(run, method)
    wrong = other - np.diag(right)
    confused = wrong.max(axis=1)
    return ClassChanges(
        support=np.rint(support).astype(int),
        recall_flat=_share(np.diag(flat), support),
        recall=_share(right, support),
        precision=_share(right, given),
        f1=_share(2 * right, support + given),
        corrected=_per_class(run, only_other),
        broken=_per_class(run, only_flat),
        confused_with=np.where(confused > 0, wrong.argmax(axis=1), -1),
        confused=confused,
    )


def image_changes(run: Run, method: str) -> ImageChanges:
    """Set a method beside flat, image by image."""
    only_other, only_flat = _hands(run, method)
    rows = np.arange(len(run.truth))
    of_truth = [run.classes_by[name][:, rows, run.truth].mean(axis=0) for name in (FLAT, method)]
    return ImageChanges(only_other, only_flat, of_truth[1] - of_truth[0])


def common_seeds(run: Run, *methods: str) -> list[list[int]]:
    """Give, for each method, the positions of the seeds that all of them have."""
    shared = set.intersection(*(set(run.seeds[name]) for name in methods))
    return [[i for i, seed in enumerate(run.seeds[name]) if seed in shared] for name in methods]


def _hands(run: Run, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which images only the other, and only flat, gets right: two arrays of shape (n_seeds, n_test)."""
    ours, theirs = common_seeds(run, method, FLAT)
    other, flat = run.correct(method)[ours], run.correct(FLAT)[theirs]
    return other & ~flat, flat & ~other


def _per_class(run: Run, images: np.ndarray) -> np.ndarray:
    counts = np.bincount(np.broadcast_to(run.truth, images.shape)[images], minlength=len(run.classes))
    return counts / max(len(images), 1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _foremost(seeds: np.ndarray, weight: np.ndarray, most: int) -> list[int]:
    order = np.lexsort((np.arange(len(seeds)), -weight, -seeds))
    return [int(i) for i in order[:most] if seeds[i] > 0]
