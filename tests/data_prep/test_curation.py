import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aisles.data_prep import curation
from aisles.data_prep.curation import curate
from aisles.data_prep.duplicates import NearDuplicates
from aisles.data_prep.errors import DataError
from aisles.data_prep.manifest import read_manifest
from aisles.data_prep.recipe import Recipe, Splitting, load_recipe


@pytest.fixture(scope="module")
def curated(drawn, small_recipe, embed, tmp_path_factory):
    """Curate the drawn catalogue once."""
    folder = tmp_path_factory.mktemp("curated")
    (folder / "catalogue").symlink_to(drawn.directory)
    return curate(folder / "catalogue", folder / "out", small_recipe, embed, sheets=False)


@pytest.fixture(scope="module")
def table(curated):
    """Give the manifest by image id."""
    return read_manifest(curated.manifest).table.set_index("image_id")


@pytest.fixture(scope="module")
def reasons(curated):
    """Give why each image was left out; of the first step that did."""
    steps = curated.manifest.parent / "steps"
    found = {}
    for name in ("balance/images.csv", "select/candidates.csv"):
        part = pd.read_csv(steps / name, dtype=str, keep_default_na=False)
        found |= dict(zip(part["image_id"], part["reason"], strict=True))
    later = pd.read_csv(steps / "balance/images.csv", dtype=str, keep_default_na=False)
    return found | dict(zip(later["image_id"], later["reason"], strict=True))


def trapped(truth, trap):
    return [row for row in truth.values() if trap in row["trap"].split()]


def changed(recipe: Recipe, **changes) -> Recipe:
    values = recipe.model_dump()
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section][name] = value
    return Recipe.model_validate(values)


@pytest.mark.parametrize(
    ("trap", "kind", "fate"),
    [
        ("truncated", "main", "can't be read"),
        ("cmyk", "main", ""),
        ("alpha", "main", ""),
        ("gray", "main", ""),
        ("numeric_id", "main", ""),
        ("several_domains", "main", ""),
        ("missing_other", "main", ""),
        ("no_row", "main", "not in images.csv"),
        ("no_file", "main", "no such file"),
        ("boilerplate", "boilerplate", "shared by more than 50 products"),
        ("two_labels", "main", "under two labels: CHAIR STOOL_SEATING"),
        ("item_of_two_types", "main", "under two labels: DESK TABLE"),
        ("missing_main", "view", "no main image to compare it with"),
        ("unusable_main", "view", "its main image can't be used"),
    ],
)
def test_every_trap_meets_its_fate(truth, table, reasons, trap, kind, fate):
    names = {
        row["image_id"]
        for row in trapped(truth, trap)
        if row["kind"] == kind
        and row["product_type"] not in ("HOME", "KITCHEN", "FINERING", "BED", "BENCH", "VASE")
        # The class of shoes is full of main images: none of the others there is looked at.
        and row["product_type"] != "SHOES"
    }
    assert names or kind == "view"
    for name in names:
        assert reasons[name].startswith(fate) if fate else reasons[name] == "", (name, reasons[name])
        assert (name in table.index) == (fate == "")


def test_shared_images_tie_their_products_into_one(truth, table):
    for trap in ("shared_main", "shared_other"):
        rows = [row for row in trapped(truth, trap) if row["image_id"] in table.index]
        for _, group in itertools.groupby(
            sorted(rows, key=lambda r: r["product_type"]), lambda r: r["product_type"]
        ):
            assert table.loc[[row["image_id"] for row in group], "product"].nunique() == 1


def test_twins_generics_and_rare_types_are_no_classes(curated):
    reasons = dict(zip(curated.types["product_type"], curated.types["reason"], strict=True))
    assert reasons["FINERING"] == "narrower twin of RING"
    assert reasons["HOME"] == reasons["KITCHEN"] == "generic"
    assert all("fewer than 7" in reasons[name] for name in ("BED", "BENCH", "VASE"))
    assert len(curated.classes) == 26


def test_the_manifest_is_complete_and_no_product_crosses_splits(curated, table):
    manifest = read_manifest(curated.manifest)
    assert len(manifest) == curated.classes["n_images"].sum() and len(manifest.classes) == 26
    assert manifest.table.groupby("product")["split"].nunique().max() == 1
    assert set(manifest.table["split"]) == {"train", "val", "test"}
    assert not curated.near_duplicates["across_splits"].any()
    assert manifest.table["label"].value_counts().max() <= 12
    assert not table.index.duplicated().any()


def test_joined_near_duplicates_never_cross_and_crowds_are_dropped_with_a_reason(
    catalogue, small_recipe, embed, tmp_path, monkeypatch
):
    monkeypatch.setattr(curation, "MAX_GROUP", 2)
    one_photograph = np.zeros(32, dtype=np.int64)

    def grouped(hashes):
        groups = np.arange(len(hashes))
        groups[:32], groups[32:34] = one_photograph, 32  # a crowd, and a pair of two products
        return NearDuplicates(np.array([[32, 33]]), np.array([0]), groups)

    monkeypatch.setattr(curation, "near_duplicates", grouped)
    recipe = changed(small_recipe, split__near_duplicates="join")
    made = curate(catalogue, tmp_path / "out", recipe, embed)
    told = made.dropped[made.dropped["step"] == "split"].to_dict("records")
    assert told == [{"step": "split", "reason": "one of more than 2 near-duplicates", "n_images": 32}]
    manifest = read_manifest(made.manifest)
    left_out = pd.read_csv(tmp_path / "out" / "steps" / "split" / "dropped.csv", dtype=str)
    assert len(left_out) == 32 and not set(left_out["image_id"]) & set(manifest.table["image_id"])
    assert made.classes["n_images"].sum() == len(manifest)
    empty = made.classes["label"][0]
    assert f"{empty}: 0 kept" in (tmp_path / "out" / "sheets" / "index.html").read_text()
    assert json.loads((tmp_path / "out" / "curation.json").read_text())["images"] == len(manifest)


images_of_groups = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=60
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images_of_groups, st.integers(1, 6), st.integers(0, 3))
def test_no_product_image_or_near_duplicate_group_is_ever_in_two_splits(monkeypatch, images, most, seed):
    label, product, group = (np.array(column) for column in zip(*images, strict=True))
    _, first = np.unique(group, return_index=True)
    groups = first[np.searchsorted(np.unique(group), group)]
    pairs = np.array([(g, i) for i, g in enumerate(groups) if g != i], dtype=np.int64).reshape(-1, 2)
    monkeypatch.setattr(curation, "MAX_GROUP", most)
    monkeypatch.setattr(curation, "hash_images", lambda paths: paths)
    found = NearDuplicates(pairs, np.zeros(len(pairs), dtype=np.int64), groups)
    monkeypatch.setattr(curation, "near_duplicates", lambda hashes: found)
    names = [f"i{number}" for number in range(len(images))]
    table = pd.DataFrame(
        {
            "image_id": names,
            "label": [f"c{c}" for c in label],
            "source": "main",
            "similarity": 1.0,
            "decision": "kept",
        }
    )
    selected = {"candidates": table.assign(product=[f"p{p}" for p in product], path=names)}
    made = curation._split(
        curation._Catalogue(Path(), Path()), selected, {"images": table},
        Splitting(seed=seed, near_duplicates="join"),
    )  # fmt: skip
    kept = made["images"].set_index("image_id")["split"]
    where = pd.DataFrame({"product": product, "group": group}, index=names).join(kept, how="inner")
    assert (where.groupby("product")["split"].nunique() == 1).all()
    assert (where.groupby("group")["split"].nunique() == 1).all()
    assert not made["near_duplicates"]["across_splits"].any()
    sizes = np.bincount(group)
    assert set(made["dropped"]["image_id"]) == {
        name for name, g in zip(names, group, strict=True) if sizes[g] > most
    }
    assert set(kept.index) | set(made["dropped"]["image_id"]) == set(names)


def test_main_images_come_first_and_others_are_above_the_threshold(truth, table, small_recipe):
    others = table[table["source"] == "other"]
    threshold = small_recipe.similarity.threshold()
    assert all(float(row.similarity) >= threshold.of(row.label) for row in others.itertuples())
    assert {truth[name]["kind"] for name in table.index[table["source"] == "main"]} == {"main"}


def test_a_second_run_does_nothing_again_and_another_threshold_measures_nothing(
    catalogue, small_recipe, embed, tmp_path
):
    first = curate(catalogue, tmp_path / "out", small_recipe, embed, sheets=False)
    before = first.manifest.read_bytes()

    def refuse(paths):
        raise AssertionError("nothing needs to be compared")

    again = curate(catalogue, tmp_path / "out", small_recipe, refuse, sheets=False)
    assert again.reused == ("select", "score", "audit", "balance", "split")
    assert again.manifest.read_bytes() == before
    stricter = changed(small_recipe, similarity__thresholds={"thumbnail": {"default": 0.9}})
    third = curate(catalogue, tmp_path / "out", stricter, refuse, sheets=False)
    assert third.reused == ("select", "score", "audit")
    assert third.classes["n_images"].sum() < first.classes["n_images"].sum()


def test_a_damaged_table_is_made_again(catalogue, small_recipe, embed, tmp_path):
    first = curate(catalogue, tmp_path / "out", small_recipe, embed, sheets=False)
    before = first.manifest.read_bytes()
    scores = tmp_path / "out" / "steps" / "score" / "scores.csv"
    scores.write_bytes(scores.read_bytes()[:-100])
    again = curate(catalogue, tmp_path / "out", small_recipe, embed, sheets=False)
    assert "score" not in again.reused and again.manifest.read_bytes() == before


def test_the_leaky_split_lets_products_cross(catalogue, small_recipe, embed, tmp_path):
    leaky = changed(small_recipe, split__method="leaky")
    table = read_manifest(curate(catalogue, tmp_path, leaky, embed, sheets=False).manifest).table
    assert table.groupby("product")["split"].nunique().max() > 1
    assert (table["split"] == "test").mean() == pytest.approx(0.25, abs=0.01)


def test_the_audit_leaves_out_what_the_recipe_names(catalogue, small_recipe, embed, tmp_path, truth):
    charts = {name for name, row in truth.items() if row["kind"] in ("chart", "text")}
    everything = changed(
        small_recipe, similarity__thresholds={"thumbnail": {"default": -1}}, selection__cap=90
    )
    plain = read_manifest(curate(catalogue, tmp_path / "a", everything, embed, sheets=False).manifest).table
    audited = changed(everything, audit__exclude=["text"])
    result = curate(catalogue, tmp_path / "b", audited, embed, sheets=False)
    left = read_manifest(result.manifest).table
    assert len(charts & set(left["image_id"])) < 0.3 * len(charts & set(plain["image_id"]))
    assert len(set(plain["image_id"]) - set(left["image_id"]) - charts) < 0.1 * len(plain)
    assert result.audited["text"].sum() > 0
    assert {"audit"} <= set(result.dropped["reason"])


def unpacked(catalogue, folder):
    for name in ("abo-listings.tar", "abo-images-small.tar"):
        with tarfile.open(catalogue / name) as tar:
            tar.extractall(folder, filter="data")
    return folder


def test_copies_and_links_give_one_folder_per_class(catalogue, small_recipe, embed, tmp_path):
    loose = unpacked(catalogue, tmp_path / "loose")
    copied = curate(catalogue, tmp_path / "copied", small_recipe, embed, materialize="copy", sheets=False)
    linked = curate(loose, tmp_path / "linked", small_recipe, embed, materialize="link", sheets=False)
    first, second = read_manifest(copied.manifest), read_manifest(linked.manifest)
    pd.testing.assert_frame_equal(first.table, second.table)
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first.paths, second.paths, strict=True))
    assert all(path.is_symlink() for path in second.paths)
    assert read_manifest(tmp_path / "copied" / "images").classes == first.classes
    fewer = changed(small_recipe, selection__cap=5)
    again = read_manifest(
        curate(catalogue, tmp_path / "copied", fewer, embed, materialize="copy", sheets=False).manifest
    )
    assert len(list((tmp_path / "copied" / "images").rglob("*.*g"))) == len(again)


def test_links_into_an_archive_and_folders_of_strangers_are_refused(catalogue, small_recipe, embed, tmp_path):
    with pytest.raises(DataError, match="Links need loose files"):
        curate(catalogue, tmp_path / "out", small_recipe, embed, materialize="link")
    (tmp_path / "out" / "images").mkdir(parents=True)
    (tmp_path / "out" / "images" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="files that no curation wrote"):
        curate(catalogue, tmp_path / "out", small_recipe, embed, materialize="copy")
    assert (tmp_path / "out" / "images" / "mine.txt").exists()


def test_contact_sheets_show_every_class(catalogue, small_recipe, embed, tmp_path):
    curate(catalogue, tmp_path / "out", small_recipe, embed)
    sheets = tmp_path / "out" / "sheets"
    assert len(list(sheets.glob("*.jpg"))) == 26 and "thumbnail" in (sheets / "index.html").read_text()


def test_a_recipe_that_leaves_no_class_is_refused(catalogue, embed, tmp_path):
    with pytest.raises(
        DataError, match="No product type is left of 32. The most frequent: SHOES .*another recipe"
    ):
        curate(catalogue, tmp_path, load_recipe("sample", {"selection.minimum": 5000}), embed)


def test_a_backbone_without_threshold_is_refused_before_any_work(catalogue, small_recipe, embed, tmp_path):
    with pytest.raises(DataError, match="no similarity threshold for the backbone 'vgg16'"):
        curate(catalogue, tmp_path / "out", small_recipe, embed, backbone="vgg16")
    assert not (tmp_path / "out").exists()


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from conftest import thumbnail
from aisles.data_prep import curation
from aisles.data_prep.curation import curate
from aisles.data_prep.duplicates import NearDuplicates
from aisles.data_prep.recipe import Recipe
recipe = Recipe.model_validate_json(Path(sys.argv[4]).read_text())
curate(sys.argv[1], sys.argv[2], recipe, thumbnail, materialize="copy", sheets=False)
print("done")
"""


def killed_run(arguments, after: float) -> bool:
    """Run a curation in a process of its own and kill it; say whether it had finished."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        output, _ = process.communicate(timeout=after)
        return b"done" in output
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return False


def killed_at_random_moments(catalogue, tmp_path, recipe, moments: int):
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    here = str(Path(__file__).parent)
    arguments = [str(catalogue), str(tmp_path / "whole"), here, str(tmp_path / "recipe.json")]
    start = time.monotonic()
    assert killed_run(arguments, 120)
    length = time.monotonic() - start
    wanted = (tmp_path / "whole" / "metadata.csv").read_bytes()
    for path in (catalogue / "index").iterdir():
        path.unlink()
    arguments[1] = str(tmp_path / "killed")
    for share in np.random.default_rng(0).uniform(0.3, 1.0, moments):
        killed_run(arguments, share * length)
        assert (
            not (tmp_path / "killed" / "metadata.csv").exists()
            or (tmp_path / "killed" / "metadata.csv").read_bytes() == wanted
        )
    assert killed_run(arguments, 120)
    assert (tmp_path / "killed" / "metadata.csv").read_bytes() == wanted
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*"))
        for name in ("whole", "killed")
    ]
    assert files[0] == files[1]


def test_a_killed_curation_goes_on_to_the_same_manifest(catalogue, small_recipe, tmp_path):
    killed_at_random_moments(catalogue, tmp_path, small_recipe, 2)


@pytest.mark.slow
def test_a_curation_killed_ten_times_goes_on_to_the_same_manifest(catalogue, small_recipe, tmp_path):
    killed_at_random_moments(catalogue, tmp_path, small_recipe, 10)
