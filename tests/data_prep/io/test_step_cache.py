"""Steps: made once, whole or not at all, and nobody else's work removed."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import write_whole
from aisles.data_prep.io.step_cache import is_made, read_facts, step


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


def test_a_step_that_knows_no_hashes_is_not_believed(tmp_path):
    step(tmp_path / "flat", {"a": 1}, write)
    stamp = json.loads((tmp_path / "flat" / "step.json").read_text())
    del stamp["sha256"]
    (tmp_path / "flat" / "step.json").write_text(json.dumps(stamp))
    assert not is_made(tmp_path / "flat", {"a": 1})


@pytest.mark.parametrize("text", ["", '{"seconds": 1', "[1]", "\udcff"])
def test_damaged_facts_are_named_with_what_to_do(tmp_path, text):
    step(tmp_path / "flat", {"a": 1}, lambda part: (part / "budget.json").write_text('{"seconds": 1}'))
    file = tmp_path / "flat" / "budget.json"
    assert read_facts(file) == {"seconds": 1}
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=f"{re.escape(str(file))} is damaged or gone.*Delete the folder"):
        read_facts(file)
    file.unlink()
    with pytest.raises(DataError, match="is damaged or gone.*No such file"):
        read_facts(file)


RACE = """
import sys
from pathlib import Path
from aisles.data_prep.io.step_cache import step

folder, own = Path(sys.argv[1]), int(sys.argv[2])

def write(part):
    for number in range(5):
        (part / f"{number}.txt").write_text(str(inputs["a"]) * 1000)

for number in range(100):
    inputs = {"a": number if own else 100 + number % 2}
    step(folder, inputs, write)
"""


def test_processes_that_make_one_step_at_once_never_fail_and_leave_a_whole_one(tmp_path):
    folder = tmp_path / "flat"
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(folder), str(own)], stderr=subprocess.PIPE, text=True
        )
        for own in (1, 1, 1, 0)
    ]
    told = [maker.communicate()[1] for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0, 0, 0], told
    assert any(is_made(folder, {"a": number}) for number in range(102))
    assert [path.name for path in tmp_path.iterdir()] == ["flat"]
    assert len({path.read_text() for path in folder.glob("*.txt")}) == 1


def test_a_file_that_a_killed_process_began_is_removed_and_what_a_live_one_writes_is_not(tmp_path, ended):
    dead, other = (tmp_path / f".part-{platform.node()}-{number}-abc.png" for number in (ended, os.getppid()))
    dead.write_bytes(b"half")
    other.write_bytes(b"half")
    write_whole(tmp_path / "curves.png", b"whole")
    assert not dead.exists() and other.read_bytes() == b"half"
    assert (tmp_path / "curves.png").read_bytes() == b"whole"
