"""Closed-form heads: against scikit-learn, against their own networks, and in degenerate corners."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from aisles.models.heads.closed_form import (
    MAPS,
    Background,
    _own_space,
    fit_knn,
    fit_lda,
    fit_logistic,
    lda_grid,
    mapped,
)
from aisles.models.heads.fitting import everyone, fit_labels, load_fitted, save_fitted
from aisles.models.heads.registry import HEADS, register_head
from aisles.models.heads.tuning import Parts, tune

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(3)
    centers = rng.gamma(2.0, size=(4, 12))
    targets = np.repeat(np.arange(4), 30)
    return np.abs(centers[targets] + 0.5 * rng.normal(size=(120, 12))), targets


def test_maps_are_the_square_root_and_its_unit_vector():
    x = np.array([[4.0, -9.0, 0.0]])
    np.testing.assert_allclose(mapped(x, "raw"), x)
    np.testing.assert_allclose(mapped(x, "root"), [[2.0, -3.0, 0.0]])
    np.testing.assert_allclose(mapped(x, "unit-root"), np.array([[2.0, -3.0, 0.0]]) / np.sqrt(13))


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 0.9])
def test_lda_is_scikit_learns(blobs, shrinkage):
    x, y = blobs
    (ours,) = fit_lda(x, y, 4, [{"feature_map": "raw", "shrinkage": shrinkage}])
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, store_covariance=True)
    # scikit-learn averages the classes' shrunk covariances by their shares, which here are equal
    theirs.fit(x, y)
    np.testing.assert_allclose(
        np.exp(log_softmax(ours.logits(x), axis=1)), theirs.predict_proba(x), atol=1e-6
    )


def test_a_share_of_one_takes_the_spread_of_all_classes(blobs):
    x, y = blobs
    some = y < 2
    background = Background(x, y)
    (alone,) = fit_lda(
        x[some], y[some], 2, [{"feature_map": "raw", "shrinkage": 0.3, "share_of_all": 1.0}], background
    )
    (everyone,) = fit_lda(x, y, 4, [{"feature_map": "raw", "shrinkage": 0.3}])
    np.testing.assert_allclose(alone.weights, everyone.weights[:, :2], rtol=1e-8)
    assert {setting["share_of_all"] for setting in lda_grid(background)} == {0.0, 0.5, 1.0}
    assert {setting["share_of_all"] for setting in lda_grid(None)} == {0.0}


@pytest.mark.parametrize("name", MAPS)
def test_a_network_says_what_its_arithmetic_says(blobs, name, tmp_path):
    x, y = blobs
    (head,) = fit_lda(x, y, 4, [{"feature_map": name, "shrinkage": 0.2}])
    head = head.divided(3.0)
    network = head.network()
    network.save(tmp_path / "head.keras")
    again = keras.saving.load_model(tmp_path / "head.keras", compile=False)  # in safe mode, as bundles are
    expected = np.exp(log_softmax(head.logits(x), axis=1))
    for model in (network, again):
        np.testing.assert_allclose(model(x.astype(np.float32)).numpy(), expected, atol=1e-4)


def test_neighbors_vote_by_the_exponential_of_their_cosine(blobs, tmp_path):
    x, y = blobs
    (head,) = fit_knn(x, y, 4, [{"feature_map": "root", "sharpness": 20.0}])
    roots = np.sqrt(x) / np.linalg.norm(np.sqrt(x), axis=1, keepdims=True)
    votes = np.exp(20 * roots @ roots.T)
    expected = np.stack([votes[:, y == c].sum(1) for c in range(4)], axis=1)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(np.exp(head.logits(x)), expected, rtol=1e-6)
    head.network().save(tmp_path / "head.keras")
    again = keras.saving.load_model(tmp_path / "head.keras", compile=False)
    np.testing.assert_allclose(again(x.astype(np.float32)).numpy(), expected, atol=1e-5)


def test_logistic_regression_separates_blobs_and_two_labels_sum_to_one(blobs):
    x, y = blobs
    (head,) = fit_logistic(x, y, 4, [{"feature_map": "raw", "strength": 100.0}])
    assert (head.logits(x).argmax(1) == y).mean() > 0.95
    two = y < 2
    (pair,) = fit_logistic(x[two], y[two], 2, [{"feature_map": "root", "strength": 30.0}])
    assert pair.logits(x).shape == (120, 2) and (pair.logits(x[two]).argmax(1) == y[two]).mean() > 0.9


def test_a_label_without_training_images_is_never_the_answer(blobs):
    x, y = blobs
    for fit, setting in (
        (fit_lda, {"feature_map": "raw", "shrinkage": 0.2}),
        (fit_logistic, {"feature_map": "raw", "strength": 30.0}),
    ):
        (head,) = fit(x, y, 5, [setting])
        assert np.isfinite(head.logits(x)).all() and not (head.logits(x).argmax(1) == 4).any()


def test_validation_images_choose_and_what_was_tried_is_counted(blobs):
    x, y = blobs
    rows = np.random.default_rng(0).permutation(120)
    parts = Parts(x, y, rows[:60], rows[60:90])
    tuned = tune(HEADS["lda"], parts, 4)
    assert tuned.searched == 16 and tuned.chosen["temperature"] > 0
    assert (tuned.probs[rows[90:]].argmax(1) == y[rows[90:]]).mean() > 0.9
    losses = []
    for setting in lda_grid(None):
        (head,) = fit_lda(x[rows[:60]], y[rows[:60]], 4, [setting])
        logs = log_softmax(head.logits(x[rows[60:90]]), axis=1)
        grid = [
            log_softmax(logs / t, axis=1)[np.arange(30), y[rows[60:90]]].mean()
            for t in np.geomspace(0.02, 50, 400)
        ]
        losses.append(-max(grid))
    chosen = {key: tuned.chosen[key] for key in ("feature_map", "shrinkage", "share_of_all")}
    assert losses[lda_grid(None).index(chosen)] == pytest.approx(min(losses), abs=1e-3)


def test_a_temperature_is_fitted_on_images_that_heads_like_the_final_one_never_saw(blobs):
    x, y = blobs
    rng = np.random.default_rng(5)
    x = np.abs(x + 2.0 * rng.normal(size=x.shape))  # so that some answers are wrong
    rows = rng.permutation(120)
    products = np.array([f"p{i // 2}" for i in range(120)])
    train, val = rows[:50], np.sort(rows[50:110])
    learned = []

    def fit(features, targets, n_labels, settings, background):
        learned.append({tuple(row) for row in features})
        return fit_lda(features, targets, n_labels, settings, background)

    tuned = tune(replace(HEADS["lda"], fit=fit), Parts(x, y, train, val, products), 4)
    setting = {key: tuned.chosen[key] for key in ("feature_map", "shrinkage", "share_of_all")}
    searched, alone, final, *cross = learned
    assert len(searched) == len(alone) == 50 and len(final) == 110 and len(cross) == 3
    logits = np.empty((60, 4))
    for inside in cross:
        assert all(tuple(row) in inside for row in x[train])
        out = np.array([tuple(row) not in inside for row in x[val]])
        assert 0 < out.sum() < 60 and not set(products[val[out]]) & set(products[val[~out]])
        rest = np.concatenate([train, val[~out]])
        (head,) = fit_lda(x[rest], y[rest], 4, [setting])
        logits[out] = head.logits(x[val[out]])
    temperatures = np.geomspace(0.2, 60, 4000)
    losses = [-log_softmax(logits / t, axis=1)[np.arange(60), y[val]].mean() for t in temperatures]
    assert tuned.chosen["temperature"] == pytest.approx(temperatures[np.argmin(losses)], rel=0.01)
    expected = np.exp(log_softmax(logits / tuned.chosen["temperature"], axis=1))
    np.testing.assert_allclose(tuned.val_probs[val], expected, atol=1e-9)
    both = np.concatenate([train, val])
    (last,) = fit_lda(x[both], y[both], 4, [setting])
    said = np.exp(log_softmax(last.logits(x) / tuned.chosen["temperature"], axis=1))
    np.testing.assert_allclose(tuned.probs, said, atol=1e-9)


def test_neighbors_take_no_temperature_and_say_so(blobs):
    x, y = blobs
    tuned = tune(HEADS["knn"], Parts(x, y, np.arange(0, 120, 2), np.arange(1, 120, 2)), 4)
    assert tuned.chosen["temperature"] == 1
    votes = fit_knn(x, y, 4, [{k: tuned.chosen[k] for k in ("feature_map", "sharpness")}])
    np.testing.assert_allclose(tuned.probs, np.exp(next(iter(votes)).logits(x)), atol=1e-9)


def test_without_validation_images_products_never_cross_the_folds(blobs):
    x, y = blobs
    seen = []

    def fit(features, targets, n_labels, settings, background):
        seen.append({tuple(row) for row in np.round(features, 6)})
        return fit_lda(features, targets, n_labels, settings, background)

    definition = HEADS["lda"]
    products = np.array([f"p{i // 2}" for i in range(120)])
    tuned = tune(replace(definition, fit=fit), Parts(x, y, np.arange(120), np.array([], int), products), 4)
    for learned in seen[:3]:
        inside = np.array([tuple(np.round(row, 6)) in learned for row in x])
        assert (inside[0::2] == inside[1::2]).all() and 0 < inside.sum() < 120
    assert tuned.probs.shape == (120, 4)


def test_a_fitted_discriminant_comes_back_from_its_folder(blobs, tmp_path):
    x, y = blobs
    splits = np.where(np.arange(120) % 3 == 0, "val", "train")
    labels = np.array(list("abcd"))[y]
    fitted = fit_labels(x, labels, splits, ("a", "b"), head="lda", background=everyone(x, labels, splits))
    assert fitted.searched == 48 and fitted.history is None  # 2 maps, 3 shares of all, 8 shrinkages
    save_fitted(fitted, tmp_path)
    again = load_fitted(tmp_path)
    assert again.chosen == fitted.chosen and again.searched == 48
    np.testing.assert_allclose(again.on(None).from_features(x), fitted.probs, atol=1e-5)


def test_a_head_from_outside_is_tuned_like_ours(blobs, monkeypatch):
    len(HEADS)
    monkeypatch.setattr(HEADS, "_known", dict(HEADS._known))

    @register_head(
        "narrow", description="a softmax layer", grid=[{"scale": 0.0}, {"scale": 1.0}], deterministic=True
    )
    def narrow(features, targets, n_labels, settings, background):
        for setting in settings:
            layer = keras.layers.Dense(n_labels, activation="softmax")
            model = keras.Sequential([keras.Input((features.shape[1],)), layer])
            means = np.stack([features[targets == c].mean(axis=0) for c in range(n_labels)], axis=1)
            layer.set_weights([setting["scale"] * means, -0.5 * setting["scale"] * (means**2).sum(axis=0)])
            yield model

    x, y = blobs
    tuned = tune(HEADS["narrow"], Parts(x, y, np.arange(0, 120, 2), np.arange(1, 120, 2)), 4)
    assert tuned.chosen["scale"] == 1.0 and tuned.searched == 2
    assert (tuned.probs.argmax(1) == y).mean() > 0.9


def test_logistic_regression_of_fewer_images_than_dimensions_is_the_same_in_their_own_space():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 150)) + 1.0, np.arange(40) % 4
    coordinates, basis = _own_space(x)
    assert coordinates.shape == (40, 40) and basis is not None
    np.testing.assert_allclose(coordinates @ basis, x, atol=1e-9)
    exactly = {"C": 0.75, "tol": 1e-8, "max_iter": 5000}
    whole = LogisticRegression(**exactly).fit(x, y)
    own = LogisticRegression(**exactly).fit(coordinates, y)
    np.testing.assert_allclose(own.coef_ @ basis, whole.coef_, atol=1e-4)
    np.testing.assert_allclose(own.intercept_, whole.intercept_, atol=1e-4)
    (head,) = fit_logistic(x, y, 4, [{"feature_map": "raw", "strength": 30.0}])
    assert head.weights.shape == (150, 4) and (head.logits(x).argmax(1) == y).all()


def test_more_images_than_dimensions_stay_as_they_are():
    x = np.random.default_rng(0).normal(size=(9, 4))
    coordinates, basis = _own_space(x)
    assert coordinates is x and basis is None


@pytest.mark.parametrize(("n_images", "shrinkage"), [(600, 1e-3), (600, 0.9), (60, 0.1), (60, 1e-15)])
def test_one_setting_alone_gives_the_head_that_it_gives_among_others(n_images, shrinkage):
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(n_images, 80))).astype(np.float32)
    features[:, 0] = 1  # which leaves the covariance without an inverse of its own
    targets = rng.integers(0, 7, n_images)
    setting = {"feature_map": "raw", "shrinkage": shrinkage}
    (alone,) = fit_lda(features, targets, 7, [setting])
    among, _ = fit_lda(features, targets, 7, [setting, setting | {"shrinkage": 0.5}])
    tolerance = (
        {"rtol": 1e-8, "atol": 1e-8 * np.abs(among.weights).max()} if shrinkage > 1e-9 else {"rtol": 0.1}
    )
    np.testing.assert_allclose(alone.weights, among.weights, **tolerance)
