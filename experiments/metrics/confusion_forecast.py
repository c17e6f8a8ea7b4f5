"""What a flat model's validation confusions guarantee for a partition, before any sub-model is trained."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .answers import checked_scores
from .hierarchical import checked_partition


@dataclass(frozen=True)
class Forecast:
    """What a flat model's validation confusions guarantee for one partition, before any sub-model is trained.

    Attributes
    ----------
    right, inside, between : float
        Shares of the confusion's mass: on the diagonal, confused inside a macro (what sub-models can
        repair), and confused between macros (what routing can lose, and no sub-model can repair). They sum
        to 1.
    inside_by_chance : float
        Share of the confusions expected inside if the same group sizes were filled at random.
    """

    right: float
    inside: float
    between: float
    inside_by_chance: float

    @property
    def ceiling(self) -> float:
        """Accuracy if the sub-models repaired all they can: right + inside, the flat model's implied R."""
        return self.right + self.inside

    @property
    def concentration(self) -> float:
        """Share of confusions inside, over the share by chance: 1 is a random partition, more is better.

        1.0 if there is no confusion, or if chance cannot put any inside.
        """
        errors = self.inside + self.between
        return self.inside / errors / self.inside_by_chance if errors and self.inside_by_chance else 1.0


def soft_confusion(truth: npt.ArrayLike, probs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Add up the distributions of each true class's images: a confusion matrix of probability mass.

    Parameters
    ----------
    truth : array-like of int of shape (n_images,)
        Class indices.
    probs : array-like of shape (n_images, n_classes)
        Rows sum to 1.

    Returns
    -------
    ndarray of shape (n_classes, n_classes)
        Row: true class. Less noisy than counts where validation images are few.
    """
    from scipy.sparse import csr_array

    true, table = checked_scores(truth, probs)
    images = np.arange(len(true))
    return csr_array((np.ones(len(true)), (true, images)), (table.shape[1], len(true))) @ table


def forecast(confusion_mass: npt.ArrayLike, macro_of: npt.ArrayLike) -> Forecast:
    """Split a flat model's validation confusions into what routing can lose and what sub-models can repair.

    Parameters
    ----------
    confusion_mass : array-like of shape (n_classes, n_classes)
        Row true class, column answered; counts (`confusion`) or mass (`soft_confusion`), not negative. From
        validation images: test images choose nothing.
    macro_of : array-like of int of shape (n_classes,)
        The partition to forecast for.

    Returns
    -------
    Forecast
        Shares of the total mass. By chance, a confused pair of classes falls inside a macro with probability
        sum_m s_m (s_m - 1) / (C (C - 1)), s_m the macros' sizes, C their sum. More macros leave less inside
        whatever the partition, so compare across k by `concentration`.

    Raises
    ------
    ValueError
        If the matrix does not fit the partition, has negative entries, or is all zero.
    """
    groups = checked_partition(macro_of)
    mass = np.asarray(confusion_mass, dtype=np.float64)
    n = len(groups)
    if mass.shape != (n, n) or not (mass >= 0).all() or not mass.sum() > 0:
        raise ValueError(
            f"`confusion_mass` must be a matrix of {n} by {n} numbers, none negative, not all zero. "
            f"Received: {mass.shape}."
        )
    total, right = mass.sum(), np.trace(mass)
    members = [np.flatnonzero(groups == macro) for macro in range(groups.max() + 1)]
    same_macro = sum(mass[np.ix_(inside, inside)].sum() for inside in members)
    sizes = np.bincount(groups)
    pairs = n * (n - 1)
    return Forecast(
        right=float(right / total),
        inside=float((same_macro - right) / total),
        between=float((total - same_macro) / total),
        inside_by_chance=float((sizes * (sizes - 1)).sum() / pairs) if pairs else 0.0,
    )
