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

from aisles.experiments.settings.benchmark import BenchmarkSettings, explained_difference

PACKAGES = ("aisles", "keras", "tensorflow", "numpy", "scipy", "scikit-learn", "pandas", "pillow")


def environment() -> dict[str, Any]:
    """Tell what a run was made with: versions, git revision if any, machine, processors."""
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
    *,
    resume: bool = False,
    replace: bool = False,
) -> bool:
    """Check that the run folder holds the same study, or none.

    Parameters
    ----------
    output : Path
    settings : BenchmarkSettings
    facts : mapping of str to str
        `data` (the images' fingerprint) and `backbone` (its key).
    resume : bool
        Whether there must be a study to go on with.
    replace : bool
        Whether another study's results may be replaced.

    Returns
    -------
    bool
        Whether it holds another study, which is to be replaced.

    Raises
    ------
    ValueError
        If it holds a study of other settings, images or backbone and `replace` is false, or none and `resume` is
        true.
    """
    if not (output / "settings.toml").exists():
        if resume:
            raise ValueError(f"{output} holds no study to go on with. Leave out --resume to start one.")
        return False
    differing = _differences(output, settings, facts)
    if differing and not replace:
        raise ValueError(
            f"{output} holds a study that differs in {'; '.join(differing)}. Choose another folder, or say --replace "
            "to replace its results."
        )
    return bool(differing)


def _differences(output: Path, settings: BenchmarkSettings, facts: Mapping[str, str]) -> list[str]:
    """List in what the study in a folder differs from the one that is asked for."""
    try:
        content = tomllib.loads((output / "settings.toml").read_text(encoding="utf-8"))
        # A study on a backbone of one's own names none in its settings: its key in `inputs.json` tells it apart.
        held = BenchmarkSettings.model_validate({"backbone": settings.backbone.model_dump(), **content})
    except (OSError, ValueError, TypeError):
        return ["settings.toml, which can't be read"]
    try:
        had = json.loads((output / "inputs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        had = {}
    inputs = [f"{k}: {had[k][:40]} -> {facts[k][:40]}" for k in facts if had.get(k, facts[k]) != facts[k]]
    return explained_difference(held, settings) + inputs


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
