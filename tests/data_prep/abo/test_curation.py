import itertools
import json
import os
import re
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

from aisles.data_prep.abo import curation
from aisles.data_prep.abo.curation import curate
from aisles.data_prep.abo.recipe import Recipe, Splitting, Threshold, load_recipe
from aisles.data_prep.images.duplicates import NearDuplicates
from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.io.errors import DataError


@pytest.fixture(scope="module")
def curated(synthetic, small_recipe, embed, tmp_path_factory):
    """Curate the synthetic catalogue once."""
    folder = tmp_path_factory.mktemp("curated")
    (folder / "catalogue").symlink_to(synthetic.directory)
    return curate(folder / "catalogue", folder / "out", small_recipe, embed, sheets=False)


@pytest.fixture(scope="module")
def table(curated):
    """Return the manifest by image id."""
    return read_manifest(curated.manifest).table.set_index("image_id")


@pytest.fixture(scope="module")
def reasons(curated):
    """Return why each image was left out; of the first step that did."""
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


def grouped(monkeypatch, group_of):
    """Let near-duplicates be those that a function puts into one group; it sees all paths that are compared."""

    def found(paths):
        names = [group_of(path) for path in paths]
        _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
        groups = first[inverse]
        pairs = np.array([(g, i) for i, g in enumerate(groups) if g != i], dtype=np.int64).reshape(-1, 2)
        return NearDuplicates(pairs, np.zeros(len(pairs), dtype=np.int64), groups)

    monkeypatch.setattr(curation.HashedImages, "of", lambda self, paths: paths)
    monkeypatch.setattr(curation, "near_duplicates", found)


def test_crowds_of_near_duplicates_are_left_out_and_the_class_filled_from_the_rest(
    catalogue, small_recipe, embed, tmp_path, monkeypatch
):
    shoes = changed(small_recipe, selection__cap=6)
    plain = read_manifest(curate(catalogue, tmp_path / "plain", shoes, embed, sheets=False).manifest)
    images = plain.table[plain.table["label"] == "SHOES"]
    crowd = {path.rpartition("/")[2] for path in images["file_name"]}
    assert len(crowd) == 6
    monkeypatch.setattr(curation, "MAX_GROUP", 5)
    grouped(monkeypatch, lambda path: "crowd" if path.name in crowd else path.name)
    made = curate(catalogue, tmp_path / "out", changed(shoes, split__near_duplicates="join"), embed)
    manifest = read_manifest(made.manifest)
    assert not set(images["image_id"]) & set(manifest.table["image_id"])
    row = made.classes[made.classes["label"] == "SHOES"].iloc[0]
    assert row["n_images"] == (manifest.labels == "SHOES").sum() == 6
    told = made.dropped[made.dropped["reason"] == "one of more than 5 near-duplicates"].to_dict("records")
    assert [(row["step"], row["n_images"]) for row in told] == [("balance", 6)]
    charted = pd.read_csv(tmp_path / "out" / "steps" / "balance" / "classes.csv")
    pd.testing.assert_frame_equal(charted, made.classes, check_dtype=False)
    assert charted["n_images"].sum() == len(manifest)
    sheets = (tmp_path / "out" / "sheets" / "index.html").read_text()
    assert re.search(r">SHOES</h2>\s*<div class=\"blue\"><h3>kept: 6</h3>", sheets)
    assert json.loads((tmp_path / "out" / "curation.json").read_text())["images"] == len(manifest)


def test_a_class_that_is_one_crowd_is_reported_with_no_image(
    catalogue, small_recipe, embed, tmp_path, monkeypatch, truth
):
    monkeypatch.setattr(curation, "MAX_GROUP", 3)
    shoes = {name for name, row in truth.items() if row["product_type"] == "SHOES"}
    candidates = curate(catalogue, tmp_path / "plain", small_recipe, embed, sheets=False)
    table = pd.read_csv(candidates.manifest.parent / "steps" / "select" / "candidates.csv", dtype=str)
    crowd = {path.rpartition("/")[2] for path in table.loc[table["image_id"].isin(shoes), "path"].dropna()}
    grouped(monkeypatch, lambda path: "crowd" if path.name in crowd else path.name)
    made = curate(
        catalogue, tmp_path / "out", changed(small_recipe, split__near_duplicates="join"), embed, sheets=False
    )
    row = made.classes[made.classes["label"] == "SHOES"].iloc[0]
    # What fills the places is more of the same; so few of them at the end are no crowd by themselves.
    assert (row["n_images"], row["missing"]) == (0, 12)
    assert json.loads((tmp_path / "out" / "curation.json").read_text())["short"]["SHOES"] == 12


images_of_groups = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=60
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images_of_groups, st.integers(1, 6), st.integers(0, 3))
def test_no_product_image_or_near_duplicate_group_is_ever_in_two_splits(monkeypatch, images, most, seed):
    label, product, group = (np.array(column) for column in zip(*images, strict=True))
    names = [f"i{number}" for number in range(len(images))]
    monkeypatch.setattr(curation, "MAX_GROUP", most)
    grouped(monkeypatch, lambda path: group[names.index(path.name)])
    table = pd.DataFrame(
        {
            "image_id": names,
            "label": [f"c{c}" for c in label],
            "source": "main",
            "similarity": 1.0,
            "decision": "kept",
        }
    )
    selected = {
        "candidates": table.assign(product=[f"p{p}" for p in product], path=names, reason=""),
        "classes": pd.DataFrame({"label": ["c0", "c1", "c2", "c3", ""]}),
    }
    audited = {"flags": pd.DataFrame({"image_id": [], "excluded": []})}
    scored = {"scores": table.assign(main_image_id="", reason="")}
    place = curation._Catalogue(Path(), Path())
    sizes = np.bincount(group)
    crowd = {name for name, g in zip(names, group, strict=True) if sizes[g] > most}
    arguments = (place, selected, scored, audited, Threshold(default=0.5), 60, True)
    if crowd == set(names):
        with pytest.raises(DataError, match="No image is left"):
            curation._balance(*arguments)
        return
    balanced = curation._balance(*arguments)
    made = curation._split(place, selected, balanced, Splitting(seed=seed, near_duplicates="join"))
    kept = made["images"].set_index("image_id")["split"]
    where = pd.DataFrame({"product": product, "group": group}, index=names).join(kept, how="inner")
    assert (where.groupby("product")["split"].nunique() == 1).all()
    assert (where.groupby("group")["split"].nunique() == 1).all()
    assert not made["near_duplicates"]["across_splits"].any()
    assert set(kept.index) == set(names) - crowd


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


def test_only_what_a_curation_wrote_is_removed(catalogue, small_recipe, embed, tmp_path):
    made = curate(catalogue, tmp_path / "out", small_recipe, embed, materialize="copy", sheets=False)
    mine = tmp_path / "out" / "images" / "SHOES" / "mine.txt"
    mine.write_text("mine")
    precious = tmp_path / "precious.txt"
    precious.write_text("not there")
    (tmp_path / "out" / "beside.txt").write_text("mine, too")
    note = tmp_path / "out" / "steps" / "images.txt"
    note.write_text(
        note.read_text() + "images/../../precious.txt\n../precious.txt\nimages/a/../../../precious.txt\n"
        "images/../beside.txt\n"
    )
    fewer = changed(small_recipe, selection__cap=2)
    again = curate(catalogue, tmp_path / "out", fewer, embed, materialize="copy", sheets=False)
    assert mine.read_text() == "mine" and precious.exists()
    assert (tmp_path / "out" / "beside.txt").exists()
    assert len(list((tmp_path / "out" / "images").rglob("*.*g"))) == again.classes["n_images"].sum()
    assert again.classes["n_images"].sum() < made.classes["n_images"].sum()


def test_the_catalogues_own_images_are_never_written_over(catalogue, small_recipe, embed, tmp_path):
    loose = unpacked(catalogue, tmp_path / "loose")
    before = sorted(path for path in loose.rglob("*.*g"))
    (loose / "steps").mkdir()
    (loose / "steps" / "images.txt").write_text("copy of an earlier run\n")
    with pytest.raises(DataError, match="Choose another output folder"):
        curate(loose, loose, small_recipe, embed, materialize="copy")
    with pytest.raises(DataError, match="among the catalogue's images"):
        curate(loose, loose / "images" / "small" / "out", small_recipe, embed)
    inside = tmp_path / "out" / "images" / "abo"
    inside.parent.mkdir(parents=True)
    loose.rename(inside)
    with pytest.raises(DataError, match="Choose another output folder"):
        curate(inside, tmp_path / "out", small_recipe, embed, materialize="copy")
    assert len([path for path in inside.rglob("*.*g")]) == len(before) > 100


def test_images_unpacked_since_the_last_time_are_seen(catalogue, small_recipe, embed, tmp_path):
    loose = unpacked(catalogue, tmp_path / "loose")
    whole = curate(loose, tmp_path / "whole", small_recipe, embed, sheets=False).manifest.read_bytes()
    later = sorted((loose / "images" / "small").iterdir())[::2]
    for folder in later:
        folder.rename(tmp_path / folder.name)
    half = curate(loose, tmp_path / "out", small_recipe, embed, sheets=False)
    assert half.manifest.read_bytes() != whole
    for folder in later:
        (tmp_path / folder.name).rename(folder)
    again = curate(loose, tmp_path / "out", small_recipe, embed, sheets=False)
    assert again.reused == () and again.manifest.read_bytes() == whole
    assert len(curate(loose, tmp_path / "out", small_recipe, embed, sheets=False).reused) == 5


def test_a_replaced_image_is_compared_again(catalogue, small_recipe, embed, tmp_path):
    loose = unpacked(catalogue, tmp_path / "loose")
    first = read_manifest(curate(loose, tmp_path / "out", small_recipe, embed, sheets=False).manifest)
    first.paths[0].write_bytes(b"no image any more")
    again = curate(loose, tmp_path / "out", small_recipe, embed, sheets=False)
    assert again.reused == ("select",)
    assert first.table["image_id"][0] not in set(read_manifest(again.manifest).table["image_id"])


def test_another_file_of_weights_or_another_version_of_the_steps_is_seen(
    catalogue, small_recipe, embed, tmp_path, monkeypatch
):
    weights = tmp_path / "my.weights.h5"

    def again(content):
        weights.write_bytes(content)
        return curate(
            catalogue, tmp_path / "out", small_recipe, embed, weights=str(weights), sheets=False
        ).reused

    assert (again(b"one"), len(again(b"one")), again(b"two")) == ((), 5, ("select",))
    monkeypatch.setattr("aisles.data_prep.io.step_cache.TABLES_VERSION", 99)
    assert again(b"two") == ()


def test_a_curation_that_keeps_no_image_is_refused(catalogue, small_recipe, embed, tmp_path):
    loose = unpacked(catalogue, tmp_path / "loose")
    for path in (loose / "images" / "small").rglob("*.*g"):
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match="No image is left of .*images/small: .* can't be read.*steps/score/scores.csv"
    ):
        curate(loose, tmp_path / "out", small_recipe, embed, sheets=False)
    assert not (tmp_path / "out" / "metadata.csv").exists()


def test_a_class_without_any_usable_image_is_reported(catalogue, small_recipe, embed, tmp_path, truth):
    loose = unpacked(catalogue, tmp_path / "loose")
    table = curate(catalogue, tmp_path / "first", small_recipe, embed, sheets=False).manifest.parent
    candidates = pd.read_csv(table / "steps" / "select" / "candidates.csv", dtype=str, keep_default_na=False)
    for path in candidates.loc[(candidates["label"] == "SHOES") & (candidates["decision"] == "kept"), "path"]:
        (loose / "images" / "small" / path).unlink()
    made = curate(loose, tmp_path / "out", small_recipe, embed, sheets=False)
    assert made.classes.loc[made.classes["label"] == "SHOES", "n_images"].tolist() == [0]
    assert json.loads((tmp_path / "out" / "curation.json").read_text())["short"]["SHOES"] == 12
    assert len(made.classes) == 26


def test_misspelt_classes_of_a_recipe_are_named(catalogue, small_recipe, embed, tmp_path, caplog):
    curate(catalogue, tmp_path / "a", small_recipe, embed, sheets=False)
    assert "catalogue doesn't have" not in caplog.text
    wrong = changed(
        small_recipe,
        selection__generics=["HOEM", "KITCHEN"],
        similarity__thresholds={"thumbnail": {"default": 0.2, "exceptions": {"rug": 0.1, "QQQQ": 0.3}}},
    )
    curate(catalogue, tmp_path / "b", wrong, embed, sheets=False)
    assert "doesn't have: HOEM (did you mean HOME?), QQQQ, rug (did you mean RUG?)." in caplog.text


def test_what_the_audit_flags_has_its_own_part_on_the_sheets(catalogue, small_recipe, embed, tmp_path):
    made = curate(catalogue, tmp_path / "out", changed(small_recipe, audit__report=True), embed)
    page = (tmp_path / "out" / "sheets" / "index.html").read_text()
    assert "<th>flagged</th>" in page and made.audited["any"].sum() > 5
    for row in made.audited.to_dict("records"):
        line = next(line for line in page.splitlines() if f">{row['label']}</a>" in line)
        assert line.endswith(f"<td>{row['any']:g}</td></tr>")


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
from aisles.data_prep.abo import curation
from aisles.data_prep.abo.curation import curate
from aisles.data_prep.abo.recipe import Recipe

def told(function, name_of):
    def run(*arguments):
        print("begin", name_of(arguments), flush=True)
        result = function(*arguments)
        print("end", name_of(arguments), flush=True)
        return result
    return run

curation.index_catalogue = told(curation.index_catalogue, lambda arguments: "index")
curation.TableSteps.run = told(curation.TableSteps.run, lambda arguments: arguments[1])
curation.write_images = told(curation.write_images, lambda arguments: "images")
recipe = Recipe.model_validate_json(Path(sys.argv[4]).read_text())
curate(sys.argv[1], sys.argv[2], recipe, thumbnail, materialize="copy", sheets=False)
"""


def started(arguments):
    command = [sys.executable, "-W", "ignore", "-c", RUN, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def measured_run(arguments) -> dict[str, float]:
    """Run a curation to its end; give the seconds that each step took."""
    begun, seconds = {}, {}
    with started(arguments) as process:
        for line in process.stdout:
            word, name = line.split()
            if word == "begin":
                begun[name] = time.monotonic()
            else:
                seconds[name] = time.monotonic() - begun[name]
    assert process.returncode == 0
    return seconds


def killed_run(arguments, step: str, delay: float) -> str:
    """Kill a curation a moment after a step has begun; give the step that it was in, "" if it was in none."""
    with started(arguments) as process:
        inside = ""
        for line in process.stdout:
            word, name = line.split()
            inside = name if word == "begin" else ""
            if line == f"begin {step}\n":
                time.sleep(delay)
                os.kill(process.pid, signal.SIGKILL)
                # What it had still written before the kill comes next.
    assert process.returncode == -signal.SIGKILL
    return inside


def killed_inside(catalogue, tmp_path, recipe, moments):
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    here = str(Path(__file__).parents[1])
    arguments = [str(catalogue), str(tmp_path / "whole"), here, str(tmp_path / "recipe.json")]
    seconds = measured_run(arguments)
    wanted = (tmp_path / "whole" / "metadata.csv").read_bytes()
    for path in (*(catalogue / "index").iterdir(), *catalogue.glob("*.npz")):
        path.unlink()
    arguments[1] = str(tmp_path / "killed")
    random, hit = np.random.default_rng(0), []
    for step in moments:
        hit.append(killed_run(arguments, step, random.uniform(0.05, 0.4) * seconds[step]))
        manifest = tmp_path / "killed" / "metadata.csv"
        assert not manifest.exists() or manifest.read_bytes() == wanted
    measured_run(arguments)
    assert (tmp_path / "killed" / "metadata.csv").read_bytes() == wanted
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*"))
        for name in ("whole", "killed")
    ]
    assert files[0] == files[1]
    return hit


def test_a_killed_curation_goes_on_to_the_same_manifest(catalogue, small_recipe, tmp_path):
    hit = killed_inside(catalogue, tmp_path, small_recipe, ("score", "images"))
    assert hit == ["score", "images"]


@pytest.mark.slow
def test_a_curation_killed_ten_times_goes_on_to_the_same_manifest(catalogue, small_recipe, tmp_path):
    """Each kill hits a running process, and every step that takes its time is hit inside at least once."""
    joined = changed(small_recipe, split__near_duplicates="join", audit__report=True)
    moments = ("index", "select", "select", "score", "score", "audit", "balance", "split", "images", "images")
    hit = killed_inside(catalogue, tmp_path, joined, moments)
    # The split itself takes a hundredth of a second, the index hardly more: their kills may hit the step after them.
    assert {"select", "score", "audit", "balance", "images"} <= set(hit), hit
