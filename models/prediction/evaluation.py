"""How good a classifier is on labelled images, in the few metrics that fit on a screen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from aisles.hierarchy.distributions import among_top
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import ClimbAnswers

ZERO: Any = 0  # scikit-learn's annotation knows only 'warn'


SMALLEST = float(np.finfo(np.float64).eps)
"""What smaller probabilities count as in the log loss, as in scikit-learn's `log_loss` and in benchmarks."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one classifier under one rule on n images.

    Attributes
    ----------
    n_images : int
    rule : str
    accuracy, top5_accuracy : float
        Share whose true class is the most probable one, or among the five most probable ones.
    balanced_accuracy : float
        Mean recall over the classes that occur, as scikit-learn's `balanced_accuracy_score`.
    macro_f1 : float
        Mean F1 over the classes that occur or are answered, as scikit-learn's `f1_score(average="macro")` and as in
        comparisons; there "macro" means "over classes".
    log_loss : float
        Mean of -log P(true class), with P of at least 1e-12.
    macro_accuracy : float or None
        Share whose true class is in the most probable macro. None without a hierarchy.
    accuracy_where_macro_right : float or None
        Share of right classes among those.
    answered : dict of str to float
        Share of images answered at each level: class, macro, none.
    right_of_answered : float
        Share of right ones among given answers; a macro answer is right if the macro holds the true class.
    per_class : dict of str to (precision, recall, F1, support)
        Of the classes that occur or are answered.
    answers_on_absent : int
        Answers on classes of which there is no image. Each such class lowers `macro_f1`, for its F1 is 0.
    """

    n_images: int
    rule: str
    accuracy: float
    top5_accuracy: float
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    macro_accuracy: float | None
    accuracy_where_macro_right: float | None
    answered: dict[str, float]
    right_of_answered: float
    per_class: dict[str, tuple[float, float, float, int]]
    answers_on_absent: int


def summarize(
    truth: np.ndarray,
    probs: np.ndarray,
    macro_probs: np.ndarray | None,
    answers: ClimbAnswers | None,
    classes: np.ndarray,
    hierarchy: Hierarchy | None,
    rule: str,
) -> Evaluation:
    """Compute the metrics; `truth` holds indices into `classes`, one a row of `probs`."""
    best = probs.argmax(1)
    seen = np.union1d(truth, best)
    parts: Any = precision_recall_fscore_support(truth, best, labels=seen, average=None, zero_division=ZERO)
    rows = zip(seen, *parts, strict=True)
    macro_right = _macro_right(truth, macro_probs, hierarchy)
    right = best == truth
    levels, given_right = np.full(len(truth), "class"), right
    if answers is not None and hierarchy is not None:
        levels = answers.levels
        given_right = np.where(levels == "class", right, _holding(hierarchy)[answers.macro_index, truth])
    given = levels != "none"
    return Evaluation(
        n_images=len(truth),
        rule=rule,
        accuracy=float(right.mean()),
        top5_accuracy=float(among_top(truth, probs, 5).mean()),
        balanced_accuracy=float(np.mean(parts[1][parts[3] > 0])),
        macro_f1=float(np.mean(parts[2])),
        log_loss=float(-np.log(np.maximum(probs[np.arange(len(truth)), truth], SMALLEST)).mean()),
        macro_accuracy=None if macro_right is None else float(macro_right.mean()),
        accuracy_where_macro_right=_share(right, macro_right),
        answered={level: float((levels == level).mean()) for level in ("class", "macro", "none")},
        right_of_answered=float(given_right[given].mean()) if given.any() else 0.0,
        per_class={str(classes[i]): (float(p), float(r), float(f), int(s)) for i, p, r, f, s in rows},
        answers_on_absent=int((~np.isin(best, truth)).sum()),
    )


def _macro_right(truth: np.ndarray, macro_probs: np.ndarray | None, hierarchy: Hierarchy | None):
    if macro_probs is None or hierarchy is None:
        return None
    return _holding(hierarchy)[macro_probs.argmax(1), truth]


def _holding(hierarchy: Hierarchy) -> np.ndarray:
    """Return which macro holds which class, as bool (n_macros, n_classes)."""
    holds = np.zeros((hierarchy.n_macros, hierarchy.n_classes), bool)
    holds[hierarchy.slot_macro, hierarchy.slot_class] = True
    return holds


def _share(right: np.ndarray, among: np.ndarray | None) -> float | None:
    return float(right[among].mean()) if among is not None and among.any() else None
