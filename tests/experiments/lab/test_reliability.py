"""The kill harness: what it would notice, and ten kills of it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from experiments.lab import reliability as module
from experiments.lab.reliability import JOBS, Job, content_of, differences, left_over, reference, run, trial


def write(folder, numbers=(1.0, 2.0), text="same"):
    folder.mkdir(parents=True)
    np.savez(folder / "a.npz", x=np.array(numbers))
    (folder / "b.json").write_text(json.dumps({"deep": [{"value": text}], "empty": []}))
    (folder / "c.txt").write_text(text)
    return content_of(folder)


def test_equal_content_is_equal_and_every_difference_is_named(tmp_path):
    expected = write(tmp_path / "a")
    assert differences(expected, write(tmp_path / "b"), set()) == []
    found = differences(expected, write(tmp_path / "c", (1.0, 2.5), "other"), set())
    assert [each.partition(": ")[0] for each in found] == ["a.npz#x", "b.json#deep#0#value", "c.txt"]
    assert differences(expected, write(tmp_path / "d", text="other"), {"c.txt", "b.json#deep#0#value"}) == []
    (tmp_path / "b" / "c.txt").rename(tmp_path / "b" / "d.txt")
    assert differences(expected, content_of(tmp_path / "b"), set()) == [
        "missing: c.txt",
        "in addition: d.txt",
    ]
    (tmp_path / "b" / ".part-x").mkdir()
    assert left_over(tmp_path) == ["b/.part-x"] and left_over(tmp_path / "a") == []


IN_CI = ("benchmark", "train-fine-tuned", "index", "compare", "save")
"""One of each kind; all of them: `python -m experiments.lab.reliability`. Curation has a test of its own."""
SLOW = "import sys, time; from pathlib import Path; out = Path(sys.argv[1]); out.mkdir(exist_ok=True); "
CAREFUL = SLOW + "time.sleep(.3); (out / '.part-x').write_text('d'); (out / '.part-x').rename(out / 'x')"
APPENDS = SLOW + "f = open(out / 'x', 'a', 1); [(f.write('line\\n'), time.sleep(.02)) for _ in range(20)]"
LEAVES = (
    SLOW + "(out / f'.part-{time.time()}').touch(); time.sleep(.3); (out / 'x').touch(); "
    "[p.unlink() for p in list(out.glob('.part*'))[-1:]]"
)


@pytest.mark.parametrize(
    ("program", "faulty"),
    [(CAREFUL, False), (APPENDS, True), (LEAVES, True)],
    ids=["careful", "appends", "leaves"],
)
def test_only_commands_that_survive_kills_pass(program, faulty, tmp_path):
    job = Job(lambda inputs, output: [sys.executable, "-c", program, str(output)])
    expected = reference(job, tmp_path, tmp_path / "job")
    rng, faults = np.random.default_rng(0), []
    for _ in range(4):
        faults += trial(job, expected, tmp_path, tmp_path / "job" / "trial", 2, rng)
    assert bool(faults) == faulty, faults


def test_a_command_that_fails_by_itself_is_no_kill(tmp_path):
    job = Job(lambda inputs, output: [sys.executable, "-c", "raise SystemExit('broken')"])
    with pytest.raises(RuntimeError, match="ended with 1: broken"):
        reference(job, tmp_path, tmp_path / "job")


def test_every_command_is_one_of_ours_and_quiet(tmp_path):
    for name, job in JOBS.items():
        command = job.command(tmp_path, tmp_path / "out")
        if name != "save":
            assert command[1:3] == ["-m", "aisles"] and command[-1] == "--quiet"
            asked = subprocess.run([*command[:4], "--help"], capture_output=True, check=False)
            assert asked.returncode == 0
    assert set(module.JOBS) >= {"benchmark", "index", "curate", "compare", "save"}


@pytest.mark.slow
@pytest.mark.keras
def test_ten_kills_change_nothing():
    told = run(10, names=IN_CI)
    assert sum(facts["kills"] for facts in told.values()) == 10
    assert {name: facts["faults"] for name, facts in told.items() if facts["faults"]} == {}
