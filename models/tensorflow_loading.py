"""Loading TensorFlow without its start-up lines, whoever imports it first."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_LOADED_BY = ("keras", "tensorflow")


class _QuietImport(MetaPathFinder):
    """Finder of Keras and TensorFlow as they are installed, whose first import writes nothing to stderr."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the package's own place, to be executed quietly; nothing for all other modules."""
        if fullname not in _LOADED_BY or "tensorflow" in sys.modules:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.loader is None:
            return None
        execute = found.loader.exec_module

        def execute_quietly(module: ModuleType) -> None:
            with _without_start_up_lines():
                execute(module)

        found.loader.exec_module = execute_quietly  # of this import's loader alone
        return found


def keep_quiet() -> None:
    """Keep TensorFlow's start-up lines off stderr, wherever in this process it is imported first.

    They come from C++ before any Python setting is heard, so stderr itself is turned away meanwhile. Whoever sets
    `TF_CPP_MIN_LOG_LEVEL` to 0 sees them. An error of the import is raised as usual.
    """
    if not any(isinstance(finder, _QuietImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _QuietImport())


def load_in_worker() -> None:
    """Import them in a process that trains heads beside others: heads are small, and one thread each is fastest."""
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    load_quietly()


def load_quietly() -> None:
    """Import TensorFlow and Keras now, as `keep_quiet` says."""
    keep_quiet()
    import keras  # noqa: F401


@contextmanager
def _without_start_up_lines() -> Iterator[None]:
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
