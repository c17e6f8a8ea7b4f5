"""Which labels look wrong? Out-of-fold probabilities and confident learning, as pure functions of arrays.

Nothing is corrected here: a suspect is a photograph for a person to look at.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from aisles.data_prep.images.splitting import split_by_product

FitPredict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(features, label indices 0 ... k - 1, all present, features to judge) -> probabilities (n_judged, k)."""
STRENGTH, STEPS, TOLERANCE = 0.1, 200, 1e-3


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What models say of images that they were not trained on.

    Attributes
    ----------
    classes : tuple of str
        Sorted; the columns of `probs`.
    given : ndarray of int of shape (n_images,)
        Each image's label as index into `classes`.
    probs : ndarray of shape (n_images, n_classes)
        Rows sum to 1; 0 for classes that the fold's model had no image of.
    judged : ndarray of bool of shape (n_images,)
        False where the model was not trained on any image of the label, so that it can't speak for it.
    fold : ndarray of int of shape (n_images,)
    """

    classes: tuple[str, ...]
    given: npt.NDArray[np.int64]
    probs: npt.NDArray[np.float64]
    judged: npt.NDArray[np.bool_]
    fold: npt.NDArray[np.int64]

    @property
    def agrees(self) -> npt.NDArray[np.bool_]:
        """Whether the most probable class is the label."""
        return self.probs.argmax(axis=1) == self.given


@dataclass(frozen=True, eq=False)
class ConfidentJoint:
    """How often a label seems to stand for another class.

    Attributes
    ----------
    thresholds : ndarray of shape (n_classes,)
        Mean probability of each class among the images labelled so; infinite for a class without images.
    likely : ndarray of int of shape (n_images,)
        The class that each image is confidently counted for; -1 for none.
    counts : ndarray of int of shape (n_classes, n_classes)
        Row: label; column: likely class.
    """

    thresholds: npt.NDArray[np.float64]
    likely: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def calibrated(self, images: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Estimate the joint distribution of label and true class, given the images of each label; sums to 1.

        Rows are scaled to the labels' shares of the images (eq. 3 of the paper); a label without any confident
        image counts as right.
        """
        per_label = np.asarray(images, dtype=np.float64)
        rows = self.counts.sum(axis=1, keepdims=True)
        safe = np.where(rows > 0, self.counts, np.eye(len(self.counts)))
        joint = safe / safe.sum(axis=1, keepdims=True) * per_label[:, None]
        return joint / joint.sum()


@dataclass(frozen=True, eq=False)
class Suspects:
    """Images whose labels look wrong, the most suspicious first.

    Attributes
    ----------
    rows : ndarray of int
        Which images.
    suggested : ndarray of int
        The class that each looks like, as index into the classes.
    margin : ndarray of float
        Probability of the suggested class less that of the label; what they are sorted by, larger first, then by row.
    """

    rows: npt.NDArray[np.int64]
    suggested: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class AccuracyWithout:
    """Accuracy over all images and over those that are not suspected; NaN where there is none.

    Attributes
    ----------
    n_images, n_suspected : int
    all_images, without, suspected : float
        `suspected` is the accuracy among the suspected images alone.
    """

    n_images: int
    n_suspected: int
    all_images: float
    without: float
    suspected: float


def out_of_fold_probs(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    products: npt.ArrayLike | None = None,
    *,
    fit_predict: FitPredict | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> OutOfFold:
    """Judge every image by a model that saw no photograph of its product.

    Parameters
    ----------
    features : array-like of shape (n_images, dimension)
    labels : array-like of str of shape (n_images,)
    products : array-like of str of shape (n_images,), optional
        No product is divided between folds. Without it every image is its own product.
    fit_predict : callable, optional
        The model; `logistic` unless given.
    n_folds, seed : int
        Folds, and which products go to which.

    Returns
    -------
    OutOfFold

    Raises
    ------
    ValueError
        If the arrays do not fit, there are fewer than 2 folds or classes, or a fold would be left without training
        images of at least 2 classes.
    """
    table, names = np.asarray(features), np.asarray(labels, dtype=str)
    if table.ndim != 2 or names.shape != table.shape[:1] or not np.isfinite(table).all():
        raise ValueError(
            "`features` must have shape (n_images, dimension), all finite, and `labels` (n_images,). "
            f"Received: {table.shape} and {names.shape}."
        )
    classes, given = np.unique(names, return_inverse=True)
    if n_folds < 2 or len(classes) < 2:
        raise ValueError(
            f"An audit needs at least 2 folds and 2 classes. Received: {n_folds} folds, {len(classes)} classes."
        )
    groups = np.arange(len(names)).astype(str) if products is None else np.asarray(products, dtype=str)
    shares = {f"fold {i}": 1.0 for i in range(n_folds)}
    placed = split_by_product(names, groups, shares, seed)
    fold = np.array([int(name.removeprefix("fold ")) for name in placed])
    fit_predict = fit_predict or logistic
    probs = np.zeros((len(names), len(classes)))
    judged = np.zeros(len(names), dtype=bool)
    for i in range(n_folds):
        here = fold == i
        known, targets = np.unique(given[~here], return_inverse=True)
        if not here.any():
            continue
        if len(known) < 2:
            raise ValueError(
                f"Training for each fold needs images of at least 2 classes. Fold {i + 1} of {n_folds} leaves "
                f"{len(known)}. Take more folds, or name smaller products."
            )
        probs[np.ix_(here, known)] = fit_predict(table[~here], targets, table[here])
        judged[here] = np.isin(given[here], known)
    return OutOfFold(tuple(classes.tolist()), given.astype(np.int64), probs, judged, fold)


def logistic(features: np.ndarray, targets: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Fit a logistic regression on centered, uniformly scaled features, and give its probabilities."""
    center, spread = features.mean(axis=0), features.std() or 1.0
    model = LogisticRegression(C=STRENGTH, max_iter=STEPS, tol=TOLERANCE)
    model.fit((features - center) / spread, targets)
    return model.predict_proba((judged - center) / spread)


def confident_joint(given: npt.ArrayLike, probs: npt.ArrayLike) -> ConfidentJoint:
    """Count the images that confidently belong to a class, by label and class.

    An image counts for the most probable of the classes whose probability is at least that class's threshold, the
    mean probability of the class over the images labelled so; on equal probabilities the first class wins; images
    that reach no threshold are not counted.

    Parameters
    ----------
    given : array-like of int of shape (n_images,)
        Labels as columns of `probs`.
    probs : array-like of shape (n_images, n_classes)
        From models that did not see the image; rows sum to 1.

    Returns
    -------
    ConfidentJoint

    Raises
    ------
    ValueError
        If the arrays do not fit.

    Notes
    -----
    Northcutt, Jiang and Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 70 (2021),
    section 3.1.
    """
    labels, table = np.asarray(given), np.asarray(probs, dtype=np.float64)
    if table.ndim != 2 or labels.shape != table.shape[:1] or labels.size == 0:
        raise ValueError(f"`given` and `probs` must fit. Received: {labels.shape} and {table.shape}.")
    n = table.shape[1]
    if labels.min() < 0 or labels.max() >= n:
        raise ValueError(f"`given` must hold columns of `probs` (0 to {n - 1}).")
    images = np.bincount(labels, minlength=n)
    sums = np.bincount(labels, weights=table[np.arange(len(labels)), labels], minlength=n)
    thresholds = np.divide(sums, images, out=np.full(n, np.inf), where=images > 0)
    # A mean of equal numbers may come out above them in the last bits.
    confident = np.where(table >= thresholds - 1e-9, table, -1.0)
    likely = np.where(confident.max(axis=1) >= 0, confident.argmax(axis=1), -1)
    counted = likely >= 0
    cells = np.bincount(labels[counted] * n + likely[counted], minlength=n * n)
    return ConfidentJoint(thresholds, likely, cells.reshape(n, n))


def suspect_labels(found: OutOfFold) -> Suspects:
    """List the images that confidently belong to another class than their label says.

    Parameters
    ----------
    found : OutOfFold
        Images that were not judged are never suspected. Neither are those whose label is the most probable class.
    """
    rows = np.flatnonzero(found.judged)
    if not len(rows):
        nothing = np.array([], dtype=np.int64)
        return Suspects(nothing, nothing, np.array([]))
    likely = confident_joint(found.given[rows], found.probs[rows]).likely
    doubted = (likely >= 0) & (likely != found.given[rows]) & ~found.agrees[rows]
    rows, suggested = rows[doubted], likely[doubted]
    margin = found.probs[rows, suggested] - found.probs[rows, found.given[rows]]
    order = np.lexsort((rows, -margin))
    return Suspects(rows[order], suggested[order], margin[order])


def accuracy_without(correct: npt.ArrayLike, suspected: npt.ArrayLike) -> AccuracyWithout:
    """Return the accuracy with and without suspected images.

    Parameters
    ----------
    correct : array-like of bool of shape (n_images,) or (n_seeds, n_images)
        Whether each answer agrees with the label.
    suspected : array-like of bool of shape (n_images,)

    Returns
    -------
    AccuracyWithout
        The model that doubts an image and the model that is judged may fail on the same hard photographs, so accuracy
        rises without them even if every label is right.

    Raises
    ------
    ValueError
        If the arrays do not fit.
    """
    right, doubted = np.atleast_2d(np.asarray(correct, dtype=bool)), np.asarray(suspected, dtype=bool)
    if right.ndim != 2 or doubted.shape != right.shape[1:] or doubted.size == 0:
        raise ValueError(f"`correct` and `suspected` must fit. Received: {right.shape} and {doubted.shape}.")

    def mean(part: np.ndarray) -> float:
        return float(part.mean()) if part.size else float("nan")

    return AccuracyWithout(
        doubted.size, int(doubted.sum()), mean(right), mean(right[:, ~doubted]), mean(right[:, doubted])
    )
