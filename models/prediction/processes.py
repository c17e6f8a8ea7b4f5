"""Classifiers among threads and processes: what a fork can't do, and how one travels to a worker.

TensorFlow and onnxruntime keep threads that a fork doesn't copy, so a forked child that runs a network waits for ever.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .stored import BundleError

_forked_while_running = False


@dataclass(frozen=True)
class Origin:
    """The bundle that a classifier was loaded from, and how.

    Attributes
    ----------
    folder : Path
    sha256 : str
        Of what its `bundle.json` says, which holds the hashes of all other files.
    resident : int or None
    engine : str
    """

    folder: Path
    sha256: str
    resident: int | None
    engine: str

    def load(self) -> Any:
        """Load the same bundle again.

        Raises
        ------
        BundleError
            If it isn't there, or is another one by now.
        """
        from aisles.models.bundles.bundle import load_bundle

        found = load_bundle(self.folder, resident=self.resident, engine=self.engine)
        if found.origin != self:
            raise BundleError(
                f"{self.folder} is another bundle than the one that the classifier was sent from: it has been replaced "
                "meanwhile. Load it in the process that sends it, too."
            )
        return found


def check_process() -> None:
    """Refuse to run a network in a process that was forked from one that had run some already.

    Raises
    ------
    RuntimeError
        Which says what to do instead of waiting for ever.
    """
    if _forked_while_running:
        raise RuntimeError(
            f"This process ({os.getpid()}) was forked from one in which networks had run already; TensorFlow's threads "
            "don't survive that, and it would hang. Start workers afresh: multiprocessing.get_context('spawn') or "
            "'forkserver' (classifiers can be sent to them: they are loaded there by path), or run classifiers in the "
            "workers only."
        )


def _runs_networks() -> bool:
    """Return whether TensorFlow has started its threads in this process."""
    context = sys.modules.get("tensorflow.python.eager.context")
    current = context and context.context_safe()
    return bool(current is not None and current._initialized)


def _note_fork() -> None:
    global _forked_while_running
    _forked_while_running = _forked_while_running or _runs_networks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
