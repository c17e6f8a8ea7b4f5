"""What the hierarchy does to the answers: where errors arise, how far they fall, what an oracle would win.

Pure functions of arrays. `macro_of` gives the macro index of each class, in the order of `hierarchy.classes`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy as scipy_hierarchy
from scipy.spatial.distance import squareform

from .answers import checked_answers, checked_scores


@dataclass(frozen=True)
class ErrorBudget:
    """Every image in one of three counts: router wrong, routed right but sub-model wrong, right.

    For hard routing this is what the two stages did; for any other system, the flat model too, the "router"
    is the macro of its answer, and R and S are what the answers imply.
    """

    router_wrong: int
    within_wrong: int
    right: int

    @property
    def n_images(self) -> int:
        """All images."""
        return self.router_wrong + self.within_wrong + self.right

    @property
    def router_accuracy(self) -> float:
        """R (for the flat model R_f): share of images in the right macro."""
        return (self.within_wrong + self.right) / self.n_images

    @property
    def within_accuracy(self) -> float:
        """S (for the flat model S_f): share of right answers where the macro is right; 0.0 if it never is."""
        routed_right = self.within_wrong + self.right
        return self.right / routed_right if routed_right else 0.0

    @property
    def accuracy(self) -> float:
        """Share of right answers; equals R * S."""
        return self.right / self.n_images

    @property
    def cross_macro_share(self) -> float:
        """Share of the errors that leave the true macro; 0.0 if there is no error."""
        errors = self.router_wrong + self.within_wrong
        return self.router_wrong / errors if errors else 0.0


@dataclass(frozen=True)
class Ceilings:
    """Accuracy that is left if one of the two stages were perfect.

    `oracle_router`: the true macro given, the best class inside it before anything is routed. `oracle_submodels`:
    every image right whose macro is right.
    """

    oracle_router: float
    oracle_submodels: float


@dataclass(frozen=True)
class MistakeDistance:
    """Mean distance from answer to truth: over mistakes only (0.0 without mistakes), and over all images."""

    per_mistake: float
    per_image: float


@dataclass(frozen=True)
class HierarchicalScores:
    """Hierarchical precision, recall and F1, micro-averaged."""

    precision: float
    recall: float
    f1: float


def error_budget(
    truth: npt.ArrayLike,
    answers: npt.ArrayLike,
    macro_of: npt.ArrayLike,
    *,
    routed_right: npt.ArrayLike | None = None,
) -> ErrorBudget:
    """Count where the answers go wrong.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class indices of the same images.
    macro_of : array-like of int of shape (n_classes,)
        Macro of each class.
    routed_right : array-like of bool of shape (n_images,), optional
        Whether the router chose a macro that holds the true class; needed only where macros overlap. By
        default the answer's macro is compared with the true one, which for hard routing is the same.

    Returns
    -------
    ErrorBudget
        Its counts sum to n_images, and R * S is the accuracy.

    Raises
    ------
    ValueError
        If the arrays do not fit, or an answer is right although its macro is said to be wrong.
    """
    groups = checked_partition(macro_of)
    true, answered = checked_answers(truth, answers, len(groups))
    routed = (
        groups[true] == groups[answered] if routed_right is None else np.asarray(routed_right, dtype=bool)
    )
    if routed.shape != true.shape:
        raise ValueError(
            f"`routed_right` must have one value per image ({len(true)}). Received: {routed.shape}."
        )
    right = true == answered
    if (right & ~routed).any():
        raise ValueError(
            f"{int((right & ~routed).sum())} answers are right outside the macro the router chose, so they "
            "are not hard routing's. Pass the hard answers, or leave `routed_right` out."
        )
    return ErrorBudget(int((~routed).sum()), int((routed & ~right).sum()), int(right.sum()))


def ceilings(
    truth: npt.ArrayLike, scores: npt.ArrayLike, macro_of: npt.ArrayLike, inside: npt.ArrayLike | None = None
) -> Ceilings:
    """Return the accuracy with an oracle in place of either stage.

    Parameters
    ----------
    truth : array-like of int of shape (n_images,)
        Class indices.
    scores : array-like of shape (n_images, n_classes)
        The system's class distribution.
    macro_of : array-like of int of shape (n_classes,)
        Macro of each class.
    inside : array-like of shape (n_images, n_classes), optional
        What orders the classes inside a macro, by default `scores`. Rules that leave macros out (hard, beam,
        threshold, masked) have nothing but zeros there, so of them the tables before routing are needed: with those,
        all rules over the same sub-models have the same oracle router. On equal scores the first class wins.

    Returns
    -------
    Ceilings
        `oracle_submodels` judges the macro of the best class.

    Raises
    ------
    ValueError
        If the arrays do not fit.
    """
    groups = checked_partition(macro_of)
    true, table = checked_scores(truth, scores)
    _, unrouted = (true, table) if inside is None else checked_scores(truth, inside)
    for name, given in (("scores", table), ("inside", unrouted)):
        if given.shape[1] != len(groups):
            raise ValueError(
                f"`{name}` have {given.shape[1]} columns, `macro_of` {len(groups)} classes. They must agree."
            )
    in_macro = np.where(groups[true][:, None] == groups, unrouted, -np.inf)
    return Ceilings(
        oracle_router=float((in_macro.argmax(axis=1) == true).mean()),
        oracle_submodels=float((groups[table.argmax(axis=1)] == groups[true]).mean()),
    )


def cross_macro_share(truth: npt.ArrayLike, answers: npt.ArrayLike, macro_of: npt.ArrayLike) -> float:
    """Return the share of errors whose answer lies in another macro than the truth; 0.0 if there is no error.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class indices of the same images.
    macro_of : array-like of int of shape (n_classes,)
        Macro of each class.

    Returns
    -------
    float
        In [0, 1].
    """
    return error_budget(truth, answers, macro_of).cross_macro_share


def partition_distance(macro_of: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the lowest common ancestor's height in the two-level tree: 0 same class, 1 same macro, 2 else.

    Parameters
    ----------
    macro_of : array-like of int of shape (n_classes,)
        Macro of each class; of the learned hierarchy or of an independent one.

    Returns
    -------
    ndarray of shape (n_classes, n_classes)
        Symmetric.
    """
    groups = checked_partition(macro_of)
    distance = np.where(groups[:, None] == groups, 1.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    return distance


def linkage_distance(linkage: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the height of the lowest common ancestor in a tree of merges (cophenetic distance).

    Parameters
    ----------
    linkage : array-like of shape (n_classes - 1, 4)
        As `scipy.cluster.hierarchy.linkage` returns it, classes in the order of `hierarchy.classes`.

    Returns
    -------
    ndarray of shape (n_classes, n_classes)
        In the linkage's own unit; divide by its maximum to compare trees.

    Notes
    -----
    Deng et al., What does classifying more than 10,000 image categories tell us? (ECCV 2010), use this
    height as hierarchical cost.
    """
    return squareform(scipy_hierarchy.cophenet(np.asarray(linkage, dtype=np.float64)))


def mistake_distance(
    truth: npt.ArrayLike, answers: npt.ArrayLike, distance: npt.ArrayLike
) -> MistakeDistance:
    """Return the mean distance between truth and answer.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class indices of the same images.
    distance : array-like of shape (n_classes, n_classes)
        From `partition_distance` or `linkage_distance`; zero on the diagonal.

    Returns
    -------
    MistakeDistance
        In the unit of `distance`. Bertinetto et al., Making better mistakes (CVPR 2020), call the first
        "hierarchical distance of a mistake", the second "average hierarchical distance" (at k = 1).

    Raises
    ------
    ValueError
        If the matrix is not square, or its diagonal not zero.
    """
    table = np.asarray(distance, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or np.diag(table).any():
        raise ValueError(f"`distance` must be a square matrix with a zero diagonal. Received: {table.shape}.")
    true, answered = checked_answers(truth, answers, len(table))
    distances = table[true, answered]
    mistakes = int((true != answered).sum())
    return MistakeDistance(
        per_mistake=float(distances.sum() / mistakes) if mistakes else 0.0,
        per_image=float(distances.mean()),
    )


def hierarchical_scores(
    truth: npt.ArrayLike, answers: npt.ArrayLike, macro_of: npt.ArrayLike
) -> HierarchicalScores:
    """Return hierarchical precision, recall and F1 in the two-level tree.

    With the set {class, its macro} for truth and for answer, all three are the share of common members.
    Both sets always have two, so all three equal (class accuracy + macro accuracy) / 2 and add nothing to
    those.

    Parameters
    ----------
    truth, answers : array-like of int of shape (n_images,)
        Class indices of the same images.
    macro_of : array-like of int of shape (n_classes,)
        Macro of each class.

    Returns
    -------
    HierarchicalScores
        Three times the same number.

    Notes
    -----
    Kiritchenko et al. (2006); Silla and Freitas, Data Mining and Knowledge Discovery 22 (2011), section 5.
    """
    groups = checked_partition(macro_of)
    true, answered = checked_answers(truth, answers, len(groups))
    common = int((true == answered).sum()) + int((groups[true] == groups[answered]).sum())
    share = common / (2 * len(true))
    return HierarchicalScores(share, share, share)


def checked_partition(macro_of: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Refuse a `macro_of` that is no list of macro indices.

    Parameters
    ----------
    macro_of : array-like of int of shape (n_classes,)
        Macro of each class.

    Returns
    -------
    ndarray of int of shape (n_classes,)
        The same.

    Raises
    ------
    ValueError
        If it is empty, has another shape, or an index is negative or no whole number.
    """
    groups = np.asarray(macro_of)
    whole = groups.ndim == 1 and groups.size > 0 and np.issubdtype(groups.dtype, np.integer)
    if not whole or groups.min() < 0:
        raise ValueError(
            "`macro_of` must give one macro index (0 or more) per class. "
            f"Received: shape {groups.shape}, type {groups.dtype}."
        )
    return groups.astype(np.int64)
