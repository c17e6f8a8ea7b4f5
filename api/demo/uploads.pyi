"""Uploads: read as they are, and swept from the disk seconds later."""

import threading
import time
from pathlib import Path
from typing import Any

import gradio as gr

KEPT = 30
"""Seconds that an uploaded file stays on the disk: as long as the browser needs to show it."""

class ImageUpload(gr.Image):
    """An image whose file is handed on as it came, undecoded: its path and its name."""

    is_template = True

    def preprocess(self, payload: Any) -> tuple[str, str] | None:
        """Return path and name of what was uploaded."""
        return None if payload is None or payload.path is None else (payload.path, _name(payload))
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

class FilesUpload(gr.File):
    """Files that are handed on as they came: their paths and names."""

    is_template = True

    def preprocess(self, payload: Any) -> list[tuple[str, str]]:
        """Return path and name of each file."""
        if payload is None:
            return []
        files = payload if isinstance(payload, list) else getattr(payload, "root", [payload])
        return [(file.path, _name(file)) for file in files]
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

def _name(file: Any) -> str:
    return Path(file.orig_name or file.path).name

class Sweeper(threading.Thread):
    """Deletes files that have lain in a folder for `KEPT` seconds.

    Parameters
    ----------
    folder : Path
    kept : float
        Seconds.
    """

    def __init__(self, folder: Path, kept: float = KEPT):
        super().__init__(daemon=True, name="sweeper")
        self.folder, self.kept, self.ended = folder, kept, threading.Event()

    def run(self) -> None:
        """Sweep until `ended` is set."""
        while not self.ended.wait(min(5.0, self.kept)):
            self.sweep()

    def sweep(self) -> None:
        """Delete what is old enough, and folders that are empty."""
        oldest = time.time() - self.kept
        for path in sorted(self.folder.rglob("*"), reverse=True):
            try:
                if path.stat().st_mtime >= oldest:
                    continue
                path.rmdir() if path.is_dir() else path.unlink()
            except OSError:
                continue  # a folder in use, or gone already
