"""The hierarchy: its orders, what it refuses, and its file."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisles.hierarchy.hierarchy import Hierarchy

patient = settings(max_examples=50, deadline=None)

SHOP = Hierarchy(("SEAT", "LIGHT"), (("SOFA", "CHAIR"), ("LAMP",)))
SHARED = Hierarchy(("HOME", "GARDEN"), (("CHAIR", "LAMP"), ("CHAIR", "HOSE")))

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    str.strip
)
partitions = st.dictionaries(
    names, st.lists(names, min_size=1, max_size=4, unique=True), min_size=1, max_size=5
)


def test_orders_are_sorted_for_classes_and_as_given_for_slots():
    assert SHOP.classes == ("CHAIR", "LAMP", "SOFA")
    assert SHOP.slots == ((0, "SOFA"), (0, "CHAIR"), (1, "LAMP"))
    assert SHOP.slot_macro.tolist() == [0, 0, 1]
    assert SHOP.slot_class.tolist() == [2, 0, 1]
    assert SHOP.macro_of.tolist() == [0, 1, 0]
    assert SHOP.blocks == (slice(0, 2), slice(2, 3))
    assert (SHOP.sizes, SHOP.n_macros, SHOP.n_classes, SHOP.n_slots) == ((2, 1), 2, 3, 3)


def test_a_class_in_two_macros_is_allowed_and_named_where_it_cannot_be():
    assert SHARED.overlapping and not SHOP.overlapping
    assert (SHARED.n_classes, SHARED.n_slots) == (3, 4)
    with pytest.raises(ValueError, match=r"exactly one macro.*\['CHAIR'\]"):
        _ = SHARED.macro_of
    with pytest.raises(ValueError, match="exactly one macro"):
        SHARED.same_sizes_at_random(0)


def test_shared_arrays_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        SHOP.macro_of[0] = 5


@pytest.mark.parametrize(
    ("macros", "members", "message"),
    [
        ((), (), "at least one macro"),
        (("A",), (("x",), ("y",)), "equal length.*1 macros and 2 groups"),
        (("A", "B"), (("x",), ()), "Macro 'B' is empty"),
        (("A", "A"), (("x",), ("y",)), r"Every macro must be named once.*\['A'\]"),
        (("A",), (("x", "x"),), r"class in macro 'A' must be named once.*\['x'\]"),
        (("A",), ((" ",),), "not blank"),
        (("",), (("x",),), "not blank"),
        (("A",), ((3,),), "is a text.*Received: 3"),
        (("A",), ("xyz",), "lists of names, not one text"),
    ],
)
def test_what_is_no_hierarchy_is_refused(macros, members, message):
    with pytest.raises(ValueError, match=message):
        Hierarchy(macros, members)


def test_disagreeing_classes_are_named_by_side():
    SHOP.check_classes(["SOFA", "LAMP", "CHAIR", "LAMP"])
    with pytest.raises(
        ValueError, match=r"only in the manifest: \['RUG'\]; only in the hierarchy: \['CHAIR'\]"
    ):
        SHOP.check_classes(["SOFA", "LAMP", "RUG"])
    with pytest.raises(ValueError, match=r"disagree on classes; only in the manifest: \['RUG'\]\."):
        SHOP.check_classes(["SOFA", "LAMP", "CHAIR", "RUG"])


@patient
@given(partitions)
def test_json_gives_back_every_name_and_order(content):
    hierarchy = Hierarchy(tuple(content), tuple(map(tuple, content.values())))
    assert Hierarchy.from_json(hierarchy.to_json()) == hierarchy


def test_json_has_the_documented_shape():
    assert json.loads(SHOP.to_json()) == {"macros": {"SEAT": ["SOFA", "CHAIR"], "LIGHT": ["LAMP"]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Reading failed"),
        ('{"macros": {"A": ["x"], "A": ["y"]}}', r"Repeated: \['A'\]"),
        ('{"macros": {"A": "x"}}', "'A' must hold a list"),
        ('{"macros": {"A": ["x", 1]}}', "'A' must hold a list"),
        ('{"macros": [["x"]]}', "of the shape"),
        ('["x"]', "of the shape"),
        ('{"macros": {"A": ["x"]}, "other": 1}', "of the shape"),
        ('{"macros": {}}', "at least one macro"),
        ('{"macros": {"A": []}}', "'A' is empty"),
        ("[" * 100_000, "Reading failed"),
    ],
)
def test_malformed_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Hierarchy.from_json(text)


def test_files_round_trip_and_errors_name_the_file(tmp_path):
    path = tmp_path / "mine é.json"
    SHOP.write(path)
    assert Hierarchy.read(path) == SHOP
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Hierarchy.read(path) == SHOP, "an editor's byte order mark does not matter"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="mine é.json.*cannot be used"):
        Hierarchy.read(path)


def test_two_columns_make_a_hierarchy():
    rows = [("SOFA", "SEAT"), ("LAMP", "LIGHT"), ("CHAIR", "SEAT"), ("SOFA", "SEAT")]
    found = Hierarchy.from_labels(*zip(*rows, strict=True))
    assert found == Hierarchy(("LIGHT", "SEAT"), (("LAMP",), ("CHAIR", "SOFA")))
    with pytest.raises(ValueError, match=r"'SOFA' comes with several macro labels: \['LIGHT', 'SEAT'\]"):
        Hierarchy.from_labels(["SOFA", "SOFA"], ["SEAT", "LIGHT"])
    with pytest.raises(ValueError, match="Received: 1 and 2"):
        Hierarchy.from_labels(["SOFA"], ["SEAT", "LIGHT"])


def test_the_random_control_keeps_sizes_and_classes_and_follows_its_seed():
    big = Hierarchy(("A", "B", "C"), (tuple("abcdef"), tuple("ghij"), ("k",)))
    one, again, other = (big.same_sizes_at_random(seed) for seed in (1, 1, 2))
    assert one == again != other
    assert one.sizes == big.sizes and one.classes == big.classes
    assert not np.array_equal(one.macro_of, big.macro_of)
