"""The plan of a comparison, written before any test image is predicted, and what was changed of it afterwards."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aisles.data_prep.io.files import write_whole
from aisles.experiments.stats.points import size_in_points

if TYPE_CHECKING:
    from aisles.experiments.settings.benchmark import ComparisonSettings

FILE = "plan.json"


def write_plan(folder: Path, settings: "ComparisonSettings", test_images: str, images: str) -> dict[str, Any]:
    """Write the plan of a run, unless the same one stands there; a changed plan keeps the earlier ones.

    Parameters
    ----------
    folder : Path
        The run folder.
    settings : ComparisonSettings
    test_images : str
        Hash of the test images, as `metrics.json` holds it.
    images : str
        Hash of all images with their classes, products and splits.

    Returns
    -------
    dict
        `primary`, its `baseline`, `margin`, `alpha`, `seeds`, `methods`, `test_images`, `images`, `earlier`: plans that
        this one replaced after a run had begun, the first one first; and `sha256` of the plan without these two.
    """
    from aisles.experiments.methods.registry import find_method

    plan: dict[str, Any] = {
        "primary": settings.primary,
        "baseline": find_method(settings.primary).baseline,
        "margin": settings.margin,
        "alpha": settings.alpha,
        "seeds": settings.seeds,
        "methods": list(settings.everyone),
        "test_images": test_images,
        "images": images,
    }
    plan |= {"sha256": hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest(), "earlier": []}
    before = read_plan(folder)
    if before is not None and before["sha256"] == plan["sha256"]:
        return before
    if before is not None:
        first = {key: value for key, value in before.items() if key != "earlier"}
        plan["earlier"] = [*before["earlier"], first]
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


def in_words(plan: dict[str, Any]) -> str:
    """Return in words whether the comparison was pre-specified."""
    if not plan["earlier"]:
        return (
            f"Pre-specified: {plan['primary']} against {plan['baseline']}, and against the flat method that validation "
            f"images prefer, margin {size_in_points(plan['margin'])}, "
            f"alpha {plan['alpha']:g}, {plan['seeds']} seeds and the methods were written to plan.json before any test "
            "image was predicted."
        )
    changed = sorted(
        {key for old in plan["earlier"] for key in old if key != "sha256" and old[key] != plan.get(key)}
    )
    times = len(plan["earlier"])
    return (
        f"Not pre-specified: the plan was changed {times} time{'s' if times > 1 else ''} after a run had begun in this "
        f"folder ({', '.join(changed) or 'order'}); plan.json keeps the earlier plans."
    )
