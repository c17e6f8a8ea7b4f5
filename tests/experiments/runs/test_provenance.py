"""What is said about images that aren't those that a run folder was made from."""

import json
import re
import shutil

import pytest
from PIL import Image

from aisles.data_prep.images.manifest import read_manifest, write_manifest
from aisles.experiments.runs.provenance import changed_images, check_resumable
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.settings.writing import write_settings


@pytest.fixture
def photos(tmp_path):
    for label in ("Banana", "Kiwi"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            place = tmp_path / "photos" / label / f"{number}.png"
            Image.new("RGB", (4, 4), (len(label), number, 0)).save(place)
    return tmp_path / "photos"


@pytest.fixture
def run(photos, tmp_path):
    (tmp_path / "run").mkdir()
    manifest = read_manifest(photos)
    write_manifest(manifest, tmp_path / "run" / "manifest.csv")
    write_settings(tmp_path / "run" / "settings.toml", BenchmarkSettings())
    facts = {"data": manifest.fingerprint(), "backbone": "lite0"}
    (tmp_path / "run" / "inputs.json").write_text(json.dumps(facts))
    return tmp_path / "run"


def added(photos):
    shutil.copy(photos / "Kiwi" / "0.png", photos / "Kiwi" / "9.png")


def gone(photos):
    for number in (0, 1):
        (photos / "Banana" / f"{number}.png").unlink()


def renamed(photos):
    (photos / "Kiwi").rename(photos / "Lemon")


def other_content(photos):
    Image.new("RGB", (4, 4), "white").save(photos / "Kiwi" / "0.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (added, "images: 1 added ('Kiwi/9.png')"),
        (gone, "images: 2 gone ('Banana/0.png', 'Banana/1.png')"),
        (
            renamed,
            "images: 3 added ('Lemon/0.png', 'Lemon/1.png', 'Lemon/2.png'), "
            "3 gone ('Kiwi/0.png', 'Kiwi/1.png', 'Kiwi/2.png')",
        ),
        (other_content, "images: the same names, with other content, products or order"),
    ],
    ids=["added", "gone", "renamed", "content"],
)
def test_which_images_came_and_went_is_told(change, said, photos, run):
    change(photos)
    assert changed_images(run / "manifest.csv", read_manifest(photos)) == said


def test_other_labels_and_splits_are_told_by_file(photos, run):
    places = [f"{label}/{number}.png" for label in ("Banana", "Kiwi") for number in range(3)]
    rows = [f"{place},{place[:-6]},{('train', 'val', 'test')[int(place[-5])]}" for place in places]
    told = []
    for changed in ({}, {0: "Banana/0.png,Kiwi,train", 4: "Kiwi/1.png,Kiwi,test"}):
        lines = [changed.get(i, row) for i, row in enumerate(rows)]
        (photos / "listed.csv").write_text("\n".join(["file_name,label,split", *lines]) + "\n")
        told.append(read_manifest(photos / "listed.csv"))
    write_manifest(told[0], run / "manifest.csv")
    said = changed_images(run / "manifest.csv", told[1])
    assert said == "images: 1 with another class ('Banana/0.png'), 1 with another split ('Kiwi/1.png')"


def test_a_run_of_other_images_is_refused_by_what_changed_not_by_hashes(photos, run):
    added(photos)
    manifest = read_manifest(photos)
    facts = {"data": manifest.fingerprint(), "backbone": "lite0"}
    with pytest.raises(
        ValueError, match=r"differs in images: 1 added \('Kiwi/9.png'\)\. Choose another"
    ) as error:
        check_resumable(run, BenchmarkSettings(), facts, manifest)
    assert facts["data"][:12] not in str(error.value)
    assert check_resumable(run, BenchmarkSettings(), facts, manifest, replace=True)
    (run / "manifest.csv").unlink()
    with pytest.raises(ValueError, match=r"differs in images\. Choose"):
        check_resumable(run, BenchmarkSettings(), facts, manifest)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"methods": ["flat", "forest"]}, "names the method 'forest', not registered here: give --plugin"),
        ({"primary": "mixed:0.5"}, "names the routing rule 'mixed', not registered here: give --plugin"),
        ({"seeds": 0}, "is refused now: comparison.seeds: Input should be greater than or equal to 1"),
    ],
    ids=["method", "rule", "value"],
)
def test_a_run_whose_plugin_is_missing_asks_for_it(section, told, photos, run):
    lines = [f"{key} = {json.dumps(value)}" for key, value in section.items()]
    (run / "settings.toml").write_text("\n".join(["[comparison]", *lines]) + "\n")
    manifest = read_manifest(photos)
    facts = {"data": manifest.fingerprint(), "backbone": "lite0"}
    with pytest.raises(ValueError, match=re.escape(told)):
        check_resumable(run, BenchmarkSettings(), facts, manifest)
    assert check_resumable(run, BenchmarkSettings(), facts, manifest, replace=True)
