"""Fitting heads: what goes wrong is said, not kept."""

import re

import numpy as np
import pytest

from aisles.models.heads.fitting import fit_labels, load_fitted, save_fitted
from aisles.models.heads.settings import HeadTraining
from aisles.models.heads.variants import HeadVariant

pytestmark = pytest.mark.keras


def test_a_validation_loss_that_is_no_number_ends_the_training():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 4)).astype(np.float32)
    features[20:] = np.nan
    linear = HeadVariant((), batch_norm=False, dropout=0.0, augmentation=False)
    labels, splits = ["a", "b"] * 15, ["train"] * 20 + ["val"] * 10
    with pytest.raises(
        ValueError, match="head of flat can't be trained. The validation loss became nan in epoch 1"
    ):
        fit_labels(features, labels, splits, ["a", "b"], head=linear, training=HeadTraining(epochs=2))


def test_a_damaged_file_of_a_fitted_model_is_named(tmp_path):
    rng = np.random.default_rng(0)
    splits = ["train"] * 20 + ["val"] * 10
    fitted = fit_labels(
        rng.normal(size=(30, 4)), ["a", "b"] * 15, splits, ["a", "b"], training=HeadTraining(epochs=1)
    )
    save_fitted(fitted, tmp_path)
    file = tmp_path / "fitted.npz"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.* is damaged.*Delete"):
        load_fitted(tmp_path)
