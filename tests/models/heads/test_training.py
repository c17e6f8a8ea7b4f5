"""Heads trained on features: the same steps as Keras takes, fast, repeatable."""

import keras
import numpy as np
import pandas as pd
import pytest

from aisles.models.heads.building import build_head
from aisles.models.heads.graph import epoch_of, read_structure
from aisles.models.heads.settings import HeadTraining
from aisles.models.heads.training import balanced_weights, refit_head, train_head
from aisles.models.heads.variants import VARIANTS, HeadVariant

pytestmark = pytest.mark.keras
TRAINING = HeadTraining(epochs=12, patience=12, batch_size=32)


def drawn(n_images: int, n_labels: int = 5, dimension: int = 16, seed: int = 0):
    """Draw features in one cloud a label."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n_images) % n_labels
    centers = np.random.default_rng(99).normal(size=(n_labels, dimension))
    return (centers[targets] + rng.normal(size=(n_images, dimension))).astype(np.float32), targets


def trained(variant="v1.3", training=TRAINING, seed=0):
    head = build_head(variant, 16, 5, seed=seed)
    return head, train_head(head, *drawn(200, seed=1), *drawn(60, seed=2), training, seed=seed)


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch-norm"])
def test_an_epoch_takes_the_steps_that_keras_takes(batch_norm):
    variant = HeadVariant((7,), batch_norm=batch_norm, dropout=0.0, augmentation=False)
    x, y = drawn(50)
    ours, theirs = build_head(variant, 16, 5), build_head(variant, 16, 5)
    training = HeadTraining(batch_size=20, label_smoothing=0.1, class_weights=True, learning_rate=1e-2)
    refit_head(ours, x, y, 2, training, seed=4)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    theirs.compile(keras.optimizers.Adam(1e-2), loss)
    rng = np.random.default_rng(4)
    for _ in range(2):
        order = rng.permutation(50)
        for start in range(0, 50, 20):
            rows = order[start : start + 20]
            theirs.train_on_batch(x[rows], np.eye(5)[y[rows]], sample_weight=balanced_weights(y)[rows])
    for mine, yours in zip(ours.weights, theirs.weights, strict=True):
        # Normalization cancels the bias before it: its gradient is rounding, which Adam makes a whole step.
        free = batch_norm and mine.path.startswith(("dense0/bias", "norm0/moving_mean"))
        if "seed" not in mine.path and not free:
            np.testing.assert_allclose(mine.numpy(), yours.numpy(), rtol=1e-3, atol=1e-5)


def test_validation_metrics_are_those_of_keras():
    head, history = trained("v1.1")
    head.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = head.evaluate(*drawn(60, seed=2), verbose=0)
    assert history.val_loss[history.best_epoch] == pytest.approx(loss, rel=1e-4)
    assert history.val_accuracy[history.best_epoch] == pytest.approx(accuracy, abs=1e-6)


def test_a_head_learns_what_can_be_learned():
    _, history = trained()
    assert max(history.val_accuracy) > 0.9
    assert history.val_loss[history.best_epoch] == min(history.val_loss)


@pytest.mark.parametrize("variant", ["v1.3", "v2.1"])
def test_the_same_seed_gives_the_same_head_bit_for_bit(variant):
    (first, history), (second, again) = trained(variant), trained(variant)
    assert history == again
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_another_head():
    assert trained(seed=0)[1].loss != trained(seed=1)[1].loss


def test_heads_of_other_widths_share_one_tracing():
    short = TRAINING.changed(epochs=1)
    trained(training=short)
    graph = epoch_of(read_structure(build_head("v1.3", 16, 5)))
    for dimension, n_labels in ((16, 3), (8, 4)):
        head = build_head("v1.3", dimension, n_labels)
        data = drawn(30, n_labels, dimension)
        train_head(head, *data, *data, short)
    assert graph.experimental_get_tracing_count() == 1


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best_weights():
    rng = np.random.default_rng(0)
    x, y = drawn(60)
    head = build_head("v1.2", 16, 5)
    noise = rng.normal(size=(40, 16)).astype(np.float32), rng.integers(5, size=40)
    history = train_head(head, x, y, *noise, HeadTraining(epochs=200, patience=3))
    assert len(history.val_loss) == history.best_epoch + 4
    head.compile(loss="sparse_categorical_crossentropy")
    assert head.evaluate(*noise, verbose=0) == pytest.approx(min(history.val_loss), rel=1e-4)


def test_a_refit_runs_the_epochs_that_training_found_and_repeats_them():
    x, y = drawn(200, seed=1)
    head, short = build_head("v1.3", 16, 5), build_head("v1.3", 16, 5)
    history = train_head(short, x, y, x, y, TRAINING.changed(epochs=3))
    again = refit_head(head, x, y, 3, TRAINING)
    assert again.loss == history.loss
    assert again.val_loss == ()
    assert again.best_epoch == 2


def test_every_view_of_an_image_is_used_sooner_or_later():
    x, y = drawn(40)
    views = np.stack([x, np.full_like(x, 50.0)], axis=1)
    only_first, both = build_head("v1.3", 16, 5), build_head("v1.3", 16, 5)
    plain = refit_head(only_first, views[:, :1], y, 4, TRAINING)
    mixed = refit_head(both, views, y, 4, TRAINING)
    assert plain.loss == refit_head(build_head("v1.3", 16, 5), x, y, 4, TRAINING).loss
    assert mixed.loss[0] > 2 * plain.loss[0]


def test_the_rate_is_halved_on_a_plateau():
    rng = np.random.default_rng(0)
    x, y = drawn(60)
    noise = rng.normal(size=(40, 16)).astype(np.float32), rng.integers(5, size=40)
    runs = []
    for plateau in (0, 1):
        head = build_head("v1.2", 16, 5)
        runs.append(train_head(head, x, y, *noise, HeadTraining(epochs=40, patience=8, plateau=plateau)))
    first, slower = runs
    assert slower.loss[: first.best_epoch + 2] == first.loss[: first.best_epoch + 2]
    assert slower.loss[first.best_epoch + 3] != first.loss[first.best_epoch + 3]


def test_class_weights_are_balanced_by_hand():
    np.testing.assert_allclose(balanced_weights(np.array([0, 0, 0, 2])), [4 / 6, 4 / 6, 4 / 6, 2.0])


def test_no_images_and_broken_features_are_refused():
    x, y = drawn(10)
    head = build_head("v1.3", 16, 5)
    with pytest.raises(ValueError, match="needs training and validation images"):
        train_head(head, x, y, x[:0], y[:0])
    with pytest.raises(ValueError, match="training loss became nan"):
        train_head(head, x * np.nan, y, x, y)
    with pytest.raises(ValueError, match="validation loss became nan in epoch 1"):
        # No hidden layer, whose ReLU would turn nan into 0.
        train_head(
            build_head(HeadVariant((), batch_norm=False, dropout=0.0, augmentation=False), 16, 5),
            x,
            y,
            x * np.nan,
            y,
        )


def test_a_refusal_names_the_layer_that_no_head_has():
    odd = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.LayerNormalization()])
    with pytest.raises(ValueError, match="LayerNormalization"):
        read_structure(odd)


def test_the_variants_are_the_published_ones(shared):
    table = pd.read_csv(shared / "abo/published/heads.csv", dtype=str)
    for _, row in table.iterrows():
        variant = VARIANTS[row["version"]]
        assert "+".join(map(str, variant.dense_units)) == row["dense_units"]
        assert (variant.augmentation, variant.batch_norm, variant.dropout > 0) == tuple(
            row[key].startswith("yes") for key in ("augmentation", "batch_norm", "dropout")
        )
