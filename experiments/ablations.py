"""Ablations: the same study several times, with one thing changed, and what the change does to flat and two-stage."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..data_prep.errors import DataError
from ..data_prep.tables import write_table
from .config import StudySettings
from .run_folder import make_run_folder, write_json

if TYPE_CHECKING:
    from .study import StudyResult


@dataclass(frozen=True)
class Variant:
    """One way to run the study: its name, and the settings by section that differ from the others'."""

    name: str
    changes: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Ablation:
    """One thing that is changed.

    Attributes
    ----------
    question : str
        What the ablation answers.
    values : tuple of str
        What is tried unless something else is asked for; the first is what the others are compared with.
    variant : callable
        From a value to the variant; ValueError if the value makes no sense.
    """

    question: str
    values: tuple[str, ...]
    variant: Callable[[str], Variant]


def _one(section: str, key: str, kind: Callable[[str], Any] = str) -> Callable[[str], Variant]:
    return lambda value: Variant(value, {section: {key: kind(value)}})


def _split(value: str) -> Variant:
    if value not in ("product", "image"):
        raise ValueError(f"Splits are made by product or by image. Received: {value!r}.")
    return Variant(value, {"data": {"resplit": True, "split_by": value}})


ABLATIONS = {
    "backbone": Ablation(
        "How much of the answer is the backbone's?",
        ("efficientnet_lite0", "inception_v3", "vgg16"),
        _one("backbone", "name"),
    ),
    "color": Ablation("What do colors tell?", ("rgb", "gray"), _one("backbone", "color")),
    "macros": Ablation(
        "How many macros?", tuple(str(k) for k in range(2, 13)), _one("hierarchy", "macros", int)
    ),
    "linkage": Ablation("Which linkage?", ("ward", "average", "complete"), _one("hierarchy", "linkage")),
    "split": Ablation(
        "How much does it flatter to let photographs of one product fall into several splits?",
        ("product", "image"),
        _split,
    ),
    "similarity-threshold": Ablation(
        "Do secondary photographs that look unlike the main one harm?",
        ("0.0", "0.2", "0.35", "0.5"),
        _one("data", "min_similarity", float),
    ),
}
"""Ablations of studies by name. Those of trained heads and trunks are in `head_ablation` and `trunk_comparison`."""


def run_ablation(
    name: str,
    data: str | Path,
    output: str | Path,
    settings: StudySettings | None = None,
    *,
    values: Iterable[str] = (),
    **more: Any,
) -> pd.DataFrame:
    """Run a study a variant, each in a folder of its own, and set them side by side.

    Parameters
    ----------
    name : str
        A key of `ABLATIONS`.
    data, output : path
        The images, and the folder for all variants; run again, it goes on where it stopped.
    settings : StudySettings, optional
        What all variants share.
    values : iterable of str
        What to try; the ablation's own values unless given.
    **more
        As for `run_study`: `cache`, `backbone`, `jobs`.

    Returns
    -------
    DataFrame
        One row a variant: `variant`, `flat`, `flat_sd`, the primary rule and its sd, `difference` with `low` and
        `high`, `verdict`, `router`, `n_test`; `flat_change`, `change`: against the first variant that ran, means over
        seeds with their `change_sd`; `failed`: the reason why a variant has no figures. Also in
        `OUTPUT/ablation.csv` and `ablation.json`.

    Raises
    ------
    ValueError
        For an unknown ablation or value.
    DataError
        If the images bring nothing that the ablation could change.
    """
    from .study import run_study

    if name not in ABLATIONS:
        raise ValueError(f"The ablation must be one of {', '.join(ABLATIONS)}. Received: {name!r}.")
    ablation, settings, output = ABLATIONS[name], settings or StudySettings(), Path(output)
    variants = [ablation.variant(value) for value in (tuple(values) or ablation.values)]
    make_run_folder(output)
    rows: list[dict[str, Any]] = []
    base: dict[str, Any] | None = None
    for variant in variants:
        try:
            result = run_study(data, output / variant.name, changed(settings, variant), **more)
        except (ValueError, OSError) as error:
            if isinstance(error, DataError) and base is None:
                raise
            rows.append({"variant": variant.name, "failed": f"{type(error).__name__}: {error}"})
            continue
        base = base or result.metrics
        rows.append({"variant": variant.name} | _figures(result, base, settings.comparison.primary))
    table = pd.DataFrame(rows)
    write_json(output / "ablation.json", {"ablation": name, "question": ablation.question, "variants": rows})
    write_table(output / "ablation.csv", table)
    return table


def changed(settings: StudySettings, variant: Variant) -> StudySettings:
    """Give the settings with a variant's changes, checked as if they had been typed."""
    content = settings.model_dump()
    for section, values in variant.changes.items():
        content[section] |= values
    return StudySettings.model_validate(content)


def _figures(result: "StudyResult", base: dict[str, Any], primary: str) -> dict[str, Any]:
    metrics = result.metrics
    flat, own, first = (
        metrics["contestants"]["flat"],
        metrics["contestants"][primary],
        metrics["comparisons"][0],
    )
    changes = {}
    for key, name in (("flat_change", "flat"), ("change", primary)):
        difference = np.subtract(
            metrics["contestants"][name]["accuracy"], base["contestants"][name]["accuracy"]
        )
        changes[key] = float(difference.mean())
        changes[f"{key}_sd"] = float(difference.std(ddof=1)) if len(difference) > 1 else None
    return {
        "flat": flat["accuracy_mean"],
        "flat_sd": flat["accuracy_sd"],
        primary: own["accuracy_mean"],
        f"{primary}_sd": own["accuracy_sd"],
        "difference": first["difference"],
        "difference_sd": first["difference_sd"],
        "low": first["interval"][0],
        "high": first["interval"][1],
        "verdict": first["verdict"],
        "router": float(np.mean(metrics["router"]["accuracy"])),
        "n_test": metrics["n_test"],
        **changes,
        "same_test_images": metrics["data"]["fingerprint"] == base["data"]["fingerprint"],
    }
