"""Steps: made once, whole or not at all, and nobody else's work removed."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from aisles.data_prep.io.step_cache import is_made, step


def write(part: Path) -> None:
    (part / "answer.npz").write_bytes(bytes(100))


def left_over(folder: Path, process: int) -> Path:
    part = folder.parent / f".part-{folder.name}-{platform.node()}-{process}-abc"
    part.mkdir(parents=True)
    (part / "half").write_text("made")
    return part


@pytest.fixture
def ended() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path, ended):
    folder = tmp_path / "flat"
    dead, own, other = (
        left_over(folder, ended),
        left_over(folder, os.getpid()),
        left_over(folder, os.getppid()),
    )
    elsewhere = folder.parent / ".part-flat-another.machine-1-abc"
    elsewhere.mkdir()
    assert step(folder, {"a": 1}, write)
    assert not dead.exists() and not own.exists()
    assert (other / "half").read_text() == "made" and elsewhere.exists()


def test_a_step_that_was_cut_short_is_made_again(tmp_path):
    folder = tmp_path / "flat"
    assert step(folder, {"a": 1}, write) and not step(folder, {"a": 1}, write)
    (folder / "answer.npz").write_bytes(bytes(60))
    assert not is_made(folder, {"a": 1})
    assert step(folder, {"a": 1}, write)
    (folder / "answer.npz").unlink()
    assert step(folder, {"a": 1}, write)
    assert (folder / "answer.npz").stat().st_size == 100


def test_a_step_with_a_flipped_bit_is_made_again(tmp_path):
    folder = tmp_path / "flat"
    step(folder, {"a": 1}, write)
    (folder / "answer.npz").write_bytes(bytes(50) + b"\1" + bytes(49))
    assert not is_made(folder, {"a": 1})
    assert step(folder, {"a": 1}, write) and (folder / "answer.npz").read_bytes() == bytes(100)
