"""The scikit-learn view: scikit-learn's own checks, an independent library, and answers known beforehand."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.sklearn_estimator import HierarchicalEstimator


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@parametrize_with_checks(
    [
        HierarchicalEstimator(),
        HierarchicalEstimator(rule="hard", estimator=GaussianNB()),
        HierarchicalEstimator(rule="hie", estimator=RidgeClassifier(), n_macros=2),
        HierarchicalEstimator(estimator=DecisionTreeClassifier(random_state=0)),
    ]
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:900] / 16, y[:900], X[900:1200] / 16, y[900:1200]


def test_it_learns_digits_about_as_well_as_a_flat_model(digits):
    X, y, X_test, y_test = digits
    model = HierarchicalEstimator(n_macros=3).fit(X, y)
    flat = LogisticRegression(max_iter=1000).fit(X, y)
    assert model.score(X_test, y_test) > flat.score(X_test, y_test) - 0.05
    assert model.hierarchy_.n_macros == 3 and model.hierarchy_.n_classes == 10
    np.testing.assert_array_equal(model.classes_, np.arange(10))


@pytest.mark.parametrize("rule", ["soft", "hard", "beam:2", "threshold:0.1", "implied", "hie", "masked"])
def test_every_rule_gives_distributions(rule, digits):
    X, y, X_test, _ = digits
    model = HierarchicalEstimator(n_macros=4, rule=rule).fit(X[:300], y[:300])
    np.testing.assert_allclose(model.predict_proba(X_test[:20]).sum(1), 1)


def test_numbers_of_two_digits_keep_their_order():
    X = np.repeat(np.eye(12), 5, axis=0)
    y = np.repeat(np.arange(12), 5)
    model = HierarchicalEstimator(n_macros=3, estimator=LogisticRegression(C=1e4, max_iter=1000)).fit(X, y)
    np.testing.assert_array_equal(model.classes_, np.arange(12))
    np.testing.assert_array_equal(model.predict(np.eye(12)), np.arange(12))


def test_soft_is_hiclass_product_on_the_same_probabilities(digits):
    hiclass = pytest.importorskip("hiclass")
    X, y, X_test, _ = digits
    macros = {"round": ("0", "6", "8", "9"), "edgy": ("1", "4", "7"), "rest": ("2", "3", "5")}
    names = y.astype(str)
    of = {name: macro for macro, members in macros.items() for name in members}
    theirs = hiclass.LocalClassifierPerParentNode(
        local_classifier=LogisticRegression(max_iter=1000),
        probability_combiner="multiply",
        return_all_probabilities=True,
    )
    theirs.fit(X, np.array([[of[name], name] for name in names]))
    ours = HierarchicalEstimator(hierarchy=Hierarchy(tuple(macros), tuple(macros.values())), rule="soft").fit(
        X, names
    )
    by_level = theirs.predict_proba(X_test)
    assert [name.rpartition("::")[2] for name in sorted(theirs.classes_[1])] == sorted(ours.classes_)
    np.testing.assert_allclose(ours.predict_proba(X_test), by_level[1], atol=1e-6)


def test_overlapping_macros_are_refused_with_what_takes_them(digits):
    halves = tuple(tuple(str(i) for i in part) for part in (range(6), range(5, 10)))
    with pytest.raises(ValueError, match="11 places for 10 classes.*TwoStageClassifier"):
        HierarchicalEstimator(hierarchy=Hierarchy(("low", "high"), halves)).fit(digits[0], digits[1])


def test_climb_answers_classes_macros_or_nothing(digits):
    X, y, X_test, _ = digits
    model = HierarchicalEstimator(n_macros=3).fit(X, y)
    everything = model.climb(X_test, 0)
    np.testing.assert_array_equal(everything.astype(int), model.predict(X_test))
    some = model.climb(X_test, 0.9)
    kinds = {type(answer) for answer in some}
    assert None in some or any(answer in model.hierarchy_.macros for answer in some), kinds


def test_it_can_be_searched_over(digits):
    X, y, _, _ = digits
    search = GridSearchCV(
        HierarchicalEstimator(estimator=GaussianNB(var_smoothing=1e-3)),
        {"n_macros": [2, 4], "rule": ["soft", "hard"]},
        cv=2,
    )
    assert set(search.fit(X[:300], y[:300]).best_params_) == {"n_macros", "rule"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_macros": 1}, "between 2 and"),
        ({"n_macros": 11}, r"number of classes \(10\)"),
        ({"rule": "best"}, "Unknown routing rule"),
        ({"hierarchy": Hierarchy(("a",), (("0", "1"),))}, "disagree"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_when_fitting(options, message, digits):
    with pytest.raises(ValueError, match=message):
        HierarchicalEstimator(**options).fit(digits[0], digits[1])


@pytest.mark.parametrize("rule", ["hard", "soft"])
@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_hiclass_case_of_two_levels_is_predicted(rule, kind):
    """As in HiClass's tests of LocalClassifierPerParentNode: one row per class, asked in reversed order."""
    X, y = np.array([[1, 2], [3, 4], [5, 6], [7, 8]]), ["1.1", "1.2", "2.1", "2.2"]
    hierarchy = {"1": ["1.1", "1.2"], "2": ["2.1", "2.2"]}
    fitted = HierarchicalEstimator(hierarchy=hierarchy, rule=rule, estimator=LogisticRegression()).fit(X, y)
    assert fitted.predict(kind(X[::-1])).tolist() == y[::-1]
    assert np.array_equal(fitted.predict(kind(X[:1])), ["1.1"])


def test_probabilities_do_not_depend_on_the_batch(digits):
    X, y, X_test, _ = digits
    fitted = HierarchicalEstimator(n_macros=3).fit(X, y)
    whole = fitted.predict_proba(X_test)
    np.testing.assert_allclose(
        np.concatenate([fitted.predict_proba(part) for part in np.split(X_test, [1, 2, 9])]),
        whole,
        atol=1e-12,
    )
    order = np.random.default_rng(0).permutation(len(X_test))
    np.testing.assert_allclose(fitted.predict_proba(X_test[order]), whole[order], atol=1e-12)
