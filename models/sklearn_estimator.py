"""The two-stage classifier as a scikit-learn estimator on arrays of features.

For programs that already have feature vectors, and for everything that scikit-learn does with estimators: pipelines,
cross-validation, grid search. The stages are scikit-learn classifiers of one's choice.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from aisles.hierarchy.clustering import Clustered, ClusteringContext, choose_n_macros, cluster
from aisles.hierarchy.embeddings import class_embeddings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import climb
from aisles.hierarchy.rules import parse_rule, route

_SCALE = 1e-12


class HierarchicalEstimator(ClassifierMixin, BaseEstimator):
    """Router and sub-models on feature arrays, with macros found in the training data.

    Parameters
    ----------
    n_macros : int or 'auto'
        Number of macro-categories, at most the number of classes; auto: as `choose_n_macros` chooses it in benchmarks,
        by silhouette (`n_macros_reason_` says why).
    hierarchy : Hierarchy, optional
        One of your own, over `str` of the classes, in place of one found in the data. Each class in one macro only:
        router and sub-models learn from one label an image (`TwoStageClassifier` takes overlapping ones).
    rule : str
        Routing rule: soft, hard, beam:K, threshold:T; implied, hie and masked train a flat model too.
    estimator : scikit-learn classifier, optional
        With `predict_proba`; cloned for every stage. Logistic regression unless given.
    linkage : str
        A registered clustering: ward, average, complete, or one of your own that needs class embeddings alone.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels: the order of `predict_proba`'s columns.
    hierarchy_ : Hierarchy
        Over `str` of the classes.
    n_macros_reason_ : str or None
        Why there are so many macros, where `n_macros` is auto.
    router_, submodels_, flat_ : estimators
        Fitted; None where there is nothing to tell apart (`flat_`: or where the rule needs none).
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = HierarchicalEstimator(n_macros=3).fit(X / 16, y)
    >>> model.predict_proba(X[:2] / 16).shape
    (2, 10)
    """

    def __init__(self, n_macros="auto", hierarchy=None, rule="soft", estimator=None, linkage="ward"):
        self.n_macros = n_macros
        self.hierarchy = hierarchy
        self.rule = rule
        self.estimator = estimator
        self.linkage = linkage

    def fit(self, X: Any, y: Any) -> Self:
        """Find the macros (unless given) and train router and sub-models.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Raises
        ------
        ValueError
            If shapes or labels don't fit, or a setting is out of range.
        """
        checked: Any = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        X, y = checked
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        rule = parse_rule(self.rule)
        self.hierarchy_, self._column = self._hierarchy(X, codes)
        macro = self.hierarchy_.macro_of[self._column[codes]]
        self.router_ = self._train(X, macro)
        self.submodels_ = [
            self._train(X[macro == index], codes[macro == index]) for index in range(self.hierarchy_.n_macros)
        ]
        self.flat_ = self._train(X, codes) if "flat_probs" in rule.needs else None
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the class distribution, of shape (n_samples, n_classes), columns in the order of `classes_`."""
        check_is_fitted(self)
        X = self._checked(X)
        return self._routed(X)[:, self._column]

    def predict_macro_proba(self, X: Any) -> np.ndarray:
        """Return the router's distribution, of shape (n_samples, n_macros), in the order of `hierarchy_.macros`."""
        check_is_fitted(self)
        return self._macro(self._checked(X))

    def climb(self, X: Any, threshold: float | tuple[float, float]) -> np.ndarray:
        """Return the class where it is probable enough, else its macro's name, else None, as an object array."""
        check_is_fitted(self)
        X = self._checked(X)
        answers = climb(self._routed(X), self._macro(X), threshold, self.hierarchy_)
        of_column = np.empty(len(self.classes_), dtype=object)
        of_column[self._column] = self.classes_
        found = np.full(len(X), None, dtype=object)
        at_class, at_macro = answers.levels == "class", answers.levels == "macro"
        found[at_class] = of_column[answers.class_index[at_class]]
        found[at_macro] = np.array(self.hierarchy_.macros, object)[answers.macro_index[at_macro]]
        return found

    def _checked(self, X: Any) -> np.ndarray:
        checked: Any = validate_data(self, X, dtype=np.float64, reset=False)
        return checked

    def _hierarchy(self, X: np.ndarray, codes: np.ndarray) -> tuple[Hierarchy, np.ndarray]:
        """Return the hierarchy, and for each of `classes_` its column in the hierarchy's order."""
        names = [str(label) for label in self.classes_]
        self.n_macros_reason_ = None
        if len(set(names)) < len(names):
            raise ValueError("Labels must differ when written as text.")
        if self.hierarchy is not None:
            self.hierarchy.check_classes(names)
            found = self.hierarchy
            if found.overlapping:
                raise ValueError(
                    "`hierarchy` must hold each class in one macro only, since the router learns one macro a class. It "
                    f"has {found.n_slots} places for {found.n_classes} classes. Keep each class in one macro, or give "
                    "models of your own to TwoStageClassifier.from_models, which takes overlapping macros."
                )
        elif len(names) < 3:
            # Too few for a tree worth the name: one macro, whose sub-model tells the classes apart.
            _check_n_macros(self.n_macros, len(names))
            found = Hierarchy(("all",), (tuple(sorted(names)),))
        else:
            _check_n_macros(self.n_macros, len(names))
            clustered = self._clustered(X, np.array(names)[codes])
            n_macros: Any = self.n_macros
            if n_macros == "auto":
                chosen = choose_n_macros(clustered)
                n_macros, self.n_macros_reason_ = chosen.n_macros, chosen.reason
            found = clustered.cut(n_macros)
        place = {name: i for i, name in enumerate(found.classes)}
        return found, np.array([place[name] for name in names], dtype=np.intp)

    def _clustered(self, X: np.ndarray, names: Any) -> Clustered:
        """Cluster the classes around the mean of the training data, from which directions tell more."""
        centered = X - X.mean(axis=0)
        # A class in the very middle has no direction; a constant feature gives it one that tells nothing.
        size = max(float(np.abs(centered).max()), _SCALE)
        embeddings = class_embeddings(np.c_[centered / size, np.full(len(X), 1e-6)], names)
        return cluster(ClusteringContext(embeddings, np.unique(names, return_counts=True)[1]), self.linkage)

    def _train(self, X: np.ndarray, labels: np.ndarray) -> Any:
        if len(np.unique(labels)) < 2:
            return None
        model: Any = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        return model.fit(X, labels)

    def _routed(self, X: np.ndarray) -> np.ndarray:
        """Return the distribution in the order of the hierarchy."""
        rule = parse_rule(self.rule)
        flat = None
        if "flat_probs" in rule.needs:
            if self.flat_ is None and len(self.classes_) > 1:
                raise ValueError(f"The rule {str(rule)!r} needs a flat model. Set the rule before fit.")
            flat = np.zeros((len(X), len(self.classes_)))
            flat[:, self._column] = _probs(self.flat_, X)
        within = np.zeros((len(X), self.hierarchy_.n_slots))
        for index, (block, model) in enumerate(zip(self.hierarchy_.blocks, self.submodels_, strict=True)):
            within[:, block] = self._block(index, model, X)
        return route(
            rule, hierarchy=self.hierarchy_, macro_probs=self._macro(X), within_probs=within, flat_probs=flat
        )

    def _block(self, index: int, model: Any, X: np.ndarray) -> np.ndarray:
        """Return a sub-model's distribution in the order of the macro's members."""
        if model is None:
            return np.ones((len(X), 1))
        place = {name: i for i, name in enumerate(self.hierarchy_.members[index])}
        columns = [place[str(self.classes_[code])] for code in model.classes_]
        block = np.zeros((len(X), len(place)))
        block[:, columns] = _probs(model, X)
        return block

    def _macro(self, X: np.ndarray) -> np.ndarray:
        return _probs(self.router_, X)


def _probs(model: Any, X: np.ndarray) -> np.ndarray:
    return np.ones((len(X), 1)) if model is None else model.predict_proba(X)


def _check_n_macros(n_macros: Any, n_classes: int) -> None:
    if isinstance(n_macros, str) and n_macros == "auto":
        return
    if (
        not isinstance(n_macros, int | float | np.number)
        or isinstance(n_macros, bool)
        or int(n_macros) != n_macros
        or not min(2, n_classes) <= n_macros <= n_classes
    ):
        raise ValueError(
            f"`n_macros` must be between 2 and the number of classes ({n_classes}), or 'auto'. "
            f"Received: n_macros={n_macros!r}."
        )
