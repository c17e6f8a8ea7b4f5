"""The two-stage classifier as a scikit-learn estimator on arrays of features.

For programs that already have feature vectors, and for everything that scikit-learn does with estimators: pipelines,
cross-validation, grid search. The stages are scikit-learn classifiers of one's choice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from aisles.hierarchy.clustering import Clustered, ClusteringContext, choose_n_macros, cluster, cut_by_class
from aisles.hierarchy.embeddings import centered_embeddings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import climb
from aisles.hierarchy.rules import RoutingRule, parse_rule, route

from .sklearn_stages import check_stage, default_stage, fit_stage, input_tags, stage_probs


class HierarchicalEstimator(ClassifierMixin, BaseEstimator):
    """Router and sub-models on feature arrays, with macros found in the training data.

    Parameters
    ----------
    n_macros : int or 'auto'
        Number of macro-categories, at most the number of classes; auto: as `choose_n_macros` chooses it in benchmarks,
        by silhouette (`n_macros_reason_` says why).
    hierarchy : Hierarchy, mapping or path, optional
        One of your own, over `str` of the classes, in place of one found in the data: `aisles.Hierarchy`, classes by
        macro, or a JSON file. It must hold every class of `y`; classes without rows, as in a fold of a
        cross-validation, are left out of `hierarchy_`. Each class in one macro only: router and sub-models learn from
        one label a row (`TwoStageClassifier` takes overlapping ones).
    rule : str
        Routing rule: soft, hard, beam:K, threshold:T; implied, hie and masked train a flat model too.
    estimator : scikit-learn classifier, optional
        Cloned for every stage and fitted on labels 0 to k - 1. Logistic regression unless given; `estimator__C` sets
        its C. Without `predict_proba`, the softmax of its decision values stands for probabilities: wrap it in
        CalibratedClassifierCV where they shall be more than an order.
    linkage : str
        A registered clustering: ward, average, complete, or one of your own that needs class embeddings alone.
    n_jobs : int, optional
        Stages that are fitted at once, as joblib counts them: None is one, -1 all processors.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels: the order of `predict_proba`'s columns.
    hierarchy_ : Hierarchy
        Over `str` of the classes.
    n_macros_reason_ : str or None
        Why there are so many macros, where `n_macros` is auto.
    router_, submodels_, flat_ : estimators
        Fitted; None where there is nothing to tell apart (`flat_`: or where the rule needs none). Their labels are
        positions: in `hierarchy_.macros`, in each macro's members, in `hierarchy_.classes`.
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = HierarchicalEstimator(n_macros=3).fit(X / 16, y)
    >>> model.predict_proba(X[:2] / 16).shape
    (2, 10)
    """

    n_macros: int | str
    hierarchy: Any
    rule: str
    estimator: Any
    linkage: str
    n_jobs: int | None
    classes_: np.ndarray
    hierarchy_: Hierarchy
    n_macros_reason_: str | None
    router_: Any
    submodels_: list[Any]
    flat_: Any

    def __init__(
        self,
        n_macros: int | str = "auto",
        hierarchy: Any = None,
        rule: str = "soft",
        estimator: Any = None,
        linkage: str = "ward",
        n_jobs: int | None = None,
    ) -> None:
        self.n_macros = n_macros
        self.hierarchy = hierarchy
        self.rule = rule
        self.estimator = estimator
        self.linkage = linkage
        self.n_jobs = n_jobs

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with `deep` those of the stages as `estimator__...` too."""
        found = super().get_params(deep=deep)
        if deep and self.estimator is None:
            found |= {f"estimator__{name}": value for name, value in default_stage().get_params().items()}
        return found

    def set_params(self, **params: Any) -> Self:
        """Set parameters; `estimator__C` and the like make the default stage an `estimator` of its own."""
        if self.estimator is None and params.get("estimator") is None:
            params.pop("estimator", None)
            if any(name.startswith("estimator__") for name in params):
                self.estimator = default_stage()
        return super().set_params(**params)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Find the macros (unless given) and train router and sub-models.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Sparse, or with missing values (nan), where the stages take them.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
            Weighs rows in the clustering of classes and in every stage.

        Raises
        ------
        ValueError
            If shapes or labels don't fit, or a setting is out of range.
        """
        estimator, rule = check_stage(self.estimator), _checked_rule(self.rule)
        _check_n_jobs(self.n_jobs)
        checked: Any = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=_FLOATS,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2,
        )
        X, y = checked
        check_classification_targets(y)
        weights = (
            None
            if sample_weight is None
            else _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        )
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.hierarchy_ = self._hierarchy(X, codes, weights)
        self._column = self._columns()
        columns, tree = self._column[codes], self.hierarchy_
        within = np.empty(tree.n_classes, dtype=np.intp)
        within[tree.slot_class] = np.concatenate([np.arange(size) for size in tree.sizes])
        macro = tree.macro_of[columns]

        def jobs():
            yield X, macro, weights
            for index in range(tree.n_macros):
                rows = np.flatnonzero(macro == index)
                yield X[rows], within[columns[rows]], None if weights is None else weights[rows]
            if "flat_probs" in rule.needs:
                yield X, columns, weights

        fitted = list(Parallel(n_jobs=self.n_jobs)(delayed(fit_stage)(estimator, *job) for job in jobs()))
        self.router_, self.submodels_ = fitted[0], fitted[1 : tree.n_macros + 1]
        self.flat_ = fitted[-1] if "flat_probs" in rule.needs else None
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
        found = np.full(X.shape[0], None, dtype=object)
        at_class, at_macro = answers.levels == "class", answers.levels == "macro"
        found[at_class] = of_column[answers.class_index[at_class]]
        found[at_macro] = np.array(self.hierarchy_.macros, object)[answers.macro_index[at_macro]]
        return found

    def __sklearn_tags__(self) -> Any:
        """Declare to scikit-learn that the stages decide what features are taken."""
        tags = super().__sklearn_tags__()
        stage = default_stage() if self.estimator is None else self.estimator
        tags.input_tags.sparse, tags.input_tags.allow_nan = input_tags(stage)
        return tags

    def _checked(self, X: Any) -> Any:
        return validate_data(
            self, X, accept_sparse="csr", dtype=_FLOATS, ensure_all_finite="allow-nan", reset=False
        )

    def _hierarchy(self, X: Any, codes: np.ndarray, weights: np.ndarray | None) -> Hierarchy:
        """Return the hierarchy of the classes that have rows."""
        names = [str(label) for label in self.classes_]
        self.n_macros_reason_ = None
        if len(set(names)) < len(names):
            raise ValueError("Labels must differ when written as text.")
        if self.hierarchy is not None:
            return _given_hierarchy(self.hierarchy, names)
        _check_n_macros(self.n_macros, len(names))
        if len(names) < 3:
            # Too few for a tree worth the name: one macro, whose sub-model tells the classes apart.
            return Hierarchy(("all",), (tuple(sorted(names)),))
        clustered = self._clustered(X, np.array(names)[codes], weights)
        n_macros: Any = self.n_macros
        if n_macros == "auto":
            chosen = choose_n_macros(clustered)
            n_macros, self.n_macros_reason_ = chosen.n_macros, chosen.reason
        return cut_by_class(clustered, int(n_macros))

    def _columns(self) -> np.ndarray:
        """Return for each of `classes_` its column in the hierarchy's order."""
        place = {name: i for i, name in enumerate(self.hierarchy_.classes)}
        return np.array([place[str(label)] for label in self.classes_], dtype=np.intp)

    def _clustered(self, X: Any, names: Any, weights: np.ndarray | None) -> Clustered:
        """Cluster the classes around the mean of the training data, from which directions tell more."""
        if not isinstance(self.linkage, str):
            raise ValueError(
                f"`linkage` is the name of a clustering, such as 'ward'. Received: {self.linkage!r}."
            )
        codes = np.unique(names, return_inverse=True)[1]
        counts = np.bincount(codes, weights=weights)
        return cluster(ClusteringContext(centered_embeddings(X, names, weights), counts), self.linkage)

    def _routed(self, X: Any) -> np.ndarray:
        """Return the distribution in the order of the hierarchy."""
        rule, tree = _checked_rule(self.rule), self.hierarchy_
        flat = None
        if "flat_probs" in rule.needs:
            if self.flat_ is None and len(self.classes_) > 1:
                raise ValueError(f"The rule {str(rule)!r} needs a flat model. Set the rule before fit.")
            flat = stage_probs(self.flat_, X, tree.n_classes)
        within = np.zeros((X.shape[0], tree.n_slots))
        for size, block, model in zip(tree.sizes, tree.blocks, self.submodels_, strict=True):
            within[:, block] = stage_probs(model, X, size)
        return route(rule, hierarchy=tree, macro_probs=self._macro(X), within_probs=within, flat_probs=flat)

    def _macro(self, X: Any) -> np.ndarray:
        return stage_probs(self.router_, X, self.hierarchy_.n_macros)


_FLOATS = (np.float64, np.float32)


def _checked_rule(rule: Any) -> RoutingRule:
    if not isinstance(rule, str | RoutingRule):
        raise ValueError(
            f"`rule` is the name of a routing rule, such as 'soft' or 'beam:2'. Received: {rule!r}."
        )
    return parse_rule(rule)


def _given_hierarchy(given: Any, names: list[str]) -> Hierarchy:
    """Return one's own hierarchy of the classes that have rows."""
    if not isinstance(given, Hierarchy | Mapping | str | Path):
        raise ValueError(
            "`hierarchy` must be an aisles.Hierarchy, a mapping of macros to their classes, or the path of a JSON "
            f"file. Received: {type(given).__name__}."
        )
    found = Hierarchy.of(given)
    lacking = sorted(set(names) - set(found.classes))
    if lacking:
        raise ValueError(
            f"`hierarchy` and `y` disagree on classes: the hierarchy has no {lacking}. Add them to a macro, or drop "
            "their rows. (cross_val_predict with method='predict_proba' numbers the classes from 0 before it fits: "
            "give it a hierarchy of these numbers.)"
        )
    if found.overlapping:
        raise ValueError(
            "`hierarchy` must hold each class in one macro only, since the router learns one macro a class. It "
            f"has {found.n_slots} places for {found.n_classes} classes. Keep each class in one macro, or give "
            "models of your own to TwoStageClassifier.from_models, which takes overlapping macros."
        )
    return found.only(names)


def _check_n_jobs(n_jobs: Any) -> None:
    whole = isinstance(n_jobs, int | np.integer) and not isinstance(n_jobs, bool)
    if n_jobs is not None and (not whole or n_jobs == 0):
        raise ValueError(
            f"`n_jobs` is None or a whole number, not 0; -1 is all processors. Received: {n_jobs!r}."
        )


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
