"""The sections of the hierarchy's design: controls, forecast, every cut, stability, and how far mistakes fall."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from aisles.experiments.report.names import is_control
from aisles.experiments.report.plots.trust import Curve, chart
from aisles.experiments.report.plots.verdict import difference_plots
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
from aisles.experiments.runs.schema import Candidate, Cut, Distance, Forecast, Recommended

_STYLES = (("two", False), ("other", False), ("other", True))
"""Drawing class and dashes of the first, second and third linkage."""


def controls_section(run: Run) -> Section | None:
    """Return the run's macros against random ones and against other hierarchies."""
    random, others = run.metrics["controls"]["random"], run.metrics["controls"]["hierarchies"]
    comparisons = [*([random["comparison"]] if random else []), *others]
    if not comparisons:
        return None
    blocks: list[Block] = []
    if random:
        each = ", ".join(signed(100 * value) for value in random["difference_per_partition"])
        verdict = random["comparison"]["verdict"]
        blocks.append(
            Text(
                f"Under the same rule, {len(random['partitions'])} random partitions of the same sizes reach "
                f"{100 * random['accuracy_mean']:.1f} % on average; the run's macros differ from them by {each} "
                f"points (verdict: {verdict}). What is left over chance is what the hierarchy itself is worth."
            )
        )
    drawn: list[Any] = [{**c, "b": f"against {c['a']}"} for c in comparisons]
    caption = f"Accuracy of {run.primary} on the run's macros less its accuracy on other macros."
    blocks.append(Plot("controls", caption, *difference_plots(drawn, "other macros")))
    columns = (
        Column("other macros"),
        Column("the run's less these", "points"),
        Column("low", "points"),
        Column("high", "points"),
        Column("p", "p"),
        Column("verdict on the run's", "word"),
    )
    rows = tuple(
        (c["a"], c["difference"], *c["interval"], c["p_corrected"], c["verdict"]) for c in comparisons
    )
    blocks.append(
        Table("controls", "Other hierarchies are corrected together by step-down max-T.", columns, rows)
    )
    return Section("controls", "Is it the hierarchy?", tuple(blocks))


def forecast_section(run: Run) -> Section:
    """Return the forecast from validation confusions, and set it beside what was observed."""
    forecast = run.metrics["forecast"]
    candidates, best = forecast["candidates"], forecast["recommended"]
    blocks: list[Block] = [
        Text(
            "Before any sub-model was trained, the flat model's confusions on validation images said what routing "
            "could lose (mass between macros) and what sub-models could repair (mass inside)."
            + (f" Recommended: {best['linkage']} linkage, {best['macros']} macros." if best else "")
        )
    ]
    blocks.append(_beside(forecast))
    if best:
        blocks.append(Text(_recommended(run, best)))
    blocks.append(_excess_plot(candidates))
    columns = (
        Column("linkage"),
        Column("macros", "count"),
        Column("largest", "count"),
        Column("right", "share"),
        Column("inside", "share"),
        Column("between", "share"),
        Column("ceiling", "share"),
        Column("times chance", "number"),
        Column("excess", "number"),
    )
    rows = tuple(
        (
            c["linkage"],
            c["macros"],
            max(c["sizes"]),
            *(c["right"], c["inside"], c["between"], c["ceiling"], c["concentration"], c["excess"]),
        )
        for c in candidates
    )
    caption = (
        "Shares of the validation images' probability mass. Times chance: confusions inside macros over what random "
        "macros of these sizes would hold; excess: the difference of the two shares, by which a cut is recommended. "
        "The run's own number of macros follows another rule (silhouette of the classes' embeddings, or a person)."
    )
    blocks.append(Table("forecast", caption, columns, rows, sortable=True))
    return Section("forecast", "The forecast, and what was observed", tuple(blocks))


def _beside(forecast: Forecast) -> Table:
    used, observed = forecast["used"], forecast["observed"]
    mass = observed["mass"]
    columns = (
        Column("on the run's macros"),
        Column("forecast", "share"),
        Column("observed", "share"),
        Column("in test answers", "share"),
    )
    named = (
        ("flat is right", "right"),
        ("flat's errors inside macros: what sub-models can repair", "inside"),
        ("flat's errors between macros", "between"),
        ("ceiling: flat's macro is right", "ceiling"),
        ("the router is right", "router_accuracy"),
        ("errors inside that were repaired", "repaired"),
        ("right answers that were broken", "broken"),
        ("right answers that routing alone lost", "routing_lost"),
    )
    # what routing and sub-models do is observed only
    rows = tuple((words, used.get(key), mass.get(key), observed[key]) for words, key in named)
    caption = (
        "Forecast: flat's probability mass on validation images; observed: its mass on test images; then the answers "
        "to test images, which put less into errors than the mass does (means over seeds). The difference in accuracy "
        f"was {signed(100 * observed['difference'])} points."
    )
    return Table("forecast_and_outcome", caption, columns, rows)


def _recommended(run: Run, best: Recommended) -> str:
    """Return in words what became of the cut that the forecast recommends."""
    name = f"The recommended cut ({best['linkage']} linkage, {best['macros']} macros)"
    cuts = run.metrics["sweep"]["cuts"] if "sweep" in run.metrics else []
    ran = [c for c in cuts if (c["linkage"], c["macros"]) == (best["linkage"], best["macros"])]
    if not ran:
        return f"{name} was not tried on test images by this run."
    judged, most = ran[0]["comparison"], max(c["accuracy_mean"] for c in cuts)
    return (
        f"{name} reached {100 * ran[0]['accuracy_mean']:.1f} % on test images, {signed(100 * judged['difference'])} "
        f"points against flat ({judged['verdict']}); the best of all cuts reached {100 * most:.1f} %."
    )


def _excess_plot(candidates: Sequence[Candidate]) -> Plot:
    curves = _by_linkage(candidates, lambda c: c["excess"])
    drawing = chart(
        curves,
        "Forecast of each cut",
        "; ".join(f"{c.name}: highest at {c.x[int(np.argmax(c.y))]:g} macros" for c in curves) + ".",
        x_name="macros",
        y_name="confusions inside, over chance",
    )
    return Plot(
        "forecast", "What each cut predicts: share of confusions inside macros less chance's.", drawing
    )


def sweep_section(run: Run) -> Section | None:
    """Return the primary rule's accuracy for every number of macros and linkage."""
    if "sweep" not in run.metrics or not run.metrics["sweep"]["cuts"]:
        return None
    sweep = run.metrics["sweep"]
    cuts = sweep["cuts"]
    flat = 100 * float(np.mean(run.metrics["methods"][FLAT]["accuracy"]))
    curves = _by_linkage(cuts, lambda c: 100 * c["accuracy_mean"])
    ends = [min(c["macros"] for c in cuts), max(c["macros"] for c in cuts)]
    drawing = chart(
        [*curves, Curve("flat", ends, [flat, flat], "flat", dashed=False, points=False)],
        "Accuracy for every number of macros",
        "; ".join(f"{c.name}: best {max(c.y):.1f} % at {c.x[int(np.argmax(c.y))]:g} macros" for c in curves)
        + f"; flat {flat:.1f} %.",
        x_name="macros",
        y_name="accuracy, %",
    )
    columns = (
        Column("linkage"),
        Column("macros", "count"),
        Column("accuracy", "share"),
        Column("sd over seeds", "spread"),
        Column("router", "share"),
        Column("against flat", "points"),
        Column("low", "points"),
        Column("high", "points"),
        Column("p", "p"),
        Column("verdict", "word"),
        Column("forecast excess", "number"),
    )
    caption = "All cuts are corrected together by step-down max-T. Test images chose none: the run's is pre-specified."
    blocks: list[Block] = [
        Plot("sweep", f"Accuracy of {run.primary} (means over seeds) against flat's.", drawing),
        Table("sweep", caption, columns, tuple(_cut_row(cut) for cut in cuts), sortable=True),
    ]
    ranks = sweep["forecast_rank_correlation"]
    if ranks is not None:
        blocks.append(
            Text(
                f"Rank correlation of the forecast's excess with accuracy over {ranks['n_cuts']} cuts: "
                f"{signed(ranks['rho'], 2)}. Cuts of one tree are nested, so this is no test."
            )
        )
    return Section("sweep", "Every cut", tuple(blocks))


def _cut_row(cut: Cut) -> tuple:
    judged = cut["comparison"]
    return (
        cut["linkage"],
        cut["macros"],
        cut["accuracy_mean"],
        cut["accuracy_sd"],
        float(np.mean(cut["router_accuracy"])),
        judged["difference"],
        *judged["interval"],
        judged["p_corrected"],
        judged["verdict"],
        cut["forecast"].get("excess"),
    )


def _by_linkage(cuts: Sequence[Any], value: Callable[[Any], float]) -> list[Curve]:
    linkages = list(dict.fromkeys(cut["linkage"] for cut in cuts))
    curves = []
    for i, linkage in enumerate(linkages):
        own = sorted((c for c in cuts if c["linkage"] == linkage), key=lambda c: c["macros"])
        class_, dashed = _STYLES[i % len(_STYLES)]
        curves.append(Curve(linkage, [c["macros"] for c in own], [value(c) for c in own], class_, dashed))
    return curves


def stability_section(run: Run) -> Section:
    """Return how well the tree fits the classes, and how far it depends on images and backbone."""
    quality = run.metrics["hierarchy"]
    stable, agreed = quality["stability"], quality["tree_agreement"]
    brought, scores = agreed < 1, stable["scores"]
    whose = "the learned tree's own cut" if brought else "the run's"
    items = [
        f"Over {len(scores)} bootstraps of the training images the macros found again agree with {whose} by an "
        f"adjusted Rand index of {stable['mean']:.2f} (sd {stable['sd']:.2f}, {min(scores):.2f} to "
        f"{max(scores):.2f}; 1 is the same partition, 0 what chance gives)."
    ]
    if brought:
        items.append(
            f"The run's macros were not cut from that tree; they agree with its cut by {agreed:.2f}."
        )
    for name, value in quality["agreement"].items():
        known = isinstance(value, int | float)
        items.append(f"Agreement with {name}: {f'{value:.2f}' if known else f'not known ({value})'}.")
    for key, words in (
        ("cophenetic_correlation", "Cophenetic correlation (how well the tree keeps the distances)"),
        ("silhouette", "Silhouette of the macros (-1 to 1)"),
    ):
        if quality[key] is not None:
            items.append(f"{words}: {quality[key]:.2f}.")
    items.append(f"Classes in each macro: {', '.join(map(str, quality['sizes']))}.")
    return Section("stability", "How stable the macros are", (Bullets(tuple(items)),))


def distances_section(run: Run) -> Section:
    """Return how far mistakes fall, on the learned trees and on one that nobody learned here."""
    known = {
        n: cast(Mapping[str, Distance], f["distance"])
        for n, f in run.metrics["methods"].items()
        if not is_control(n, run.metrics)
    }
    trees = list(dict.fromkeys(tree for distances in known.values() for tree in distances))
    words = {
        "learned": "learned macros",
        "learned_tree": "learned tree",
        "independent": "independent grouping",
    }
    columns = (Column("method"), *(Column(words[tree], "number") for tree in trees))
    rows = tuple(
        (name, *(float(np.mean(distances[tree]["per_mistake"])) for tree in trees))
        for name, distances in known.items()
    )
    caption = (
        "Mean distance from a wrong answer to the truth. Macros and groupings: 1 inside, 2 across; tree: height of the "
        "lowest common ancestor over the root's. A learned tree flatters the system that routes by it"
        + ("." if "independent" in trees else "; no independent grouping was at hand.")
    )
    table = Table("distances", caption, columns, rows, sortable=True)
    text = Text(run.metrics["hierarchical_scores"])
    return Section("distances", "How far mistakes fall", (table, text))
