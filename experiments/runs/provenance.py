"""What a run was made with, and whether a run folder may be gone on with."""

import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.images.manifest import Manifest
from aisles.data_prep.io.settings_errors import explained
from aisles.data_prep.io.tables import restored_table
from aisles.experiments.settings.benchmark import BenchmarkSettings, explained_difference
from aisles.hierarchy.registry import UnknownNameError

PACKAGES = ("aisles", "keras", "tensorflow", "numpy", "scipy", "scikit-learn", "pandas", "pillow")


def environment() -> dict[str, Any]:
    """Return what a run was made with: versions, git revision if any, machine, processors."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "revision": revision(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
    }


def revision() -> str | None:
    """Return the git revision of this code, with "+" after it if files were changed since; None outside git."""
    here = Path(__file__).resolve().parent
    try:
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)  # not somebody else's repository
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def check_resumable(
    output: Path,
    settings: BenchmarkSettings,
    facts: Mapping[str, str],
    manifest: Manifest,
    *,
    resume: bool = False,
    replace: bool = False,
) -> bool:
    """Check that the folder holds the same run, or none.

    Parameters
    ----------
    output : Path
    settings : BenchmarkSettings
    facts : mapping of str to str
        `data` (the images' fingerprint) and `backbone` (its key).
    manifest : Manifest
        The images that `facts` are about.
    resume : bool
        Whether there must be a run to go on with.
    replace : bool
        Whether another run's results may be replaced.

    Returns
    -------
    bool
        Whether it holds another run, which is to be replaced.

    Raises
    ------
    ValueError
        If it holds a run of other settings, images or backbone and `replace` is false, or none and `resume` is
        true.
    """
    if not (output / "settings.toml").exists():
        if resume:
            raise ValueError(f"{output} holds no run to go on with. Leave out --resume to start one.")
        return False
    differing = _differences(output, settings, facts, manifest)
    if differing and not replace:
        raise ValueError(
            f"{output} holds a run that differs in {'; '.join(differing)}. Choose another folder, or say --replace "
            "to replace its results."
        )
    return bool(differing)


def changed_images(before: Path, manifest: Manifest) -> str:
    """Return in words how images differ from those that a manifest lists: which came, which went, which were changed.

    Parameters
    ----------
    before : Path
        A manifest as `write_manifest` wrote it.
    manifest : Manifest
        The images of now.

    Returns
    -------
    str
        One phrase, such as "images: 1 added ('Kiwi/09.jpg')".
    """
    try:
        old = restored_table(pd.read_csv(before, dtype=str, keep_default_na=False))
        places = [os.path.normpath(before.absolute().parent / name) for name in old["file_name"]]
        old = old.set_axis(places)[["label", "split", "product"]]
    except (OSError, ValueError, KeyError):
        return "images"
    new = manifest.table[["label", "split", "product"]].astype(str)
    new = new.set_axis([os.path.normpath(path.absolute()) for path in manifest.paths])
    root = os.path.abspath(manifest.root)
    both = new.index.intersection(old.index)
    found = {
        "added": new.index.difference(old.index),
        "gone": old.index.difference(new.index),
        "with another class": both[(new.loc[both, "label"] != old.loc[both, "label"]).to_numpy()],
        "with another split": both[(new.loc[both, "split"] != old.loc[both, "split"]).to_numpy()],
    }
    told = [
        f"{len(paths):,} {what} ({shortened([os.path.relpath(path, root) for path in paths], 3)})"
        for what, paths in found.items()
        if len(paths)
    ]
    return f"images: {', '.join(told) if told else 'the same names, with other content, products or order'}"


def _differences(
    output: Path, settings: BenchmarkSettings, facts: Mapping[str, str], manifest: Manifest
) -> list[str]:
    """List in what the run in a folder differs from the one that is asked for."""
    try:
        content = tomllib.loads((output / "settings.toml").read_text(encoding="utf-8"))
        # A run on a backbone of one's own names none in its settings: its key in `inputs.json` tells it apart.
        held = BenchmarkSettings.model_validate({"backbone": settings.backbone.model_dump(), **content})
    except ValidationError as error:
        missing = _unregistered(error)
        if not missing:
            return [f"settings.toml, which is refused now: {explained(error, BenchmarkSettings).rstrip('.')}"]
        what = " and ".join(missing)
        return [
            f"settings.toml, which names the {what}, not registered here: give --plugin with the file that had it"
        ]
    except (OSError, ValueError, TypeError):
        return ["settings.toml, which can't be read"]
    try:
        had = json.loads((output / "inputs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        had = {}
    inputs = [
        changed_images(output / "manifest.csv", manifest)
        if k == "data"
        else f"{k}: {had[k][:40]} -> {value[:40]}"
        for k, value in facts.items()
        if had.get(k, value) != value
    ]
    return explained_difference(held, settings) + inputs


def _unregistered(error: ValidationError) -> list[str]:
    """Name what settings ask for and nothing here registers, each once."""
    causes: list[Any] = [fault.get("ctx", {}).get("error") for fault in error.errors()]
    return list(dict.fromkeys(cause.what for cause in causes if isinstance(cause, UnknownNameError)))


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
