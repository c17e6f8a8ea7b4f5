"""Tests of the comparison with libraries, at toy size."""

import tarfile

import numpy as np
from PIL import Image

from experiments.lab import against_libraries
from experiments.lab.against_libraries import compare_hashes, compare_tars, write_tar


def test_both_hashes_find_a_photograph_saved_again_and_ours_a_turned_one(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        coarse.resize((96, 64), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
    found = compare_hashes(tmp_path, n_images=6)
    assert found["images"] == 6 and found["different_photographs_as_near"]["pairs"] == 15
    assert found["found_again"]["saved again"] == {"ours": 1.0, "imagehash": 1.0}
    assert found["found_again"]["turned by EXIF"] == {"ours": 1.0, "imagehash": 0.0}
    assert found["found_again"]["mirrored"]["ours"] == 1.0
    assert found["imagehash_over_ours"] > 0


def test_a_damaged_header_ends_the_list_of_tarfile_and_is_refused_by_ours(monkeypatch):
    monkeypatch.setattr(against_libraries, "FILES", 50)
    monkeypatch.setattr(against_libraries, "ROUNDS", 1)
    found = compare_tars()
    assert found["files"] == 50
    assert found["refused_when_listed"]["a damaged header"] == {"ours": True, "tarfile": False}
    assert all(refused["ours"] for refused in found["refused_when_listed"].values())


def test_the_tar_holds_what_was_asked_for(tmp_path):
    write_tar(tmp_path / "a.tar", 3)
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == ["000000.jpg", "000001.jpg", "000002.jpg"]
        assert {member.size for member in tar} == {8192}
