"""Arrays read from inside an archive as they lie there."""

import numpy as np
import pytest

from aisles.data_prep.io.arrays import mapped_array, read_arrays
from aisles.data_prep.io.errors import DataError


def test_an_array_that_is_not_packed_is_read_in_its_place(tmp_path):
    table, path = np.arange(12.0).reshape(3, 4), tmp_path / "x.npz"
    np.savez(path, classes=np.array(["a"]), probs=table)
    found = mapped_array(path, "probs")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, table)
    assert mapped_array(path, "nothing") is None


def test_a_packed_array_is_left_to_others(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", probs=np.zeros(9))
    assert mapped_array(tmp_path / "x.npz", "probs") is None


def test_python_objects_are_never_mapped(tmp_path):
    np.savez(tmp_path / "x.npz", probs=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="never loaded"):
        mapped_array(tmp_path / "x.npz", "probs")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="damaged"):
        mapped_array(tmp_path / "x.npz", "probs")


def test_only_the_arrays_that_were_asked_for_are_read(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(2), b=np.ones(2))
    assert list(read_arrays(tmp_path / "x.npz", ("b", "c"))) == ["b"]


@pytest.mark.parametrize("damage", ["claims more", "header cut"])
def test_an_array_that_is_not_what_its_header_says_is_refused(tmp_path, damage):
    path = tmp_path / "x.npz"
    np.savez(path, probs=np.arange(1000.0), more=np.arange(1000.0))
    data = path.read_bytes()
    damaged = {
        "claims more": data.replace(b"(1000,)", b"(1500,)", 1),
        "header cut": data.replace(b"}", b"(", 1),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(DataError, match="damaged"):
        mapped_array(path, "probs")
