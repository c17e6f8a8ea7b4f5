"""Estimators as numbers and JSON: what is restored answers the same, and what is no estimator is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from aisles.data_prep.io.errors import DataError
from aisles.models.bundles.estimator_files import _own_hash
from aisles.models.bundles.saving import load, save
from aisles.models.sklearn_estimator import HierarchicalEstimator

HALVES = {"left": ["a", "b", "c"], "right": ["d", "e", "f"]}


@pytest.fixture(scope="module")
def blobs():
    y = np.repeat(list("abcdef"), 12)
    return np.abs(3 * np.eye(6)[np.repeat(range(6), 12)] + np.random.default_rng(0).normal(size=(72, 6))), y


@pytest.mark.filterwarnings("ignore")  # fits that don't converge in so few steps
@pytest.mark.parametrize(
    "stage",
    [
        None,
        LogisticRegression(C=3, random_state=np.random.RandomState(0)),
        LogisticRegressionCV(Cs=2, cv=2),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
        QuadraticDiscriminantAnalysis(reg_param=0.5),
        RidgeClassifier(),
        LinearSVC(),
        Perceptron(),
        SGDClassifier(loss="log_loss"),
        GaussianNB(),
        MultinomialNB(),
        ComplementNB(),
        BernoulliNB(binarize=1.5),
        NearestCentroid(),
        MLPClassifier((5,), max_iter=30),
        make_pipeline(SimpleImputer(), StandardScaler(), PCA(3), LogisticRegression()),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_a_restored_estimator_answers_to_the_last_bit(stage, blobs, tmp_path):
    X, y = blobs
    model = HierarchicalEstimator(n_macros=2, rule="hie", estimator=stage).fit(X, y)
    assert save(model, tmp_path / "model") == tmp_path / "model"
    found = load(tmp_path / "model")
    np.testing.assert_array_equal(found.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(found.predict(X), model.predict(X))
    np.testing.assert_array_equal(found.climb(X, 0.6), model.climb(X, 0.6))
    assert found.hierarchy_ == model.hierarchy_ and repr(found.rule) == repr(model.rule)


def test_a_restored_estimator_can_be_fitted_again_as_it_was(blobs, tmp_path):
    model = HierarchicalEstimator(hierarchy=HALVES, estimator=LogisticRegression(C=7), n_jobs=1).fit(*blobs)
    found = load(save(model, tmp_path / "model"))
    assert found.estimator.C == 7 and found.n_jobs == 1 and found.hierarchy.macros == ("left", "right")
    np.testing.assert_array_equal(found.fit(*blobs).predict_proba(blobs[0]), model.predict_proba(blobs[0]))


def test_numbers_and_objects_stay_labels(blobs, tmp_path):
    for labels in (np.repeat(range(6), 12), np.repeat(list("abcdef"), 12).astype(object)):
        model = HierarchicalEstimator(n_macros=2).fit(blobs[0], labels)
        found = load(save(model, tmp_path / "model"))
        assert found.classes_.dtype == model.classes_.dtype
        np.testing.assert_array_equal(found.predict(blobs[0]), model.predict(blobs[0]))


def test_loading_needs_no_tensorflow_and_unpickles_nothing(blobs, tmp_path):
    save(HierarchicalEstimator(n_macros=2).fit(*blobs), tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["estimator.json", "estimator.npz"]
    code = (
        "import sys, aisles, numpy, pickle\n"
        "def refuse(*a, **k): raise AssertionError('unpickled')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = refuse\n"
        f"print(aisles.load({str(tmp_path / 'model')!r}).predict(numpy.eye(6)))\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "" and "'a'" in done.stdout


def test_stages_that_are_not_numbers_are_refused_by_name(blobs, tmp_path):
    model = HierarchicalEstimator(n_macros=2, estimator=RandomForestClassifier(5)).fit(*blobs)
    with pytest.raises(ValueError, match="`estimator` holds a RandomForestClassifier.*LogisticRegression"):
        save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()

    class LogisticRegression(GaussianNB):
        """Of the name only."""

    model = HierarchicalEstimator(n_macros=2, estimator=LogisticRegression()).fit(*blobs)
    with pytest.raises(ValueError, match="holds a LogisticRegression"):
        save(model, tmp_path / "model")


def test_saving_needs_a_fitted_estimator_and_a_place(blobs, tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        save(HierarchicalEstimator(), tmp_path / "model")
    (tmp_path / "notes.txt").write_text("mine")
    model = HierarchicalEstimator(n_macros=2).fit(*blobs)
    with pytest.raises(FileExistsError, match="holds no estimator"):
        save(model, tmp_path)
    with pytest.raises(ValueError, match="model card"):
        save(model, tmp_path / "model", facts={"a": 1})


def _changed(folder, change):
    content = json.loads((folder / "estimator.json").read_text(encoding="utf-8"))
    change(content)
    content["sha256"] = _own_hash(content)
    (folder / "estimator.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["fitted"]["router_"].update({"class": "Popen"}), "holds no 'Popen'"),
        (lambda c: c["fitted"]["router_"].update({"class": "os.system"}), "holds no 'os.system'"),
        (
            lambda c: c["fitted"]["router_"]["state"].update({"__class__": {"value": 1}}),
            "no attribute '__class__'",
        ),
        (lambda c: c["fitted"]["router_"]["state"].pop("coef_"), "doesn't describe an estimator"),
        (lambda c: c["fitted"]["router_"].update({"state": 3}), "doesn't describe an estimator"),
        (lambda c: c["fitted"].update({"classes_": {"array": "nothing"}}), "doesn't describe an estimator"),
        (
            lambda c: c["fitted"]["router_"]["state"]["intercept_"].update({"array": "probes"}),
            "estimator|answers",
        ),
        (lambda c: c.update({"schema": 9}), "another schema"),
        (lambda c: c["hierarchy"]["macros"].clear(), "doesn't describe an estimator"),
        (lambda c: c.update({"n_features": 10**12}), "no array here has weights for"),
    ],
)
def test_descriptions_that_make_no_estimator_are_refused(change, message, blobs, tmp_path):
    folder = save(HierarchicalEstimator(n_macros=2).fit(*blobs), tmp_path / "model")
    _changed(folder, change)
    with pytest.raises(DataError, match=message):
        load(folder)


def test_changed_files_and_other_answers_are_found_out(blobs, tmp_path):
    folder = save(HierarchicalEstimator(n_macros=2).fit(*blobs), tmp_path / "model")
    text = (folder / "estimator.json").read_text(encoding="utf-8")
    (folder / "estimator.json").write_text(text.replace('"soft"', '"hard"'), encoding="utf-8")
    with pytest.raises(DataError, match="estimator.json has changed"):
        load(folder)
    _changed(folder, lambda content: None)
    with pytest.raises(DataError, match="saved with scikit-learn .* gives other answers"):
        load(folder)
    (folder / "estimator.npz").write_bytes(b"no arrays")
    with pytest.raises(DataError, match="estimator.npz is missing or has changed"):
        load(folder)
    with pytest.raises(DataError, match="no bundle"):
        load(tmp_path / "nowhere")
