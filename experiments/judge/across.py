"""Runs on several data sets: each one's paired difference, and what they say together."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy import stats

from aisles.data_prep.io.errors import DataError
from aisles.experiments.report.plots.verdict import difference_plots
from aisles.experiments.report.render.document import Column, Document, Plot, Section, Table, Text, p_text
from aisles.experiments.report.writing import ReportFiles, write_document
from aisles.experiments.runs.reader import read_metrics
from aisles.experiments.runs.schema import BENCHMARK, ComparisonFacts, Metrics
from aisles.experiments.runs.writer import write_json
from aisles.experiments.stats.points import change_in_points, interval_in_points

from .meta_analysis import RandomEffects, random_effects

FEW_SETS = 5


@dataclass(frozen=True)
class AcrossSets:
    """One pair of methods on several data sets.

    Attributes
    ----------
    names : tuple of str
        Of the runs.
    comparisons : tuple of dict
        Each run's, as its `metrics.json` holds it.
    errors : tuple of float
        Standard error of each difference: the width of its interval over twice the normal quantile of its level.
    combined : RandomEffects
    """

    names: tuple[str, ...]
    comparisons: tuple[ComparisonFacts, ...]
    errors: tuple[float, ...]
    combined: RandomEffects

    @property
    def verdict(self) -> str:
        """Better, worse, equivalent (the interval lies inside the margin), or no difference shown."""
        margin = min(comparison["margin"] for comparison in self.comparisons)
        if self.combined.low > 0 or self.combined.high < 0:
            return "better" if self.combined.low > 0 else "worse"
        inside = -margin < self.combined.low and self.combined.high < margin
        return "equivalent" if inside else "no difference shown"

    def sentence(self) -> str:
        """Return in words what the sets show together, and on how many that rests."""
        found, k = self.combined, len(self.names)
        a, b = self.comparisons[0]["a"], self.comparisons[0]["b"]
        said = {
            "better": f"{b} is better than {a}",
            "worse": f"{b} is worse than {a}",
            "equivalent": f"{b} and {a} are equivalent",
            "no difference shown": f"No difference shown between {b} and {a}",
        }[self.verdict]
        few = "" if k >= FEW_SETS else " So few say little about another data set."
        spread = ""
        if found.prediction is not None:
            expected = interval_in_points(found.prediction)
            spread = f" On another such set {expected} points are to be expected."
        mean = f"{change_in_points(found.mean)} on average"
        interval = f"95 % interval {interval_in_points((found.low, found.high))}"
        differ = f"tau {100 * found.tau:.1f} points, I2 {100 * found.i_squared:.0f} %, Q {found.q:.1f}"
        return (
            f"{said}, over {k} data sets: {mean} ({interval}, p = {p_text(found.p_value)}; sets differ with {differ}, "
            f"p = {p_text(found.q_p_value)}).{spread} This rests on {k} data sets, not on their images.{few}"
        ).replace("p = <", "p <")


def combine_runs(
    folders: Sequence[str | Path], *, method: str | None = None, estimator: str = "reml"
) -> AcrossSets:
    """Combine the comparisons of runs on different data sets.

    Parameters
    ----------
    folders : sequence of path
        Of runs of `aisles benchmark` or `aisles compare`.
    method : str, optional
        Whose comparison is taken; by default each run's primary one.
    estimator : {'reml', 'dl'}

    Returns
    -------
    AcrossSets

    Raises
    ------
    DataError
        If a folder is no finished run, runs compare different pairs or share their test images, or an interval has no
        width.
    """
    if len(folders) < 2:
        raise DataError(f"At least 2 runs are combined. Received: {len(folders)}.")
    paths = [Path(folder) for folder in folders]
    metrics = [read_metrics(path) for path in paths]
    chosen = [_chosen(path, each, method) for path, each in zip(paths, metrics, strict=True)]
    pairs = {(comparison["b"], comparison["a"]) for comparison in chosen}
    if len(pairs) > 1:
        said = "; ".join(f"{p.name}: {c['b']} against {c['a']}" for p, c in zip(paths, chosen, strict=True))
        raise DataError(
            f"The runs compare different methods ({said}). Name one that all have: --method NAME."
        )
    _check_apart(paths, metrics)
    errors = []
    for path, comparison in zip(paths, chosen, strict=True):
        low, high = comparison["interval"]
        if not high > low:
            raise DataError(
                f"The interval of {path} has no width: the two systems never differ there. Leave it out."
            )
        errors.append((high - low) / (2 * float(stats.norm.ppf(1 - comparison["alpha"] / 2))))
    effects = [comparison["difference"] for comparison in chosen]
    combined = random_effects(effects, errors, method=estimator)
    return AcrossSets(_names(paths), tuple(chosen), tuple(errors), combined)


def write_across(across: AcrossSets, folder: Path) -> ReportFiles:
    """Write `across.json`, `across.html` and `across.md`, with table and plot."""
    content = {
        "sets": [
            {"run": name, "standard_error": error, **comparison}
            for name, error, comparison in zip(across.names, across.errors, across.comparisons, strict=True)
        ],
        "combined": asdict(across.combined),
        "verdict": across.verdict,
        "sentence": across.sentence(),
    }
    write_json(folder / "across.json", content)
    return write_document(_document(across), folder, "across")


def _document(across: AcrossSets) -> Document:
    first, found = across.comparisons[0], across.combined
    mean = {
        "b": f"mean of {len(across.names)} sets",
        "difference": found.mean,
        "interval": (found.low, found.high),
        "difference_per_seed": [],
        "margin": first["margin"],
        "verdict": across.verdict,
    }
    drawn = [mean, *({**c, "b": name} for name, c in zip(across.names, across.comparisons, strict=True))]
    rows = tuple(
        (name, c["difference"], *c["interval"], error, weight, c["verdict"])
        for name, c, error, weight in zip(
            across.names, across.comparisons, across.errors, found.weights, strict=True
        )
    )
    columns = (
        Column("run"), Column("difference", "points"), Column("low", "points"), Column("high", "points"),
        Column("standard error", "spread"), Column("weight", "share"), Column("verdict", "word"),
    )  # fmt: skip
    caption = (
        f"{first['b']} against {first['a']}: mean and interval of all sets together, then each set's own."
    )
    how = (
        "Each set's difference counts with 1 / (its squared standard error + tau squared), tau by restricted maximum "
        "likelihood; the interval of the mean is Hartung and Knapp's, with Student's t of one less than the number of "
        "sets. I2 is the share of the spread between sets that chance within sets doesn't explain."
    )
    return Document(
        title=f"{first['b']} against {first['a']} on {len(across.names)} data sets",
        verdict=across.sentence(),
        facts=(f"Runs: {', '.join(across.names)}.",),
        opening=(
            Plot(
                "across",
                caption,
                *difference_plots(drawn, first["a"], primary=str(drawn[0]["b"]), ranked=False),
            ),
        ),
        sections=(
            Section(
                "sets", "Sets", (Table("across", "Each run's own comparison.", columns, rows), Text(how))
            ),
        ),
    )


def _chosen(folder: Path, metrics: Metrics, method: str | None) -> ComparisonFacts:
    """Return a run's comparison of a method (its primary unless given): of two-stage ones that with the best flat."""
    strongest = metrics["best_flat"]["comparisons"] if metrics["kind"] == BENCHMARK else []
    judged = strongest[:1] if method is None else [c for c in strongest if c["b"] == method]
    if judged:
        return {**judged[0], "a": "best flat"}
    if method is None:
        return metrics["comparisons"][0]
    found = next((c for c in metrics["comparisons"] if c["b"] == method), None)
    if found is None:
        there = ", ".join(c["b"] for c in metrics["comparisons"])
        raise DataError(f"{folder} has no comparison of {method!r}. It compares: {there}.")
    return found


def _check_apart(paths: Sequence[Path], metrics: Sequence[Metrics]) -> None:
    seen: dict[str, Path] = {}
    for path, each in zip(paths, metrics, strict=True):
        if each["kind"] == BENCHMARK:
            images = each["data"]["test_images"]
        else:  # predictions alone name no images
            images = json.dumps([each["n_test"], each["classes"], each["comparisons"]])
        if images in seen:
            raise DataError(
                f"{seen[images]} and {path} have the same test images. Sets must be independent: give one run of each, "
                "or compare these with: aisles report RUN RUN."
            )
        seen[images] = path


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    names = [path.resolve().name for path in paths]
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{path.resolve().parent.name}/{path.resolve().name}" for path in paths)
