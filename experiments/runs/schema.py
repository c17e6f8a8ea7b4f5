"""The schema of a run folder: its files, and everything that `metrics.json` says, as types that are checked.

`metrics.json` holds no time and no date: the same images, settings and versions give the same file, however often the
run was interrupted. Lists over seeds are in the order of `seeds`, lists over classes in the order of `classes`; shares
are between 0 and 1; what can't be computed is null. Times are in `costs.json`. A new number gets a line here;
`writer.write_metrics` refuses what has none, and `reader.read_metrics` a file of another schema.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

SCHEMA = 1
"""Raised whenever a key of `metrics.json` is added, leaves, or means something else."""
BENCHMARK, COMPARE = "benchmark", "compare"

FILES: Mapping[str, str] = {
    "settings.toml": "every setting, as --config reads it back; the command line on top",
    "inputs.json": "hash of the images, and the backbone's key",
    "plan.json": "what is compared and how, written before any test image is predicted",
    "manifest.csv": "the images with class, product and split",
    "unreadable.csv": "files that were left out",
    "leaks.csv": "files that are equal byte for byte across splits or classes",
    "hierarchy.json": "the macros and their classes",
    "tree.json": "the tree of classes",
    "dendrogram.svg": "the tree, drawn",
    "dendrogram.png": "the tree, drawn",
    "models": "every trained head or network, each with the inputs that it was made from",
    "costs": "times that were measured once",
}
"""What a run starts from and goes on with: file or folder, and what it holds."""
RESULTS: Mapping[str, str] = {
    "metrics.json": "every metric, comparison and verdict; see `BenchmarkMetrics`",
    "report.html": "the report",
    "report.md": "the report as text",
    "tables": "the report's tables",
    "plots": "the report's plots",
    "bundles": "classifiers, saved for use",
    "audit": "suspected labels, if `aisles audit-labels` was run",
    "predictions.csv": "every test image's answers",
    "probabilities": "every method's probabilities of test and validation images",
    "forecast.json": "the forecast, written before any sub-model is trained",
    "costs.json": "times and memory of this machine; see `Costs`",
    "environment.json": "versions, machine and command; see `Environment`",
}
"""What a run finds: removed, `metrics.json` first, when other settings or images replace it."""


class McNemarTest(TypedDict):
    """McNemar's exact test of one seed."""

    corrected: int
    broken: int
    p_value: float


class ComparisonFacts(TypedDict):
    """Method `b` judged against `a`; see `experiments.stats.verdict.Comparison`."""

    a: str
    b: str
    accuracy_a: float
    accuracy_b: float
    n_seeds: int
    about: str
    difference: float
    difference_per_seed: list[float]
    difference_sd: float | None
    seed_sd: float | None
    interval: list[float]
    simultaneous: list[float] | None
    family: int
    p_value: float
    p_corrected: float
    p_holm: float
    mcnemar: list[McNemarTest]
    corrected: list[int]
    broken: list[int]
    equivalence_interval: list[float]
    equivalence_p: float
    equivalence_p_corrected: float
    smallest_detectable: float
    margin: float
    alpha: float
    power: float
    verdict: Literal["better", "worse", "equivalent", "no difference shown", "better than some", "not judged"]
    unbeaten: NotRequired[list[str]]
    sentence: str


class MetricFacts(TypedDict):
    """A registered metric: how tables call it, and whether they have a column for it."""

    label: str
    description: str
    higher_is_better: bool
    shown: bool


class Ceilings(TypedDict):
    """Accuracy if one stage were always right, on the macros that the method routes by, else on the run's.

    The oracle router's from what is said inside macros before routing; null where there are bare answers only.
    """

    oracle_router: float | None
    oracle_submodels: float


class Distance(TypedDict):
    """How far wrong answers fall from the truth on one tree, over seeds."""

    per_mistake: list[float]
    per_image: list[float]


class Distances(TypedDict):
    """By tree: the run's macros, its tree of classes, and a grouping that the manifest brings."""

    learned: Distance
    learned_tree: Distance
    independent: NotRequired[Distance]


class Scores(TypedDict):
    """Calibration over seeds: expected calibration error in 15 bins, negative log likelihood, Brier score."""

    ece: list[float]
    nll: list[float]
    brier: list[float]


class Calibration(TypedDict):
    """Before and after one temperature per seed, fitted on validation images."""

    before: Scores
    after: Scores
    temperature: list[float]


class RiskCoverage(TypedDict):
    """Area under the curve over seeds; the mean risk of the surest images at each coverage."""

    aurc: list[float]
    coverage: list[float]
    risk: list[float]


class PerClass(TypedDict):
    """Over classes, seeds averaged; corrected and broken against flat."""

    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[int]
    corrected: list[float]
    broken: list[float]


class OwnHierarchy(TypedDict):
    """The hierarchy that a method routes by itself: its sizes; over seeds the router's accuracy, R and S."""

    sizes: list[int]
    router_accuracy: list[float]
    R: list[float]
    S: list[float]


class SentFacts(TypedDict):
    """Which share of images passed the stronger of two networks; see `experiments.methods.sent.SentShares`."""

    stated: float
    validation: float
    measured: float
    interval: list[float]
    as_stated: bool
    in_batch: bool


class MethodFacts(TypedDict):
    """One method. Every registered metric stands here too, by its name: over seeds, or null for bare answers.

    `role`: flat, ensemble, two-stage, hierarchy (the primary rule on another hierarchy), control (on random macros) or
    reference (another library). `calibration`: null for bare
    answers and for rules whose zeros and ones don't say how sure they are. `cost`: see
    `experiments.benchmark.costs.method_cost`.
    """

    role: Literal["flat", "ensemble", "two-stage", "hierarchy", "control", "reference"]
    what: str
    baseline: str
    searched: int
    deterministic: bool
    accuracy: list[float]
    accuracy_mean: float
    accuracy_sd: float | None
    accuracy_interval: list[float]
    ceilings: list[Ceilings]
    distance: Distances
    calibration: Calibration | None
    risk_coverage: RiskCoverage | None
    per_class: PerClass
    own_hierarchy: NotRequired[OwnHierarchy]
    sent: NotRequired[SentFacts]
    cost: dict[str, float]


class ErrorBudget(TypedDict):
    """Test images of one seed by where the error arises; R: right macro, S: right class among these."""

    router_wrong: int
    within_wrong: int
    right: int
    R: float
    S: float


class Router(TypedDict):
    """Over seeds: how often the router is right, and how often the macro of flat's answer is."""

    accuracy: list[float]
    implied_by_flat: list[float]


class BestFlat(TypedDict):
    """The flat method that validation images prefer, and every two-stage method against it."""

    name: str
    val_accuracy: dict[str, float]
    comparisons: list[ComparisonFacts]
    sentence: str


class RandomControls(TypedDict):
    """The primary rule on random macros of the same sizes; see `experiments.benchmark.controls`."""

    partitions: list[str]
    accuracy_mean: float
    accuracy_sd: float | None
    difference_per_partition: list[float]
    difference_sd: float | None
    comparison: ComparisonFacts


class Controls(TypedDict):
    """What the macros are worth: against random ones and against other hierarchies."""

    random: RandomControls | None
    hierarchies: list[ComparisonFacts]


class StageTemperatures(TypedDict):
    """One seed's temperatures."""

    router: float
    submodels: list[float]


class CalibratedStages(Scores):
    """The primary rule after one temperature for the router and one for each sub-model, over seeds."""

    accuracy: list[float]
    temperatures: list[StageTemperatures]


class MacrosApart(TypedDict):
    """Where the macro that holds the most probable class is not the most probable macro, means over seeds.

    `share` of test images; among these, how often the one that holds the class and the likeliest one are right; null
    without such images.
    """

    share: float
    holding_right: float | None
    likeliest_right: float | None


class Climb(TypedDict):
    """climb over thresholds, means over seeds; null where nothing is answered."""

    threshold: list[float]
    class_share: list[float]
    macro_share: list[float]
    class_accuracy: list[float | None]
    accuracy: list[float | None]
    macros_apart: NotRequired[MacrosApart]


class PlanFacts(TypedDict):
    """What was written to `plan.json`, the plans that it replaced, and in words whether it was pre-specified."""

    primary: str
    baseline: str
    margin: float
    alpha: float
    seeds: int
    methods: list[str]
    test_images: str
    images: str
    backbone: str
    settings: dict[str, Any]
    sha256: str
    earlier: list[dict[str, Any]]
    in_words: str


class DataFacts(TypedDict):
    """What a run says of its images; `test_images`: hash of their names, labels and bytes."""

    fingerprint: str
    test_images: str
    images: dict[Literal["train", "val", "test"], int]
    products: int
    unreadable: int
    equal_files_across_splits_or_classes: int
    notes: list[str]
    warnings: list[str]


class Stability(TypedDict):
    """Adjusted Rand index with the cuts found on bootstrapped training images."""

    mean: float
    sd: float
    scores: list[float]


class HierarchyFacts(TypedDict):
    """The run's hierarchy; see `experiments.metrics.hierarchy_quality`. `agreement`: index, or why there is none."""

    origin: str
    without_validation: list[str]
    cophenetic_correlation: float | None
    silhouette: float | None
    sizes: list[int]
    stability: Stability
    tree_agreement: float
    agreement: dict[str, float | str]


class ForecastFacts(TypedDict):
    """What flat's validation confusions say of some macros; see `experiments.benchmark.forecast.described`."""

    right: float
    inside: float
    between: float
    ceiling: float
    inside_by_chance: float
    concentration: float
    excess: float
    repair_per_router_point: float


class Candidate(ForecastFacts):
    """A cut of a tree."""

    linkage: str
    macros: int
    sizes: list[int]


class Used(ForecastFacts):
    """The run's own hierarchy."""

    origin: str


class Recommended(TypedDict):
    """The cut that the forecast prefers."""

    linkage: str
    macros: int
    excess: float


class Mass(TypedDict):
    """Flat's probability mass on test images."""

    right: float
    inside: float
    between: float
    ceiling: float


class Observed(Mass):
    """What test images say of the forecast, means over seeds; see `experiments.benchmark.forecast`."""

    mass: Mass
    router_accuracy: float
    repaired: float
    broken: float
    routing_lost: float
    difference: float


Forecast = TypedDict(
    "Forecast",
    {
        "from": str,
        "candidates": list[Candidate],
        "recommended": Recommended | None,
        "used": Used,
        "observed": Observed,
    },
)
"""The forecast, and what was observed."""


class CutForecast(TypedDict):
    """What was forecast of a cut; nothing of a cut that was no candidate."""

    excess: NotRequired[float]
    ceiling: NotRequired[float]


class Cut(TypedDict):
    """The primary rule on one cut, over seeds, against flat."""

    linkage: str
    macros: int
    sizes: list[int]
    accuracy: list[float]
    accuracy_mean: float
    accuracy_sd: float | None
    router_accuracy: list[float]
    forecast: CutForecast
    comparison: ComparisonFacts


class RankCorrelation(TypedDict):
    """Spearman's rho over cuts."""

    rho: float
    n_cuts: int


class Sweep(TypedDict):
    """Every cut, and how its forecast goes with its accuracy; null with fewer than 3 cuts."""

    cuts: list[Cut]
    forecast_rank_correlation: RankCorrelation | None
    ceiling_rank_correlation: RankCorrelation | None


class BenchmarkMetrics(TypedDict):
    """`metrics.json` of a benchmark.

    `comparisons`: everybody but controls against their registered baselines, the primary first; all others are one
    family (`p_corrected`: step-down max-T, `p_holm` beside it). `verdict`: the sentence of `best_flat`.
    `error_budget`: by method and seed, on the run's macros. `calibrated_stages`: null if the primary rule has no
    router and sub-models of its own. `climb`: of flat and the primary. `coarse_labels`: methods that learned from
    images known by their macro alone, too, against the same ones without these. `failed`: methods with the reason.
    `sweep`: if it was asked for.
    """

    schema: int
    kind: Literal["benchmark"]
    n_test: int
    n_products: int
    seeds: list[int]
    classes: list[str]
    macros: dict[str, list[str]]
    metrics: dict[str, MetricFacts]
    methods: dict[str, MethodFacts]
    router: Router
    error_budget: dict[str, list[ErrorBudget]]
    comparisons: list[ComparisonFacts]
    best_flat: BestFlat
    verdict: str
    controls: Controls
    calibrated_stages: CalibratedStages | None
    climb: dict[str, Climb]
    coarse_labels: NotRequired[list[ComparisonFacts]]
    hierarchical_scores: str
    plan: PlanFacts
    failed: dict[str, str]
    data: DataFacts
    hierarchy: HierarchyFacts
    backbone: str
    forecast: Forecast
    sweep: NotRequired[Sweep]


class GivenCalibration(TypedDict):
    """Calibration of probabilities that somebody brought; nothing is fitted to them."""

    before: Scores
    after: None


class GivenRisk(TypedDict):
    """Area under risk-coverage over seeds."""

    aurc: list[float]


class GivenPerClass(TypedDict):
    """Over classes, seeds averaged."""

    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[int]


class SystemFacts(TypedDict):
    """One system of a comparison of predictions; what needs macros is there with a hierarchy only."""

    role: Literal["baseline", "system"]
    accuracy: list[float]
    accuracy_mean: float
    accuracy_sd: float | None
    accuracy_interval: list[float]
    top5_accuracy: list[float] | None
    balanced_accuracy: list[float]
    macro_f1: list[float]
    calibration: GivenCalibration | None
    risk_coverage: GivenRisk | None
    per_class: GivenPerClass
    macro_accuracy: NotRequired[list[float]]
    cross_macro_share: NotRequired[list[float]]
    error_budget: NotRequired[list[ErrorBudget]]
    ceilings: NotRequired[list[Ceilings]]


class ComparedMetrics(TypedDict):
    """`metrics.json` of `aisles compare`: systems judged by their predictions alone."""

    schema: int
    kind: Literal["compare"]
    n_test: int
    n_products: int
    seeds: list[str]
    classes: list[str]
    macros: dict[str, list[str]] | None
    methods: dict[str, SystemFacts]
    comparisons: list[ComparisonFacts]
    verdict: str
    notes: list[str]


class MeasuredMethod(TypedDict):
    """What one method took on this machine; null where parts are no heads."""

    training_seconds: float | None
    bytes_on_disk: float | None
    images_per_second: float | None


class Speed(TypedDict):
    """Images a second; null without a network."""

    images_per_second: float | None


class Costs(TypedDict):
    """`costs.json`; `stages`: seconds of each head's training."""

    backbone: Speed
    methods: dict[str, MeasuredMethod]
    stages: dict[str, float]
    peak_memory_bytes: int | None


class Environment(TypedDict):
    """`environment.json`; `command` is null for a run from Python."""

    python: str
    packages: dict[str, str | None]
    revision: str | None
    system: str
    processors: int | None
    command: str | None


Metrics = BenchmarkMetrics | ComparedMetrics
_KINDS: Mapping[str, Any] = {BENCHMARK: BenchmarkMetrics, COMPARE: ComparedMetrics}


def check_metrics(content: Any) -> Metrics:
    """Check that something has the shape of `metrics.json`.

    Parameters
    ----------
    content
        What JSON gave.

    Returns
    -------
    dict
        The same object.

    Raises
    ------
    ValueError
        If it is of another schema; or naming every key that is missing, unknown or of another type.
    """
    if not isinstance(content, dict) or "schema" not in content:
        raise ValueError(f"metrics.json names no schema; this aisles reads schema {SCHEMA}.")
    if content["schema"] != SCHEMA or isinstance(content["schema"], bool):
        raise ValueError(
            f"metrics.json has schema {content['schema']!r}; this aisles reads schema {SCHEMA}, and writes no other."
        )
    if content.get("kind") not in _KINDS:
        raise ValueError(
            f"metrics.json: kind must be {' or '.join(_KINDS)}. Received: {content.get('kind')!r}."
        )
    faults = _faults(content, _KINDS[content["kind"]])
    if not faults and content["kind"] == BENCHMARK:
        faults = _unlike_registered(content)
    if faults:
        raise ValueError(f"metrics.json: {_listed(faults)}.")
    return content  # type: ignore[return-value]


def check_costs(content: Any) -> Costs:
    """Check that something has the shape of `costs.json`; see `check_metrics`."""
    return _checked(content, Costs, "costs.json")


def check_environment(content: Any) -> Environment:
    """Check that something has the shape of `environment.json`; see `check_metrics`."""
    return _checked(content, Environment, "environment.json")


def _checked(content: Any, kind: Any, name: str) -> Any:
    faults = _faults(content, kind)
    if faults:
        raise ValueError(f"{name}: {_listed(faults)}.")
    return content


def _listed(faults: list[str], most: int = 5) -> str:
    more = f"; and {len(faults) - most} more" if len(faults) > most else ""
    return "; ".join(faults[:most]) + more


@lru_cache(maxsize=len(_KINDS) + 2)
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    for record in _records():
        # registered metrics stand beside a method's facts, under names that nobody knows here
        extra = "allow" if record is MethodFacts else "forbid"
        record.__pydantic_config__ = ConfigDict(extra=extra)  # type: ignore[attr-defined]
    return TypeAdapter(kind)


def _records() -> list[Any]:
    return [value for value in globals().values() if hasattr(value, "__required_keys__")]


def _faults(content: Any, kind: Any) -> list[str]:
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        return [_fault(fault) for fault in error.errors(include_url=False)]
    return []


def _fault(fault: Any) -> str:
    where = ".".join(map(str, fault["loc"])) or "the whole"
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{where} is unknown"
    rule = fault["msg"].removeprefix("Input ").rstrip(".")
    return f"{where} {rule}. Received: {str(fault['input'])[:60]!r}"


def _unlike_registered(content: Mapping[str, Any]) -> list[str]:
    """Name what stands beside a method's facts and is no metric of the run, or no list over its seeds."""
    n_seeds, faults = len(content["seeds"]), []
    for name, method in content["methods"].items():
        for key in method.keys() - MethodFacts.__required_keys__ - MethodFacts.__optional_keys__:
            if key not in content["metrics"]:
                faults.append(f"methods.{name}.{key} is unknown")
        for key in content["metrics"]:
            value: Any = method.get(key, "missing")
            if value == "missing":
                faults.append(f"methods.{name}.{key} is missing")
            elif value is not None and not _numbers(value, n_seeds):
                faults.append(
                    f"methods.{name}.{key} should be {n_seeds} numbers, one per seed, or null. Received: {value!r}"
                )
    return faults


def _numbers(value: Any, n: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == n
        and all(isinstance(each, int | float) and not isinstance(each, bool) for each in value)
    )
