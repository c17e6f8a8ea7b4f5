"""Folders as people have them: splits, macros, batches, sidecars, links, and what must not vanish."""

import os

import pytest
from PIL import Image

from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.io.errors import DataError


def images(root, *names, color="red"):
    """Write small images; a name that ends in / gets one called 1.png."""
    for name in names:
        path = root / (name + "1.png" if name.endswith("/") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), color).save(path, "PNG")
    return root


def splits_and_classes(root):
    manifest = read_manifest(root)
    return sorted(set(manifest.splits)), manifest.classes


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training_set", "validation_set", "test_set"),
        ("Train", "Valid", "Test"),
        ("TrainSet", "DevSet", "TestSet"),
        ("training-data", "valid images", "testing.data"),
        ("seg_train", "seg_val", "seg_test"),
        ("cars train", "cars dev", "cars test"),
    ],
)
def test_split_folders_are_understood_in_their_usual_spellings(tmp_path, train, val, test):
    images(tmp_path, *(f"{split}/{label}/" for split in (train, val, test) for label in "ab"))
    assert splits_and_classes(tmp_path) == (["test", "train", "val"], ("a", "b"))


def test_splits_inside_class_folders_are_splits(tmp_path):
    images(tmp_path, *(f"{label}/{split}/" for label in "ab" for split in ("train", "test")))
    assert splits_and_classes(tmp_path) == (["test", "train"], ("a", "b"))


def test_folders_that_look_like_splits_without_classes_are_refused(tmp_path):
    images(tmp_path, "train/", "test/")
    with pytest.raises(DataError, match="'test', 'train' look like splits, and there are no class folders"):
        read_manifest(tmp_path)


def test_unclear_splits_are_refused(tmp_path):
    images(tmp_path, *(f"{split}/{label}/" for split in ("train1", "holdout") for label in "ab"))
    with pytest.raises(DataError, match="look like splits.*can be told to be train, val or test"):
        read_manifest(tmp_path)


def test_a_class_that_looks_like_a_split_is_said(tmp_path):
    manifest = read_manifest(images(tmp_path, "train/", "bus/"))
    assert manifest.classes == ("bus", "train")
    assert manifest.warnings == ("Folders that look like splits are taken for classes or macros: 'train'.",)
    assert set(manifest.warnings) <= set(manifest.notes)


def test_a_table_per_split_is_read_as_one(tmp_path):
    for split in ("train", "test"):
        images(tmp_path, f"{split}/1.png", f"{split}/2.png")
        (tmp_path / split / "metadata.csv").write_text("file_name,label\n1.png,a\n2.png,b\n")
    manifest = read_manifest(tmp_path)
    assert manifest.classes == ("a", "b")
    assert dict(zip(manifest.table["file_name"], manifest.splits, strict=True)) == {
        "test/1.png": "test", "test/2.png": "test", "train/1.png": "train", "train/2.png": "train",
    }  # fmt: skip
    (tmp_path / "test/metadata.csv").unlink()
    with pytest.raises(DataError, match=r"With: \['train'\]; others: \['test'\]"):
        read_manifest(tmp_path)


def test_nested_class_folders_give_leaf_classes_and_offer_the_level_above(tmp_path):
    manifest = read_manifest(images(tmp_path, "tops/shirt/", "tops/blouse/", "shoes/boot/", "shoes/pump/"))
    assert manifest.classes == ("blouse", "boot", "pump", "shirt")
    above = dict(zip(manifest.labels, manifest.table["coarse_label"], strict=True))
    assert above == {"blouse": "tops", "boot": "shoes", "pump": "shoes", "shirt": "tops"}
    assert any("4 classes in 2 folders" in note and "--hierarchy-column" in note for note in manifest.notes)


def test_nested_class_folders_in_splits_have_the_same_level_above(tmp_path):
    names = [
        f"{s}/{n}" for s in ("train", "test") for n in ("tops/shirt/", "tops/top/", "shoes/boot/", "bags/")
    ]
    manifest = read_manifest(images(tmp_path, *names))
    pairs = set(zip(manifest.labels, manifest.table["coarse_label"], strict=True))
    assert pairs == {("shirt", "tops"), ("top", "tops"), ("boot", "shoes"), ("bags", "bags")}
    assert sorted(set(manifest.splits)) == ["test", "train"]


def test_batches_of_the_same_names_are_no_classes(tmp_path):
    manifest = read_manifest(images(tmp_path, "kiwi/batch1/", "kiwi/batch2/", "plum/batch1/", "plum/batch2/"))
    assert manifest.classes == ("kiwi", "plum")
    assert "'batch1', 'batch2' stand in each of 'kiwi', 'plum'" in manifest.warnings[0]


def test_class_folders_of_one_name_under_two_macros_are_told_apart(tmp_path):
    manifest = read_manifest(images(tmp_path, "tops/shirt/", "tops/other/", "shoes/boot/", "shoes/other/"))
    assert manifest.classes == ("boot", "shirt", "shoes/other", "tops/other")
    assert "several classes, called by both names: 'other'" in manifest.warnings[0]


def test_a_single_folder_around_everything_is_passed_through(tmp_path):
    images(tmp_path, *(f"archive/data/{split}/{label}/" for split in ("train", "test") for label in "ab"))
    assert splits_and_classes(tmp_path) == (["test", "train"], ("a", "b"))


def test_sidecar_folders_are_no_class(tmp_path):
    images(tmp_path, "a/", "b/", "@eaDir/a/", "a/@eaDir/1.png/thumb.png", "Thumbnails/", "#recycle/")
    manifest = read_manifest(tmp_path)
    assert manifest.table["file_name"].tolist() == ["a/1.png", "b/1.png"]
    assert "'#recycle', '@eaDir', 'Thumbnails', 'a/@eaDir'" in manifest.warnings[0]


@pytest.mark.parametrize("suffix", [".jxl", ".cr2", ".psd", ""])
def test_a_class_of_files_that_are_not_read_stops_unless_asked_otherwise(tmp_path, suffix):
    images(tmp_path, "a/", "b/")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / f"1{suffix}").write_bytes(b"x")
    with pytest.raises(DataError, match=rf"hold no image.*c \(1 {suffix or 'without ending'}\).*--strict no"):
        read_manifest(tmp_path)
    manifest = read_manifest(tmp_path, strict="no")
    assert manifest.classes == ("a", "b")
    assert any("c (1 " in warning for warning in manifest.warnings)


def test_a_folder_that_cannot_be_listed_stops(tmp_path, monkeypatch):
    images(tmp_path, "a/", "b/", "c/")
    real = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("c"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"c \(can't be listed: Permission denied\)"):
        read_manifest(tmp_path)


def test_links_are_followed_and_circles_refused(tmp_path):
    images(tmp_path / "store", "1.png", "2.png")
    images(tmp_path / "data", "a/", "b/")
    (tmp_path / "data/c").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "data/a/more").symlink_to(tmp_path / "store", target_is_directory=True)
    manifest = read_manifest(tmp_path / "data")
    assert manifest.labels.tolist() == ["a", "a", "a", "b", "c", "c"]
    (tmp_path / "data/b/again").symlink_to(tmp_path / "data", target_is_directory=True)
    with pytest.raises(DataError, match="contain each other through a link.*b/again"):
        read_manifest(tmp_path / "data")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_passed_over_and_said(tmp_path):
    images(tmp_path, "a/", "b/")
    os.mkfifo(tmp_path / "a/2.jpg")
    manifest = read_manifest(tmp_path)
    assert len(manifest) == 2
    assert "no regular files (pipes, devices): 'a/2.jpg'" in manifest.warnings[0]


def test_a_backslash_in_the_name_of_a_class_folder_is_kept(tmp_path):
    if os.sep == "\\":
        pytest.skip("no such names here")
    manifest = read_manifest(images(tmp_path, "a\\b/", "c/"))
    assert manifest.classes == ("a\\b", "c")
    assert read_manifest(tmp_path).paths[0].is_file()


def test_names_that_are_not_utf8_are_named(tmp_path):
    images(tmp_path, "a/", "b/")
    try:
        (tmp_path / "a" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(DataError, match=r"must be UTF-8. Received: b'a/caf\\xe9.png'"):
        read_manifest(tmp_path)
