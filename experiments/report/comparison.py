"""Several runs side by side: what changed between them, and what that changed, on the same test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.io.errors import DataError
from aisles.experiments.report.plots.verdict import difference_plots
from aisles.experiments.report.render.document import Block, Bullets, Column, Document, Plot, Section, Table
from aisles.experiments.runs.reader import FLAT, Run, read_run
from aisles.experiments.runs.schema import ComparisonFacts
from aisles.experiments.stats.verdict import Comparison, apply_holm, as_json, compare

from .headline import evidence, headline
from .writing import ReportFiles, write_document


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Runs on the same test images, the first one the measure of the others.

    Attributes
    ----------
    runs : tuple of Run
        Their images in the order of the first run's.
    names : tuple of str
        Folder names, told apart by their parents where equal.
    comparisons : tuple of Comparison
        For each later run its primary method and its flat model against the first run's, Holm-corrected
        together.
    """

    runs: tuple[Run, ...]
    names: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def compare_runs(folders: Sequence[str | Path]) -> RunComparison:
    """Read runs and compare the later ones with the first.

    Parameters
    ----------
    folders : sequence of path
        At least two run folders whose test images are the same files with the same names, labels and, where both
        runs kept their hash, bytes. Seeds are paired by their
        number; seeds that only one of two runs has are left out.

    Raises
    ------
    DataError
        If the test images differ, or a folder is no finished run.
    ValueError
        If there are fewer than two folders.
    """
    if len(folders) < 2:
        raise ValueError(f"Comparing takes at least two runs. Received: {len(folders)}.")
    first, *others = (read_run(folder) for folder in folders)
    places = [_same_images(first, other) for other in others]
    names = _names([first, *others])
    found = []
    for other, name, place in zip(others, names[1:], places, strict=True):
        for ours, theirs in ((first.primary, other.primary), (FLAT, FLAT)):
            found.append(_compared(first, ours, other, theirs, place, (names[0], name)))
    return RunComparison((first, *others), names, apply_holm(found))


def write_comparison(folders: Sequence[str | Path], output: str | Path) -> tuple[RunComparison, ReportFiles]:
    """Compare runs and write `comparison.html`, `comparison.md`, tables and metrics into a folder."""
    compared = compare_runs(folders)
    return compared, write_document(comparison_document(compared), Path(output), "comparison")


def comparison_document(compared: RunComparison) -> Document:
    """Put the comparison of runs together as a document."""
    rows = tuple(_run_row(run, name) for run, name in zip(compared.runs, compared.names, strict=True))
    columns = (
        Column("run"),
        Column("flat", "share"),
        Column("primary", "word"),
        Column("its accuracy", "share"),
        Column("against flat", "points"),
        Column("verdict", "word"),
        Column("seeds", "count"),
        Column("macros", "count"),
    )
    first = compared.runs[0]
    said = len(compared.runs) == 2  # of two runs the first sentence is the headline
    facts = [
        evidence(facts_of(c)) if said and i == 0 else _facts_of(c) for i, c in enumerate(compared.comparisons)
    ]
    if len(compared.comparisons) > 1:
        facts.append("p-values are corrected by Holm.")
    drawn = [as_json(comparison) for comparison in compared.comparisons]
    caption = (
        f"Accuracy less that of the same kind of method in {compared.names[0]}, the largest difference on top. Lines: "
        "intervals."
    )
    blocks: tuple[Block, ...] = (
        Bullets(tuple(comparison.sentence() for comparison in compared.comparisons)),
        Table("comparisons", _TESTS, _TEST_COLUMNS, tuple(_test_row(c) for c in compared.comparisons)),
    )
    return Document(
        title=f"{len(compared.runs)} runs on the same {len(first.truth)} test images",
        verdict=_verdict(compared),
        facts=tuple(facts),
        opening=(Plot("between-runs", caption, *difference_plots(drawn, "the first run")),),
        sections=(
            Section(
                "runs",
                "Runs",
                (Table("runs", "Each run's own verdict; accuracies are means.", columns, rows),),
            ),
            Section("between", "Between runs", blocks),
            Section("settings", "What differs in the settings", (_settings_table(compared),)),
        ),
    )


_TESTS = "Corrected: images that only the later run gets right; broken: only the first gets right (means over seeds)."
_TEST_COLUMNS = (
    Column("later run"),
    Column("first run"),
    Column("difference", "points"),
    Column("low", "points"),
    Column("high", "points"),
    Column("p", "p"),
    Column("verdict", "word"),
    Column("corrected", "count"),
    Column("broken", "count"),
    Column("smallest difference shown", "spread"),
)


def _verdict(compared: RunComparison) -> str:
    """Return in one sentence what became of the primary methods."""
    primaries = compared.comparisons[::2]
    if len(primaries) == 1:
        return headline(facts_of(primaries[0]), _in_words(primaries[0].b), _in_words(primaries[0].a))
    verdicts = [comparison.verdict for comparison in primaries]
    words = {word: verdicts.count(word) for word in ("better", "worse", "equivalent", "no difference shown")}
    said = ", ".join(f"{count} {word}" for word, count in words.items() if count)
    return f"Of the primary methods of {len(primaries)} runs, judged against that of {compared.names[0]}: {said}."


def _facts_of(comparison: Comparison) -> str:
    found = facts_of(comparison)
    return f"{headline(found, _in_words(comparison.b), _in_words(comparison.a))} {evidence(found)}"


def _in_words(name: str) -> str:
    """Write "run: method" as it is said in a sentence."""
    run, _, method = name.rpartition(": ")
    return f"{method} of {run}"


def facts_of(comparison: Comparison) -> ComparisonFacts:
    """Return a comparison as a run's `metrics.json` holds it."""
    return cast(ComparisonFacts, as_json(comparison))


def _test_row(comparison: Comparison) -> tuple:
    return (
        comparison.b,
        comparison.a,
        comparison.difference,
        *comparison.interval,
        comparison.p_corrected,
        comparison.verdict,
        float(np.mean(comparison.corrected)),
        float(np.mean(comparison.broken)),
        comparison.smallest_detectable,
    )


def _run_row(run: Run, name: str) -> tuple:
    own = run.metrics["comparisons"][0]
    return (
        name,
        float(run.correct(FLAT).mean()),
        run.primary,
        float(run.correct(run.primary).mean()),
        own["difference"],
        own["verdict"],
        len(run.seeds[FLAT]),
        run.hierarchy.n_macros,
    )


def _compared(
    first: Run, ours: str, other: Run, theirs: str, place: np.ndarray, names: tuple[str, str]
) -> Comparison:
    """Judge another run's method against the first run's, on the seeds of both."""
    shared = [seed for seed in first.seeds[ours] if seed in other.seeds[theirs]]
    if not shared:
        raise DataError(
            f"{first.folder} and {other.folder} have no seed in common: {first.seeds[ours]} and {other.seeds[theirs]}. "
            "Run one of them again with the other's seeds."
        )
    a = first.correct(ours)[[first.seeds[ours].index(seed) for seed in shared]]
    b = other.correct(theirs)[[other.seeds[theirs].index(seed) for seed in shared]][:, place]
    own = first.metrics["comparisons"][0]
    labels = (f"{names[0]}: {ours}", f"{names[1]}: {theirs}")
    return compare(a, b, first.products, names=labels, margin=own["margin"], alpha=own["alpha"])


def _same_images(first: Run, other: Run) -> np.ndarray:
    """Return where the first run's test images stand in another, or refuse."""
    ours = list(zip(first.file_names, first.labels, strict=True))
    theirs = list(zip(other.file_names, other.labels, strict=True))
    if sorted(ours) != sorted(theirs):
        only_ours, only_theirs = set(ours) - set(theirs), set(theirs) - set(ours)
        named = "; ".join(
            f"only in {run.folder}: {shortened(sorted(f'{file} ({label})' for file, label in only))}"
            for run, only in ((first, only_ours), (other, only_theirs))
            if only
        )
        raise DataError(
            f"Runs are compared on the same test images with the same labels. {first.folder} has {len(ours)}, "
            f"{other.folder} {len(theirs)}, of which {len(set(ours) & set(theirs))} agree; {named}. "
            "Run both on one manifest with one split."
        )
    if first.metrics["data"]["test_images"] != other.metrics["data"]["test_images"]:
        raise DataError(
            f"Runs are compared on the same test images. Those of {first.folder} and {other.folder} have the same "
            "names and labels, but their bytes differ. Run both on the same files."
        )
    place = {key: i for i, key in enumerate(theirs)}
    return np.array([place[key] for key in ours])


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return tuple(names)
    longer = [f"{run.folder.resolve().parent.name}/{run.name}" for run in runs]
    if len(set(longer)) == len(longer):
        return tuple(longer)
    return tuple(f"{name} ({i})" for i, name in enumerate(longer, start=1))


def _settings_table(compared: RunComparison) -> Table:
    flat = [_flattened(run.settings | {"backbone key": run.metrics["backbone"]}) for run in compared.runs]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    differing = [key for key in keys if len({str(settings.get(key)) for settings in flat}) > 1]
    rows = tuple((key, *(str(settings.get(key, "")) for settings in flat)) for key in differing)
    caption = "Settings that are not the same in all runs." if rows else "All settings are the same."
    return Table("settings", caption, (Column("setting"), *map(Column, compared.names)), rows)


def _flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flattened(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
