"""Choosing a design by validation images, and discriminants in closed form."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from aisles.experiments.methods.discriminant import discriminant_probs, geometric_mean
from aisles.experiments.metrics.probabilistic import nll
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import soft
from experiments.lab.design_candidates import Candidate, mixed_inside
from experiments.lab.design_further import cross_fitted, scale_flat, with_guests
from experiments.lab.design_search import note_table, report

HIERARCHY = Hierarchy(("COLD", "WARM"), (("b", "d"), ("a", "c")))


@pytest.mark.parametrize("n_images", [12, 60], ids=["fewer images than features", "more"])
def test_discriminants_are_those_of_scikit_learn(n_images):
    rng = np.random.default_rng(0)
    labels = np.array(list("abc") * (n_images // 3))
    features = rng.normal(size=(n_images, 20)) + (labels[:, None] == np.array(list("abc"))) @ rng.normal(
        size=(3, 20)
    )
    asked = rng.normal(size=(7, 20))
    found = discriminant_probs(features, labels, asked, ("c", "a", "b"), (0.2, 0.7))
    for probs, shrinkage in zip(found, (0.2, 0.7), strict=True):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(features, labels)
        assert np.allclose(probs, model.predict_proba(asked)[:, [2, 0, 1]], atol=1e-8)


def test_a_mean_of_weight_0_or_1_is_one_of_the_two():
    first, second = np.array([[0.2, 0.8]]), np.array([[0.6, 0.4]])
    assert np.allclose(geometric_mean(first, second, 0), first)
    assert np.allclose(geometric_mean(first, second, 1), second)


def test_mixing_nothing_of_the_stages_leaves_flat():
    rng = np.random.default_rng(1)
    flat, router = rng.dirichlet(np.ones(4), 5), rng.dirichlet(np.ones(2), 5)
    within = np.concatenate([rng.dirichlet(np.ones(2), 5) for _ in range(2)], axis=1)
    assert np.allclose(mixed_inside(flat, router, within, HIERARCHY, 0), flat)


def test_validation_images_choose_and_test_images_only_judge():
    truth = {"val": np.arange(40) % 4, "test": np.arange(80) % 4}
    rng = np.random.default_rng(2)

    def says(val_wrong, test_wrong):
        tables = []
        for split, wrong in (("val", val_wrong), ("test", test_wrong)):
            given = truth[split].copy()
            given[:wrong] = (given[:wrong] + 1) % 4
            tables.append(np.stack([0.1 + 0.6 * np.eye(4)[given]] * 2) + rng.uniform(0, 1e-6))
        return tuple(tables)

    candidates = [
        Candidate("flat", "flat", 1.0, says(10, 30)),
        Candidate("lucky on test", "two-stage", 1.5, says(9, 0)),
        Candidate("best on val", "two-stage", 1.9, says(5, 20)),
        Candidate("too dear", "two-stage", 3.0, says(1, 20)),
    ]
    found = report(candidates, truth, np.arange(80))
    assert found["leagues"]["light"]["chosen"] == {"flat": "flat", "two-stage": "best on val"}
    assert found["leagues"]["light"]["comparison"]["difference"] == pytest.approx(10 / 80)
    assert found["leagues"]["heavy"]["chosen"]["two-stage"] == "too dear"
    assert len(found["candidates"]) == 4


def test_each_family_meets_the_flat_design_that_had_the_same_trick():
    truth = {"val": np.arange(40) % 4, "test": np.arange(80) % 4}

    def says(wrong):
        tables = []
        for labels in truth.values():
            given = labels.copy()
            given[:wrong] = (given[:wrong] + 1) % 4
            tables.append(np.stack([0.1 + 0.6 * np.eye(4)[given]] * 2))
        return tuple(tables)

    candidates = [
        Candidate("flat", "flat", 1.0, says(20)),
        Candidate("flat, warm", "flat", 1.0, says(8), "warm start"),
        Candidate("stages, warm", "two-stage", 1.5, says(10), "warm start"),
        Candidate("overlapping", "two-stage", 1.5, says(16), "overlap"),
    ]
    found = report(candidates, truth, np.arange(80))
    assert found["families"]["warm start"]["chosen"] == {"flat": "flat, warm", "two-stage": "stages, warm"}
    assert found["families"]["warm start"]["comparison"]["difference"] == pytest.approx(-2 / 80)
    assert found["families"]["warm start"]["against_flat_alone"]["difference"] == pytest.approx(10 / 80)
    assert found["families"]["overlap"]["chosen"]["flat"] == "flat"
    assert note_table(found).count("\n| ") == len(candidates) + 2


def test_what_a_half_says_of_itself_chooses_nothing():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    sharp = 0.98 * np.eye(3)[np.where(rng.random(200) < 0.6, truth, (truth + 1) % 3)] + 0.02 / 3
    val, test = cross_fitted(scale_flat, (sharp,), (sharp,), truth)
    assert nll(test, truth) < nll(val, truth) < nll(sharp, truth)
    half = np.random.default_rng(0).permutation(200) % 2
    other = scale_flat((sharp[half == 1],), truth[half == 1], (sharp[half == 0],))
    assert np.allclose(val[half == 0], other)


@pytest.mark.keras
def test_a_head_grown_from_flat_starts_as_flat_on_its_classes():
    from aisles.models.heads.building import build_head
    from experiments.lab.design_training import grown_from, plain, side_by_side

    features = np.random.default_rng(0).normal(size=(5, 7)).astype("f4")
    flat = build_head("v1.3", 7, 4, seed=1)
    grown = grown_from(flat, "v1.3", [2, 0], 2, seed=3, last_only=True)
    said = np.exp(grown(features).numpy())
    whole = flat(features).numpy()[:, [2, 0]]
    assert np.allclose(said / said.sum(1, keepdims=True), whole / whole.sum(1, keepdims=True), atol=1e-5)
    assert len(grown.trainable_variables) == 2
    assert not np.allclose(plain("v1.3", 7, 4, seed=1)(features), plain("v1.3", 7, 4, seed=2)(features))
    logits = side_by_side("v1.3", 7, (2, 2, 1), seed=0)(features)
    assert np.allclose(logits[:, 4], 0)


def test_guests_stand_in_a_second_macro_from_a_share_of_their_mass_on():
    mass = np.eye(4) * 0.9 + np.array([[0, 0.1, 0, 0], [0, 0, 0, 0.1], [0, 0, 0, 0.1], [0, 0.06, 0.04, 0]])
    found = with_guests(HIERARCHY, mass, 0.05)
    assert found.members == (("a", "b", "c", "d"), ("a", "c"))
    assert with_guests(HIERARCHY, mass, 0.04).members[1] == ("a", "c", "d")
    assert with_guests(HIERARCHY, mass, 0.2) == Hierarchy(HIERARCHY.macros, (("b", "d"), ("a", "c")))


@pytest.mark.keras
@pytest.mark.parametrize("guest", [(), ("a",)], ids=["apart", "overlapping"])
def test_what_is_trained_together_is_the_distribution_of_soft(guest):
    from experiments.lab.design_training import log_soft

    hierarchy = Hierarchy(HIERARCHY.macros, (("b", "d", *guest), ("a", "c")))
    logits = np.random.default_rng(3).normal(size=(6, 2 + hierarchy.n_slots)).astype("f4")

    def shares(block):
        return np.exp(block) / np.exp(block).sum(1, keepdims=True)

    within = np.concatenate([shares(logits[:, 2:][:, block]) for block in hierarchy.blocks], axis=1)
    expected = soft(shares(logits[:, :2]), within, hierarchy)
    assert np.allclose(np.exp(log_soft(hierarchy)(logits)), expected, atol=1e-5)


@pytest.mark.keras
def test_a_teacher_is_heard_test_labels_are_not_and_no_epoch_may_be_best():
    from aisles.models.heads.training import HeadTraining
    from experiments.lab.design_training import fit_network, plain

    rng = np.random.default_rng(4)
    truth = np.arange(60) % 3
    features = (3 * np.eye(3)[truth] + rng.normal(size=(60, 3))).astype("f4")
    splits = np.array(["train"] * 30 + ["val"] * 15 + ["test"] * 15, dtype=object)
    training = HeadTraining(epochs=20, patience=3, learning_rate=0.01)

    def says(labels=truth, training=training, **more):
        def begin(final):
            return plain("v1.3", 3, 3, seed=0)

        return fit_network(begin, features, labels, splits, training, n_labels=3, seed=0, **more)

    alone = says()
    assert 0 < alone.epochs <= 20
    assert (alone.probs.argmax(1) == truth)[splits == "test"].mean() > 0.6
    assert np.allclose(alone.probs, says(np.where(splits == "test", 0, truth)).probs)
    unsure = says(taught=(np.full((60, 3), 1 / 3),) * 2)
    assert unsure.probs.max(1).mean() < alone.probs.max(1).mean()
    assert says(epochs=0).epochs == 0
    assert says(training=HeadTraining(epochs=4, patience=2, learning_rate=30.0)).epochs == 0
