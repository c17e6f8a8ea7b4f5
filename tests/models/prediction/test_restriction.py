"""Prediction where only some classes are possible."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aisles.models.prediction.two_stage import FlatClassifier

RULES = ("soft", "hard", "beam:2", "threshold:0.2", "climb:0.6", "climb:0.9,0.3", "implied", "hie", "masked")
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(seed=st.integers(0, 10**6), rule=st.sampled_from(RULES))
def test_restriction_to_all_classes_changes_nothing(seed, rule, hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 6, seed))
    everything = list(hierarchy.macros)
    before = made.classifier.predict_proba(made.images, rule=rule)
    assert (made.classifier.predict_proba(made.images, rule=rule, only=everything) == before).all()
    one = made.classifier.predict(made.images, rule=rule, top=0)
    for only in (everything, [list(hierarchy.classes)] * 6, [None] * 6):
        two = made.classifier.predict(made.images, rule=rule, top=0, only=only)
        assert [(a.label, a.macro, a.answered, a.probability) for a in one] == [
            (b.label, b.macro, b.answered, b.probability) for b in two
        ]


@few
@given(seed=st.integers(0, 10**6), macro=st.integers(0, 2))
def test_restriction_to_one_macro_equals_masked_routing_into_it(
    seed, macro, hierarchy, table_classifier, make_tables
):
    tables = make_tables(hierarchy, 6, seed)
    only = [hierarchy.macros[macro]]
    sure = np.tile(np.eye(hierarchy.n_macros)[macro], (6, 1))
    routed = table_classifier(hierarchy, sure, *tables[1:])
    made = table_classifier(hierarchy, *tables)
    for rule in ("masked", "soft", "hard"):
        wanted = routed.classifier.predict_proba(routed.images, rule=rule)
        found = made.classifier.predict_proba(made.images, rule=rule, only=only)
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    answers = made.classifier.predict(made.images, only=only)
    assert {a.macro for a in answers} == {only[0]}
    assert [a.macro_probability for a in answers] == pytest.approx([1] * 6)


@few
@given(seed=st.integers(0, 10**6))
def test_soft_is_conditioned_on_what_is_possible(seed, hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 5, seed))
    rng = np.random.default_rng(seed)
    lists = [list(rng.choice(hierarchy.classes, 1 + rng.integers(5), replace=False)) for _ in made.images]
    free = made.classifier.predict_proba(made.images)
    found = made.classifier.predict_proba(made.images, only=lists)
    for row, names in enumerate(lists):
        inside = np.isin(hierarchy.classes, names)
        np.testing.assert_allclose(
            found[row, inside], free[row, inside] / free[row, inside].sum(), atol=1e-12
        )
        assert (found[row, ~inside] == 0).all()


def test_submodels_outside_are_not_run(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 6, 3))
    made.classifier.predict(made.images, only=["red", "amber"])
    assert [table.passes for table in made.submodels] == [6, 0, 0]
    made.classifier.predict(made.images, only=[["cold"]] * 2 + [["warm", "cold"]] * 4)
    assert [table.passes for table in made.submodels] == [10, 0, 6]


def test_answers_and_ranks_stay_inside(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 20, 5))
    for rule in RULES:
        for answer in made.classifier.predict(made.images, rule=rule, only=["white", "navy"], top=9):
            assert {name for name, _ in answer.top} <= {"white", "navy"}
            assert answer.macro in ("one", "cold", None) and answer.label in ("white", "navy", None)


def test_lists_keep_step_with_images_of_which_some_are_unreadable(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 4, 1))
    images = [made.images[0], b"no image", made.images[1], made.images[2]]
    lists = [["red"], ["pink"], ["navy"], ["white"]]
    answers = list(made.classifier.iter_predict(images, only=iter(lists), unreadable="give"))
    assert [getattr(a, "label", "unreadable") for a in answers] == ["red", "unreadable", "navy", "white"]


def test_a_function_says_what_is_possible_for_an_image(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 2, 1))
    possible = {0: ["sky"], 1: ["pink"]}
    answers = made.classifier.predict(made.images, only=lambda image: possible[int(image.max())])
    assert [a.label for a in answers] == ["sky", "pink"]


def test_a_flat_model_is_restricted_too(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 5, 2))
    flat = FlatClassifier(made.classifier.flat, hierarchy)
    free, found = flat.predict_proba(made.images), flat.predict_proba(made.images, only=["warm"])
    inside = np.isin(hierarchy.classes, hierarchy.members[0])
    np.testing.assert_allclose(
        found[:, inside], free[:, inside] / free[:, inside].sum(1, keepdims=True), atol=1e-12
    )
    assert {a.macro for a in flat.predict(made.images, only=["warm"], rule="climb:0.5")} == {"warm"}


def test_wrong_lists_are_refused(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 3, 1))
    predict = made.classifier.predict
    with pytest.raises(TypeError, match=r"only=\['red'\]"):
        predict(made.images, only="red")
    with pytest.raises(ValueError, match="at least one"):
        predict(made.images, only=[])
    with pytest.raises(ValueError, match="2 lists and more images"):
        predict(made.images, only=[["red"]] * 2)
    with pytest.raises(ValueError, match="3 images and more lists"):
        predict(made.images, only=[["red"]] * 4)
    with pytest.raises(ValueError, match="doesn't hold under `only`"):
        predict(made.images, only=["red"], rule="climb")
