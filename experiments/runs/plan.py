"""The plan of a comparison, written before any test image is predicted, and what was changed of it afterwards."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aisles.data_prep.io.files import write_whole
from aisles.experiments.stats.points import size_in_points

if TYPE_CHECKING:
    from aisles.experiments.settings.benchmark import BenchmarkSettings

FILE = "plan.json"


def write_plan(
    folder: Path, settings: "BenchmarkSettings", test_images: str, images: str, backbone: str
) -> dict[str, Any]:
    """Write the plan of a run, unless the same one stands there; a changed plan keeps the earlier ones.

    A plan that is changed before anything was trained in the folder is no earlier one: no result was known.

    Parameters
    ----------
    folder : Path
        The run folder.
    settings : BenchmarkSettings
    test_images : str
        Hash of the test images, as `metrics.json` holds it.
    images : str
        Hash of all images with their classes, products and splits.
    backbone : str
        Its key.

    Returns
    -------
    dict
        `primary`, its `baseline`, `margin`, `alpha`, `seeds`, `methods`, `test_images`, `images`, `backbone`,
        `settings` (of macros and training, by dotted name), `earlier`: plans that this one replaced after a run had
        begun, the first one first; and `sha256` of the plan without these two.
    """
    from aisles.experiments.methods.registry import find_method

    comparison = settings.comparison
    plan: dict[str, Any] = {
        "primary": comparison.primary,
        "baseline": find_method(comparison.primary).baseline,
        "margin": comparison.margin,
        "alpha": comparison.alpha,
        "seeds": comparison.seeds,
        "methods": list(comparison.everyone),
        "test_images": test_images,
        "images": images,
        "backbone": backbone,
        "settings": _trained_by(settings),
    }
    plan |= {"sha256": hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest(), "earlier": []}
    before = read_plan(folder)
    if before is not None and before["sha256"] == plan["sha256"]:
        return before
    if before is not None:
        first = {key: value for key, value in before.items() if key != "earlier"}
        plan["earlier"] = [*before["earlier"], *([first] if (folder / "models").is_dir() else [])]
    write_whole(folder / FILE, json.dumps(plan, indent=1, ensure_ascii=False) + "\n")
    return plan


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Return the plan in a run folder; None if there is none that can be read."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    sound = isinstance(found, dict) and isinstance(found.get("earlier"), list) and "sha256" in found
    return found if sound else None


def _trained_by(settings: "BenchmarkSettings") -> dict[str, Any]:
    """Return the settings of macros and training by dotted name; of a file with macros its SHA-256."""
    from aisles.experiments.methods.registry import fine_tunes

    sections = {"hierarchy", "training"} | (
        {"fine_tuning"} if fine_tunes(settings.comparison.everyone) else set()
    )
    found = dict(_dotted(settings.model_dump(mode="json", include=sections)))
    if settings.hierarchy.file is not None:
        found["hierarchy.file"] = hashlib.sha256(Path(settings.hierarchy.file).read_bytes()).hexdigest()
    return found


def _dotted(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """Return what differs between two plans; single settings by their names."""
    plain = {key for key in old if key not in ("sha256", "settings") and old[key] != new.get(key)}
    was, is_now = old.get("settings", {}), new["settings"]
    return plain | {name for name in was.keys() | is_now.keys() if was.get(name) != is_now.get(name)}


def in_words(plan: dict[str, Any]) -> str:
    """Return in words whether the comparison was pre-specified."""
    if not plan["earlier"]:
        return (
            f"Pre-specified: {plan['primary']} against {plan['baseline']}, and against the flat method that validation "
            f"images prefer, margin {size_in_points(plan['margin'])}, "
            f"alpha {plan['alpha']:g}, {plan['seeds']} seed{'s' * (plan['seeds'] != 1)} and the methods were written "
            "to plan.json before any test image was predicted."
        )
    changed = sorted({name for old in plan["earlier"] for name in _changed(old, plan)})
    times = len(plan["earlier"])
    return (
        f"Not pre-specified: the plan was changed {times} time{'s' if times > 1 else ''} after a run had begun in this "
        f"folder ({', '.join(changed) or 'order'}); plan.json keeps the earlier plans."
    )
