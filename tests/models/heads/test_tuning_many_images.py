"""Many validation images: some choose the settings, all of them the temperature."""

import numpy as np
import pytest

from aisles.models.heads import tuning
from aisles.models.heads.closed_form import fit_lda
from aisles.models.heads.registry import HeadDefinition
from aisles.models.heads.tuning import Parts, tune

SETTINGS = [{"feature_map": "raw", "shrinkage": s} for s in (0.1, 0.5, 0.9)]


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    targets = np.tile(np.arange(4), 60)
    x = 2.0 * np.eye(6)[targets] + rng.normal(size=(240, 6))
    return Parts(x, targets, np.arange(120), np.arange(120, 240))


def head(seen):
    def fit(x, y, n_labels, settings, background):
        for found in fit_lda(x, y, n_labels, settings, background):
            seen.append(found)
            yield found

    return HeadDefinition("h", "h", fit, lambda _: SETTINGS, deterministic=True)


def test_the_temperature_comes_from_all_validation_images(parts, monkeypatch):
    whole = tune(head([]), parts, 4, refit=False)
    monkeypatch.setattr(tuning, "ENOUGH", 100)
    some = tune(head([]), parts, 4, refit=False)
    assert some.chosen["shrinkage"] == whole.chosen["shrinkage"]
    assert some.chosen["temperature"] == pytest.approx(whole.chosen["temperature"], rel=1e-6)
    np.testing.assert_allclose(some.probs, whole.probs, atol=1e-9)


def test_settings_are_compared_on_some_images_alone(parts, monkeypatch):
    asked = []
    monkeypatch.setattr(tuning, "ENOUGH", 30)
    monkeypatch.setattr(
        tuning, "_score", lambda logits, truth: (asked.append(len(truth)), (float(-logits.max()), 1.0))[1]
    )
    tune(head([]), parts, 4, refit=False)
    assert asked == [30, 30, 30, 120]


def test_a_head_that_is_not_fitted_again_says_the_same_of_all_splits(parts):
    found = tune(head([]), parts, 4, refit=False)
    np.testing.assert_array_equal(found.probs, found.val_probs)
    assert found.probs is not found.val_probs
