"""Any scikit-learn classifier as a stage, and all kinds of data: answers known beforehand, and refusals."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.sklearn_estimator import HierarchicalEstimator

HALVES = {"left": ["a", "b", "c"], "right": ["d", "e", "f"]}


@pytest.fixture(scope="module")
def blobs():
    """Six classes around six corners, three units out, with noise of .5: any classifier tells them apart."""
    rng = np.random.default_rng(0)
    y = np.repeat(list("abcdef"), 20)
    X = 3 * np.eye(6)[np.repeat(range(6), 20)] + 0.5 * rng.normal(size=(120, 6))
    return X, y


SETTINGS = {
    "BernoulliNB": {"binarize": 1.5},
    "CategoricalNB": {"min_categories": 8},  # a sub-model meets rows of other macros
    "DummyClassifier": {"strategy": "prior"},
    "RadiusNeighborsClassifier": {"radius": 3.0, "outlier_label": "most_frequent"},
}
OF_OTHERS = ("FixedThreshold", "TunedThreshold", "Multi", "ClassifierChain", "OneVs", "OutputCode", "SelfTraining",
             "Stacking", "Voting")  # fmt: skip
CLASSIFIERS = [
    kind for name, kind in all_estimators(type_filter="classifier") if not name.startswith(OF_OTHERS)
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CLASSIFIERS, ids=lambda kind: kind.__name__)
def test_every_classifier_of_scikit_learn_is_a_stage(kind, blobs):
    X, y = np.abs(blobs[0]), blobs[1]
    estimator = kind(**SETTINGS.get(kind.__name__, {}))
    model = HierarchicalEstimator(hierarchy=HALVES, estimator=estimator).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert model.score(X, y) > (0.85 if kind.__name__ != "DummyClassifier" else 0.1)


def test_stages_see_labels_from_zero(blobs):
    class Strict(ClassifierMixin, BaseEstimator):
        """Like boosting libraries: refuses labels other than 0 to k - 1."""

        def fit(self, X, y):
            self.classes_ = np.unique(y)
            np.testing.assert_array_equal(self.classes_, np.arange(len(self.classes_)))
            self.means_ = np.stack([X[y == label].mean(axis=0) for label in self.classes_])
            return self

        def predict_proba(self, X):
            near = np.exp(-((X[:, None] - self.means_[None]) ** 2).sum(axis=2))
            return near / near.sum(axis=1, keepdims=True)

        def predict(self, X):
            return self.classes_[self.predict_proba(X).argmax(axis=1)]

    model = HierarchicalEstimator(hierarchy=HALVES, estimator=Strict(), rule="hie").fit(*blobs)
    assert model.score(*blobs) == 1.0


def test_decision_values_become_a_softmax_worked_by_hand(blobs):
    X, y = blobs
    model = HierarchicalEstimator(hierarchy=HALVES, estimator=RidgeClassifier(), rule="soft").fit(X, y)
    router = RidgeClassifier().fit(X, np.isin(y, HALVES["right"]).astype(int))
    left = RidgeClassifier().fit(X[:60], np.repeat([0, 1, 2], 20))
    right_share = 1 / (1 + np.exp(-router.decision_function(X)))
    powers = np.exp(left.decision_function(X))
    expected = (1 - right_share)[:, None] * powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X)[:, :3], expected)


def test_pairwise_decision_values_are_not_taken_for_those_of_classes(blobs):
    """Three classes have three pairs too: only the setting tells, inside a pipeline as well."""
    X, y = blobs
    inside = make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo"))
    model = HierarchicalEstimator(hierarchy=HALVES, estimator=inside).fit(X, y)
    left = SVC(decision_function_shape="ovo").fit(
        StandardScaler().fit_transform(X[:60]), np.repeat([0, 1, 2], 20)
    )
    answers = left.predict(StandardScaler().fit(X[:60]).transform(X[:60]))
    within = model.predict_proba(X[:60])[:, :3]
    np.testing.assert_array_equal(within > 0, np.eye(3, dtype=bool)[answers])


def test_calibrated_and_searched_classifiers_are_stages(blobs):
    for estimator in (
        CalibratedClassifierCV(LinearSVC(), cv=2),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 10]}, cv=2),
    ):
        assert HierarchicalEstimator(hierarchy=HALVES, estimator=estimator).fit(*blobs).score(*blobs) == 1.0


def test_missing_values_go_to_stages_that_take_them_and_to_no_others(blobs):
    X, y = blobs[0].copy(), blobs[1]
    X[::7, 0] = np.nan
    tree = HierarchicalEstimator(n_macros=2, estimator=DecisionTreeClassifier(random_state=0)).fit(X, y)
    assert tree.score(X, y) == 1.0 and set(tree.hierarchy_.classes) == set("abcdef")
    with pytest.raises(ValueError, match="(?s)NaN.*LogisticRegression does not accept missing values"):
        HierarchicalEstimator(n_macros=2).fit(X, y)
    X[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        HierarchicalEstimator(n_macros=2, estimator=DecisionTreeClassifier()).fit(X, y)


@pytest.mark.parametrize("n_macros", [2, "auto"])
def test_sparse_features_give_what_dense_ones_give(n_macros, blobs):
    X, y = blobs[0] * (blobs[0] > 0.5), blobs[1]
    dense = HierarchicalEstimator(n_macros=n_macros).fit(X, y)
    for form in (sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix):
        model = HierarchicalEstimator(n_macros=n_macros).fit(form(X), y)
        assert model.hierarchy_ == dense.hierarchy_
        np.testing.assert_allclose(model.predict_proba(form(X)), dense.predict_proba(X), atol=1e-4)
    with pytest.raises(TypeError, match="[Ss]parse"):
        HierarchicalEstimator(n_macros=2, estimator=GaussianNB()).fit(sparse.csr_matrix(X), y)


@pytest.mark.parametrize("estimator", [None, GaussianNB(), make_pipeline(LogisticRegression(max_iter=1000))])
def test_whole_weights_are_repeated_rows_and_zero_weights_missing_rows(estimator, blobs):
    X, y = blobs
    weights = np.random.default_rng(1).integers(0, 3, len(y))
    repeated = HierarchicalEstimator(estimator=estimator).fit(
        np.repeat(X, weights, axis=0), np.repeat(y, weights)
    )
    weighted = HierarchicalEstimator(estimator=estimator).fit(X, y, sample_weight=weights)
    assert weighted.hierarchy_ == repeated.hierarchy_
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=2e-3)
    plain = HierarchicalEstimator(estimator=estimator).fit(X, y)
    assert np.abs(plain.predict_proba(X) - weighted.predict_proba(X)).max() > 5e-3


def test_stages_fitted_at_once_are_those_fitted_one_by_one(blobs):
    one, two = (HierarchicalEstimator(rule="hie", n_jobs=n).fit(*blobs) for n in (None, 2))
    np.testing.assert_array_equal(one.predict_proba(blobs[0]), two.predict_proba(blobs[0]))


def test_settings_of_the_default_stage_are_searched_over(blobs):
    model = HierarchicalEstimator(hierarchy=HALVES).set_params(estimator__C=0.003)
    assert model.estimator.C == 0.003 and model.fit(*blobs).router_.C == 0.003
    assert HierarchicalEstimator().get_params()["estimator__max_iter"] == 1000
    search = GridSearchCV(HierarchicalEstimator(hierarchy=HALVES), {"estimator__C": [1e-9, 1.0]}, cv=3)
    assert search.fit(*blobs).best_params_ == {"estimator__C": 1.0}
    with pytest.raises(ValueError, match="Invalid parameter 'D'"):
        HierarchicalEstimator().set_params(estimator__D=1)


def test_a_hierarchy_is_a_mapping_a_file_or_an_object(blobs, tmp_path):
    tree = Hierarchy(tuple(HALVES), tuple(map(tuple, HALVES.values())))
    tree.write(tmp_path / "tree.json")
    found = [
        HierarchicalEstimator(hierarchy=given).fit(*blobs).hierarchy_
        for given in (tree, HALVES, tmp_path / "tree.json", str(tmp_path / "tree.json"))
    ]
    assert all(one == tree for one in found)
    numbers = HierarchicalEstimator(hierarchy={"low": [0, 1], "high": range(2, 6)}).fit(
        blobs[0], np.repeat(range(6), 20)
    )
    assert numbers.hierarchy_.members == (("0", "1"), ("2", "3", "4", "5"))


def test_a_class_without_rows_in_a_fold_is_left_out(blobs):
    X, y = blobs
    scores = cross_val_score(HierarchicalEstimator(hierarchy=HALVES), X, y, cv=KFold(6))
    np.testing.assert_array_equal(scores, 0)  # each fold holds one class, that training didn't see
    more = HALVES | {"none": ["g", "h"]}
    model = HierarchicalEstimator(hierarchy=more).fit(X, y)
    assert model.hierarchy_.macros == ("left", "right") and model.classes_.tolist() == list("abcdef")
    numbered = {"left": range(3), "right": range(3, 6)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of classes that folds lack
        probs = cross_val_predict(
            HierarchicalEstimator(hierarchy=numbered), X, y, cv=KFold(6), method="predict_proba"
        )
        with pytest.raises(ValueError, match="numbers the classes from 0"):
            cross_val_predict(
                HierarchicalEstimator(hierarchy=HALVES), X, y, cv=KFold(6), method="predict_proba"
            )
    assert (probs[np.arange(120), np.repeat(range(6), 20)] == 0).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1)


def test_thousands_of_classes_are_fitted_without_ordering_leaves(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("no prediction needs the order of leaves")

    monkeypatch.setattr("scipy.cluster.hierarchy.optimal_leaf_ordering", refuse)
    y = np.repeat([f"c{i:04d}" for i in range(400)], 2)
    X = np.random.default_rng(0).normal(size=(800, 8))
    model = HierarchicalEstimator(estimator=GaussianNB(), n_macros=20).fit(X, y)
    assert model.hierarchy_.n_macros == 20
    firsts = [names[0] for names in model.hierarchy_.members]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hierarchy": 5}, "`hierarchy` must be an aisles.Hierarchy.*Received: int"),
        ({"hierarchy": {"left": ["a", "b"]}}, r"`hierarchy` and `y` disagree.*\['c', 'd', 'e', 'f'\]"),
        ({"hierarchy": {"left": "abcdef"}}, "'left' must hold a list of classes"),
        ({"estimator": "logistic"}, "`estimator` must be a scikit-learn classifier"),
        ({"estimator": LogisticRegression}, r"Received: the class LogisticRegression. Call it: LogisticRegression\(\)"),
        ({"estimator": Ridge()}, "`estimator` must be a classifier. Received a regressor"),
        ({"rule": None}, "`rule` is the name of a routing rule"),
        ({"linkage": 3}, "`linkage` is the name of a clustering"),
        ({"n_jobs": "many"}, "`n_jobs` is None or a whole number"),
        ({"n_jobs": 0}, "`n_jobs` is None or a whole number"),
        ({"n_macros": None}, "`n_macros` must be between 2"),
        ({"n_macros": "six"}, "`n_macros` must be between 2"),
    ],
)  # fmt: skip
def test_errors_name_the_parameter(options, message, blobs):
    with pytest.raises(ValueError, match=message):
        HierarchicalEstimator(**options).fit(*blobs)


def test_weights_are_refused_where_the_stage_takes_none(blobs):
    with pytest.raises(ValueError, match="`sample_weight` was given.*KNeighborsClassifier takes none"):
        HierarchicalEstimator(estimator=KNeighborsClassifier()).fit(*blobs, sample_weight=np.ones(120))
    with pytest.raises(FileNotFoundError):
        HierarchicalEstimator(hierarchy="no/such/tree.json").fit(*blobs)


class TestAsHiClass:
    """What HiClass's own tests of a classifier per parent node ask, asked of ours where both offer it."""

    X = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
    y = np.array(["1.1", "1.2", "2.1", "2.2"])
    tree = {"1": ["1.1", "1.2"], "2": ["2.1", "2.2"]}

    @pytest.mark.parametrize("form", [np.array, sparse.csr_matrix])
    def test_predicts_through_two_levels(self, form):
        model = HierarchicalEstimator(hierarchy=self.tree, estimator=LogisticRegression()).fit(self.X, self.y)
        order = [3, 2, 1, 0]
        np.testing.assert_array_equal(model.predict(form(self.X[order])), self.y[order])
        macros = np.array(model.hierarchy_.macros)[
            model.predict_macro_proba(form(self.X[order])).argmax(axis=1)
        ]
        np.testing.assert_array_equal(macros, ["2", "2", "1", "1"])

    def test_predicts_what_it_was_fitted_on(self):
        model = HierarchicalEstimator(hierarchy={"a": ["b"], "b'": ["c"]}).fit([[1, 2], [3, 4]], ["b", "c"])
        np.testing.assert_array_equal(model.predict([[1, 2], [3, 4]]), ["b", "c"])

    def test_one_class_needs_no_classifier(self):
        model = HierarchicalEstimator(hierarchy={"1": ["2"]}, n_jobs=2).fit([[1, 2], [1, 3]], ["2", "2"])
        np.testing.assert_array_equal(model.predict([[1, 2]]), ["2"])
        assert model.router_ is None and model.submodels_ == [None]

    def test_stages_are_fitted_where_there_is_a_choice(self):
        model = HierarchicalEstimator(hierarchy=self.tree | {"1": ["1.1"], "3": ["1.2"]}).fit(self.X, self.y)
        fitted = [
            None if stage is None else len(stage.classes_) for stage in (model.router_, *model.submodels_)
        ]
        assert fitted == [3, None, 2, None]

    def test_probabilities_do_not_depend_on_the_batch(self, blobs):
        model = HierarchicalEstimator(n_macros=2, estimator=Perceptron()).fit(*blobs)
        whole = model.predict_proba(blobs[0])
        one_by_one = np.concatenate([model.predict_proba(row[None]) for row in blobs[0]])
        np.testing.assert_allclose(one_by_one, whole, atol=1e-12)

    def test_levels_agree(self, blobs):
        model = HierarchicalEstimator(hierarchy=HALVES).fit(*blobs)
        probs, macros = model.predict_proba(blobs[0]), model.predict_macro_proba(blobs[0])
        np.testing.assert_allclose(probs[:, :3].sum(axis=1), macros[:, 0])
