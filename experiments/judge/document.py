"""A judgement's report: the benchmark's drawings and tables, as far as the predictions allow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.io.tables import rows as rows_where
from aisles.experiments.report.headline import evidence, headline
from aisles.experiments.report.plots.trust import Reliability, reliability, reliability_plot
from aisles.experiments.report.plots.verdict import BudgetShares, budget_plots, difference_plots
from aisles.experiments.report.render.document import (
    Block,
    Bullets,
    Card,
    Column,
    Document,
    Gallery,
    Plot,
    Section,
    Table,
    Text,
)
from aisles.experiments.report.sections.gallery import thumbnail

from .judgement import Judgement
from .measures import confidence

SHOWN = 200
"""Discordant images in the report; `discordant.csv` lists all."""
CARDS = 18
SEEDS_NAMED = 10


def judgement_document(judged: Judgement, name: str, images: Path | None = None) -> Document:
    """Put a judgement's report together; what the tables don't tell is left out and named at the end."""
    metrics = judged.metrics
    sections = [
        _systems_section(judged),
        _budget_section(judged),
        _classes_section(judged),
        _calibration_section(judged),
        _discordant_section(judged, images),
        _limits_section(judged),
    ]
    products = "" if judged.systems.products is None else f" of {metrics['n_products']:,} products"
    comparisons = metrics["comparisons"]
    level = 100 * (1 - comparisons[0]["alpha"])
    caption = (
        f"Each system's accuracy less that of {judged.baseline}, the best on top. Lines: {level:g} % intervals over "
        f"{_units(judged)}"
    ) + ("; strokes: single seeds." if len(metrics["seeds"]) > 1 else ".")
    first = comparisons[0]
    return Document(
        title=f"Systems compared: {name}",
        verdict=headline(first, first["b"], first["a"]),
        facts=(
            evidence(first),
            *(headline(c, c["b"], c["a"]) for c in comparisons[1:]),
            f"{metrics['n_test']:,} images{products}, {len(metrics['classes'])} classes, "
            f"{_seeds_in_words(metrics['seeds'])}.",
        ),
        opening=(Plot("difference", caption, *difference_plots(comparisons, judged.baseline)),),
        sections=tuple(section for section in sections if section),
    )


def _units(judged: Judgement) -> str:
    """Return in words what intervals and tests take as drawn at random."""
    images = "images" if judged.systems.products is None else "products"
    return f"{images} and training seeds" if len(judged.systems.seeds) > 1 else images


def _seeds_in_words(seeds: Sequence[str]) -> str:
    """Name the training seeds, as far as the tables do."""
    if len(seeds) == 1:
        return f"one training (seed {seeds[0]})" if seeds[0] else "one training"
    shown = ", ".join(seeds[:SEEDS_NAMED]) + (", ..." if len(seeds) > SEEDS_NAMED else "")
    return f"{len(seeds)} training seeds ({shown})"


def _systems_section(judged: Judgement) -> Section:
    table = judged.table
    kinds = {
        "accuracy": "share", "sd over seeds": "spread", "macro-F1": "share", "balanced": "share", "top-5": "share",
        "difference": "points", "low": "points", "high": "points", "p": "p", "verdict": "word",
    }  # fmt: skip
    columns = (Column("system"), *(Column(key, kinds[key]) for key in table.columns))  # pyright: ignore
    rows = tuple((name, *map(_plain, row)) for name, *row in table.itertuples())
    family = len(judged.comparisons)
    corrected = f", corrected for {family} comparisons (step-down max-T)" if family > 1 else ""
    tests = tuple(
        (
            c.b, seed or "–", test.corrected, test.broken, test.p_value, c.smallest_detectable
        )
        for c in judged.comparisons
        for seed, test in zip(judged.systems.seeds, c.mcnemar, strict=True)
    )  # fmt: skip
    test_columns = (
        Column("system"), Column("seed"), Column("corrected", "count"), Column("broken", "count"), Column("p", "p"),
        Column("smallest difference shown", "spread"),
    )  # fmt: skip
    first = judged.comparisons[0]
    return Section(
        "systems",
        "Systems",
        (
            Table(
                "systems",
                f"Low and high bound the difference from {judged.baseline}. p: test over {_units(judged)}{corrected}.",
                columns,
                rows,
                sortable=True,
            ),
            Table(
                "tests",
                f"Exact McNemar tests, which take images as independent. Corrected: images that only the system gets "
                f"right; broken: only {judged.baseline}. The last column is the difference that so many images show "
                f"{100 * first.power:g} times in 100.",
                test_columns,
                tests,
            ),
        ),
    )


def _budget_section(judged: Judgement) -> Section | None:
    known = {n: f["error_budget"] for n, f in judged.metrics["methods"].items() if "error_budget" in f}
    if not known:
        return None
    n = judged.metrics["n_test"]
    shares, rows = [], []
    for name, seeds in known.items():
        mean = {key: float(np.mean([seed[key] for seed in seeds])) for key in seeds[0]}
        parts = (mean["right"] / n, mean["within_wrong"] / n, mean["router_wrong"] / n)
        shares.append(BudgetShares(name, *parts))
        facts = judged.metrics["methods"][name]
        ceilings = facts.get("ceilings") or []
        oracle = [float(np.mean([c[key] for c in ceilings])) if ceilings else None for key in _CEILINGS]
        rows.append((name, *parts, mean["R"], mean["S"], float(np.mean(facts["cross_macro_share"])), *oracle))
    words = (
        "right", "right macro, wrong class", "wrong macro", "R", "S", "errors across macros", "with an oracle router",
        "with oracle sub-models",
    )  # fmt: skip
    columns = (Column("system"), *(Column(word, "share") for word in words))
    caption = (
        "R: share of images answered in the right macro; S: share of those answered with the right class; accuracy is "
        "R times S. With an oracle router: the most probable class of the true macro. With oracle sub-models: every "
        "image right whose macro is."
    )
    return Section(
        "budget",
        "Where errors arise",
        (
            Plot("error-budget", "Every image once, mean over seeds.", *budget_plots(shares)),
            Table("error_budget", caption, columns, tuple(rows)),
        ),
    )


_CEILINGS = ("oracle_router", "oracle_submodels")


def _classes_section(judged: Judgement) -> Section:
    methods = judged.metrics["methods"]
    others = [comparison.b for comparison in judged.comparisons]
    base = methods[judged.baseline]["per_class"]
    rows = []
    for index, label in enumerate(judged.systems.classes):
        if not base["support"][index]:
            continue
        recalls = [methods[name]["per_class"]["recall"][index] for name in (judged.baseline, *others)]
        rows.append((label, base["support"][index], *recalls, recalls[1] - recalls[0]))
    columns = (
        Column("class"),
        Column("images", "count"),
        *(Column(f"recall of {name}", "share") for name in (judged.baseline, *others)),
        Column(f"{others[0]} less {judged.baseline}", "points"),
    )
    rows.sort(key=lambda row: row[-1])
    caption = "Recall of each class, means over seeds; largest loss first."
    return Section("classes", "Classes", (Table("classes", caption, columns, tuple(rows), sortable=True),))


def _calibration_section(judged: Judgement) -> Section | None:
    probs = judged.systems.probs
    if not probs:
        return None
    tables: dict[str, Reliability] = {}
    rows = []
    for name, seeds in probs.items():
        pairs = [confidence(judged.systems.truth, row) for row in seeds]
        said, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
        tables[name] = reliability(said, right)
        facts = judged.metrics["methods"][name]
        means = [float(np.mean(facts["calibration"]["before"][key])) for key in ("ece", "nll", "brier")]
        rows.append((name, *means, float(np.mean(facts["risk_coverage"]["aurc"]))))
    drawn = dict(list(tables.items())[:2])
    colors = {name: "flat" if name == judged.baseline else "two" for name in drawn}
    heads = ("ECE", "NLL", "Brier", "area under risk-coverage")
    caption = "Lower is better everywhere; of the most probable class, 15 bins, means over seeds."
    return Section(
        "calibration",
        "Calibration",
        (
            Plot(
                "calibration",
                "Answers of all seeds in 15 bins of their probability.",
                reliability_plot(drawn, colors),
            ),
            Table(
                "calibration", caption, (Column("system"), *(Column(h, "number") for h in heads)), tuple(rows)
            ),
        ),
    )


def _discordant_section(judged: Judgement, images: Path | None) -> Section:
    found = judged.discordant()
    blocks: list[Block] = []
    for comparison in judged.comparisons:
        own = rows_where(found, found["system"] == comparison.b)
        changed = own["change"].tolist()
        blocks.append(
            Text(
                f"{comparison.b}: {changed.count('corrected'):,} images that {comparison.a} gets wrong are right in at "
                f"least one seed, {changed.count('broken'):,} the other way round. All are listed in discordant.csv."
            )
        )
        if images is not None:
            blocks += _galleries(own, images, len(judged.systems.seeds))
    names = list(found.columns)
    rows = tuple(tuple(map(_plain, row)) for row in found.head(SHOWN).itertuples(index=False))
    columns = tuple(
        Column(name.replace("_", " "), "count" if name == "n_seeds" else "text") for name in names
    )
    caption = (
        f"The first {len(rows)} of {len(found):,}; answers are those of the first seed in which they differ."
    )
    return Section("discordant", "Discordant images", (*blocks, Table("discordant", caption, columns, rows)))


def _galleries(own: pd.DataFrame, images: Path, n_seeds: int) -> list[Block]:
    blocks: list[Block] = []
    for change in ("corrected", "broken"):
        cards = []
        for row in rows_where(own, own["change"] == change).head(CARDS).to_dict("records"):
            path = images / str(row["file_name"])
            lines = (
                (str(row["baseline"]), str(row["baseline_answer"])),
                (str(row["system"]), str(row["system_answer"])),
                (change, f"in {row['n_seeds']} of {n_seeds} seeds"),
            )
            small = thumbnail(path) if path.is_file() else None
            cards.append(Card(small, str(row["truth"]), str(row["file_name"]), lines))
        if any(card.image for card in cards):
            blocks.append(
                Gallery(
                    f"{change.capitalize()} images, those first that change hands in most seeds.",
                    tuple(cards),
                )
            )
    return blocks


def _limits_section(judged: Judgement) -> Section:
    systems = judged.systems
    averaged = (
        f" Correctness is averaged over {_seeds_in_words(systems.seeds)}." if len(systems.seeds) > 1 else ""
    )
    said = [
        f"The verdict speaks of {judged.comparisons[0].about}.{averaged}",
        "What the systems were trained on, and whether test images were kept apart, the tables don't tell.",
    ]
    if systems.products is None:
        said.append("No products were named: every image counts as its own product. If products have several "
                    "photographs, intervals are too narrow. Name their column: --product COLUMN.")  # fmt: skip
    if systems.hierarchy is None:
        said.append("No hierarchy was given: there is no error budget. Give one: --hierarchy FILE or COLUMN.")
    without = [name for name in systems.answers if name not in systems.probs]
    if without:
        said.append(f"Without probabilities, and so without calibration and top-5: {', '.join(without)}.")
    return Section("limits", "What this does not tell", (Bullets((*said, *judged.metrics["notes"])),))


def _plain(value: Any) -> Any:
    if value is None or value != value:
        return None
    return value.item() if isinstance(value, np.generic) else value
