"""The cache's place: where it may be, and what is said where it can't be."""

import os

import platformdirs
import pytest

from aisles.data_prep.io.files import features_cache


def test_the_cache_is_the_given_folder_else_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("AISLES_CACHE", str(tmp_path / "environment"))
    assert features_cache(tmp_path / "given") == tmp_path / "given"
    assert features_cache() == tmp_path / "environment" / "features"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["environment", "features", "given"]


def test_a_place_that_cant_be_written_is_named_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        OSError, match="file/cache can't hold cached features: .* Give another one: --cache, or AISLES"
    ):
        features_cache(tmp_path / "file" / "cache")


def test_without_a_home_folder_nothing_is_made_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("AISLES_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: "~/.cache/aisles")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="no home folder.*--cache, or AISLES_CACHE"):
        features_cache()
    assert os.listdir(tmp_path) == []
