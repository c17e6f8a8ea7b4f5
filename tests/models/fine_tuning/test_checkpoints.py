"""Checkpoints: what was written is read, and a damaged one costs its training and nothing else."""

import io
import json
import logging
import zipfile

import numpy as np
import pytest

from aisles.models.fine_tuning.checkpoints import Progress, read_checkpoint, write_checkpoint
from aisles.models.fine_tuning.curves import Epoch

pytestmark = pytest.mark.keras
STATE = {"weight/0000": np.arange(600.0).reshape(20, 30), "optimizer/0000": np.array(7)}
BEST = [np.ones(4), np.zeros((2, 2))]


@pytest.fixture
def checkpoint(tmp_path):
    progress = Progress(
        "tuned", 2, 0.5, 1, 0.25, [Epoch("tuned", 1.0, 0.5, 0.9, 0.6), Epoch("tuned", 0.5, 1, 0.5, 1)]
    )
    write_checkpoint(tmp_path / "checkpoint.npz", "key", progress, STATE, BEST)
    return tmp_path / "checkpoint.npz", progress


def test_what_was_written_is_read(checkpoint):
    path, progress = checkpoint
    found, state, best = read_checkpoint(path, "key")
    assert found == progress and set(state) == set(STATE)
    for name, value in STATE.items():
        np.testing.assert_array_equal(state[name], value)
    for left, right in zip(best, BEST, strict=True):
        np.testing.assert_array_equal(left, right)
    assert read_checkpoint(path.with_name("other.npz"), "key") is None


def cut_at(share):
    def cut(path):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return cut


def flipped_at(share):
    def flip(path):
        data = bytearray(path.read_bytes())
        data[int(len(data) * share)] ^= 4
        path.write_bytes(bytes(data))

    return flip


def without(start):
    def drop(path):
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist() if not name.startswith(start)}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    return drop


def with_facts(facts):
    def replace(path):
        without("facts")(path)
        buffer = io.BytesIO()
        np.save(buffer, np.array(facts))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("facts.npy", buffer.getvalue())

    return replace


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("nothing of the kind"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "pickle": lambda path: path.write_bytes(b"\x80\x04\x95\x05"),
    "cut near the end": cut_at(0.99),
    "cut in the middle": cut_at(0.5),
    "cut at the start": cut_at(0.01),
    "a bit in the middle": flipped_at(0.5),
    "no facts": without("facts"),
    "no weights": without("weight"),
    "a lost best": without("best/0001"),
    "no json": with_facts("{"),
    "odd json": with_facts("[1, 2]"),
    "no progress": with_facts(json.dumps({"key": "key", "arrays": []})),
    "odd progress": with_facts(
        json.dumps({"key": "key", "arrays": [], "progress": {"epochs": [], "speed": 1}})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_none_and_the_log_names_it(checkpoint, damage, caplog):
    path, _ = checkpoint
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert read_checkpoint(path, "key") is None
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [f"{path} is damaged"]


def test_a_checkpoint_of_another_training_is_none_and_not_called_damaged(checkpoint, caplog):
    with caplog.at_level(logging.WARNING):
        assert read_checkpoint(checkpoint[0], "other") is None
    assert "other settings or images" in caplog.text and "damaged" not in caplog.text


def test_every_flipped_bit_is_noticed_or_changes_nothing(checkpoint):
    path, progress = checkpoint
    data, rng = path.read_bytes(), np.random.default_rng(0)
    noticed = 0
    for position in rng.integers(0, len(data), 200).tolist():
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        found = read_checkpoint(path, "key")
        if found is None:
            noticed += 1
            continue
        assert found[0] == progress
        for name, value in STATE.items():
            np.testing.assert_array_equal(found[1][name], value)
        for left, right in zip(found[2], BEST, strict=True):
            np.testing.assert_array_equal(left, right)
    assert noticed > 150
