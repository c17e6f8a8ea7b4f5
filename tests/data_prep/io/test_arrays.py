"""Arrays are read as numpy wrote them; whatever else an `.npz` file is gets an error that names it."""

import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aisles.data_prep.io.arrays import read_arrays
from aisles.data_prep.io.errors import DataError

KINDS = st.sampled_from(["?", "<i4", "<i8", "<f4", "<f8", ">f8", "<U5", "|u1", "<U1"])


@given(arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, min_side=0, max_dims=3)), st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_numpy_wrote_is_what_is_read(tmp_path_factory, value, packed):
    path = tmp_path_factory.getbasetemp() / "written.npz"
    for given_value in (value, np.asfortranarray(value)):
        (np.savez_compressed if packed else np.savez)(path, value=given_value)
        found = read_arrays(path)
        assert list(found) == ["value"] and found["value"].dtype == value.dtype
        np.testing.assert_array_equal(found["value"], value)
        assert found["value"].flags.writeable


def written(path, shape, data, descr="<f8"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("value.npy", array)
    return path


def test_a_header_by_hand_is_read(tmp_path):
    values = np.arange(6.0)
    found = read_arrays(written(tmp_path / "a.npz", (2, 3), values.tobytes()))
    np.testing.assert_array_equal(found["value"], values.reshape(2, 3))


@pytest.mark.parametrize(
    ("shape", "descr"),
    [
        ((10**12,), "<f8"),
        ((2**32, 2**32), "<f8"),  # which wraps around to 0 in 64 bits
        ((-1,), "<f8"),
        ((-2, -3), "<f8"),
        ((1,), "<U1000000000"),
        ((1,), "no type"),
        (("a",), "<f8"),
    ],
)
def test_arrays_that_the_file_does_not_hold_are_refused(tmp_path, shape, descr):
    path = written(tmp_path / "a.npz", shape, bytes(48), descr)
    with pytest.raises(DataError, match=r"a\.npz is damaged, or not an \.npz file"):
        read_arrays(path)


def test_python_objects_are_refused_with_what_to_write(tmp_path):
    path = written(tmp_path / "a.npz", (6,), bytes(48), "|O")
    with pytest.raises(DataError, match=r"a\.npz can't be read: .* holds Python objects.*dtype=str"):
        read_arrays(path)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros(100_000))
    assert read_arrays(tmp_path / "a.npz")["zeros"].shape == (100_000,)
    monkeypatch.setattr("aisles.data_prep.io.arrays.SMALL", 1000)
    with pytest.raises(DataError, match="over 100 times its size"):
        read_arrays(tmp_path / "a.npz")


def test_every_flipped_bit_is_noticed_or_changes_nothing(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "a.npz"
    expected = {"x": rng.normal(size=(20, 3)), "names": np.array(["a", "bb"])}
    np.savez(path, **expected)
    data, noticed = path.read_bytes(), 0
    for position in rng.integers(0, len(data), 300).tolist():
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        try:
            found = read_arrays(path)
        except DataError:
            noticed += 1
            continue
        for name in set(found) & set(expected):
            np.testing.assert_array_equal(found[name], expected[name])
    assert noticed > 200


def test_a_missing_file_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a.npz")
