"""The fuzz harness: what it allows, what it would catch, and two hundred cases of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aisles.data_prep.io.errors import DataError
from experiments.lab import fuzz as module
from experiments.lab.fuzz import KINDS, Broken, Kind, Writes, damaged_bytes, damaged_json, fuzz, run_case

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def writes():
    return Writes()


def case(monkeypatch, tmp_path, writes, read):
    def make(place):
        (place / "file").write_text("valid")

    monkeypatch.setitem(KINDS, "own", Kind(make, module._any_bytes, read))
    (tmp_path / "valid").mkdir()
    make(tmp_path / "valid")
    return run_case("own", 0, 0, tmp_path / "valid", writes)


def test_answers_and_our_errors_are_allowed(monkeypatch, tmp_path, writes):
    assert case(monkeypatch, tmp_path, writes, lambda place: None) == "answered"

    def refuse(place):
        raise DataError(f"{place} is damaged.")

    monkeypatch.setitem(KINDS, "own", Kind(KINDS["own"].make, KINDS["own"].damage, refuse))
    assert run_case("own", 0, 0, tmp_path / "valid", writes) == "DataError"


def wrong(place):
    module._check(False, "2 is 3")


def crash(place):
    return {}["missing"]


def below(place):
    np.zeros(3).reshape(2)  # a ValueError, of numpy's


def elsewhere(place):
    (place.parent / "stolen").write_text("x")


def removed(place):
    (place.parent / "nothing").unlink(missing_ok=True)


def run_a_program(place):
    import subprocess

    subprocess.run(["true"], check=False)


def forever(place):
    import time

    time.sleep(0.2)


def busy(place):
    import time

    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (wrong, "a wrong answer: 2 is 3"),
        (crash, "KeyError at test_fuzz.py"),
        (below, "ValueError at .*cannot reshape"),
        (elsewhere, "written outside: .*stolen"),
        (removed, "written outside: .*nothing"),
        (run_a_program, "written outside: .*subprocess.Popen"),
        (forever, "0.0 s in 0.2 s, and"),
        (busy, "0.[2-9] s in .* MB more"),
    ],
)
def test_everything_else_is_broken(monkeypatch, tmp_path, writes, read, message):
    monkeypatch.setattr(module, "SECONDS", {forever: 0.01, busy: 0.1}.get(read, 5))
    with pytest.raises(Broken, match=message):
        case(monkeypatch, tmp_path, writes, read)


def test_damage_repeats_with_its_seed_and_does_change_things():
    content = {"a": [1, 2, {"b": "c"}], "d": {"e": None}}
    for damage, value in ((damaged_bytes, bytes(range(200))), (damaged_json, content)):
        results = [damage(value, np.random.default_rng(seed)) for seed in range(100)]
        again = [damage(value, np.random.default_rng(seed)) for seed in range(100)]
        assert repr(results) == repr(again)
        assert len(set(map(repr, results))) > 60
        assert sum(repr(result) != repr(value) for result in results) > 90
    assert json.dumps(content) == '{"a": [1, 2, {"b": "c"}], "d": {"e": null}}'  # what is given stays


def test_two_hundred_damaged_files_give_right_answers_or_named_errors():
    outcome = fuzz(200, seed=2)
    assert not outcome.faults, "\n".join(outcome.faults)
    assert outcome.counts.total() == 200
    reached = {name.partition(":")[0] for name in outcome.counts if not name.endswith("answered")}
    assert reached == set(KINDS)  # none of them takes everything


@pytest.mark.slow
def test_two_thousand_damaged_files_give_right_answers_or_named_errors():
    # In a process of its own: what other tests' threads write is not the fuzzed code's.
    command = [sys.executable, "-m", "experiments.lab.fuzz", "--cases", "2000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
