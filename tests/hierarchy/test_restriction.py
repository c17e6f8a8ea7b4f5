"""Restriction to what is possible: names, conditioning, and refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.restriction import conditioned, conditioned_macros, possible_classes, possible_macros

SHOP = Hierarchy(("fruit", "milk"), (("apple", "pear"), ("milk", "oat")))


def test_macros_stand_for_their_classes_and_names_add_up():
    marks = possible_classes(["fruit", "oat"], SHOP.classes, SHOP)
    assert dict(zip(SHOP.classes, marks.tolist(), strict=True)) == {
        "apple": True, "milk": False, "oat": True, "pear": True,
    }  # fmt: skip


def test_a_name_that_means_a_class_and_another_macro_has_to_be_told_apart():
    with pytest.raises(ValueError, match="'class:milk' or 'macro:milk'"):
        possible_classes(["milk"], SHOP.classes, SHOP)
    assert possible_classes(["class:milk"], SHOP.classes, SHOP).sum() == 1
    assert possible_classes(["macro:milk"], SHOP.classes, SHOP).sum() == 2


def test_unknown_names_and_empty_lists_are_refused():
    with pytest.raises(ValueError, match=r"Unknown: \['banana'\]"):
        possible_classes(["banana"], SHOP.classes, SHOP)
    with pytest.raises(ValueError, match="at least one"):
        possible_classes([], SHOP.classes, SHOP)
    with pytest.raises(ValueError, match="Unknown"):
        possible_classes(["fruit"], SHOP.classes)


def test_conditioning_as_worked_out_by_hand():
    probs = np.array([[0.5, 0.2, 0.2, 0.1], [0.0, 0.0, 0.4, 0.6], [0.25, 0.25, 0.25, 0.25]])
    possible = np.array([[False, True, True, False], [True, True, False, False], [True] * 4])
    np.testing.assert_allclose(
        conditioned(probs, possible), [[0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0], [0.25] * 4], atol=1e-15
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_macros_given_what_is_possible_follow_bayes(seed):
    rng = np.random.default_rng(seed)
    macro, within = rng.dirichlet([1, 1], 4), np.hstack([rng.dirichlet([1, 1], 4) for _ in range(2)])
    allowed = rng.random((4, 4)) < 0.5
    allowed[:, 0] |= ~allowed.any(1)
    found = conditioned_macros(macro, within, allowed, SHOP)
    for row in range(4):
        joint = np.zeros(2)
        for slot, (m, name) in enumerate(SHOP.slots):
            joint[m] += macro[row, m] * within[row, slot] * allowed[row, SHOP.classes.index(name)]
        np.testing.assert_allclose(
            found[row], macro[row] if allowed[row].all() else joint / joint.sum(), atol=1e-12
        )
    assert (possible_macros(allowed, SHOP) >= (found > 0)).all()
