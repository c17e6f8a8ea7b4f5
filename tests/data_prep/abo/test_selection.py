import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisles.data_prep.abo.recipe import Selecting, load_recipe
from aisles.data_prep.abo.selection import select, select_classes

# Names of the published classes, and of what the study dropped among the 80 that pass the minimum.
PUBLISHED = """ACCESSORY AUTO_ACCESSORY BACKPACK BATTERY BEAUTY BED BISS BOOT BREAD CABINET CELLULAR_PHONE_CASE CHAIR
CHARGING_ADAPTER CLEANING_AGENT COFFEE DESK DRINKING_CUP EARRING FLAT_SHEET FOOD_SERVICE_SUPPLY FURNITURE_COVER
HANDBAG HARDWARE_HANDLE HAT HEADBOARD HEADPHONES HEALTH_PERSONAL_CARE HERB HOME_BED_AND_BATH LAMP LEGUME LIGHT_BULB
LIGHT_FIXTURE LUGGAGE NECKLACE NUTRITIONAL_SUPPLEMENT OFFICE_PRODUCTS OTTOMAN OUTDOOR_LIVING PET_SUPPLIES PILLOW
PLANTER PORTABLE_ELECTRONIC_DEVICE_COVER RING RUG SAFETY_SUPPLY SANDAL SAUTE_FRY_PAN SCREEN_PROTECTOR SHELF SHOES
SKIN_CLEANING_AGENT SKIN_MOISTURIZER SOFA STOOL_SEATING STORAGE_BINDER STORAGE_HOOK SUITCASE TABLE TEA TOOLS VITAMIN
WALLET WALL_ART WASTE_BAG"""
CLASSES = PUBLISHED.split()
TWINS = ["FINERING", "FINENECKLACEBRACELETANKLET", "FINEEARRING"]
DROPPED = """HOME WIRELESS_ACCESSORY ACCESSORY_OR_PART_OR_SUPPLY BABY_PRODUCT COMPUTER_ADD_ON GROCERY SPORTING_GOODS
PANTRY KITCHEN JANITORIAL_SUPPLY HOME_FURNITURE_AND_DECOR HARDWARE"""
GENERICS = DROPPED.split()
COLUMNS = ["item_id", "product_type", "main_image_id", "other_image_id"]


def listings(*rows):
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def images(table):
    names = {
        name
        for column in ("main_image_id", "other_image_id")
        for text in table[column]
        for name in text.split()
    }
    return pd.DataFrame({"image_id": sorted(names), "path": [f"aa/{name}.jpg" for name in sorted(names)]})


def chosen(table, **changes):
    rules = Selecting(**{"minimum": 1, "cap": 10, "maximum_shared": 50, **changes})
    return select(table, images(table), rules)


def fates(selection):
    rows = selection.candidates.to_dict("records")
    return {row["image_id"]: (row["decision"], row["label"], row["source"], row["reason"]) for row in rows}


def full_size_listings():
    """Return 147,702 listings of 576 types: the published names above the minimum, invented ones below it."""
    rng = np.random.default_rng(0)
    kept = [
        name
        for name in [*CLASSES, *TWINS, *GENERICS]
        if name not in ("CELLULAR_PHONE_CASE", "SHOES", "BREAD")
    ]
    counts = {"CELLULAR_PHONE_CASE": 64_853, "SHOES": 12_600, "BREAD": 150}
    small = {f"RARE_{k}": int(n) for k, n in enumerate(rng.integers(1, 100, 460))}
    small |= {f"SCARCE_{k}": 149 for k in range(36)}
    rest = 147_702 - sum(counts.values()) - sum(small.values())
    shares = rng.dirichlet(np.full(len(kept), 3.0)) * (rest - 151 * len(kept))
    counts |= dict(zip(kept, 151 + shares.astype(int), strict=True))
    counts["HOME"] += 147_702 - sum(counts.values()) - sum(small.values())
    types = [name for name, n in {**counts, **small}.items() for _ in range(n)]
    ids = [f"{k:06d}" for k in range(len(types))]
    return pd.DataFrame(
        {"item_id": ids, "product_type": types, "main_image_id": ids, "other_image_id": ""}, dtype=str
    )


def test_abo65_takes_the_published_classes_of_a_catalogue_of_full_size():
    table = full_size_listings()
    types = select_classes(table, load_recipe("abo65").selection)
    assert (len(table), len(types)) == (147_702, 576)
    assert int((types["n_listings"] >= 150).sum()) == 80
    kept = sorted(types.loc[types["decision"] == "kept", "label"])
    assert len(kept) == 65 and kept == sorted(CLASSES)
    reasons = dict(zip(types["product_type"], types["reason"], strict=True))
    assert reasons["FINERING"] == "narrower twin of RING" and reasons["HOME"] == "generic"
    assert reasons["SCARCE_0"] == "149 listings, fewer than 150" and reasons["BREAD"] == ""


def test_the_names_used_here_are_the_published_ones(shared):
    assert sorted(CLASSES) == (shared / "abo" / "published" / "classes.txt").read_text().split()


def test_merging_counts_together_and_dropping_does_not():
    table = listings(
        ("1", "RING", "a", ""), ("2", "FINERING", "b", ""), ("3", "HAT", "c", ""), ("4", "CAP", "d", "")
    )
    merge = [{"narrow": "FINERING", "wide": "RING", "action": "merge"}]
    types = select_classes(table, Selecting(minimum=2, synonyms=merge)).set_index("product_type")
    assert types.loc["FINERING", ["decision", "label", "reason"]].tolist() == [
        "merged",
        "RING",
        "united with RING",
    ]
    assert types.loc["RING", "decision"] == "kept" and types.loc["HAT", "decision"] == "dropped"
    types = select_classes(table, Selecting(minimum=1, synonyms=[{"narrow": "FINERING", "wide": "RING"}]))
    assert dict(zip(types["product_type"], types["label"], strict=True)) == {
        "RING": "RING", "FINERING": "", "HAT": "HAT", "CAP": "CAP",
    }  # fmt: skip


def test_confusable_classes_are_united_under_the_first_only_when_told_to():
    table = listings(("1", "HAT", "a", ""), ("2", "ACCESSORY", "b", ""))
    for action, labels in (("keep", {"HAT", "ACCESSORY"}), ("merge", {"ACCESSORY"})):
        pair = [{"classes": ["ACCESSORY", "HAT"], "action": action}]
        assert set(select_classes(table, Selecting(minimum=1, confusable=pair))["label"]) == labels


def test_main_beats_other_and_the_main_images_beside_it_are_remembered():
    found = chosen(listings(("1", "HAT", "a", "b c"), ("2", "HAT", "b", "c"), ("3", "HAT", "d", "a")))
    assert {name: fate[2] for name, fate in fates(found).items()} == {
        "a": "main",
        "b": "main",
        "c": "other",
        "d": "main",
    }
    beside = dict(zip(found.candidates["image_id"], found.candidates["main_image_ids"], strict=True))
    assert beside == {"a": "d", "b": "a", "c": "a b", "d": ""}
    assert set(found.candidates["product"]) == {"1"}


def test_an_image_under_two_labels_is_dropped_and_its_products_stay_tied():
    found = chosen(listings(("1", "HAT", "a", "b"), ("2", "BOOT", "b", "c"), ("3", "BOOT", "d", "")))
    assert fates(found)["b"] == ("dropped", "BOOT HAT", "main", "under two labels: BOOT HAT")
    product = dict(zip(found.candidates["image_id"], found.candidates["product"], strict=True))
    assert product == {"a": "1", "b": "1", "c": "1", "d": "3"}


def test_labels_are_compared_after_merging():
    pair = [{"classes": ["HAT", "BOOT"], "action": "merge"}]
    found = chosen(listings(("1", "HAT", "a", "b"), ("2", "BOOT", "b", "")), confusable=pair)
    assert fates(found)["b"] == ("kept", "HAT", "main", "")


def test_an_image_of_too_many_products_is_dropped_and_ties_nothing():
    table = listings(*((str(k), "HAT", f"m{k}", "x") for k in range(5)))
    found = chosen(table, maximum_shared=4)
    assert fates(found)["x"] == ("dropped", "HAT", "other", "shared by more than 4 products")
    assert found.candidates.loc[found.candidates["source"] == "main", "product"].nunique() == 5
    assert fates(chosen(table, maximum_shared=5))["x"][0] == "kept"


def test_the_same_item_in_several_domains_counts_as_one_product():
    table = listings(*(("1", "HAT", "a", "b"),) * 6)
    assert fates(chosen(table, maximum_shared=1))["b"][0] == "kept"


def test_images_without_row_file_or_main_image_are_dropped_with_the_reason():
    table = listings(("1", "HAT", "a", ""), ("2", "HAT", "", "b"), ("3", "HAT", "c", ""))
    known = images(table)
    found = select(table, known[known["image_id"] != "a"], Selecting(minimum=1), {"aa/b.jpg"})
    reasons = {name: fate[3] for name, fate in fates(found).items()}
    assert reasons == {"a": "not in images.csv", "b": "no main image to compare it with", "c": "no such file"}


@pytest.mark.parametrize("name", ["Café tables", "Stühle, klein", "MEN'S SHOES", "靴"])
def test_a_type_of_ones_own_may_have_blanks_and_accents(name):
    types = select_classes(listings(("1", name, "a", ""), ("2", "HAT", "b", "")), Selecting(minimum=1))
    assert set(types["label"]) == {"HAT", name}


@pytest.mark.parametrize("name", ["../evil", "A/B", "", ".hidden", " x", "x ", "x.", "a:b", "a\\b", "a\tb"])
def test_a_type_whose_name_can_not_be_a_folder_is_no_class(name):
    types = select_classes(listings(("1", name, "a", ""), ("2", "HAT", "b", "")), Selecting(minimum=1))
    assert set(types["label"]) <= {"HAT", ""}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 8), st.sampled_from(["HAT", "BOOT"]), st.integers(0, 9), st.sets(st.integers(0, 9))
        ),
        min_size=1,
        max_size=15,
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter_and_images_of_one_product_are_tied(rows, random):
    rows = [(str(i), kind, f"m{m}", " ".join(f"m{o}" for o in sorted(others))) for i, kind, m, others in rows]
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = chosen(listings(*rows)), chosen(listings(*shuffled))
    pd.testing.assert_frame_equal(first.candidates, second.candidates)
    product = dict(zip(first.candidates["image_id"], first.candidates["product"], strict=True))
    for _, _, main, others in rows:
        assert len({product[name] for name in [main, *others.split()]}) == 1
