"""Any scikit-learn classifier as a stage: checked, fitted on labels 0 to k - 1, asked for probabilities."""

import inspect
from typing import Any

import numpy as np
from sklearn.base import clone, is_regressor
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags

from aisles.hierarchy.distributions import SUM_TOLERANCE


def default_stage() -> LogisticRegression:
    """Return the classifier that stages are unless another is given."""
    return LogisticRegression(max_iter=1000)


def check_stage(estimator: Any) -> Any:
    """Return what stages are cloned from.

    Raises
    ------
    ValueError
        If it is no classifier.
    """
    if estimator is None:
        return default_stage()
    if isinstance(estimator, type) or not all(
        hasattr(estimator, name) for name in ("fit", "predict", "get_params")
    ):
        given = f"the class {estimator.__name__}" if isinstance(estimator, type) else f"{estimator!r:.60}"
        raise ValueError(
            "`estimator` must be a scikit-learn classifier, such as LogisticRegression(C=10). "
            f"Received: {given}. {'Call it: ' + estimator.__name__ + '().' if isinstance(estimator, type) else ''}"
        )
    if _tags(estimator) is not None and is_regressor(estimator):
        raise ValueError(f"`estimator` must be a classifier. Received a regressor: {estimator!r:.60}.")
    return estimator


def input_tags(estimator: Any) -> tuple[bool, bool]:
    """Return whether a stage takes sparse features, and whether it takes missing values."""
    tags = _tags(estimator)
    return (False, False) if tags is None else (tags.input_tags.sparse, tags.input_tags.allow_nan)


def fit_stage(estimator: Any, X: Any, labels: np.ndarray, weights: np.ndarray | None) -> Any:
    """Fit a clone on labels 0 to k - 1; None where there is one label.

    Raises
    ------
    ValueError
        If there are weights and the estimator takes none.
    """
    if len(np.unique(labels)) < 2:
        return None
    return clone(estimator).fit(X, labels, **_weights_for(estimator, weights))


def stage_probs(model: Any, X: Any, n_labels: int) -> np.ndarray:
    """Return probabilities of shape (n_rows, n_labels), float64, rows sum to 1.

    A classifier without `predict_proba` gives the softmax of its decision values (for two labels the sigmoid of the
    one value), which orders labels as it does but is no calibrated probability; one without decision values gives 1
    to its answer.

    Raises
    ------
    ValueError
        If the probabilities are none.
    """
    if model is None:
        return np.ones((X.shape[0], 1))
    if hasattr(model, "predict_proba"):
        return _spread(np.asarray(model.predict_proba(X), dtype=np.float64), model, n_labels)
    scores = _decision_values(model, X)
    if scores is None:
        answers = np.asarray(model.predict(X)).astype(np.intp)
        return np.eye(n_labels)[answers]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return _spread(powers / powers.sum(axis=1, keepdims=True), model, n_labels)


def _decision_values(model: Any, X: Any) -> np.ndarray | None:
    """Return one value per row and label; None where there are none, or one per pair of labels (`ovo`)."""
    if not hasattr(model, "decision_function") or _innermost(model, "decision_function_shape") == "ovo":
        return None
    scores = np.asarray(model.decision_function(X), dtype=np.float64)
    if scores.ndim == 1:
        return np.stack([-scores / 2, scores / 2], axis=1)
    return scores if scores.shape[1] == len(model.classes_) else None


def _innermost(model: Any, name: str) -> Any:
    """Return a setting of the classifier inside pipelines and searches."""
    while hasattr(model, "steps") or hasattr(model, "best_estimator_"):
        model = model.steps[-1][1] if hasattr(model, "steps") else model.best_estimator_
    return getattr(model, name, None)


def _spread(probs: np.ndarray, model: Any, n_labels: int) -> np.ndarray:
    """Put the columns of a model's labels where they belong, and make rows sum to 1 to the last bit or two."""
    labels = np.asarray(model.classes_).astype(np.intp)
    found = np.zeros((len(probs), n_labels))
    if probs.ndim == 2 and probs.shape[1] == len(labels):
        found[:, labels] = probs
    sums = found.sum(axis=1, keepdims=True)
    if not np.isfinite(found).all() or (found < 0).any() or (np.abs(sums - 1) > SUM_TOLERANCE).any():
        raise ValueError(
            f"`estimator` must give probabilities, 0 or more with sum 1: {type(model).__name__} doesn't. "
            "Give another classifier, or scale its features: make_pipeline(StandardScaler(), ...)."
        )
    return found / sums


def _weights_for(estimator: Any, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    if weights is None:
        return {}
    steps = getattr(estimator, "steps", None)
    last = steps[-1][1] if steps else estimator
    taken = inspect.signature(last.fit).parameters
    if "sample_weight" not in taken and not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        raise ValueError(
            f"`sample_weight` was given, and the stages' {type(last).__name__} takes none. Leave it out, or give an "
            "`estimator` whose fit takes sample_weight."
        )
    return {f"{steps[-1][0]}__sample_weight" if steps else "sample_weight": weights}


def _tags(estimator: Any) -> Any:
    try:
        return get_tags(estimator)
    except (AttributeError, TypeError):  # not scikit-learn's own kind, which may fit and predict all the same
        return None
