"""Designs that use macros: shares by hand, the methods that they become at the ends of their grids, and refusals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from aisles.experiments.benchmark.given_features import GivenFeatures
from aisles.experiments.curves.points import MemoryTrainer
from aisles.experiments.methods import neighbors, specialists
from aisles.experiments.methods.bagged import bootstrap
from aisles.experiments.methods.discriminant import geometric_mean
from aisles.experiments.methods.neighbors import arithmetic, mixed_inside, shares_per_macro
from aisles.experiments.methods.registry import Context, find_method
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import macro_from_flat

HIERARCHY = Hierarchy(("A", "B", "C"), (("C3", "C0", "C1"), ("C4", "C2"), ("C5",)))


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    from aisles.experiments.benchmark.preparation import prepare_data

    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("designs")
    label = np.repeat(np.arange(6), 40)
    macro = np.array([0, 0, 1, 0, 1, 2])[label]
    x = np.eye(7)[macro] * 4 + 1.5 * np.eye(7)[1 + label] + rng.normal(size=(240, 7))
    split = np.tile(["train"] * 20 + ["val"] * 8 + ["test"] * 12, 6)
    np.savez(folder / "given.npz", features=x, label=np.array([f"C{c}" for c in label]), split=split)
    settings = BenchmarkSettings.model_validate({"training": {"refit": False}, "comparison": {"seeds": 2}})
    prepared = prepare_data(folder / "given.npz", settings.data)
    features = np.asarray(prepared.vectors)
    trainer = MemoryTrainer(folder, prepared, features, "given", settings.training)
    return Context(
        prepared, features, GivenFeatures(), HIERARCHY, settings, trainer, folder, lambda _: HIERARCHY  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def fit(context, name):
    return find_method(name).fit(context)


def test_a_macro_with_many_validation_images_chooses_its_own_share_and_one_with_few_that_of_all():
    macros = np.array([0] * 40 + [1] * 40 + [2])
    losses = np.array([[1.0] * 40 + [3.0] * 40 + [2.0], [2.5] * 40 + [1.0] * 40 + [2.1]])
    assert shares_per_macro(losses, macros, 4).tolist() == [0, 1, 1, 1]  # means 2.0 and 1.75


def test_without_validation_images_the_first_share_is_taken():
    assert shares_per_macro(np.zeros((3, 0)), np.zeros(0, int), 2).tolist() == [0, 0]


def test_each_macro_is_mixed_with_its_own_share_and_stays_a_distribution():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 2], 50)  # C0 lies in A, C2 in B

    def tables(n):
        found = rng.dirichlet(np.ones(6), size=n)
        for block in HIERARCHY.blocks:
            found[:, block] /= found[:, block].sum(axis=1, keepdims=True)
        return found

    good, bad = tables(100), tables(100)
    slot = np.argsort(HIERARCHY.slot_class)
    good[:50, HIERARCHY.blocks[0]] = np.eye(3)[slot[0]]  # the first table knows A, the second B
    bad[50:, HIERARCHY.blocks[1]] = np.eye(2)[slot[2] - 3]
    asked = tables(7), tables(7)
    val, test, shares = mixed_inside(HIERARCHY, (good, bad), asked, truth, arithmetic)
    assert shares[:2].tolist() == [0.0, 1.0]
    for table in (val, test):
        for block in HIERARCHY.blocks:
            np.testing.assert_allclose(table[:, block].sum(axis=1), 1)
    np.testing.assert_array_equal(test[:, :3], asked[0][:, :3])
    np.testing.assert_array_equal(test[:, 3:5], asked[1][:, 3:5])


def test_neighbors_with_no_share_are_the_discriminants_and_with_all_are_the_neighbors(context, monkeypatch):
    monkeypatch.setattr(neighbors, "SHARES", (0.0,))
    np.testing.assert_allclose(fit(context, "neighbors").probs, fit(context, "soft:lda").probs, atol=1e-6)
    np.testing.assert_allclose(
        fit(context, "flat-neighbors").probs, fit(context, "flat-lda").probs, atol=1e-6
    )
    monkeypatch.setattr(neighbors, "SHARES", (1.0,))
    np.testing.assert_allclose(
        fit(context, "flat-neighbors").probs, fit(context, "flat-knn").probs, atol=1e-6
    )
    found, near = fit(context, "neighbors:hard").probs[0], fit(context, "soft:knn").inside
    inside = found.argmax(1)
    macro = np.asarray(HIERARCHY.macro_of)[inside]
    members = np.asarray(HIERARCHY.macro_of)[None] == macro[:, None]
    assert near is not None and (np.where(members, near[0], -1).argmax(1) == inside).all()


def test_a_mixed_sub_model_asks_a_head_of_either_kind(context):
    both = fit(context, "neighbors")
    assert both.head_passes == 1 + 2 * 2 and len(both.jobs[0]) == 5
    assert 1 + 2 * 0 < fit(context, "neighbors:hard").head_passes <= 1 + 2 * 1
    with pytest.raises(ValueError, match="asks no sub-model that could be mixed. Write neighbors:soft"):
        fit(context, "neighbors:masked")


def test_a_specialist_learns_from_all_images_and_says_any_other_class(context):
    jobs = fit(context, "specialists").jobs[0]
    assert [job.labels for job in jobs[1:]] == [
        ("C3", "C0", "C1", "(any other class)"), ("C4", "C2", "(any other class)"),
    ]  # fmt: skip
    assert {context.trainer.budget(job).images for job in jobs} == {len(context.rows("train"))}


def test_specialists_with_no_share_are_flat_and_otherwise_keep_flats_macros(context, monkeypatch):
    flat = fit(context, "flat-logistic").probs[0]
    found = fit(context, "specialists").probs[0]
    np.testing.assert_allclose(macro_from_flat(found, HIERARCHY), macro_from_flat(flat, HIERARCHY), atol=1e-5)
    monkeypatch.setattr(specialists, "SHARES", (0.0,))
    monkeypatch.setattr(neighbors, "SHARES", (0.0,))
    np.testing.assert_allclose(fit(context, "specialists").probs[0], flat, atol=1e-5)


def test_averaged_weights_are_the_geometric_mean_inside_a_macro():
    rng = np.random.default_rng(3)
    x, flat, special = rng.normal(size=(9, 4)), rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    of_flat, of_special = softmax(x @ flat, 1)[:, 1:3], softmax(x @ special, 1)[:, :2]
    of_flat, of_special = (table / table.sum(1, keepdims=True) for table in (of_flat, of_special))
    wanted = softmax(x @ (0.7 * flat[:, 1:3] + 0.3 * special[:, :2]), 1)
    np.testing.assert_allclose(geometric_mean(of_flat, of_special, 0.3), wanted, atol=1e-12)


def test_hace_tries_every_weight_and_says_its_macros(context):
    found = fit(context, "hace")
    assert found.searched == 2 * 3 * 3 and find_method("hace").baseline == "flat-logistic"
    np.testing.assert_allclose(found.macro_probs[0], macro_from_flat(found.probs[0], HIERARCHY), atol=1e-5)
    truth = context.targets[context.rows("test")]
    assert (found.probs[0].argmax(1) == truth).mean() > 0.6


@pytest.mark.keras
def test_hace_can_be_saved_and_says_the_same_then(context):
    import keras

    from aisles.models.backbones.registry import wrap_backbone

    pixels = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(7, 3)(pixels)
    backbone = wrap_backbone(keras.Model(pixels, maps, name="maps"), "tiny", preprocessing="symmetric")
    saved = find_method("hace").classifier(replace(context, backbone=backbone))
    test = context.features[context.rows("test")]
    np.testing.assert_allclose(np.asarray(saved.model.head(test)), fit(context, "hace").probs[0], atol=1e-4)


def test_a_bootstrap_sample_has_as_many_images_of_each_class():
    targets = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    rows = np.array([0, 2, 3, 4, 7])
    sample = bootstrap(targets, rows, np.random.default_rng(0))
    assert np.bincount(targets[sample]).tolist() == [2, 2, 1] and set(sample) <= set(rows)


def test_the_bagged_ensemble_costs_what_two_stage_costs_and_differs_by_seed(context):
    found = fit(context, "flat-bagged")
    assert found.head_passes == 3 == fit(context, "soft:lda").head_passes
    assert np.abs(found.probs[0] - found.probs[1]).max() > 1e-4
    np.testing.assert_array_equal(found.probs, fit(context, "flat-bagged:lda").probs)
    with pytest.raises(ValueError, match="settings are chosen at once. Received: 'v1.3'"):
        fit(context, "flat-bagged:v1.3")


@pytest.mark.parametrize(
    "name", ["hace", "neighbors", "flat-neighbors", "specialists", "flat-bagged", "soft:rda", "flat-rda"]
)
def test_designs_learn_nothing_from_test_images(context, name):
    test = context.rows("test")
    changed = test[: len(test) // 2]
    features, manifest = context.features.copy(), context.prepared.manifest
    features[changed], table = -7.0, manifest.table.copy()
    table.loc[changed, "label"] = [f"C{(int(label[1:]) + 1) % 6}" for label in table["label"].iloc[changed]]
    prepared = replace(context.prepared, manifest=replace(manifest, table=table))
    trainer = MemoryTrainer(context.folder, prepared, features, "other", context.settings.training)
    other = replace(context, prepared=prepared, features=features, trainer=trainer)
    assert (other.targets[changed] != context.targets[changed]).all()
    found, wanted = fit(other, name), fit(context, name)
    np.testing.assert_array_equal(found.val_probs, wanted.val_probs)
    np.testing.assert_allclose(found.probs[:, len(changed) :], wanted.probs[:, len(changed) :], atol=1e-12)
    assert np.abs(found.probs[:, : len(changed)] - wanted.probs[:, : len(changed)]).max() > 0.01
