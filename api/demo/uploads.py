"""Uploads: read as they are, and swept from the disk seconds later."""

import threading
import time
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio_client.utils import is_http_url_like

KEPT = 30
"""Seconds that an uploaded file stays on the disk: as long as the browser needs to show it."""
Upload = TypeVar("Upload", gr.Image, gr.File)


def as_it_came(upload: Upload) -> Upload:
    """Make an upload hand on its files undecoded, as paths and names; addresses in place of files are refused.

    The methods of this one object are replaced: Gradio writes a stub beside the source of every subclass.

    Parameters
    ----------
    upload : gr.Image or gr.File

    Returns
    -------
    gr.Image or gr.File
        The same, handing on a list of (path, name).
    """
    keep = upload.async_move_resource_to_block_cache

    async def kept_if_here(path: str | Path | None) -> str | None:
        if path is not None and is_http_url_like(str(path)):
            raise gr.Error("Files are uploaded, not fetched from an address.")
        return await keep(path)

    replaced: dict[str, Any] = {
        "preprocess": _paths_and_names,
        "async_move_resource_to_block_cache": kept_if_here,
    }
    for name, method in replaced.items():
        setattr(upload, name, method)
    return upload


def _paths_and_names(payload: Any) -> list[tuple[str, str]]:
    files = payload if isinstance(payload, list) else getattr(payload, "root", [payload])
    return [(file.path, Path(file.orig_name or file.path).name) for file in files if file and file.path]


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
