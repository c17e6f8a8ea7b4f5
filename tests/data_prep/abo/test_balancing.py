import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from aisles.data_prep.abo.balancing import balance
from aisles.data_prep.abo.recipe import Threshold

HALF = Threshold(default=0.5)


def scores(*rows):
    table = pd.DataFrame(rows, columns=["image_id", "label", "source", "similarity"])
    return table.assign(main_image_id="m", reason="")


def kept(balanced):
    return balanced.images.loc[balanced.images["decision"] == "kept", "image_id"].tolist()


def reasons(balanced):
    return dict(zip(balanced.images["image_id"], balanced.images["reason"], strict=True))


def test_main_images_come_first_then_the_most_similar_others():
    table = scores(
        ("m2", "HAT", "main", np.nan), ("m1", "HAT", "main", np.nan), ("a", "HAT", "other", 0.6),
        ("b", "HAT", "other", 0.9), ("c", "HAT", "other", 0.7),
    )  # fmt: skip
    assert kept(balance(table, HALF, 4)) == ["m1", "m2", "b", "c"]
    assert kept(balance(table, HALF, 1)) == ["m1"]
    assert reasons(balance(table, HALF, 1))["b"] == "the class is full"


def test_equally_similar_images_are_taken_in_the_order_of_their_ids():
    table = scores(("c", "HAT", "other", 0.7), ("a", "HAT", "other", 0.7), ("b", "HAT", "other", 0.7))
    assert kept(balance(table, HALF, 2)) == ["a", "b"]


def test_the_threshold_itself_is_enough_and_exceptions_go_by_class():
    table = scores(("a", "HAT", "other", 0.5), ("b", "HAT", "other", 0.499), ("c", "RUG", "other", 0.21))
    balanced = balance(table, Threshold(default=0.5, exceptions={"RUG": 0.2}), 9)
    assert kept(balanced) == ["a", "c"]
    assert reasons(balanced)["b"] == "below the threshold"


def test_an_excluded_image_makes_room_for_the_next():
    table = scores(("m1", "HAT", "main", np.nan), ("a", "HAT", "other", 0.9), ("b", "HAT", "other", 0.8))
    balanced = balance(table, HALF, 2, {"a": "audit: text"})
    assert kept(balanced) == ["m1", "b"] and reasons(balanced)["a"] == "audit: text"


def test_unusable_images_are_never_kept_and_keep_their_reason():
    table = scores(("m1", "HAT", "main", np.nan), ("a", "HAT", "other", np.nan))
    table.loc[0, "reason"] = "can't be read: is empty"
    balanced = balance(table, HALF, 2)
    assert kept(balanced) == []
    assert reasons(balanced) == {"m1": "can't be read: is empty", "a": "below the threshold"}


def test_a_class_that_stays_short_is_reported():
    table = scores(("m1", "HAT", "main", np.nan), ("a", "HAT", "other", 0.9), ("m2", "RUG", "main", np.nan))
    rows = balance(table, HALF, 2).classes.to_dict("records")
    assert rows == [
        {"label": "HAT", "threshold": 0.5, "n_main": 1, "n_other": 1, "n_images": 2, "missing": 0},
        {"label": "RUG", "threshold": 0.5, "n_main": 1, "n_other": 0, "n_images": 1, "missing": 1},
    ]


def test_a_class_of_which_no_image_was_looked_at_is_counted_too():
    table = scores(("m1", "HAT", "main", np.nan))
    rows = balance(table, HALF, 2, labels=["HAT", "RUG"]).classes
    assert rows[["label", "n_images", "missing"]].to_numpy().tolist() == [["HAT", 1, 1], ["RUG", 0, 2]]


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.booleans(), st.floats(-1, 1)), max_size=40),
    st.integers(1, 8),
)
def test_no_class_exceeds_the_cap_and_no_better_image_is_left_out(rows, cap):
    table = scores(
        *(
            (f"i{k:02d}", label, "main" if main else "other", np.nan if main else value)
            for k, (label, main, value) in enumerate(rows)
        )
    )
    images = balance(table, HALF, cap).images
    worth = images["similarity"].where(images["source"] == "other", np.inf)
    usable = worth >= 0.5
    for label in set(images["label"]):
        mine = images["label"] == label
        chosen = mine & (images["decision"] == "kept")
        assert chosen.sum() == min(cap, (mine & usable).sum())
        left_out = mine & usable & ~chosen
        if left_out.any():
            assert worth[chosen].min() >= worth[left_out].max()
