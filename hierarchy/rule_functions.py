"""The arithmetic of the routing rules: how router and sub-models become one distribution or one answer.

Everything here is arithmetic on arrays. Throughout, for n images,

- `macro_probs` is of shape (n, n_macros), rows sum to 1, columns in the order of `hierarchy.macros`;
- `within_probs` is of shape (n, n_slots), columns in the order of `hierarchy.slots`, and in every row each
  macro's block sums to 1;
- `flat_probs` is of shape (n, n_classes), rows sum to 1, columns in the order of `hierarchy.classes`;
- a result is of shape (n, n_classes), rows sum to 1, columns in the order of `hierarchy.classes`, float64.

Sums may be off by 1e-3 and are taken as they are. Every image is computed by itself, one addition after
another in a fixed order, so its answer is the same bit for bit whatever else is in the batch. On ties the
macro with the lowest index and the class that sorts first win (`numpy.argmax`).

Overlapping hierarchies: soft, beam and threshold sum over the macros that hold the class; hard looks into
the one chosen macro; hie weighs a class by the summed probability of its macros; masked keeps the classes of
the chosen macro. What has to divide the flat model's mass among macros (`macro_from_flat`, `implied`) refuses
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .distributions import check_distributions, check_same_images, row_sums, sum_columns
from .hierarchy import Hierarchy

NEVER = 2.0
"""A threshold that no probability reaches."""


def soft(macro_probs: ArrayLike, within_probs: ArrayLike, hierarchy: Hierarchy) -> np.ndarray:
    """Weigh every sub-model by its macro: P(c) = sum over macros m holding c of P(m) P(c | m).

    The law of total probability over the macros; the mixture of HD-CNN (Yan et al., ICCV 2015) where each
    fine component knows only its own classes.
    """
    macro_probs, within_probs = _both_stages(macro_probs, within_probs, hierarchy)
    return _mix(macro_probs, within_probs, hierarchy)


def hard(macro_probs: ArrayLike, within_probs: ArrayLike, hierarchy: Hierarchy) -> np.ndarray:
    """Trust the router: P(c) = P(c | m*) with m* = argmax P(m), and 0 outside m*.

    The local classifier per parent node with top-down prediction (Silla and Freitas, Data Mining and
    Knowledge Discovery, 2011). Its argmax is the best class inside the most probable macro.
    """
    return beam(macro_probs, within_probs, hierarchy, k=1)


def beam(macro_probs: ArrayLike, within_probs: ArrayLike, hierarchy: Hierarchy, k: int) -> np.ndarray:
    """Apply soft over the k most probable macros: P(c) = sum of P(m) P(c | m) / sum of P(m).

    Both sums run over the k kept macros, so the result is rescaled to sum to 1. k = 1 is hard, k = n_macros is
    soft. Among equally probable macros the lower index is kept. Beam search of width k through a tree of
    classifiers (Kumar, Vembu, Menon and Elkan, "Beam search algorithms for multilabel learning", Machine
    Learning, 2013), here of two levels; the rescaling is this project's definition.

    Raises
    ------
    ValueError
        If `k` is no whole number between 1 and the number of macros, or the arrays do not fit.
    """
    if isinstance(k, bool) or int(k) != k or not 1 <= k <= hierarchy.n_macros:
        raise ValueError(
            f"`k` must be a whole number between 1 and the number of macros ({hierarchy.n_macros}). "
            f"Received: k={k}."
        )
    macro_probs, within_probs = _both_stages(macro_probs, within_probs, hierarchy)
    return _mix(_rescaled(macro_probs, best_macros(macro_probs, int(k))), within_probs, hierarchy)


def threshold(macro_probs: ArrayLike, within_probs: ArrayLike, hierarchy: Hierarchy, t: float) -> np.ndarray:
    """Apply soft over the macros with P(m) >= t: P(c) = sum of P(m) P(c | m) / sum of P(m).

    Both sums run over the kept macros, so the result is rescaled to sum to 1; the most probable macro is
    always kept. t = 0 is soft; any t above every P(m) is hard. The conditional execution of HD-CNN (Yan et al.,
    ICCV 2015), which leaves out fine components of little weight; keeping the most probable macro whatever t is
    this project's definition.

    Raises
    ------
    ValueError
        If `t` is no number from 0 to 1, or the arrays do not fit.
    """
    if not 0 <= t <= 1:
        raise ValueError(f"`t` must be a number from 0 to 1. Received: t={t}.")
    macro_probs, within_probs = _both_stages(macro_probs, within_probs, hierarchy)
    return _mix(_rescaled(macro_probs, likely_macros(macro_probs, t)), within_probs, hierarchy)


def macro_from_flat(flat_probs: ArrayLike, hierarchy: Hierarchy) -> np.ndarray:
    """Sum the flat model's distribution over each macro: P(m) = sum of P_flat(c) over the classes c of m.

    Returns
    -------
    numpy.ndarray
        Of shape (n, n_macros), columns in the order of `hierarchy.macros`.

    Raises
    ------
    ValueError
        If a class stands in several macros (its mass would count twice), or the array does not fit.
    """
    macro_of = hierarchy.macro_of
    return sum_columns(_flat(flat_probs, hierarchy), macro_of, hierarchy.n_macros)


def implied(flat_probs: ArrayLike, within_probs: ArrayLike, hierarchy: Hierarchy) -> np.ndarray:
    """Apply soft with the router that the flat model implies: P(c) = P_flat(m(c)) P(c | m(c)).

    P_flat(m) as `macro_from_flat` defines it; refuses overlapping hierarchies. This project's definition: what
    sub-models alone are worth, without a router of their own.
    """
    return soft(macro_from_flat(flat_probs, hierarchy), within_probs, hierarchy)


def hie(flat_probs: ArrayLike, macro_probs: ArrayLike, hierarchy: Hierarchy) -> np.ndarray:
    """Let the router reweigh the flat model: P(c) = P_flat(c) P(m(c)) / sum of the same over all classes.

    Hierarchical ensembles, without sub-models (Jain, Karthik and Gandhi, "Test-Time Amendment with a Coarse
    Classifier for Fine-Grained Classification", NeurIPS 2023). Where every product is 0 the flat model's
    distribution is kept. For a class in several macros P(m(c)) is the sum over them.
    """
    flat_probs, macro_probs = _flat_and_macro(flat_probs, macro_probs, hierarchy)
    weights = sum_columns(macro_probs[:, hierarchy.slot_macro], hierarchy.slot_class, hierarchy.n_classes)
    product = flat_probs * weights
    total = row_sums(product)
    return np.where(total > 0, product / np.where(total > 0, total, 1), flat_probs)


def masked(flat_probs: ArrayLike, macro_probs: ArrayLike, hierarchy: Hierarchy) -> np.ndarray:
    """Keep the flat model inside the router's macro: P(c) = P_flat(c) / P_flat(m*), 0 outside m*.

    m* = argmax P(m). Where the flat model gives all of m* exactly 0, its classes are equally probable. This
    project's definition: what the router alone is worth, without sub-models.
    """
    flat_probs, macro_probs = _flat_and_macro(flat_probs, macro_probs, hierarchy)
    holds = np.zeros((hierarchy.n_macros, hierarchy.n_classes), dtype=bool)
    holds[hierarchy.slot_macro, hierarchy.slot_class] = True
    inside = holds[np.argmax(macro_probs, axis=1)]
    kept = np.where(inside, flat_probs, 0.0)
    kept = np.where(row_sums(kept) > 0, kept, inside)
    return kept / row_sums(kept)


@dataclass(frozen=True)
class ClimbAnswers:
    """What climb answered, one entry per image.

    Attributes
    ----------
    levels
        "class", "macro" or "none", of shape (n,).
    class_index
        The most probable class, answered or not, index into `hierarchy.classes`, of shape (n,).
    macro_index
        The macro that holds the most probable class (the more probable where several do), answered or not, index into
        `hierarchy.macros`, of shape (n,); the most probable macro instead if climb was asked for the `likeliest`.
    """

    levels: np.ndarray
    class_index: np.ndarray
    macro_index: np.ndarray

    @property
    def answered(self) -> np.ndarray:
        """Whether the image got an answer at all, of shape (n,)."""
        return self.levels != "none"


def climb(
    probs: ArrayLike,
    macro_probs: ArrayLike,
    t: float | Sequence[float],
    hierarchy: Hierarchy,
    *,
    likeliest: bool = False,
) -> ClimbAnswers:
    """Answer the most probable class c if P(c) >= t, else the macro m that holds it if P(m) >= t, else nothing.

    The levels agree: the macro is that of the class which a lower threshold would answer. A coarser answer instead
    of a wrong one, as Deng et al., "Hedging your bets" (CVPR 2012), with fixed thresholds, not their dual search.

    Parameters
    ----------
    probs
        Class distribution, of shape (n, n_classes); soft's as a rule.
    macro_probs
        Macro distribution, of shape (n, n_macros).
    t
        One threshold for both levels, or (class threshold, macro threshold); from 0 to 2. Above 1 that level
        never answers; at 0 it always does.
    hierarchy
        Of both.
    likeliest
        Answer the most probable macro in place of the one that holds the most probable class: more macro answers and
        none that is less probable, but the two levels can contradict each other.

    Raises
    ------
    ValueError
        If a threshold is negative, no number or a percentage, or the arrays do not fit.
    """
    t_class, t_macro = climb_thresholds(t)
    probs = check_distributions(probs, "probs", hierarchy.n_classes)
    macro_probs = check_distributions(macro_probs, "macro_probs", hierarchy.n_macros)
    check_same_images(probs=probs, macro_probs=macro_probs)
    best = np.argmax(probs, axis=1)
    macro = np.argmax(macro_probs, axis=1) if likeliest else macros_holding(hierarchy, best, macro_probs)
    sure = macro_probs[np.arange(len(macro)), macro]
    levels = np.where(probs.max(axis=1) >= t_class, "class", np.where(sure >= t_macro, "macro", "none"))
    return ClimbAnswers(levels, best, macro)


def macros_holding(hierarchy: Hierarchy, classes: np.ndarray, macro_probs: np.ndarray) -> np.ndarray:
    """Return for each row's class the macro that holds it, of shape (n,): the most probable where several do.

    Parameters
    ----------
    hierarchy
    classes
        Indices into `hierarchy.classes`, of shape (n,).
    macro_probs
        Of shape (n, n_macros).
    """
    holds = np.zeros((hierarchy.n_classes, hierarchy.n_macros), dtype=bool)
    holds[hierarchy.slot_class, hierarchy.slot_macro] = True
    return np.argmax(np.where(holds[classes], macro_probs, -1.0), axis=1)


def climb_thresholds(t: float | Sequence[float]) -> tuple[float, float]:
    """Read one threshold for both levels, or one for each."""
    values = (t, t) if isinstance(t, int | float | np.number) else tuple(t)
    values = values * 2 if len(values) == 1 else values
    if len(values) != 2 or not all(np.isfinite(value) and value >= 0 for value in values):
        raise ValueError(
            f"`t` must be one threshold, or one for class and one for macro, of 0 or more. Received: {t}."
        )
    if max(values) > NEVER:
        meant = ",".join(
            f"{value / 100:g}" if value > NEVER else f"{value:g}" for value in dict.fromkeys(values)
        )
        hint = f" Percentages are written as shares: climb:{meant}." if max(values) <= 100 else ""
        raise ValueError(
            f"climb's thresholds are probabilities, from 0 to 1 (above 1, up to {NEVER:g}: never answer). "
            f"Received: {','.join(f'{value:g}' for value in dict.fromkeys(values))}.{hint}"
        )
    return float(values[0]), float(values[1])


def _mix(macro_probs: np.ndarray, within_probs: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """Sum P(m) P(c | m) over the slots of each class."""
    joint = macro_probs[:, hierarchy.slot_macro] * within_probs
    return sum_columns(joint, hierarchy.slot_class, hierarchy.n_classes)


def _rescaled(macro_probs: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Rescale the kept macros to sum to 1; rows that keep every macro stay as they are."""
    weights = np.where(kept, macro_probs, 0.0)
    return np.where(kept.all(axis=1, keepdims=True), macro_probs, weights / row_sums(weights))


def _both_stages(
    macro_probs: ArrayLike, within_probs: ArrayLike, hierarchy: Hierarchy
) -> tuple[np.ndarray, np.ndarray]:
    macro_probs = check_distributions(macro_probs, "macro_probs", hierarchy.n_macros)
    within_probs = check_distributions(within_probs, "within_probs", hierarchy.n_slots, hierarchy.slot_macro)
    check_same_images(macro_probs=macro_probs, within_probs=within_probs)
    return macro_probs, within_probs


def _flat_and_macro(
    flat_probs: ArrayLike, macro_probs: ArrayLike, hierarchy: Hierarchy
) -> tuple[np.ndarray, np.ndarray]:
    flat_probs = _flat(flat_probs, hierarchy)
    macro_probs = check_distributions(macro_probs, "macro_probs", hierarchy.n_macros)
    check_same_images(flat_probs=flat_probs, macro_probs=macro_probs)
    return flat_probs, macro_probs


def _flat(flat_probs: ArrayLike, hierarchy: Hierarchy) -> np.ndarray:
    return check_distributions(flat_probs, "flat_probs", hierarchy.n_classes)


def best_macros(macro_probs: np.ndarray, k: int) -> np.ndarray:
    """Mark the k most probable macros of each row; ties go to the lower index."""
    kept = np.zeros(macro_probs.shape, dtype=bool)
    np.put_along_axis(kept, np.argsort(-macro_probs, axis=1, kind="stable")[:, :k], True, axis=1)
    return kept


def likely_macros(macro_probs: np.ndarray, t: float) -> np.ndarray:
    """Mark the macros of at least t, and the most probable one whatever t is."""
    return (macro_probs >= t) | best_macros(macro_probs, 1)
