"""Ablations: the same run several times, with one thing changed, and what the change does to flat and two-stage."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from aisles.data_prep.images.features_table import FeaturesTable, is_features_table
from aisles.data_prep.images.manifest import Manifest
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.settings_errors import explained
from aisles.data_prep.io.tables import write_table
from aisles.experiments.runs.schema import BenchmarkMetrics
from aisles.experiments.runs.writer import run_folder, write_json
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.stats.verdict import holm, verdict_of
from aisles.hierarchy.clustering import MOST_MACROS

if TYPE_CHECKING:
    from aisles.experiments.benchmark.run import BenchmarkResult

logger = logging.getLogger(__name__)
STEPS_OF_SIMILARITY = 10_000


@dataclass(frozen=True)
class Variant:
    """One way to run the benchmark: its name, and the settings by section that differ from the others'."""

    name: str
    changes: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Ablation:
    """One thing that is changed.

    Attributes
    ----------
    question : str
        What the ablation answers.
    values : callable
        From a manifest to what is tried unless something else is asked for; the first is what the others are compared
        with. DataError if the images bring nothing that could be changed.
    variant : callable
        From a value to the variant; ValueError if the value makes no sense.
    needs_pixels : bool
        Whether a features table leaves nothing to change.
    """

    question: str
    values: Callable[[Manifest], tuple[str, ...]]
    variant: Callable[[str], Variant]
    needs_pixels: bool = False


def _one(section: str, key: str, kind: Callable[[str], Any] = str) -> Callable[[str], Variant]:
    return lambda value: Variant(value, {section: {key: kind(value)}})


def _always(*values: str) -> Callable[[Manifest], tuple[str, ...]]:
    return lambda _: values


def _macros(value: str) -> int | str:
    if value != "auto" and not value.isdigit():
        raise ValueError(f"Macros are a whole number or auto. Received: {value!r}.")
    return value if value == "auto" else int(value)


def _threshold(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"A threshold of similarity is a number. Received: {value!r}.") from None


def _split(value: str) -> Variant:
    if value not in ("product", "image"):
        raise ValueError(f"Splits are made by product or by image. Received: {value!r}.")
    return Variant(value, {"data": {"resplit": True, "split_by": value}})


def _macros_below_classes(manifest: Manifest) -> tuple[str, ...]:
    return tuple(str(k) for k in range(2, max(3, min(MOST_MACROS + 1, len(manifest.classes)))))


def _product_and_image(manifest: Manifest) -> tuple[str, ...]:
    if len(set(manifest.products)) == len(manifest):
        raise DataError(
            f"Splits by image leak photographs of a product into several splits. Each of the {len(manifest)} images is "
            "a product of its own here, so nothing can leak. Name products in the manifest's column `product`."
        )
    return "product", "image"


def thresholds(manifest: Manifest) -> tuple[str, ...]:
    """Return thresholds of similarity that keep about all, 75, 50, 25 and 0 % of the secondary training images.

    Raises
    ------
    DataError
        If the manifest doesn't tell of at least two such images (source `other`) how similar they are, differently.
    """
    table = manifest.table
    trained_on = np.isin(manifest.splits.astype(str), ("", "train")) & np.asarray(table["source"] == "other")
    similarity = table["similarity"].to_numpy(np.float64)[trained_on]
    known = similarity[~np.isnan(similarity)]
    if len(set(known)) < 2:
        raise DataError(
            "Leaving out dissimilar photographs takes a manifest with the columns `source` and `similarity`, and "
            "training images of the source `other` that differ in it. "
            f"Received: {int(trained_on.sum())} such images, {len(known)} with a similarity, "
            f"{len(set(known))} different ones. Make one from listings: aisles data curate."
        )
    steps = np.floor(np.quantile(known, (0, 0.25, 0.5, 0.75, 1)) * STEPS_OF_SIMILARITY)
    steps[-1] += 1  # above the most similar one
    return tuple(f"{step / STEPS_OF_SIMILARITY:.4f}" for step in np.unique(steps))


ABLATIONS = {
    "backbone": Ablation(
        "How much of the answer is the backbone's?",
        _always("efficientnet_lite0", "inception_v3", "vgg16"),
        _one("backbone", "name"),
        needs_pixels=True,
    ),
    "color": Ablation(
        "What do colors tell?", _always("rgb", "gray"), _one("backbone", "color"), needs_pixels=True
    ),
    "macros": Ablation("How many macros?", _macros_below_classes, _one("hierarchy", "macros", _macros)),
    "linkage": Ablation(
        "Which linkage?", _always("ward", "average", "complete"), _one("hierarchy", "linkage")
    ),
    "split": Ablation(
        "How much does it flatter to let photographs of one product fall into several splits?",
        _product_and_image,
        _split,
    ),
    "similarity-threshold": Ablation(
        "Do secondary photographs that look unlike the main one harm?",
        thresholds,
        _one("data", "min_similarity", _threshold),
    ),
}
"""Ablations of benchmarks by name; that of heads is in `heads`."""


def check_values(name: str, values: Iterable[str], settings: BenchmarkSettings) -> None:
    """Refuse values that an ablation can't try, before anything takes long.

    Raises
    ------
    ValueError
        For an unknown ablation or value.
    """
    if name not in ABLATIONS:
        raise ValueError(f"The ablation must be one of {', '.join(ABLATIONS)}. Received: {name!r}.")
    for value in values:
        changed(settings, ABLATIONS[name].variant(value))


def run_ablation(
    name: str,
    data: str | Path | FeaturesTable,
    output: str | Path,
    settings: BenchmarkSettings | None = None,
    *,
    values: Iterable[str] = (),
    **more: Any,
) -> pd.DataFrame:
    """Run a benchmark per variant, each in a folder of its own, and set them side by side.

    Parameters
    ----------
    name : str
        A key of `ABLATIONS`.
    data : path or FeaturesTable
        The images, or features of them.
    output : path
        The folder for all variants; run again, it goes on where it stopped.
    settings : BenchmarkSettings, optional
        What all variants share.
    values : iterable of str
        What to try; the ablation's own values unless given.
    **more
        As for `run_benchmark`: `cache`, `backbone`, `jobs`, `command`.

    Returns
    -------
    DataFrame
        One row a variant: `variant`, `flat`, `flat_sd`, the primary rule and its sd, `difference` with `low` and
        `high` (each variant's own interval), `p_value`, `p_corrected` (Holm over the variants) and the `verdict` by it,
        `router`, `n_test`; `flat_change`, `change`: against the first variant that ran, means over
        seeds with their `change_sd`; `same_test_images`: whether that was judged on the same photographs, without
        which a change says little; `failed`: the reason why a variant has no metrics. Also in
        `OUTPUT/ablation.csv` and `ablation.json`.

    Raises
    ------
    ValueError
        For an unknown ablation or value.
    DataError
        If the images bring nothing that the ablation could change, or it takes pixels and there are none.
    """
    from aisles.experiments.benchmark.preparation import read_listed

    settings, output, values = settings or BenchmarkSettings(), Path(output), tuple(values)
    check_values(name, values, settings)
    ablation = ABLATIONS[name]
    if ablation.needs_pixels and (isinstance(data, FeaturesTable) or is_features_table(data)):
        raise DataError(
            f"The ablation {name!r} computes features anew from images, and a features table has none. Give images; or "
            f"one of {', '.join(key for key, each in ABLATIONS.items() if not each.needs_pixels)}."
        )
    usual = ablation.values(read_listed(data, settings.data, settings.hierarchy.column))
    variants = [ablation.variant(value) for value in values or usual]
    with run_folder(output):
        rows = _rows(name, data, output, settings, variants, **more)
    table = pd.DataFrame(rows)
    about = {"ablation": name, "question": ablation.question, "verdicts": said_of_verdicts(table)}
    write_json(output / "ablation.json", about | {"variants": rows})
    write_table(output / "ablation.csv", table)
    return table


def _rows(
    name: str,
    data: str | Path | FeaturesTable,
    output: Path,
    settings: BenchmarkSettings,
    variants: list[Variant],
    **more: Any,
) -> list[dict[str, Any]]:
    from aisles.experiments.benchmark.run import run_benchmark

    rows: list[dict[str, Any]] = []
    base: BenchmarkMetrics | None = None
    for number, variant in enumerate(variants, 1):
        logger.info("%s: %s, %d of %d.", name, variant.name, number, len(variants))
        try:
            result = run_benchmark(data, output / variant.name, changed(settings, variant), **more)
        except (ValueError, OSError) as error:
            if isinstance(error, DataError) and base is None:
                raise
            rows.append({"variant": variant.name, "failed": f"{type(error).__name__}: {error}"})
            continue
        base = base or result.metrics
        rows.append({"variant": variant.name} | _metrics(result, base, settings.comparison.primary))
    return judged_together(rows, settings.comparison.alpha)


def judged_together(rows: list[dict[str, Any]], alpha: float) -> list[dict[str, Any]]:
    """Correct the variants' comparisons as one family by Holm, and give the verdicts that stand after it.

    Variants with other images or classes have no resamples in common, so step-down max-T does not apply. Variants that
    leave nothing to route stay without verdict.
    """
    judged = [row for row in rows if row.get("verdict", "not judged") != "not judged"]
    differences = holm([row["p_value"] for row in judged])
    equivalences = holm([row["equivalence_p"] for row in judged])
    for row, p, q in zip(judged, differences, equivalences, strict=True):
        row["p_corrected"] = float(p)
        row["verdict"] = verdict_of((row["low"], row["high"]), float(p), float(q), alpha)
    for row in rows:
        row.pop("equivalence_p", None)
    return rows


def said_of_verdicts(table: pd.DataFrame) -> str:
    """Return in words of a table of variants which of its claims hold together, and what they speak of."""
    known = table["verdict"].notna() & (table["verdict"] != "not judged") if "verdict" in table else []
    judged = table[known] if "verdict" in table else table.iloc[:0]
    if judged.empty:
        return "No variant could be judged."
    once = not np.isfinite(np.asarray(judged["flat_sd"], float)).any()
    family = f"Verdicts of the {len(judged)} variants are one family, corrected by Holm; l"
    return (
        (family if len(judged) > 1 else "One variant was judged; l")
        + "ow and high bound each difference for itself. "
        + ("They speak of models that were trained once; training again may change them. " if once else "")
        + "Changes against the first variant are not tested. Differences are from flat alone, which need not be the "
        "strongest flat method: whether routing pays, `aisles benchmark` says."
    )


def changed(settings: BenchmarkSettings, variant: Variant) -> BenchmarkSettings:
    """Return the settings with a variant's changes, checked as if they had been typed."""
    content = settings.model_dump()
    for section, values in variant.changes.items():
        content[section] |= values
    try:
        return BenchmarkSettings.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{variant.name!r} can't be tried. {explained(error, BenchmarkSettings)}") from None


def _metrics(result: "BenchmarkResult", base: BenchmarkMetrics, primary: str) -> dict[str, Any]:
    metrics = result.metrics
    flat, own, first = (
        metrics["methods"]["flat"],
        metrics["methods"][primary],
        metrics["comparisons"][0],
    )
    changes = {}
    for key, name in (("flat_change", "flat"), ("change", primary)):
        difference = np.subtract(metrics["methods"][name]["accuracy"], base["methods"][name]["accuracy"])
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
        "p_value": first["p_value"],
        "p_corrected": first["p_value"],
        "equivalence_p": first["equivalence_p"],
        "verdict": first["verdict"],
        "router": float(np.mean(metrics["router"]["accuracy"])),
        "n_test": metrics["n_test"],
        **changes,
        "same_test_images": metrics["data"]["test_images"] == base["data"]["test_images"],
    }
