"""Memory over thousands of odd images: what is drawn, what is measured, and that it stays flat."""

import math

import pytest

from aisles.data_prep.images.decoding import load_pixels
from aisles.data_prep.io.errors import UnreadableImage
from experiments.lab import odd_images_memory as module
from experiments.lab.fuzz import _make_bundle
from experiments.lab.odd_images_memory import growth, make_images, measure

FALSE = {"cut.jpg", "cut.png", "text.jpg", "empty.png"}


def readable(path):
    try:
        load_pixels(path, (8, 8))
    except UnreadableImage:
        return False
    return True


def test_the_kinds_are_what_they_are_called(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SIDES", ((40, 30),))
    images = make_images(tmp_path, large=False)
    assert len(images) == len({path.name for path in images}) == 25
    refused = {path.name.partition("-")[2] for path in images if not readable(path)}
    assert refused == FALSE


def test_growth_is_between_halves_and_a_moments_peak_is_none():
    assert growth([10, 11, 90, 10, 11, 10, 80, 12]) == 1
    assert growth([10, 20, 30, 40]) == 20
    assert math.isnan(growth([10]))


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.skipif(not module.MEASURABLE, reason="memory is read as Linux tells it")
def test_the_memory_of_a_prediction_is_flat_over_odd_images(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 50)
    _make_bundle(tmp_path)
    (tmp_path / "images").mkdir()
    images = make_images(tmp_path / "images")
    found = measure(tmp_path / "bundle", images, 1200)
    assert found["answered"] + found["unreadable"] == 1200
    assert len(found["megabytes"]) == found["answered"] // 50 >= 16
    assert found["grown"] < 100, found["megabytes"]
