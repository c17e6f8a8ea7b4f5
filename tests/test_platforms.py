"""Nothing needs what only POSIX systems have."""

import json
import ntpath
import posixpath
import subprocess
import sys
from pathlib import Path

import pytest

from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.io.files import path_from

ROOT = Path(__file__).resolve().parents[1]
POSIX_ONLY = ("resource", "fcntl", "pwd", "grp", "termios")
IMPORT_ALL = f"""
import importlib, json, sys
import click, joblib, matplotlib, pandas, scipy.stats, sklearn.linear_model  # these know Windows
import tensorflow, keras
try:
    import gradio
except ImportError:
    pass  # an extra; the modules that need it say so
for name in {POSIX_ONLY!r}:
    sys.modules[name] = None
failed = {{}}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ImportError as error:
        if error.name in {POSIX_ONLY!r}:
            failed[name] = str(error)
print(json.dumps(failed))
"""


def modules() -> list[str]:
    found = []
    for folder in ("api", "data_prep", "experiments", "hierarchy", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[:2] != ("experiments", "lab") and parts[-1] != "__main__":
                parts = parts[1:] if folder == "api" else parts
                found.append(".".join(["aisles", *(part for part in parts if part != "__init__")]))
    return found


def test_every_module_is_imported_where_posix_only_modules_are_missing():
    names = modules()
    assert "aisles.experiments.benchmark.costs" in names and len(names) > 100
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(names)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {}


@pytest.mark.parametrize(
    ("path", "here", "seen"),
    [
        (r"C:\shop\photos\1.jpg", r"C:\shop\run", "../photos/1.jpg"),
        (r"C:\shop\photos\1.jpg", r"C:\shop\photos", "1.jpg"),
        (r"D:\photos\1.jpg", r"C:\shop\run", "D:/photos/1.jpg"),
        (r"\\server\share\1.jpg", r"C:\shop", "//server/share/1.jpg"),
    ],
)
def test_windows_paths_are_seen_from_a_folder_with_slashes_and_whole_across_drives(path, here, seen):
    assert path_from(path, here, ntpath) == seen


def test_posix_paths_keep_a_backslash_in_a_name():
    assert path_from("/shop/a\\b.jpg", "/shop/run", posixpath) == "../a\\b.jpg"


def test_a_manifest_written_on_windows_is_read_with_slashes(tmp_path):
    for name in ("chair", "lamp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"x")
    (tmp_path / "metadata.csv").write_text(
        "file_name,label\nchair\\1.jpg,CHAIR\nlamp\\1.jpg,LAMP\n", encoding="utf-8"
    )
    assert list(read_manifest(tmp_path).table["file_name"]) == ["chair/1.jpg", "lamp/1.jpg"]
