"""Results of a run in one zip file: it is replaced whole after every model, so a stopped run loses one at most."""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Results:
    """What is known so far, by the name of the model.

    Parameters
    ----------
    path : path
        The zip file; read if it exists.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._parts: dict[str, bytes] = {}
        if self.path.is_file():
            with zipfile.ZipFile(self.path) as archive:
                self._parts = {name: archive.read(name) for name in archive.namelist()}

    @property
    def names(self) -> list[str]:
        """Models with results, in the order in which they came."""
        return [name.removesuffix(".npz") for name in self._parts if name.endswith(".npz")]

    def __contains__(self, name: str) -> bool:
        return f"{name}.npz" in self._parts

    def facts(self, name: str) -> dict[str, Any]:
        """Return what was noted under a name; empty if nothing was."""
        return json.loads(self._parts.get(f"{name}.json", b"{}"))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return a model's arrays by name.

        Raises
        ------
        KeyError
            If the model is not there.
        """
        if name not in self:
            raise KeyError(f"{self.path} holds no model {name!r}. It holds: {', '.join(self.names)}.")
        with np.load(io.BytesIO(self._parts[f"{name}.npz"])) as arrays:
            return {key: arrays[key] for key in arrays.files}

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Keep facts under a name, in place of earlier ones."""
        self._parts[f"{name}.json"] = json.dumps(facts, indent=1).encode()
        self._write()

    def put(self, name: str, facts: dict[str, Any], **arrays: np.ndarray) -> None:
        """Keep a model's arrays, probabilities in float16, and facts."""
        file = io.BytesIO()
        small = {
            key: value.astype(np.float16) if value.dtype.kind == "f" else value
            for key, value in arrays.items()
        }
        np.savez_compressed(file, **small)  # pyright: ignore[reportArgumentType]
        self._parts[f"{name}.npz"] = file.getvalue()
        self.note(name, facts)

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, data in self._parts.items():
                archive.writestr(name, data)
        os.replace(temporary, self.path)
