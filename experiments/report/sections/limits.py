"""What the run can't say: how many images, from where, what leaked, what was not run."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from aisles.experiments.methods.registry import METHODS
from aisles.experiments.report.names import products_known
from aisles.experiments.report.render.document import Bullets, Column, Section, Table, Text
from aisles.experiments.runs.reader import Run, is_at_hand

_OPTIONAL = (
    ("calibrated", "calibration after temperature scaling"),
    ("sweep", "other numbers of macros and linkages"),
    ("controls", "random partitions and other hierarchies as controls"),
    ("audit", "the audit of labels (aisles audit-labels)"),
)
_REFERENCES = {
    "flat-lda": "a linear discriminant over all classes",
    "flat-logistic": "logistic regression over all classes",
    "flat-knn": "nearest neighbors over all classes",
    "flat-tuned-head": "a tuned head over all classes",
    "ensemble": "a flat ensemble",
    "hiclass": "HiClass",
}
_FROZEN = (
    "Two-stage here means heads on one frozen network, which all methods share. Networks fine-tuned on the images "
    "(the methods fine-tuned, separate and separate-from-flat) did not take part."
)
_FINE_TUNED = (
    "Two-stage means heads on one frozen network, except for the methods that fine-tune. Those train on training "
    "images alone, and validation images stop them; the other heads are refitted on both. So fine-tuned two-stage "
    "methods are judged against flat-fine-tuned or flat-fine-tuned-again; flat-fine-tuned beside flat shows what "
    "fine-tuning brings, on fewer images. Baselines have as many epochs per model, not in all: the costs give the "
    "images that each has seen in training. Separate networks cost several times flat's prediction: an ensemble of as "
    "many flat networks is judged against them, to show what that cost buys without any hierarchy. Ensembles of "
    "neighboring seeds share members."
)


def limits_section(run: Run, ran: set[str]) -> Section:
    """Return the limits of the run in words.

    Parameters
    ----------
    run : Run
    ran : set of str
        Keys of what the report holds; the others are named as not run.
    """
    items = [*_size(run), _two_stage(run), *_split(run), *_stopping(run), *_leaks(run), *_scope(run)]
    missing = [words for key, words in _OPTIONAL if key not in ran]
    missing += [words for name, words in _REFERENCES.items() if name not in run.metrics["methods"]]
    if missing:
        items.append(f"Not run, or not kept in the run folder: {'; '.join(missing)}.")
    return Section("limits", "Limits of this run", (Bullets(tuple(items)),))


def provenance_section(run: Run) -> Section:
    """Return what is needed to do it again."""
    settings = [
        (f"{section}.{key}", _plain(value))
        for section, values in run.settings.items()
        for key, value in (values.items() if isinstance(values, Mapping) else [("", values)])
    ]
    brought = [key for key in ("file", "column", "given") if key in run.settings.get("hierarchy", {})]
    if brought:
        settings = [
            (
                name,
                f"not used: the macros come from hierarchy.{brought[0]}"
                if name == "hierarchy.macros"
                else value,
            )
            for name, value in settings
        ]
    known = run.environment or {}
    environment = [(key, _plain(value)) for key, value in known.items() if key != "command"]
    facts = [
        ("data fingerprint", run.metrics["data"]["fingerprint"]),
        ("backbone", run.metrics["backbone"]),
    ]
    table = Table(
        "provenance",
        "Settings, environment and fingerprints of the run.",
        (Column("what"), Column("value")),
        tuple((name, str(value)) for name, value in (*facts, *settings, *environment) if value != ""),
    )
    settings_file = run.folder / "settings.toml"
    said = [
        "The same images, settings and versions give the same metrics: aisles benchmark DATA --config "
        f"{run.folder.name}/{settings_file.name} --output ANOTHER."
        if settings_file.exists()
        else "The settings were not kept, so the run can't be repeated exactly."
    ]
    if known.get("command"):
        said.append(f"It was started by: {known['command']}")
    return Section("provenance", "How to do it again", (*map(Text, said), table))


def _size(run: Run) -> list[str]:
    first = run.metrics["comparisons"][0]
    n = run.metrics["n_test"]
    support = pd.Series(run.labels).value_counts()
    products = f" of {run.metrics['n_products']} products" if products_known(run.metrics) else ""
    items = [
        f"{n} test images{products}, {len(run.classes)} classes; the smallest "
        f"class has {int(support.min())} test images, the median {support.median():g}: single classes' metrics are "
        "rough.",
        f"80 % power to detect {100 * first['smallest_detectable']:.1f} points (one comparison, uncorrected); smaller "
        "differences may exist unseen.",
        f"Intervals and p-values speak of {first['about']}. Other "
        "backbones, heads or training sets may come out differently.",
        "The primary comparison is one test at its own level; all other comparisons of methods are one family, "
        "corrected together by step-down max-T; comparisons with the best flat method, with other hierarchies and of "
        "the sweep are families of their own. Intervals hold for one comparison each; metrics.json has simultaneous "
        "ones.",
        run.metrics["plan"]["in_words"],
    ]
    if not products:
        items.append(
            "Products are not known: images are resampled, and intervals may be too narrow if several show one."
        )
    absent = sorted(set(run.classes) - set(support.index))
    if absent:
        items.append(f"Classes without a test image: {', '.join(absent)}.")
    return items


def _two_stage(run: Run) -> str:
    return _FINE_TUNED if any(map(_fine_tunes, run.metrics["methods"])) else _FROZEN


def _split(run: Run) -> list[str]:
    images = run.metrics["data"]["images"]
    said = (
        f"Split: {images['train']} training, {images['val']} validation and {images['test']} test images. "
        f"{_by_product(run)} Nothing was chosen on test images in this run; whether its settings, or the designs of "
        "its methods, were found with a look at them elsewhere is not known to this report."
    )
    return [said, *run.metrics["data"]["notes"]]


def _stopping(run: Run) -> list[str]:
    macros = run.metrics["hierarchy"]["without_validation"]
    if not macros:
        return []
    return [
        f"Sub-models without validation images, which stopped by their training loss and may be overfitted: "
        f"{', '.join(macros)}."
    ]


def _by_product(run: Run) -> str:
    if run.settings.get("data", {}).get("split_by") == "image":
        return "Photographs of one product may stand in several of them, which flatters every accuracy."
    if not products_known(run.metrics):
        return "Whether photographs of one product stand in several of them is not known."
    return "No product stands in two of them."


def _leaks(run: Run) -> list[str]:
    data = run.metrics["data"]
    leaks = data["equal_files_across_splits_or_classes"]
    kept = run.settings.get("data", {}).get("split_by") == "image"
    then = (
        "accuracy is flattered, or labels contradict each other" if kept else "they were left out, or joined"
    )
    items = [
        f"{leaks} groups of files are equal byte for byte across splits or classes (leaks.csv lists them): {then}."
        if leaks
        else "No file stands byte for byte in several splits or classes."
    ]
    if data["unreadable"]:
        items.append(
            f"{data['unreadable']} files could not be read and were left out (unreadable.csv lists them)."
        )
    return items


def _scope(run: Run) -> list[str]:
    items = []
    if run.hierarchy.overlapping:
        items.append("Some classes stand in several macros; drawings place each in the first of them.")
    missing = sum(not is_at_hand(path) for path in run.paths)
    if missing:
        items.append(
            f"{missing} photographs were not found when this report was built, so galleries lack them."
        )
    return items


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return "" if value is None else str(value)


def _fine_tunes(name: str) -> bool:
    return name in METHODS and METHODS[name].fine_tunes
