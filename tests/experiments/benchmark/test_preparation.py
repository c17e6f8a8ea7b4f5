"""Preparing images for a run: what is joined, refused and left alone."""

import shutil
import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.io.errors import DataError
from aisles.experiments.benchmark.preparation import check_hierarchy, of_classes, prepare_data
from aisles.experiments.benchmark.run import run_benchmark
from aisles.experiments.curves.run import run_curve
from aisles.experiments.settings.benchmark import DataSettings, HierarchySettings
from aisles.experiments.training.runs import train_classifier
from aisles.hierarchy.hierarchy import Hierarchy


def test_copies_of_a_file_never_cross_a_split(tmp_path, image_folder):
    shutil.copytree(image_folder, tmp_path / "data")
    for i in range(6):
        shutil.copy(tmp_path / "data" / "sea" / f"{i:02d}.png", tmp_path / "data" / "sea" / f"copy-{i}.png")
    prepared = prepare_data(tmp_path / "data", DataSettings())
    table = pd.DataFrame({"sha256": prepared.sha256, "split": prepared.manifest.splits})
    assert (table.groupby("sha256")["split"].nunique() == 1).all()
    assert prepared.leaks.empty
    assert any("copies" in note for note in prepared.manifest.notes)


def split_folders(root, image_folder, **ranges):
    """Copy some images of each class to <split>/<class>/; splits share the images that their ranges share."""
    for split, numbers in ranges.items():
        for label in ("apple", "lime", "sea", "sky"):
            (root / split / label).mkdir(parents=True)
            for number in numbers:
                name = f"{number:02d}.png"
                shutil.copy(image_folder / label / name, root / split / label / name)
    return root


def test_training_images_that_are_test_images_are_left_out_and_said_first(tmp_path, image_folder):
    split_folders(tmp_path, image_folder, train=range(7), val=range(6, 9), test=(1, 8, 9, 10))
    prepared = prepare_data(tmp_path, DataSettings())
    splits = prepared.manifest.splits
    assert {split: int((splits == split).sum()) for split in ("train", "val", "test")} == {
        "train": 20, "val": 8, "test": 16,
    }  # fmt: skip
    assert len(set(prepared.sha256)) == len(prepared.sha256) == 44
    assert len(prepared.leaks) == 12 and prepared.leaks["across_splits"].all()
    (warning,) = prepared.manifest.warnings
    assert "8 of 28 training images are validation or test images byte for byte" in warning
    assert "and 4 validation images are test images" in warning


def test_a_test_folder_that_repeats_the_training_folder_is_refused(tmp_path, image_folder):
    split_folders(tmp_path, image_folder, train=range(8), test=range(8))
    with pytest.raises(DataError, match="32 of 32 training images are .* test images byte for byte.*'apple'"):
        prepare_data(tmp_path, DataSettings())
    resplit = prepare_data(tmp_path, DataSettings(resplit=True))
    table = pd.DataFrame({"sha256": resplit.sha256, "split": resplit.manifest.splits})
    assert (table.groupby("sha256")["split"].nunique() == 1).all()


def test_the_same_bytes_under_two_classes_are_used_for_neither(tmp_path, image_folder):
    shutil.copytree(image_folder, tmp_path / "data")
    for number in range(3):
        shutil.copy(tmp_path / f"data/sky/{number:02d}.png", tmp_path / f"data/sea/k{number}.png")
    prepared = prepare_data(tmp_path / "data", DataSettings())
    names = prepared.manifest.table["file_name"].tolist()
    assert len(names) == 69 and not any(
        "/k" in name or name in ("sky/00.png", "sky/02.png") for name in names
    )
    assert "3 images stand under several classes" in prepared.manifest.warnings[0]
    assert len(prepared.leaks) == 3
    with pytest.raises(DataError, match="An image can have one class"):
        prepare_data(tmp_path / "data", DataSettings(strict="images"))


def test_a_class_that_is_a_copy_of_another_is_refused(tmp_path, image_folder):
    shutil.copytree(image_folder, tmp_path / "data")
    shutil.copytree(tmp_path / "data/sea", tmp_path / "data/ocean")
    with pytest.raises(DataError, match="nothing else is there of the classes 'ocean', 'sea'"):
        prepare_data(tmp_path / "data", DataSettings())


def photographs(root, labels=("a", "b"), n=8):
    """Write images that differ in shapes, as photographs do."""
    for label in labels:
        (root / label).mkdir(parents=True)
        for number in range(n):
            rng = np.random.default_rng([ord(label[0]), number])
            image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8).astype(np.uint8))
            image.resize((96, 96), Image.Resampling.BICUBIC).save(root / label / f"{number}.png")
    return root


CHANGES = {
    "saved": lambda image: image,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "halved": lambda image: image.resize((48, 48)),
    "darker": lambda image: image.point(lambda value: int(value * 0.8)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_augmented_copies_of_an_image_never_cross_a_split_and_are_said(tmp_path, change):
    photographs(tmp_path)
    for path in sorted(tmp_path.rglob("*.png")):
        change(Image.open(path)).save(path.with_suffix(".jpg"), quality=85)
    prepared = prepare_data(tmp_path, DataSettings())
    table = prepared.manifest.table
    image = table["label"] + table["file_name"].str.replace(r"\.\w+$", "", regex=True)
    assert (table.groupby(image)["split"].nunique() == 1).all()
    assert (table.groupby(image)["product"].nunique() == 1).all() and table["product"].nunique() == 16
    assert "16 pairs of near-duplicates" in prepared.manifest.warnings[0]


def test_near_duplicates_across_given_splits_are_counted_and_said(tmp_path):
    photographs(tmp_path / "train")
    photographs(tmp_path / "test", n=2)
    photographs(tmp_path / "more", labels=("c",), n=4)
    for number, label in enumerate(("a", "b")):
        for path in (tmp_path / "test" / label).iterdir():
            Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
        (tmp_path / f"more/c/{number}.png").rename(tmp_path / f"test/{label}/other.png")
    shutil.rmtree(tmp_path / "more")
    prepared = prepare_data(tmp_path, DataSettings())
    assert len(prepared.manifest) == 22
    assert "4 pairs of near-duplicates" in prepared.manifest.warnings[0]
    assert "data.resplit=true" in prepared.manifest.warnings[0]


def test_different_photographs_get_no_warning(tmp_path):
    assert prepare_data(photographs(tmp_path), DataSettings()).manifest.warnings == ()


def test_placeholders_of_one_pixel_are_said(tmp_path):
    photographs(tmp_path, labels=("a", "b", "c"))
    for number, path in enumerate(sorted((tmp_path / "c").iterdir())):
        Image.new("RGB", (1, 1), (number, 0, 0)).save(path)
    warnings = prepare_data(tmp_path, DataSettings()).manifest.warnings
    assert "8 images have a side of fewer than 8 pixels, among them all of 'c'" in warnings[0]


def test_a_class_whose_images_are_all_unreadable_stops_unless_asked_otherwise(tmp_path):
    photographs(tmp_path, labels=("a", "b", "c"))
    for path in (tmp_path / "c").iterdir():
        path.write_text("no image")
    (tmp_path / "a/0.png").write_text("no image")
    with pytest.raises(DataError, match="No image can be read of 1 of 3 classes: 'c'.*is text.*--strict no"):
        prepare_data(tmp_path, DataSettings())
    prepared = prepare_data(tmp_path, DataSettings(strict="no"))
    assert prepared.manifest.classes == ("a", "b")
    assert (
        "9 of 24 images can't be read and are left out, among them all of the classes 'c'"
        in (prepared.manifest.warnings[0])
    )


def test_images_known_at_macro_level_only_are_kept_apart_from_the_comparison(tmp_path):
    photographs(tmp_path, labels=("a", "b", "c"))
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.png"))]
    rows = [(n, "" if n.startswith("c") else n[0], "ca"[n[0] == "b"]) for n in names]
    pd.DataFrame(rows, columns=["file_name", "label", "aisle"]).to_csv(tmp_path / "metadata.csv", index=False)
    prepared = prepare_data(tmp_path, DataSettings(), "aisle")
    assert prepared.manifest.classes == ("a", "b") and len(prepared.manifest) == 16
    assert prepared.manifest.coarse_only is not None and len(prepared.manifest.coarse_only) == 8


def test_a_leaky_manifest_is_measured_as_it_is_and_only_if_asked_for(tmp_path, image_folder, caplog):
    for split in ("train", "val", "test"):
        shutil.copytree(image_folder, tmp_path / split)
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    given = pd.DataFrame(
        {
            "file_name": [str(name) for name in names],
            "label": [name.parts[1] for name in names],
            "product": [f"{name.parts[1]}-{name.name}" for name in names],
            "split": [name.parts[0] for name in names],
        }
    )
    given.to_csv(tmp_path / "metadata.csv", index=False)
    with pytest.raises(DataError, match="one split only.*data.split_by=image"):
        prepare_data(tmp_path / "metadata.csv", DataSettings())
    prepared = prepare_data(tmp_path / "metadata.csv", DataSettings(split_by="image"))
    assert prepared.manifest.splits.tolist() == given["split"].tolist()
    assert prepared.manifest.products.tolist() == given["product"].tolist()
    assert "as the manifest brings them: photographs of 72 products" in prepared.manifest.notes[-1]
    assert "which flatters every accuracy" in caplog.text
    again = prepare_data(tmp_path / "metadata.csv", DataSettings(split_by="image", resplit=True))
    assert again.manifest.splits.tolist() != given["split"].tolist()


def test_data_without_validation_images_is_refused(tmp_path):
    for label, color in (("a", 10), ("b", 200)):
        (tmp_path / label).mkdir()
        for i in range(2):
            Image.new("RGB", (4, 4), (color, i, 0)).save(tmp_path / label / f"{i}.png")
    with pytest.raises(DataError, match="Validation images are needed"):
        prepare_data(tmp_path, DataSettings())


@pytest.mark.parametrize("as_file", [True, False])
def test_a_class_in_two_macros_is_named_with_both(tmp_path, as_file):
    prepared = prepare_data(photographs(tmp_path / "data", labels=("a", "b", "c")), DataSettings())
    shared = Hierarchy(("X", "Y"), (("a", "b"), ("c", "a")))
    shared.write(tmp_path / "tree.json")
    settings = {"file": str(tmp_path / "tree.json")} if as_file else {"given": shared}
    with pytest.raises(DataError, match="can't be used.*In several: 'a' in 'X', 'Y'. Keep each in one"):
        check_hierarchy(prepared, HierarchySettings(**settings))


def test_a_hierarchy_in_another_form_of_unicode_fits_and_other_classes_do_not():
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    typed = Hierarchy(("X", "Y"), ((decomposed, "b"), ("c",)))
    assert of_classes(typed, ("b", "c", composed)).members == ((composed, "b"), ("c",))
    assert of_classes(typed, ("b", "c", decomposed)) is typed  # arrays may bring any names
    with pytest.raises(ValueError, match=r"only in the manifest: \['d'\]"):
        of_classes(typed, ("b", "c", "d", composed))
    twice = Hierarchy(("X", "Y"), ((composed, decomposed), ("c",)))
    with pytest.raises(ValueError, match="class in macro 'X' must be named once.*Café"):
        of_classes(twice, ("c", composed))


def test_a_cache_that_cannot_be_written_is_said_before_any_image_is_read(tmp_path, image_folder, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    for place in ("experiments.benchmark.run", "experiments.training.runs", "experiments.curves.run"):
        monkeypatch.setattr(f"aisles.{place}.prepare_data", lambda *_: 1 / 0)
    runs = (
        lambda: run_benchmark(image_folder, tmp_path / "run", cache=tmp_path / "file"),
        lambda: train_classifier(image_folder, tmp_path / "run", cache=tmp_path / "file"),
        lambda: run_curve(image_folder, tmp_path / "run", "1,2", cache=tmp_path / "file"),
    )
    for run in runs:
        with pytest.raises(OSError, match="can't hold cached features.*--cache, or AISLES_CACHE"):
            run()
