"""Memory that is no longer needed, given back to the system."""

import ctypes
import os
from functools import lru_cache
from typing import Any


def give_memory_back() -> None:
    """Have the C library give back what it keeps of freed memory, where it can be told to (Linux with glibc).

    Threads that allocate and free blocks of very different sizes, as decoders of images do, otherwise leave each of its
    arenas with gaps that it never gives back, more of them with every thousand images.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(1)
def _trim() -> Any:
    library = ctypes.CDLL(None) if os.name == "posix" else None
    return getattr(library, "malloc_trim", None)
