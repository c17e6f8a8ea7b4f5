"""Loading TensorFlow without its start-up talk."""

import os
import sys


def load_in_worker() -> None:
    """Import them in a process that trains heads beside others: heads are small, and one thread each is fastest."""
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    load_quietly()


def load_quietly() -> None:
    """Import TensorFlow and Keras, keeping TensorFlow's start-up lines off stderr.

    They come from C++ before any Python setting is heard, so stderr itself is turned away meanwhile. Whoever sets
    `TF_CPP_MIN_LOG_LEVEL` to 0 sees them. An error of the import is raised as usual.
    """
    if "tensorflow" in sys.modules or os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import keras  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
