"""Restriction: what router and sub-models say once only some classes are possible for an image.

Macros without a possible class lose their weight before a routing rule chooses among them, and the class distribution
is conditioned afterwards: P(c | possible) = P(c) / sum of P over the possible classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .distributions import row_sums, sum_columns
from .hierarchy import Hierarchy


def possible_classes(
    names: Iterable[str], classes: Sequence[str], hierarchy: Hierarchy | None = None
) -> np.ndarray:
    """Mark the classes that a list of classes and macros allows, as bool of shape (n_classes,).

    Parameters
    ----------
    names
        Classes, and macros for all of their classes. Where a name is both and means different classes, write
        `class:NAME` or `macro:NAME`.
    classes
        All classes, in the order of the result.
    hierarchy
        Needed for macros.

    Raises
    ------
    ValueError
        If there is no name, or one is unknown or means two things.
    """
    of_class = {name: {name} for name in classes}
    of_macro = (
        {} if hierarchy is None else dict(zip(hierarchy.macros, map(set, hierarchy.members), strict=True))
    )
    allowed: set[str] = set()
    unknown = []
    for name in (names := list(map(str, names))):
        meant = [table[name] for table in (of_class, of_macro) if name in table]
        for prefix, table in (("class:", of_class), ("macro:", of_macro)):
            if not meant and name.startswith(prefix) and name.removeprefix(prefix) in table:
                meant = [table[name.removeprefix(prefix)]]
        if len(meant) == 2 and meant[0] != meant[1]:
            raise ValueError(
                f"{name!r} is a class and also a macro of {sorted(meant[1])}. "
                f"Write 'class:{name}' or 'macro:{name}'."
            )
        if meant:
            allowed |= meant[0]
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"`only` names classes or macros of the classifier. Unknown: {unknown[:5]}. "
            f"Macros: {sorted(of_macro)[:10]}; classes: {sorted(of_class)[:10]}{' ...' if len(of_class) > 10 else ''}."
        )
    if not names:
        raise ValueError(
            "`only` must name at least one class or macro. Received: none. Leave it out for all classes."
        )
    return np.array([name in allowed for name in classes])


def possible_macros(allowed: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """Mark the macros that hold a possible class: bool (n, n_classes) to (n, n_macros)."""
    found = np.zeros((len(allowed), hierarchy.n_macros), bool)
    for macro, label in zip(hierarchy.slot_macro, hierarchy.slot_class, strict=True):
        found[:, macro] |= allowed[:, label]
    return found


def conditioned(probs: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Condition each row on its possible columns: 0 elsewhere, rescaled to sum to 1.

    Rows in which everything is possible stay as they are, bit for bit. Where all possible columns are exactly 0, they
    become equally probable.

    Parameters
    ----------
    probs
        Of shape (n, k).
    possible
        Bool of the same shape, at least one true a row.
    """
    kept = np.where(possible, probs, 0.0)
    kept = np.where(row_sums(kept) > 0, kept, possible)
    return np.where(possible.all(axis=1, keepdims=True), probs, kept / row_sums(kept))


def conditioned_macros(
    macro_probs: np.ndarray, within_probs: np.ndarray, allowed: np.ndarray, hierarchy: Hierarchy
) -> np.ndarray:
    """Compute P(m | possible), proportional to P(m) times the sum of P(c | m) over the possible classes c.

    Parameters
    ----------
    macro_probs
        Of shape (n, n_macros).
    within_probs
        Of shape (n, n_slots).
    allowed
        Bool of shape (n, n_classes).
    hierarchy

    Returns
    -------
    numpy.ndarray
        Of shape (n, n_macros), rows sum to 1; unchanged rows where every class is possible.
    """
    shares = sum_columns(
        within_probs * allowed[:, hierarchy.slot_class], hierarchy.slot_macro, hierarchy.n_macros
    )
    product = macro_probs * shares
    total = row_sums(product)
    found = np.where(
        total > 0,
        product / np.where(total > 0, total, 1),
        conditioned(macro_probs, possible_macros(allowed, hierarchy)),
    )
    return np.where(allowed.all(axis=1, keepdims=True), macro_probs, found)
