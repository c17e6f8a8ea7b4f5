"""The lab's measure of scale: the planted table, and growth by hand."""

import subprocess
import sys

import numpy as np

from experiments.lab.scale import Memory, growth, planted_table


def test_a_planted_table_has_its_classes_in_macros_and_every_class_in_every_split(tmp_path):
    with np.load(planted_table(tmp_path / "x.npz", 60, 1200, dimension=8)) as table:
        label, macro, split = (table[name] for name in ("label", "macro", "split"))
        assert table["features"].shape == (1200, 8)
    assert len(np.unique(label)) == 60 and len(np.unique(macro)) == 8  # the root of 60
    for name in np.unique(label):
        assert len(np.unique(macro[label == name])) == 1
        assert set(split[label == name]) == {"train", "val", "test"}


def test_growth_is_the_exponent_between_sizes():
    sizes = [{"images": 10, "t": 2.0}, {"images": 100, "t": 20.0}, {"images": 1000, "t": 2000.0}]
    assert growth(sizes, "t") == [1.0, 2.0]


def test_memory_of_a_process_and_of_those_it_starts_is_seen():
    inner = "import time; x = bytearray(80_000_000); time.sleep(4)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    memory = Memory()
    memory.watch(subprocess.Popen([sys.executable, "-c", code]))
    assert 80_000_000 < memory.peak < 300_000_000
