"""Tensors from PyTorch's legacy file format, without PyTorch and without running anything.

The format (`torch.save` before 1.6) is five pickles (magic number, protocol, system, the object, storage keys) and
then the raw storages. The pickles are read by an unpickler that knows three harmless names and refuses all others.
"""

import collections
import math
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
_BROKEN = (
    EOFError, pickle.UnpicklingError, IndexError, KeyError, AttributeError, TypeError, OverflowError, MemoryError,
)  # fmt: skip
STORAGES = {"FloatStorage": np.float32, "LongStorage": np.int64, "HalfStorage": np.float16}


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read a state dictionary of tensors.

    Parameters
    ----------
    path : str or Path
        A `.pth` file in the legacy format.

    Returns
    -------
    dict of str to ndarray
        The tensors by name, in the file's order, each with its own memory.

    Raises
    ------
    ValueError
        If the file is of another format, cut short, or names anything but tensors.
    """
    with open(path, "rb") as file:
        try:
            return _read(file, path)
        except _BROKEN as error:
            raise ValueError(f"{path} is no state dictionary in PyTorch's legacy format: {error}") from error


def _read(file: BinaryIO, path: str | Path) -> dict[str, np.ndarray]:
    if _TensorUnpickler(file).load() != MAGIC:
        raise ValueError(f"{path} does not start with the magic number of PyTorch's legacy format.")
    _TensorUnpickler(file).load()  # protocol version
    _TensorUnpickler(file).load()  # byte order and sizes of the writer; always little-endian in practice
    unpickler = _TensorUnpickler(file)
    state = unpickler.load()
    keys = _TensorUnpickler(file).load()
    storages = {key: _read_storage(file, unpickler.types[key]) for key in keys}
    return {name: tensor.take_from(storages) for name, tensor in state.items()}


def _read_storage(file: BinaryIO, dtype: type) -> np.ndarray:
    count = int(np.frombuffer(file.read(8), "<i8")[0])
    data = file.read(count * np.dtype(dtype).itemsize)
    storage = np.frombuffer(data, dtype)
    if len(storage) != count:
        raise ValueError(f"The file ends inside a storage: {count} numbers announced, {len(storage)} found.")
    return storage


class _Tensor:
    """Where a tensor lies inside its storage."""

    def __init__(self, key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.key, self.offset, self.shape, self.strides = key, offset, shape, strides

    def take_from(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        storage = storages[self.key]
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        smallest = min((self.offset, *self.shape, *self.strides), default=0)
        if smallest < 0 or last >= len(storage) or math.prod(self.shape) > len(storage):
            raise ValueError(f"A tensor of shape {self.shape} reaches outside its storage.")
        strides = tuple(s * storage.itemsize for s in self.strides)
        view = np.lib.stride_tricks.as_strided(storage[self.offset :], self.shape, strides)
        return view.copy()


def _rebuild(key: str, offset: int, shape: tuple, strides: tuple, *_: Any) -> _Tensor:
    return _Tensor(key, offset, shape, strides)


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that resolves ordered dictionaries, tensors and storage types, and refuses the rest."""

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.types: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Resolve the three known names."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"the name {module}.{name} is refused: only tensors are read")

    def persistent_load(self, pid: Any) -> str:
        """Note a storage's type and give its key."""
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"the reference {pid!r} is refused: only storages are read")
        self.types[pid[2]] = pid[1]
        return pid[2]
