"""Runs on several data sets: each one's paired difference, and what they say together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scipy import stats

from aisles.data_prep.io.errors import DataError
from aisles.experiments.methods.registry import METHODS
from aisles.experiments.report.plots.verdict import difference_plots
from aisles.experiments.report.render.document import Column, Document, Plot, Section, Table, Text, p_text
from aisles.experiments.report.writing import ReportFiles, write_document
from aisles.experiments.runs.reader import read_metrics, read_run
from aisles.experiments.runs.schema import BENCHMARK, ComparisonFacts, Metrics
from aisles.experiments.runs.writer import write_json
from aisles.experiments.stats.every_flat import PARTLY
from aisles.experiments.stats.points import change_in_points, interval_in_points
from aisles.experiments.stats.verdict import compare

from .meta_analysis import RandomEffects, random_effects

FEW_SETS = 5
BEST_FLAT = "best flat"


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
    against : mapping of str to (RandomEffects or None)
        The same with every flat method that all sets have, where the sets' best flat methods are beaten: validation
        images may have chosen weak ones. None for one whose answers never differ in a set, and for one that is unbeaten
        in a set and missing in another.
    """

    names: tuple[str, ...]
    comparisons: tuple[ComparisonFacts, ...]
    errors: tuple[float, ...]
    combined: RandomEffects
    against: Mapping[str, RandomEffects | None] = field(default_factory=dict)

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """The flat methods than which the method is not shown better over all sets."""
        return tuple(name for name, found in self.against.items() if found is None or found.low <= 0)

    @property
    def verdict(self) -> str:
        """Better, better than some, worse, equivalent (the interval lies inside the margin), or no difference shown."""
        margin = min(comparison["margin"] for comparison in self.comparisons)
        if self.combined.high < 0:
            return "worse"
        if self.combined.low > 0:
            return PARTLY if self.unbeaten else "better"
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
            PARTLY: f"No advantage shown of {b} over flat",
        }[self.verdict]
        few = "" if k >= FEW_SETS else " So few say little about another data set."
        spread = ""
        if found.prediction is not None:
            expected = interval_in_points(found.prediction)
            spread = f" On another such set {expected} points are to be expected."
        mean = f"{change_in_points(found.mean)} on average"
        partly = ""
        if self.verdict == PARTLY:
            mean += ", against the flat methods that validation images prefer"
            partly = f" But {b} is not shown better than {', '.join(map(self._told, self.unbeaten))}."
        interval = f"95 % interval {interval_in_points((found.low, found.high))}"
        differ = f"tau {100 * found.tau:.1f} points, I2 {100 * found.i_squared:.0f} %, Q {found.q:.1f}"
        return (
            f"{said}, over {k} data sets: {mean} ({interval}, p = {p_text(found.p_value)}; sets differ with {differ}, "
            f"p = {p_text(found.q_p_value)}).{partly}{spread} This rests on {k} data sets, not on their images.{few}"
        ).replace("p = <", "p <")

    def _told(self, flat: str) -> str:
        found = self.against[flat]
        return flat if found is None else f"{flat} ({change_in_points(found.mean)} on average)"


def combine_runs(
    folders: Sequence[str | Path], *, method: str | None = None, estimator: str = "reml"
) -> AcrossSets:
    """Combine the comparisons of runs on different data sets.

    A method that is better than the sets' best flat methods is called better only if it is shown better than each flat
    method that all sets have, too: their answers are read from the runs' predictions for that.

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
    errors = [_error(comparison["interval"], comparison["alpha"]) for comparison in chosen]
    for path, error in zip(paths, errors, strict=True):
        if not error > 0:
            raise DataError(
                f"The interval of {path} has no width: the two systems never differ there. Leave it out."
            )
    effects = [comparison["difference"] for comparison in chosen]
    combined = random_effects(effects, errors, method=estimator)
    against = {}
    if combined.low > 0 and chosen[0]["a"] == BEST_FLAT:
        against = _against_every(paths, chosen, metrics, estimator)
    return AcrossSets(_names(paths), tuple(chosen), tuple(errors), combined, against)


def _error(interval: Sequence[float], alpha: float) -> float:
    """Return the standard error that an interval of level 1 - alpha implies."""
    return (interval[1] - interval[0]) / (2 * float(stats.norm.ppf(1 - alpha / 2)))


def _against_every(
    paths: Sequence[Path], chosen: Sequence[ComparisonFacts], metrics: Sequence[Metrics], estimator: str
) -> dict[str, RandomEffects | None]:
    """Combine a method's differences from each flat method that all sets have; None for one that can't be combined."""
    flats = [each["best_flat"]["val_accuracy"] for each in metrics if each["kind"] == BENCHMARK]
    tuned = _fine_tunes(chosen[0]["b"])
    shared = [
        flat
        for flat in flats[0]
        if all(flat in others for others in flats) and (tuned or not _fine_tunes(flat))
    ]
    effects: dict[str, list[float]] = {flat: [] for flat in shared}
    errors: dict[str, list[float]] = {flat: [] for flat in shared}
    for path, comparison in zip(paths, chosen, strict=True):
        run, alpha = read_run(path), comparison["alpha"]
        for flat in shared:
            one = compare(run.correct(flat), run.correct(comparison["b"]), run.products, alpha=alpha)
            effects[flat].append(one.difference)
            errors[flat].append(_error(one.interval, alpha))
    alone = [flat for comparison in chosen for flat in comparison.get("unbeaten", []) if flat not in shared]
    together = {
        flat: random_effects(effects[flat], errors[flat], method=estimator) if min(errors[flat]) > 0 else None
        for flat in shared
    }
    return together | dict.fromkeys(alone)


def write_across(across: AcrossSets, folder: Path) -> ReportFiles:
    """Write `across.json`, `across.html` and `across.md`, with table and plot."""
    content = {
        "sets": [
            {"run": name, "standard_error": error, **comparison}
            for name, error, comparison in zip(across.names, across.errors, across.comparisons, strict=True)
        ],
        "combined": asdict(across.combined),
        "against": {flat: found and asdict(found) for flat, found in across.against.items()},
        "unbeaten": list(across.unbeaten),
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
                "sets",
                "Sets",
                (Table("across", "Each run's own comparison.", columns, rows), Text(how), *_flats(across)),
            ),
        ),
    )


def _fine_tunes(name: str) -> bool:
    """Return whether a method trains networks; only such ones meet flat methods that do."""
    return name in METHODS and METHODS[name].fine_tunes


def _flats(across: AcrossSets) -> tuple[Table, ...]:
    """Return the table of flat methods that all sets have, where each of them was met."""
    if not across.against:
        return ()
    columns = (
        Column("flat method"), Column("difference", "points"), Column("low", "points"), Column("high", "points"),
        Column("p", "p"), Column("shown better", "word"),
    )  # fmt: skip
    rows = tuple(
        (flat, *((None,) * 4 if found is None else (found.mean, found.low, found.high, found.p_value)),
         "no" if flat in across.unbeaten else "yes")
        for flat, found in across.against.items()
    )  # fmt: skip
    caption = (
        f"{across.comparisons[0]['b']} less each flat method that all sets have. Better is what is shown better than "
        "all of them; no number where a set lacks the method or answers never differ."
    )
    return (Table("across-flat", caption, columns, rows),)


def _chosen(folder: Path, metrics: Metrics, method: str | None) -> ComparisonFacts:
    """Return a run's comparison of a method (its primary unless given): of two-stage ones that with the best flat."""
    strongest = metrics["best_flat"]["comparisons"] if metrics["kind"] == BENCHMARK else []
    judged = strongest[:1] if method is None else [c for c in strongest if c["b"] == method]
    if judged:
        return {**judged[0], "a": BEST_FLAT}
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
