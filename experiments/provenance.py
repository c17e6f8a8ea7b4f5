"""What a run was made with, and whether a run folder may be gone on with."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .config import StudySettings, explained_difference

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
    """Give the git revision of this code, with "+" after it if files were changed since; None outside git."""
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
    settings: StudySettings,
    facts: Mapping[str, str],
    *,
    resume: bool = False,
    replace: bool = False,
) -> None:
    """See that the run folder holds the same study, or none.

    Parameters
    ----------
    output : Path
    settings : StudySettings
    facts : mapping of str to str
        `data` (the images' fingerprint) and `backbone` (its key).
    resume : bool
        Whether there must be a study to go on with.
    replace : bool
        Whether another study's results may be replaced.

    Raises
    ------
    ValueError
        If it holds a study of other settings, images or backbone and `replace` is false, or none and `resume` is
        true.
    """
    held = _held(output)
    if held is None:
        if resume:
            raise ValueError(f"{output} holds no study to go on with. Leave out --resume to start one.")
        return
    before, had = held
    differing = explained_difference(before, settings)
    differing += [
        f"{key}: {had[key][:40]} -> {facts[key][:40]}"
        for key in facts
        if had.get(key, facts[key]) != facts[key]
    ]
    if differing and not replace:
        raise ValueError(
            f"{output} holds a study that differs in {'; '.join(differing)}. Choose another folder, or say --replace "
            "to replace its results."
        )


def _held(output: Path) -> tuple[StudySettings, dict[str, str]] | None:
    try:
        settings = StudySettings.model_validate(
            json.loads((output / "settings.json").read_text(encoding="utf-8"))
        )
    except (OSError, ValueError):
        return None
    try:
        facts = json.loads((output / "inputs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = {}
    return settings, facts


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
