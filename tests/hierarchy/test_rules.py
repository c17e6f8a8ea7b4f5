"""Routing rules: hand-worked answers, and what must hold for any probabilities."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisles.hierarchy import rule_functions as routing
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import climb
from aisles.hierarchy.rules import RULES, RoutingRule, parse_rule, route

patient = settings(max_examples=50, deadline=None)

SHOP = Hierarchy(("SEAT", "LIGHT"), (("SOFA", "CHAIR"), ("LAMP",)))  # classes: CHAIR, LAMP, SOFA
MACRO = [[0.6, 0.4]]
WITHIN = [[0.7, 0.3, 1.0]]
FLAT = [[0.5, 0.3, 0.2]]
OVERLAP = Hierarchy(("HOME", "GARDEN", "OTHER"), (("CHAIR", "LAMP"), ("HOSE", "CHAIR", "LAMP"), ("RUG",)))


def some_distributions(hierarchy, n, seed, sharpness=1.0):
    """Draw router, sub-model and flat distributions, some of them with zeros and ties."""
    rng = np.random.default_rng(seed)

    def rows(width):
        p = rng.gamma(1 / sharpness, size=(n, width)) + 1e-12
        if n > 1:
            p[0] = 1.0
        return p / p.sum(axis=1, keepdims=True)

    within = np.hstack([rows(size) for size in hierarchy.sizes])
    return {
        "macro_probs": rows(hierarchy.n_macros),
        "within_probs": within,
        "flat_probs": rows(hierarchy.n_classes),
    }


@st.composite
def cases(draw, overlapping=False):
    """Draw a hierarchy and distributions over it."""
    n_classes, n_macros = draw(st.integers(2, 9)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    homes = [{int(rng.integers(n_macros))} for _ in range(n_classes)]
    if overlapping:
        homes = [home | set(rng.integers(0, n_macros, 2).tolist()) for home in homes]
    members = [[f"c{i}" for i in rng.permutation(n_classes) if m in homes[i]] for m in range(n_macros)]
    members = [names for names in members if names]
    hierarchy = Hierarchy(tuple(f"m{i}" for i in range(len(members))), tuple(map(tuple, members)))
    return hierarchy, some_distributions(hierarchy, draw(st.integers(1, 6)), draw(st.integers(0, 99)), 3.0)


def every_rule(hierarchy):
    texts = [
        "soft",
        "hard",
        f"beam:{hierarchy.n_macros}",
        "beam:1",
        "threshold:0.2",
        "hie",
        "masked",
        "climb:0.5",
    ]
    return texts if hierarchy.overlapping else [*texts, "implied"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("soft", [0.18, 0.4, 0.42], id="soft: .6*.3, .4*1, .6*.7"),
        pytest.param("hard", [0.3, 0, 0.7], id="hard: all of SEAT"),
        pytest.param("beam:1", [0.3, 0, 0.7], id="beam of one: hard"),
        pytest.param("beam:2", [0.18, 0.4, 0.42], id="beam of all: soft"),
        pytest.param("threshold:0.5", [0.3, 0, 0.7], id="threshold keeps SEAT"),
        pytest.param("threshold:0.9", [0.3, 0, 0.7], id="threshold keeps the best when none reaches it"),
        pytest.param("threshold:0.4", [0.18, 0.4, 0.42], id="threshold keeps what is equal to it"),
        pytest.param("implied", [0.21, 0.3, 0.49], id="implied: P(SEAT) = .5 + .2"),
        pytest.param("hie", [0.3 / 0.54, 0.12 / 0.54, 0.12 / 0.54], id="hie: .5*.6, .3*.4, .2*.6"),
        pytest.param("masked", [0.5 / 0.7, 0, 0.2 / 0.7], id="masked: CHAIR and SOFA"),
        pytest.param("climb:0.9", [0.18, 0.4, 0.42], id="climb's distribution is soft's"),
    ],
)
def test_rules_give_the_answer_worked_out_by_hand(rule, expected):
    result = route(rule, hierarchy=SHOP, macro_probs=MACRO, within_probs=WITHIN, flat_probs=FLAT)
    np.testing.assert_allclose(result, [expected], rtol=1e-12)


def test_beam_and_threshold_rescale_over_what_they_keep():
    three = Hierarchy(("A", "B", "C"), (("a",), ("b",), ("c",)))
    result = routing.beam([[0.5, 0.3, 0.2]], [[1, 1, 1]], three, k=2)
    np.testing.assert_allclose(result, [[0.625, 0.375, 0]])
    np.testing.assert_allclose(routing.threshold([[0.5, 0.3, 0.2]], [[1, 1, 1]], three, t=0.25), result)


def test_ties_go_to_the_first_macro_and_the_first_class_in_sorted_order():
    result = routing.hard([[0.5, 0.5]], [[0.5, 0.5, 1.0]], SHOP)
    np.testing.assert_array_equal(result, [[0.5, 0, 0.5]])
    assert SHOP.classes[result.argmax()] == "CHAIR", "SOFA is listed first, CHAIR sorts first"


def test_impossible_products_fall_back_as_documented():
    np.testing.assert_array_equal(routing.hie([[0, 1, 0]], [[1, 0]], SHOP), [[0, 1, 0]])
    np.testing.assert_array_equal(routing.masked([[0, 1, 0]], [[1, 0]], SHOP), [[0.5, 0, 0.5]])


def test_soft_over_overlapping_macros_sums_the_macros_that_hold_the_class():
    result = routing.soft([[0.5, 0.3, 0.2]], [[0.8, 0.2, 0.1, 0.6, 0.3, 1.0]], OVERLAP)
    assert OVERLAP.classes == ("CHAIR", "HOSE", "LAMP", "RUG")
    np.testing.assert_allclose(result, [[0.4 + 0.18, 0.03, 0.1 + 0.09, 0.2]])


def test_what_needs_one_macro_a_class_refuses_overlap():
    p = some_distributions(OVERLAP, 2, 0)
    for call in (
        lambda: routing.macro_from_flat(p["flat_probs"], OVERLAP),
        lambda: routing.implied(p["flat_probs"], p["within_probs"], OVERLAP),
    ):
        with pytest.raises(ValueError, match=r"exactly one macro.*\['CHAIR', 'LAMP'\]"):
            call()


@patient
@given(cases(overlapping=True))
def test_soft_equals_a_loop_written_out(case):
    hierarchy, p = case
    expected = np.zeros((len(p["macro_probs"]), hierarchy.n_classes))
    for i in range(len(expected)):
        column = 0
        for macro, names in enumerate(hierarchy.members):
            for name in names:
                share = p["macro_probs"][i][macro] * p["within_probs"][i][column]
                expected[i][hierarchy.classes.index(name)] += share
                column += 1
    np.testing.assert_allclose(
        routing.soft(p["macro_probs"], p["within_probs"], hierarchy), expected, rtol=1e-12
    )


@patient
@given(cases() | cases(overlapping=True))
def test_every_rule_gives_distributions_and_the_same_for_one_as_for_many(case):
    hierarchy, p = case
    for rule in every_rule(hierarchy):
        together = route(rule, hierarchy=hierarchy, **p)
        np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-9, err_msg=rule)
        assert (together >= 0).all()
        for i in range(len(together)):
            alone = route(rule, hierarchy=hierarchy, **{name: array[i : i + 1] for name, array in p.items()})
            np.testing.assert_array_equal(alone[0], together[i], err_msg=rule)
        fortran = route(rule, hierarchy=hierarchy, **{k: np.asfortranarray(v) for k, v in p.items()})
        np.testing.assert_array_equal(fortran, together, err_msg="memory layout does not matter")


@patient
@given(cases() | cases(overlapping=True))
def test_beam_and_threshold_run_from_hard_to_soft(case):
    hierarchy, p = case
    stages = (p["macro_probs"], p["within_probs"], hierarchy)
    np.testing.assert_array_equal(routing.beam(*stages, k=1), routing.hard(*stages))
    np.testing.assert_array_equal(routing.beam(*stages, k=hierarchy.n_macros), routing.soft(*stages))
    np.testing.assert_array_equal(routing.threshold(*stages, t=0), routing.soft(*stages))
    below = p["macro_probs"].max(axis=1) < 1
    hard, strict = routing.hard(*stages), routing.threshold(*stages, t=1)
    np.testing.assert_array_equal(strict[below], hard[below])


@patient
@given(cases() | cases(overlapping=True))
def test_hard_answers_with_the_best_class_of_the_most_probable_macro(case):
    hierarchy, p = case
    answers = routing.hard(p["macro_probs"], p["within_probs"], hierarchy).argmax(axis=1)
    for i, answer in enumerate(answers):
        macro = p["macro_probs"][i].argmax()
        scores = dict(
            zip(hierarchy.members[macro], p["within_probs"][i][hierarchy.blocks[macro]], strict=True)
        )
        best = min(scores, key=lambda name: (-scores[name], name))
        assert hierarchy.classes[answer] == best


@patient
@given(cases() | cases(overlapping=True), st.integers(0, 1000))
def test_reordering_macros_and_classes_reorders_the_answer(case, seed):
    hierarchy, p = case
    rng = np.random.default_rng(seed)
    macro_order = rng.permutation(hierarchy.n_macros)
    columns, members = [], []
    for macro in macro_order:
        order = rng.permutation(hierarchy.sizes[macro])
        members.append(tuple(hierarchy.members[macro][i] for i in order))
        columns += [hierarchy.blocks[macro].start + i for i in order]
    renamed = {name: f"new{rank}" for rank, name in enumerate(rng.permutation(hierarchy.classes))}
    moved = Hierarchy(
        tuple(hierarchy.macros[i] for i in macro_order),
        tuple(tuple(renamed[name] for name in names) for names in members),
    )
    class_order = [moved.classes.index(renamed[name]) for name in hierarchy.classes]
    flat = np.empty_like(p["flat_probs"])
    flat[:, class_order] = p["flat_probs"]
    untied = np.abs(np.diff(np.sort(p["macro_probs"], axis=1), axis=1)).min(axis=1, initial=1) > 1e-9
    for rule in every_rule(hierarchy):
        before = route(rule, hierarchy=hierarchy, **p)
        after = route(
            rule,
            hierarchy=moved,
            macro_probs=p["macro_probs"][:, macro_order],
            within_probs=p["within_probs"][:, columns],
            flat_probs=flat,
        )
        np.testing.assert_allclose(after[:, class_order][untied], before[untied], atol=1e-12, err_msg=rule)


@patient
@given(cases(), st.integers(0, 1000))
def test_hard_accuracy_is_router_accuracy_times_accuracy_where_routed_right(case, seed):
    hierarchy, p = case
    truth = np.random.default_rng(seed).integers(0, hierarchy.n_classes, len(p["macro_probs"]))
    answers = routing.hard(p["macro_probs"], p["within_probs"], hierarchy).argmax(axis=1)
    routed = p["macro_probs"].argmax(axis=1) == hierarchy.macro_of[truth]
    right = answers == truth
    assert right.sum() == (right & routed).sum(), "nothing is right by a wrong route"
    r = routed.mean()
    s = right[routed].mean() if routed.any() else 0.0
    assert right.mean() == pytest.approx(r * s, abs=1e-15)


def test_climb_answers_as_finely_as_it_may():
    shop = Hierarchy(("A", "B"), (("a", "b"), ("c",)))
    probs = [[0.9, 0.1, 0.0], [0.5, 0.1, 0.4], [0.4, 0.35, 0.25]]
    answers = climb(probs, [[0.9, 0.1], [0.9, 0.1], [0.65, 0.35]], 0.9, shop)
    assert answers.levels.tolist() == ["class", "macro", "none"]
    assert answers.class_index.tolist() == [0, 0, 0]
    assert answers.macro_index.tolist() == [0, 0, 0]
    assert answers.answered.tolist() == [True, True, False]
    assert climb(probs, [[0.9, 0.1]] * 3, (0.5, 0.95), shop).levels.tolist() == ["class", "class", "none"]


@patient
@given(cases(), st.floats(0, 1), st.floats(0, 1))
def test_climb_answers_everything_at_zero_and_less_when_stricter(case, one, other):
    hierarchy, p = case
    probs = routing.soft(p["macro_probs"], p["within_probs"], hierarchy)
    assert (climb(probs, p["macro_probs"], 0, hierarchy).levels == "class").all()
    assert not climb(probs, p["macro_probs"], routing.NEVER, hierarchy).answered.any()
    loose, strict = (climb(probs, p["macro_probs"], t, hierarchy).answered for t in sorted((one, other)))
    assert not (strict & ~loose).any()


@patient
@given(cases(), st.floats(0, 1), st.floats(0, 1))
def test_climbs_macro_holds_the_class_that_a_lower_threshold_answers(case, t_class, t_macro):
    hierarchy, p = case
    probs = routing.soft(p["macro_probs"], p["within_probs"], hierarchy)
    answers = climb(probs, p["macro_probs"], (t_class, t_macro), hierarchy)
    np.testing.assert_array_equal(answers.macro_index, hierarchy.macro_of[probs.argmax(axis=1)])
    sure = p["macro_probs"][np.arange(len(probs)), answers.macro_index]
    assert (sure[answers.levels == "macro"] >= t_macro).all() and (
        sure[answers.levels == "none"] < t_macro
    ).all()
    likeliest = climb(probs, p["macro_probs"], (t_class, t_macro), hierarchy, likeliest=True)
    np.testing.assert_array_equal(likeliest.macro_index, p["macro_probs"].argmax(axis=1))
    assert not (answers.answered & ~likeliest.answered).any()


def test_climb_answers_the_best_classs_macro_though_another_is_more_probable():
    shop = Hierarchy(("A", "B"), (("a1", "a2", "a3"), ("b",)))
    probs, macro_probs = [[0.2, 0.2, 0.15, 0.45]], [[0.55, 0.45]]
    answers = climb(probs, macro_probs, (0.5, 0.4), shop)
    assert (answers.levels[0], answers.macro_index[0]) == ("macro", 1)
    assert climb(probs, macro_probs, (0.5, 0.5), shop).levels[0] == "none"
    likeliest = climb(probs, macro_probs, (0.5, 0.5), shop, likeliest=True)
    assert (likeliest.levels[0], likeliest.macro_index[0]) == ("macro", 0)


def test_climb_over_overlapping_macros_answers_the_more_probable_of_those_that_hold_the_class():
    shop = Hierarchy(("A", "B", "C"), (("a", "s"), ("s", "b"), ("c",)))
    answers = climb([[0.2, 0.2, 0.0, 0.6]], [[0.2, 0.3, 0.5]], (0.9, 0.3), shop)
    assert (answers.levels[0], answers.macro_index[0]) == ("macro", 1)


@pytest.mark.parametrize(
    "text", ["soft", "hard", "beam:2", "threshold:0.1", "implied", "hie", "masked", "climb:0.9"]
)
def test_rules_are_read_and_written_as_typed(text):
    rule = parse_rule(text)
    assert str(rule) == text
    assert parse_rule(str(rule)) == rule == parse_rule(rule)
    assert rule.needs == RULES[rule.name].needs


def test_climb_takes_one_threshold_or_two():
    assert parse_rule("climb:0.9") == RoutingRule("climb", (0.9, 0.9))
    assert parse_rule("climb:0.9,0.8").parameter == (0.9, 0.8)
    assert str(parse_rule("climb:0.9,0.8")) == "climb:0.9,0.8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best", "Unknown routing rule 'best'. Choose one of: soft, hard, beam"),
        ("beam", "needs a parameter. Write beam:2"),
        ("beam:", "is not a number. Write it as beam:2"),
        ("beam:x", "is not a number"),
        ("beam:0", "1 or more"),
        ("beam:1.5", "is not a number"),
        ("beam:1,2", "at most one parameter"),
        ("threshold:2", "from 0 to 1"),
        ("threshold:nan", "from 0 to 1"),
        ("soft:1", "takes no parameter"),
        ("climb:-1", "0 or more"),
        ("climb:0.1,0.2,0.3", "one for class and one for macro"),
        ("climb:nan", "0 or more"),
        ("climb:80", "from 0 to 1.*Received: 80. Percentages are written as shares: climb:0.8"),
        ("climb:90,0.8", "Received: 90,0.8. Percentages are written as shares: climb:0.9,0.8"),
        ("climb:900", "from 0 to 1.*Received: 900.$"),
    ],
)
def test_rules_that_make_no_sense_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_rule(text)


@pytest.mark.parametrize(
    ("macro", "within", "message"),
    [
        ([[0.6, 0.3]], WITHIN, r"`macro_probs` must sum to 1.*row 0 is 0.9"),
        (MACRO, [[0.7, 0.3, 0.5]], r"`within_probs`.*row 0, macro 1 is 0.5"),
        (MACRO, [[0.7, 0.3]], r"`within_probs` must be of shape \(n_images, 3\)"),
        ([0.6, 0.4], WITHIN, r"`macro_probs` must be of shape"),
        ([[np.nan, 1]], WITHIN, "0 or more. Row 0"),
        ([[1.5, -0.5]], WITHIN, "0 or more. Row 0"),
        (MACRO * 2, WITHIN, "same images.*'macro_probs': 2, 'within_probs': 1"),
    ],
)
def test_what_is_no_distribution_is_refused(macro, within, message):
    with pytest.raises(ValueError, match=message):
        routing.soft(macro, within, SHOP)


def test_rounding_within_a_thousandth_is_taken():
    assert routing.soft([[0.6, 0.4005]], np.float32([[0.7, 0.3, 1.0]]), SHOP).dtype == np.float64


def test_missing_ingredients_and_wrong_parameters_are_named():
    with pytest.raises(ValueError, match=r"'implied' needs flat_probs and within_probs. Missing: flat_probs"):
        route("implied", hierarchy=SHOP, macro_probs=MACRO, within_probs=WITHIN)
    with pytest.raises(ValueError, match=r"number of macros \(2\). Received: k=3"):
        routing.beam(MACRO, WITHIN, SHOP, k=3)
    with pytest.raises(ValueError, match="Received: t=1.5"):
        routing.threshold(MACRO, WITHIN, SHOP, t=1.5)


def test_no_images_give_no_answers():
    assert route(
        "soft", hierarchy=SHOP, macro_probs=np.empty((0, 2)), within_probs=np.empty((0, 3))
    ).shape == (0, 3)


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_tells_its_formula_and_where_it_comes_from(name):
    text = " ".join(getattr(routing, name).__doc__.split())
    assert "P(c)" in text
    assert re.search(r"\(?(19|20)\d\d\b", text) or "This project's definition" in text
