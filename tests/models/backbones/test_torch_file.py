"""Reading PyTorch's legacy format without PyTorch, and refusing everything else."""

import collections
import io
import os
import pickle
import struct

import numpy as np
import pytest

from aisles.models.backbones import torch_file
from aisles.models.backbones.torch_file import read_tensors


class _Storage:
    """Stands for a reference to a storage while writing."""

    def __init__(self, pid):
        self.pid = pid


class _Call:
    """Pickles as a call of a named function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def _named(name: str, module: str):
    function = type(name, (), {})
    function.__module__, function.__qualname__ = module, name
    return function


class _Pickler(pickle._Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, _Storage) else None

    def save_global(self, value, name=None):
        self.write(pickle.GLOBAL + f"{value.__module__}\n{value.__qualname__}\n".encode())


_Pickler.dispatch = {**pickle._Pickler.dispatch, type: _Pickler.save_global}


def write_legacy(path, tensors: dict[str, np.ndarray], *, extra=None, cut=0):
    """Write a state dictionary as torch.save did before 1.6."""
    stream = io.BytesIO()
    for value in (torch_file.MAGIC, 1001, {"little_endian": True}):
        pickle.dump(value, stream, protocol=2)
    rebuild, storage_type = _named("_rebuild_tensor_v2", "torch._utils"), _named("FloatStorage", "torch")
    state = collections.OrderedDict()
    for number, (name, tensor) in enumerate(tensors.items()):
        storage = _Storage(("storage", storage_type, str(number), "cpu", tensor.size, None))
        strides = tuple(step // tensor.itemsize for step in tensor.strides)
        state[name] = _Call(rebuild, storage, 0, tensor.shape, strides, False, collections.OrderedDict())
    if extra is not None:
        state["extra"] = extra
    _Pickler(stream, protocol=2).dump(state)
    pickle.dump([str(number) for number in range(len(tensors))], stream, protocol=2)
    for tensor in tensors.values():
        stream.write(struct.pack("<q", tensor.size) + np.ascontiguousarray(tensor).tobytes())
    data = stream.getvalue()
    path.write_bytes(data[: len(data) - cut])
    return path


def test_tensors_come_back_as_they_were_written(tmp_path):
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([7, 8])}
    read = read_tensors(write_legacy(tmp_path / "w.pth", tensors))
    assert list(read) == ["a", "b"]
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor)


def test_a_file_that_names_code_is_refused_and_nothing_runs(tmp_path):
    marker = tmp_path / "was-run"
    evil = _Call(_named("system", os.name), f"touch {marker}")
    path = write_legacy(tmp_path / "w.pth", {"a": np.float32([1])}, extra=evil)
    with pytest.raises(ValueError, match="the name .*system is refused: only tensors are read"):
        read_tensors(path)
    assert not marker.exists()


def test_a_file_cut_short_is_refused(tmp_path):
    path = write_legacy(tmp_path / "w.pth", {"a": np.arange(9, dtype=np.float32)}, cut=4)
    with pytest.raises(ValueError, match="ends inside a storage|legacy format"):
        read_tensors(path)


def test_a_tensor_may_not_reach_outside_its_storage(tmp_path, monkeypatch):
    wide = np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (2, 3), (4, 4))
    stored = write_legacy(tmp_path / "w.pth", {"a": wide})
    assert read_tensors(stored)["a"].shape == (2, 3)
    far = np.lib.stride_tricks.as_strided(np.zeros(40, np.float32), (2, 3), (80, 4))
    with pytest.raises(ValueError, match="reaches outside its storage"):
        read_tensors(write_legacy(tmp_path / "x.pth", {"a": far}))


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04 a zip", b"hello world", pickle.dumps({"a": 1}, protocol=2)]
)
def test_other_formats_are_refused(tmp_path, data):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(ValueError, match="legacy format"):
        read_tensors(tmp_path / "w.pth")
