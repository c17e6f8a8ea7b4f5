"""Preparing images for a study: what is joined, refused and left alone."""

import shutil

import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.io.errors import DataError
from aisles.experiments.benchmark.preparation import prepare_data
from aisles.experiments.settings.benchmark import DataSettings


def test_copies_of_a_file_never_cross_a_split(tmp_path, image_folder):
    shutil.copytree(image_folder, tmp_path / "data")
    for i in range(6):
        shutil.copy(tmp_path / "data" / "sea" / f"{i:02d}.png", tmp_path / "data" / "sea" / f"copy-{i}.png")
    prepared = prepare_data(tmp_path / "data", DataSettings())
    table = pd.DataFrame({"sha256": prepared.sha256, "split": prepared.manifest.splits})
    assert (table.groupby("sha256")["split"].nunique() == 1).all()
    assert prepared.leaks.empty
    assert any("copies" in note for note in prepared.manifest.notes)


def test_given_splits_are_kept_and_copies_across_them_reported(tmp_path, image_folder):
    for split in ("train", "val", "test"):
        shutil.copytree(image_folder, tmp_path / split)
    prepared = prepare_data(tmp_path, DataSettings())
    assert len(prepared.leaks) == 72 and prepared.leaks["across_splits"].all()
    assert (prepared.manifest.splits == "test").sum() == 72


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
