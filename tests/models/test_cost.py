"""Cost follows need: which networks run for which images, and which are in memory."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers

from aisles.hierarchy.rule_functions import climb
from aisles.hierarchy.rules import parse_rule, route
from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.prediction.stored import Residents
from aisles.models.prediction.two_stage import TwoStageClassifier


@pytest.fixture
def asked(hierarchy, table_classifier, make_tables):
    """Fifty images, and a classifier that remembers which of them each model saw."""
    macro, within, flat = make_tables(hierarchy, 50, 5)
    return table_classifier(hierarchy, macro, within, flat), macro


def test_hard_runs_only_the_submodel_a_image_is_routed_to(asked):
    made, macro = asked
    made.classifier.predict(made.images, rule="hard")
    assert made.router.passes == 50 and made.flat.passes == 0
    for index, table in enumerate(made.submodels):
        routed = np.flatnonzero(macro.argmax(1) == index)
        expected = [] if index == 1 else routed.tolist()  # the macro of one class has no sub-model
        assert sorted(sum(table.asked, [])) == expected


def test_images_routed_to_the_same_submodel_are_gathered_into_full_batches(asked):
    made, macro = asked
    made.classifier.predict(made.images, rule="hard", batch_size=4)
    for index in (0, 2):
        sizes = [len(numbers) for numbers in made.submodels[index].asked]
        assert all(size == 4 for size in sizes[:-1]) and len(sizes) == -(
            -(macro.argmax(1) == index).sum() // 4
        )


def test_beam_runs_k_submodels_a_image(asked):
    made, macro = asked
    made.classifier.predict(made.images, rule="beam:2")
    kept = np.argsort(-macro, axis=1)[:, :2]
    for index in (0, 2):
        assert made.submodels[index].passes == (kept == index).sum()


def test_threshold_runs_the_submodels_of_macros_above_it(asked):
    made, macro = asked
    made.classifier.predict(made.images, rule="threshold:0.25")
    for index in (0, 2):
        assert made.submodels[index].passes == ((macro >= 0.25)[:, index] | (macro.argmax(1) == index)).sum()


@pytest.mark.parametrize("threshold", [0.3, 0.55, 0.9])
def test_climb_spares_submodels_that_cannot_lift_a_class_so_far_and_answers_the_same(asked, threshold):
    made, macro = asked
    rule = f"climb:{threshold}"
    answers = made.classifier.predict(made.images, rule=rule)
    passes = [table.passes for table in made.submodels]
    soft = made.classifier.predict_proba(made.images, rule=rule)  # complete, whatever the threshold
    for index in (0, 2):
        assert (macro[:, index] >= threshold).sum() <= passes[index] < 50
    hierarchy = made.classifier.hierarchy
    for answer, row, macros in zip(answers, soft, macro, strict=True):
        own = hierarchy.macro_of[row.argmax()]
        expected = "class" if row.max() >= threshold else "macro" if macros[own] >= threshold else "none"
        assert answer.answered == expected
        assert answer.macro == (hierarchy.macros[own] if expected != "none" else None)
        if expected == "class":
            assert answer.label == made.classifier.classes_[row.argmax()]
        for name, share in answer.top:  # only classes whose sub-model ran
            assert share == pytest.approx(row[list(made.classifier.classes_).index(name)], abs=1e-12)


@pytest.mark.parametrize("rule", ["climb:0.9,0.3", "climb:0.95,0.45", "climb:0.5,0.2", "climb:1.5,0.6"])
@pytest.mark.parametrize("kind", ["plain", "overlapping"])
def test_climb_answers_as_if_every_submodel_had_run(
    rule, kind, hierarchy, overlapping, table_classifier, make_tables
):
    shop = hierarchy if kind == "plain" else overlapping
    macro, within, _ = make_tables(shop, 200, 3, 0.3)
    made = table_classifier(shop, macro, within)
    spared = made.classifier.predict(made.images, rule=rule)
    probs = route("soft", hierarchy=shop, macro_probs=macro, within_probs=within)
    full = climb(probs, macro, parse_rule(rule).parameter, shop)
    assert "macro" in full.levels
    for answer, level, best, own in zip(spared, full.levels, full.class_index, full.macro_index, strict=True):
        assert answer.answered == level
        assert answer.macro == (None if level == "none" else shop.macros[own])
        assert answer.label == (shop.classes[best] if level == "class" else None)


def test_hie_and_masked_run_no_submodel(asked):
    made, _ = asked
    for rule in ("hie", "masked"):
        made.classifier.predict(made.images, rule=rule)
    assert [table.passes for table in made.submodels] == [0, 0, 0]


def test_implied_runs_no_router(asked):
    made, _ = asked
    made.classifier.predict(made.images, rule="implied")
    assert made.router.passes == 0 and made.flat.passes == 50


def test_climb_over_overlapping_macros_spares_nothing_that_counts(overlapping, table_classifier, make_tables):
    macro, within, _ = make_tables(overlapping, 200, 1, 0.3)
    made = table_classifier(overlapping, macro, within)
    soft = made.classifier.predict_proba(made.images)
    for answer, row in zip(made.classifier.predict(made.images, rule="climb:0.5"), soft, strict=True):
        assert (answer.answered == "class") == (row.max() >= 0.5)


@pytest.mark.keras
def test_a_shared_backbone_passes_each_image_once_for_everything(
    hierarchy, make_two_stage, images, monkeypatch
):
    classifier = make_two_stage(hierarchy)
    stacks = {stack for stack, _ in classifier._places.values()}
    assert len(stacks) == 1
    (stack,) = stacks
    seen, run = [], stack.run
    monkeypatch.setattr(stack, "run", lambda pixels: seen.append(len(pixels)) or run(pixels))
    for rule in ("soft", "hie", "climb:0.5"):
        seen.clear()
        classifier.predict(images, rule=rule)
        assert sum(seen) == len(images)


@pytest.mark.keras
def test_networks_load_when_needed_and_at_most_n_stay(hierarchy, make_two_stage, images, tmp_path):
    bundle = save_bundle(make_two_stage(hierarchy, separate=True), tmp_path / "bundle")
    unlimited = load_bundle(bundle)
    assert len(unlimited.residents) == 0
    expected = unlimited.predict_proba(images, rule="soft")
    assert len(unlimited.residents) == 3  # router and two sub-models: the flat model was not needed
    unlimited.predict(images, rule="hie")
    assert len(unlimited.residents) == 4 and unlimited.residents.loads == 4

    strict = load_bundle(bundle, resident=1)
    np.testing.assert_allclose(strict.predict_proba(images, rule="soft"), expected, atol=1e-6)
    assert len(strict.residents) == 1 and strict.residents.loads == 3
    held = weakref.ref(next(iter(strict.residents._held.values())))
    strict.predict_macro_proba(images)  # the router takes the place
    gc.collect()
    assert held() is None
    with pytest.raises(ValueError, match="At least 1"):
        load_bundle(bundle, resident=0)
    for odd in ("2", 1.5, True):
        with pytest.raises(ValueError, match="give a whole number"):
            load_bundle(bundle, resident=odd)


@pytest.mark.keras
def test_networks_of_ones_own_load_when_needed_too_and_at_most_n_stay(hierarchy, images, tmp_path):
    def network(labels):
        keras.utils.set_random_seed(len(labels))
        parts = [keras.Input((8, 8, 3)), layers.GlobalAveragePooling2D()]
        return keras.Sequential([*parts, layers.Dense(len(labels), activation="softmax")]), list(labels)[::-1]

    parts = {m: network(c) for m, c in zip(hierarchy.macros, hierarchy.members, strict=True) if len(c) > 1}
    given = TwoStageClassifier.from_models(network(hierarchy.macros), parts, hierarchy)
    bundle = save_bundle(given, tmp_path / "bundle")
    classifier = load_bundle(bundle, resident=1)
    assert len(classifier.residents) == 0 and classifier.residents.loads == 0
    classifier.predict_macro_proba(images)
    assert classifier.residents.loads == 1
    held = weakref.ref(next(iter(classifier.residents._held.values())))
    np.testing.assert_allclose(
        classifier.predict_proba(images, rule="soft"), given.predict_proba(images), atol=1e-6
    )
    assert len(classifier.residents) == 1 and classifier.residents.loads == 3
    gc.collect()
    assert held() is None
    again = save_bundle(classifier, tmp_path / "again")
    np.testing.assert_allclose(
        load_bundle(again).predict_proba(images), given.predict_proba(images), atol=1e-6
    )


def test_the_least_recently_used_goes_first():
    residents = Residents(2)
    for key in ("a", "b", "a", "c"):
        residents.get(key, lambda: object())
    assert list(residents._held) == ["a", "c"] and residents.loads == 3
