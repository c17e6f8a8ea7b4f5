"""The sections of the verdict: what carries it, the methods, where errors arise, and what accuracy costs."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from aisles.experiments.report.names import (
    color_class,
    is_control,
    judged,
    mean_of,
    pair_name,
    seeds_in_words,
    what_it_is,
)
from aisles.experiments.report.plots.cost import CostPoint, cost_plot
from aisles.experiments.report.plots.drawing import Drawing
from aisles.experiments.report.plots.verdict import BudgetShares, budget_plots, difference_plots
from aisles.experiments.report.render.document import (
    Block,
    Bullets,
    Column,
    Plot,
    Section,
    Table,
    Text,
    signed,
)
from aisles.experiments.runs.reader import FLAT, Run
from aisles.experiments.runs.schema import ComparisonFacts, MethodFacts, MetricFacts
from aisles.experiments.stats.points import size_in_points

PREDICTION = (
    ("backbone_passes", "backbone passes an image"),
    ("head_passes", "heads an image passes"),
    ("parameters", "parameters"),
)
TRAINING = (
    ("image_steps", "images seen in training"),
    ("epochs", "epochs"),
    ("training_seconds", "seconds of training"),
)
SPEED = (("milliseconds", "milliseconds an image"),)
COSTS = (
    *PREDICTION,
    ("head_parameters", "parameters of the heads"),
    ("weight_bytes", "bytes of weights"),
    ("bytes_on_disk", "bytes of heads on disk"),
    ("images_per_second", "images a second"),
    *SPEED,
    ("heads", "heads"),
    *TRAINING,
)


def opening(run: Run) -> tuple[Block, ...]:
    """Return the plot that carries the verdict: against the strongest flat method."""
    strongest = run.metrics["best_flat"]
    if strongest["name"] == FLAT:
        return (_differences("difference", _against_flat(run), FLAT, run.primary),)
    return (_differences("difference", strongest["comparisons"], strongest["name"], run.primary),)


def _against_flat(run: Run) -> list[ComparisonFacts]:
    return [c for c in run.metrics["comparisons"] if not is_control(c["b"], run.metrics)]


def _differences(name: str, comparisons: Sequence[ComparisonFacts], against: str, primary: str) -> Plot:
    level = 100 * (1 - comparisons[0]["alpha"])
    baselines = dict.fromkeys(f"{c['b']} against {c['a']}" for c in comparisons if c["a"] != against)
    others = f" († judged against another baseline: {', '.join(baselines)})" if baselines else ""
    seeds = "; strokes: single seeds" if len(comparisons[0]["difference_per_seed"]) > 1 else ""
    caption = (
        f"Each method's accuracy less that of {against}{others}, the best on top. Lines: {level:g} % intervals{seeds}. "
        f"{primary} is the primary method"
        + ("; the others are corrected for their number (step-down max-T)." if len(comparisons) > 1 else ".")
    )
    drawn = [c if c["a"] == against else {**c, "b": f"{c['b']} †"} for c in comparisons]
    return Plot(name, caption, *difference_plots(drawn, against, primary=primary))


def methods_section(run: Run) -> Section:
    """Return the table of methods, and the tests."""
    compared = {c["b"]: c for c in run.metrics["comparisons"]}
    rows = [
        _method_row(run, name, metrics, compared.get(name))
        for name, metrics in run.metrics["methods"].items()
        if not is_control(name, run.metrics)
    ]
    rows += _controls_row(run)
    failed = tuple(f"{name} failed: {reason}" for name, reason in run.metrics["failed"].items())
    columns = (  # what decides comes first: a phone shows three columns
        Column("method"),
        Column("accuracy", "share"),
        Column("against flat", "points"),
        Column("verdict", "word"),
        Column("sd over seeds", "spread"),
        Column("low", "points"),
        Column("high", "points"),
        Column("p", "p"),
        Column("against best flat", "points"),
        Column("verdict there", "word"),
        Column("settings tried", "count"),
        *(Column(facts["label"], "share") for facts in _shown(run).values()),
    )
    caption = (
        f"Means over {seeds_in_words(run.metrics)} and {run.metrics['n_test']} test images. Low and high: the interval "
        "of the difference from flat (or from the baseline in brackets), for each method alone. p is corrected by "
        "step-down max-T for all methods but the primary. Settings were tried on validation images."
    )
    blocks: list[Block] = [Table("methods", caption, columns, tuple(rows), sortable=True)]
    if run.metrics["best_flat"]["name"] != FLAT:
        blocks.append(_differences("difference-from-flat", _against_flat(run), FLAT, run.primary))
    blocks.append(Bullets((*_meanings(run, [row[0] for row in rows]), *failed)))
    blocks += [*_tests(run), *coarse_table(run)]
    return Section("methods", "Methods", tuple(blocks))


def _meanings(run: Run, names: Sequence[str]) -> list[str]:
    """Return in words what each method is, where that is known."""
    known = ((name, what_it_is(name, run.metrics)) for name in names)
    return [f"{name}: {what}." for name, what in known if what]


def _method_row(run: Run, name: str, metrics: MethodFacts, comparison: ComparisonFacts | None) -> tuple:
    scores = [mean_of(metrics, key) for key in _shown(run)]
    difference, verdict, tests = None, "baseline" if name == FLAT else "", (None, None, None)
    if comparison is not None:
        difference, verdict = comparison["difference"], judged(comparison)
        tests = (*comparison["interval"], comparison["p_corrected"])
    accuracy, spread = _mean(metrics["accuracy"]), metrics["accuracy_sd"]
    best = {c["b"]: c for c in run.metrics["best_flat"]["comparisons"]}.get(name)
    strongest = run.metrics["best_flat"]["name"]
    beside: tuple[float | None, str] = (None, "")
    if best is not None:
        other = "" if best["a"] == strongest else f" (against {best['a']})"
        beside = (best["difference"], best["verdict"] + other)
    if name == strongest:
        beside = (None, "best flat")
    return (name, accuracy, difference, verdict, spread, *tests, *beside, metrics["searched"], *scores)


def _shown(run: Run) -> dict[str, MetricFacts]:
    """Return the metrics that tables have a column for, as the run keeps them."""
    return {name: facts for name, facts in run.metrics["metrics"].items() if facts["shown"]}


def _controls_row(run: Run) -> list[tuple]:
    """Put all random partitions into one row."""
    parts = [f for name, f in run.metrics["methods"].items() if is_control(name, run.metrics)]
    if not parts:
        return []
    accuracy = [_mean(metrics["accuracy"]) or 0.0 for metrics in parts]
    spread = float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else None
    scores = [_mean([mean_of(metrics, key) for metrics in parts]) for key in _shown(run)]
    flat = _mean(run.metrics["methods"][FLAT]["accuracy"]) or 0.0
    mean = float(np.mean(accuracy))
    return [("random", mean, mean - flat, "control", spread, None, None, None, None, "", None, *scores)]


def _tests(run: Run) -> list[Block]:
    columns = (
        Column("method"),
        Column("corrected", "count"),
        Column("broken", "count"),
        Column("McNemar p by seed"),
        Column("equivalence p", "p"),
        Column("smallest difference shown", "spread"),
    )
    rows = []
    for comparison in run.metrics["comparisons"]:
        mcnemar = ", ".join(f"{test['p_value']:.2g}" for test in comparison["mcnemar"])
        rows.append(
            (
                pair_name(comparison),
                _mean(comparison["corrected"]),
                _mean(comparison["broken"]),
                mcnemar,
                comparison["equivalence_p"],
                comparison["smallest_detectable"],
            )
        )
    first = run.metrics["comparisons"][0]
    caption = (
        "Corrected: images that only the method gets right; broken: that only its baseline gets right (means over "
        f"seeds; their difference over {run.metrics['n_test']} is the difference in accuracy). Equivalence: within "
        f"{size_in_points(first['margin'])}. Smallest difference: what these images detect with 80 % power "
        "in one comparison; it is uncorrected, and in a family more is needed."
    )
    return [Table("tests", caption, columns, tuple(rows))]


def coarse_table(run: Run) -> list[Block]:
    """Return what images known by their macro alone are worth, to either side; empty without such images."""
    compared = run.metrics.get("coarse_labels", [])
    columns = (
        Column("learned from coarse labels too"),
        Column("from fine labels alone"),
        Column("accuracy", "share"),
        Column("accuracy alone", "share"),
        Column("difference", "points"),
        Column("low", "points"),
        Column("high", "points"),
        Column("p", "p"),
        Column("verdict", "word"),
    )
    rows = tuple(
        (
            *(c["b"], c["a"], c["accuracy_b"], c["accuracy_a"], c["difference"]),
            *(*c["interval"], c["p_corrected"], c["verdict"]),
        )
        for c in compared
    )
    caption = (
        "What images are worth of which only the macro-category is known: each method beside the same one without "
        "them; p and verdict are corrected for their number (step-down max-T), low and high hold for each alone."
    )
    return [Table("coarse_labels", caption, columns, rows)] if rows else []


def budget_section(run: Run) -> Section:
    """Return the error budget, R and S, and the ceilings."""
    shares, rows = [], []
    for name, seeds in run.metrics["error_budget"].items():
        counts = np.array([[s["right"], s["within_wrong"], s["router_wrong"]] for s in seeds], float)
        right, within, router = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0).tolist()
        shares.append(BudgetShares(name, right, within, router))
        errors = counts[:, 1:].sum()
        rows.append(
            (
                name,
                right,
                within,
                router,
                _mean([s["R"] for s in seeds]),
                _mean([s["S"] for s in seeds]),
                float(counts[:, 2].sum() / errors) if errors else None,
                *_ceilings(run, name),
            )
        )
    columns = (
        Column("method"),
        Column("right", "share"),
        Column("right macro, wrong class", "share"),
        Column("wrong macro", "share"),
        Column("R", "share"),
        Column("S", "share"),
        Column("errors across macros", "share"),
        Column("with an oracle router", "share"),
        Column("with oracle sub-models", "share"),
    )
    caption = (
        "R: share of images answered in the right macro; S: share of those answered with the right class. Accuracy is "
        "R times S, so two stages win exactly when their R × S is above flat's. With an oracle router: the true macro "
        "given, the class that the sub-models (or flat, where there are none) put first in it; methods on other "
        "macros are judged on those."
    )
    drawn = [share for share in shares if not is_control(share.name, run.metrics)]
    return Section(
        "budget",
        "Where errors arise",
        (
            Text(_budget_words(run, {share.name: share for share in shares})),
            Plot("error-budget", "Every image once, mean over seeds.", *budget_plots(drawn)),
            Table("error_budget", caption, columns, tuple(rows)),
        ),
    )


def _budget_words(run: Run, shares: Mapping[str, BudgetShares]) -> str:
    flat, two = shares[FLAT], shares[run.primary]
    router, within = two.router_wrong - flat.router_wrong, two.within_wrong - flat.within_wrong
    return (
        f"Against flat, {run.primary} puts {signed(100 * router)} points of the images into a wrong macro and answers "
        f"{signed(100 * within)} points with a wrong class of the right macro."
    )


def _ceilings(run: Run, name: str) -> tuple[float | None, float | None]:
    own = run.metrics["methods"][name]["ceilings"]
    return _mean([c["oracle_router"] for c in own]), _mean([c["oracle_submodels"] for c in own])


def cost_section(run: Run) -> Section:
    """Return accuracy against cost."""
    known = {name: cost_of(run, name) for name in run.metrics["methods"] if not is_control(name, run.metrics)}
    kinds = [(key, label) for key, label in COSTS if any(key in cost for cost in known.values())]
    columns = (
        Column("method"),
        Column("accuracy", "share"),
        *(Column(label, "number") for _, label in kinds),
    )
    accuracy = {name: _mean(run.metrics["methods"][name]["accuracy"]) for name in known}
    rows = tuple((name, accuracy[name], *(cost.get(key) for key, _ in kinds)) for name, cost in known.items())
    blocks: list[Block] = []
    groups = (
        ("cost", PREDICTION, "prediction"),
        ("measured-cost", SPEED, "prediction on one machine"),
        ("training-cost", TRAINING, "training"),
    )
    for name, group, when in groups:
        drawn = _cost_drawing(run, known, accuracy, group)
        if drawn is not None:
            label, drawing = drawn
            caption = (
                f"Accuracy (bar: sd over seeds) against the cost of {when} in {label}. Squares: two-stage."
            )
            blocks.append(Plot(name, caption, drawing))
    blocks.append(Table("cost", _COST_CAPTION, columns, rows, sortable=True))
    blocks += _sent_blocks(run)
    if run.costs is not None and (peak := run.costs["peak_memory_bytes"]):
        blocks.append(Text(f"The run's process took {peak / 2**30:.1f} GiB of memory at its peak."))
    return Section("cost", "Accuracy against cost", tuple(blocks))


def _sent_blocks(run: Run) -> list[Block]:
    """Return stated and measured shares of images that passed the stronger of two networks; empty without any."""
    known = {name: facts["sent"] for name, facts in run.metrics["methods"].items() if "sent" in facts}
    if not known:
        return []
    rows = tuple(
        (
            name,
            sent["stated"],
            sent["validation"],
            sent["measured"],
            None if sent["in_batch"] else sent["interval"][0],
            None if sent["in_batch"] else sent["interval"][1],
            "in its batch" if sent["in_batch"] else "yes" if sent["as_stated"] else "no",
        )
        for name, sent in known.items()
    )
    headings = ("stated", "validation images", "test images", "expected from", "expected to")
    columns = (
        Column("method"),
        *(Column(heading, "share") for heading in headings),
        Column("kept", "word"),
    )
    blocks: list[Block] = [Table("sent", _SENT_CAPTION, columns, rows)]
    apart = [name for name, sent in known.items() if not sent["as_stated"]]
    if apart:
        blocks.append(Text(f"{_SENT_ELSEWHERE} {', '.join(apart)}."))
    return blocks


_SENT_CAPTION = (
    "Which share of images passes the stronger network. The threshold comes from validation images, from scores of "
    "models that never saw them; expected: where the share of test images lies 95 times in 100 if these are like the "
    "validation images, as follows from their number."
)
_SENT_ELSEWHERE = (
    "Test images are not like validation images, so these methods send another share than stated; compare them at "
    "their measured cost, in the table above:"
)
_COST_CAPTION = (
    "What each method costs, a mean over seeds. Backbone and heads are counted; times, where given, are of one "
    "machine and leave decoding out. What was not measured, as of parts that are no heads, stays empty."
)


def _cost_drawing(
    run: Run,
    known: Mapping[str, Mapping[str, float]],
    accuracy: Mapping[str, float | None],
    group: Sequence[tuple[str, str]],
) -> tuple[str, Drawing] | None:
    """Draw accuracy against the first of some costs in which methods differ; None if they differ in none."""
    for key, label in group:
        points = []
        for name, cost in known.items():
            at, right = cost.get(key), accuracy[name]
            if at is not None and right is not None and not is_control(name, run.metrics):
                method = run.metrics["methods"][name]
                spread, flat = method["accuracy_sd"] or 0.0, method["role"] != "two-stage"
                points.append(CostPoint(name, at, right, spread, color_class(run, name), flat))
        if len({point.cost for point in points}) > 1:
            return label, cost_plot(points, label)
    return None


def cost_of(run: Run, name: str) -> Mapping[str, float]:
    """Return a method's costs: what it was given, and what a machine measured; numbers only."""
    found: dict[str, float | None] = dict(run.metrics["methods"][name]["cost"])
    if run.costs is not None and name in run.costs["methods"]:
        measured = run.costs["methods"][name]
        found |= cast(Mapping[str, float | None], measured)
        if speed := measured["images_per_second"]:
            found["milliseconds"] = 1000 / speed
    return {key: value for key, value in found.items() if value is not None}


def _mean(values: Sequence[float | None] | float | None) -> float | None:
    if values is None or isinstance(values, int | float):
        return values
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
