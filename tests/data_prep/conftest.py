"""A synthetic catalogue, and a cheap stand-in for a backbone."""

import csv
from pathlib import Path

import numpy as np
import pytest

from aisles.data_prep.abo.recipe import load_recipe
from aisles.data_prep.images.decoding import load_pixels
from aisles.data_prep.synthetic.catalogue import write_sample


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Draw a catalogue of eight products a type; nobody writes into it."""
    return write_sample(tmp_path_factory.mktemp("synthetic"), products_per_type=8)


@pytest.fixture(scope="session")
def truth(synthetic):
    """Return the rows of truth.csv by image id."""
    with synthetic.truth.open(newline="") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


@pytest.fixture
def catalogue(synthetic, tmp_path):
    """Return the synthetic archives in a folder of the test's own."""
    folder = tmp_path / "catalogue"
    folder.mkdir()
    for name in ("abo-listings.tar", "abo-images-small.tar"):
        (folder / name).hardlink_to(synthetic.directory / name)
    return folder


@pytest.fixture(scope="session")
def small_recipe():
    """Return the sample's recipe, for eight products a type."""
    changes = {"selection.minimum": 7, "selection.cap": 12}
    changes["similarity.thresholds.thumbnail.default"] = 0.2
    return load_recipe("sample", {**changes, "similarity.backbone": "thumbnail"})


def thumbnail(paths) -> np.ndarray:
    """Embed images as their 8 x 8 pixels less the mean: enough to tell a chart from a chair."""
    pixels = np.stack([load_pixels(Path(path), (8, 8)) for path in paths]).astype(np.float32)
    return (pixels - pixels.mean(axis=(1, 2, 3), keepdims=True)).reshape(len(pixels), -1)


@pytest.fixture(scope="session")
def embed():
    """Return the stand-in for a backbone."""
    return thumbnail
