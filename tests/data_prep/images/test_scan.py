import shutil

import pytest

from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.images.scan import scan_images
from aisles.data_prep.io.errors import UnreadableImage


@pytest.fixture
def folder(image_folder, tmp_path):
    root = tmp_path / "images"
    for name in ("apple", "sea"):
        shutil.copytree(image_folder / name, root / name)
    return root


def test_good_images_are_all_readable(folder):
    scan = scan_images(read_manifest(folder))
    assert scan.readable.all()
    assert scan.reasons.empty
    assert scan.leaks.empty
    assert len(set(scan.sha256)) == 24


def test_bad_images_are_listed_with_their_reason_and_left_out(folder):
    (folder / "apple/00.png").write_text("this is text")
    (folder / "apple/01.png").write_bytes((folder / "apple/02.png").read_bytes()[:600])
    (folder / "sea/05.png").write_bytes(b"")
    manifest = read_manifest(folder)
    (folder / "sea/06.png").unlink()
    scan = scan_images(manifest, jobs=3)
    assert dict(zip(scan.reasons["file_name"], scan.reasons["reason"].str.slice(0, 11), strict=True)) == {
        "apple/00.png": "is text, no",
        "apple/01.png": "is cut off:",
        "sea/05.png": "is empty (0",
        "sea/06.png": "can't be re",
    }
    assert scan.reasons["label"].tolist() == ["apple", "apple", "sea", "sea"]
    assert len(manifest.keep(scan.readable)) == 20
    with pytest.raises(UnreadableImage, match=r"4 of 24 images can't be read; the first is 'apple/00.png'"):
        scan_images(manifest, strict=True)


def test_copies_across_splits_or_labels_are_reported(folder):
    shutil.copy(folder / "apple/00.png", folder / "sea/copy.png")
    shutil.copy(folder / "sea/01.png", folder / "sea/twin.png")
    manifest = read_manifest(folder)
    train = ["train" if name != "sea/twin.png" else "test" for name in manifest.table["file_name"]]
    leaks = scan_images(manifest.with_columns(split=train)).leaks
    assert leaks["file_names"].tolist() == [("apple/00.png", "sea/copy.png"), ("sea/01.png", "sea/twin.png")]
    assert leaks["across_labels"].tolist() == [True, False]
    assert leaks["across_splits"].tolist() == [False, True]


def test_the_number_of_threads_changes_nothing(folder):
    manifest = read_manifest(folder)
    assert scan_images(manifest, jobs=1).sha256.tolist() == scan_images(manifest, jobs=5).sha256.tolist()
