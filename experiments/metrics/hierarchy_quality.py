"""Metrics of the hierarchy itself: how well it fits the classes, and how far it depends on images and backbone."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score

from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.stability import adjusted_rand, stability


def hierarchy_quality(
    hierarchy: Hierarchy, tree: ClassTree, features: np.ndarray, labels: np.ndarray, n_bootstraps: int
) -> dict[str, Any]:
    """Return a hierarchy's metrics.

    Parameters
    ----------
    hierarchy : Hierarchy
        The run's, cut from the tree or brought by a person.
    tree : ClassTree
    features, labels : ndarray
        Of training images, (n_images, dimension) and (n_images,).
    n_bootstraps : int

    Returns
    -------
    dict
        `cophenetic_correlation` (of the tree; None where undefined), `silhouette` (mean over classes, at the tree's
        own distances, -1 to 1; None if every class is alone), `sizes`, `stability`: adjusted Rand index between the
        tree's cut (into as many macros) and the cuts found on bootstrapped training images, `mean`, `sd` and
        `scores`; `tree_agreement`: the same index between the hierarchy and that cut, below 1 if it was brought.
    """
    cophenetic = tree.cophenetic_correlation
    stable = stability(features, labels.tolist(), hierarchy.n_macros, tree.method, n_bootstraps)
    return {
        "cophenetic_correlation": None if np.isnan(cophenetic) else cophenetic,
        "silhouette": silhouette(hierarchy, tree),
        "sizes": list(hierarchy.sizes),
        "stability": {"mean": stable.mean, "sd": stable.sd, "scores": list(stable.scores)},
        "tree_agreement": adjusted_rand(hierarchy, tree.cut(hierarchy.n_macros)),
    }


def silhouette(hierarchy: Hierarchy, tree: ClassTree) -> float | None:
    """Return the mean silhouette of the classes (Rousseeuw 1987); None where there is none."""
    if not 2 <= hierarchy.n_macros < hierarchy.n_classes:
        return None
    return float(silhouette_score(squareform(tree.distances), hierarchy.macro_of, metric="precomputed"))


def agreement(hierarchy: Hierarchy, names: Iterable[str], find: Callable[[str], Hierarchy]) -> dict[str, Any]:
    """Compare the run's macros with others by the adjusted Rand index.

    Parameters
    ----------
    hierarchy : Hierarchy
    names : iterable of str
    find : callable
        Gives a hierarchy by name, or raises.

    Returns
    -------
    dict
        By name the index, or the reason why there is none.
    """
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = adjusted_rand(hierarchy, find(name))
        except (ValueError, OSError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found
