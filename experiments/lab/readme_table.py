"""A committed result of a run, and the README's table from it.

    python -m experiments.lab.readme_table keep RUN experiments/lab/results/NAME.json
    python -m experiments.lab.readme_table write experiments/lab/results/NAME.json NOTE.md
    python -m experiments.lab.readme_table short experiments/lab/results/NAME.json README.md

`keep` trims a run's metrics.json to what tables are made of, with the run's settings, environment and costs, and
puts a text and the report's first plot beside it, and all tables and metrics in a folder of its name. `write` puts
the table between the lines `<!-- table:start -->` and `<!-- table:end -->` of a file; `short` puts some methods there,
named by words.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from aisles.data_prep.io.files import write_whole
from aisles.experiments.methods.fine_tuned import ENSEMBLES
from aisles.experiments.methods.registry import fine_tunes
from aisles.experiments.report.names import judged, products_known, what_it_is
from aisles.experiments.stats.points import interval_in_points, signed

BEGIN, END = "<!-- table:start -->", "<!-- table:end -->"
LEFT_OUT = ("per_class", "risk_coverage")
DIGITS = 6
FOUND_BY_SEARCH = (
    "Caveat: `discriminant` was found by a search on the grocery photographs, after test metrics of other designs were "
    "known (see grocery-design-search.md). On those photographs its metrics are an exploratory lead, no confirmation."
)
SHARED_MEMBERS = (
    "Caveat: fine-tuned ensembles of neighboring seeds share members: their spread over seeds is too small."
)

IN_WORDS = {
    "hie:lda": "one flat discriminant times a router of discriminants",
    "flat-lda": "one flat discriminant over all classes",
    "implied:lda": "two stages of discriminants, the macro-category from the flat one",
    "soft:lda": "two stages of discriminants, the macro-category from a router",
    "ensemble": "as many flat heads as two stages have, averaged",
    "flat": "one flat head, as in the published study",
    "soft": "router and sub-models, as in the published study",
}
"""The methods that the README tells of."""


def trimmed(run: str | Path) -> dict[str, Any]:
    """Return what is worth committing of a run folder: metrics without curves and classes, rounded."""
    run = Path(run)
    metrics = _read(run / "metrics.json")
    methods = {
        name: {key: value for key, value in of_method.items() if key not in LEFT_OUT}
        for name, of_method in metrics["methods"].items()
    }
    costs = _read(run / "costs.json")
    kept = metrics | {"methods": methods}
    seconds = sum(costs["stages"].values())
    return _rounded(
        {key: value for key, value in kept.items() if key != "climb"}
        | {
            "settings": tomllib.loads((run / "settings.toml").read_text(encoding="utf-8")),
            "environment": _environment(run),
            "measured": {"date": date.today().isoformat(), "head_training_seconds": seconds}
            | {key: costs[key] for key in ("backbone", "methods", "peak_memory_bytes")},
        }
    )


def _environment(run: Path) -> dict[str, Any]:
    facts = _read(run / "environment.json")
    return facts | {"command": _without_folders(facts.get("command") or "")}


def _without_folders(text: str) -> str:
    """Return text in which a path from the root is its last name: a machine's folders are nobody else's."""
    return re.sub(r"(?<![\w.:/])/(?:[\w.~-]+/)*([\w.~-]+)", r"\1", text)


def table(result: Mapping[str, Any]) -> str:
    """Write the methods as a Markdown table, best first, with what the numbers rest on beneath."""
    lines = [
        "| method | what it is | accuracy | against flat, points | verdict | against best flat, points "
        "| verdict there | settings tried |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    best = {comparison["b"]: comparison for comparison in result["best_flat"]["comparisons"]}
    strongest = result["best_flat"]["name"]
    compared = {comparison["b"]: comparison for comparison in result["comparisons"]}
    ranked = sorted(result["methods"].items(), key=lambda item: -item[1]["accuracy_mean"])
    for name, metrics in ranked:
        if metrics["role"] == "control":
            continue
        spread = "" if metrics["accuracy_sd"] is None else f" ± {metrics['accuracy_sd']:.3f}"
        there = "best flat" if name == strongest else best[name]["verdict"] if name in best else ""
        if name in best and best[name]["a"] != strongest:
            there += f" (against {best[name]['a']})"
        lines.append(
            f"| {name} | {what_it_is(name, result)} | {metrics['accuracy_mean']:.3f}{spread} "
            f"| {_difference(compared.get(name))} | {_verdict(name, compared)} "
            f"| {_difference(best.get(name))} | {there} | {metrics['searched']} |"
        )
    lines += [_random_row(result["controls"]["random"])] if result["controls"]["random"] else []
    return "\n".join([*lines, "", *_footnotes(result)])


def short_table(result: Mapping[str, Any]) -> str:
    """Write some methods as a Markdown table, best first, named by words, with what the numbers rest on beneath."""
    best = {comparison["b"]: comparison for comparison in result["best_flat"]["comparisons"]}
    strongest = result["best_flat"]["name"]
    compared = {comparison["b"]: comparison for comparison in result["comparisons"]}
    lines = [
        "| model | correct | points above the published flat head | verdict "
        "| points above the best flat model | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(IN_WORDS, key=lambda name: -result["methods"][name]["accuracy_mean"]):
        there = "best flat" if name == strongest else best[name]["verdict"] if name in best else ""
        lines.append(
            f"| {IN_WORDS[name]} | {100 * result['methods'][name]['accuracy_mean']:.1f} % "
            f"| {_difference(compared.get(name))} | {_verdict(name, compared)} "
            f"| {_difference(best.get(name))} | {there} |"
        )
    return "\n".join([*lines, "", _short_footnote(result)])


def note(result: Mapping[str, Any], name: str) -> str:
    """Write the lab note of a result: question, command, cost, hardware, date, result."""
    measured, environment = result["measured"], result["environment"]
    forecast = result["forecast"]
    observed = forecast["observed"]
    tuned = [comparison for comparison in result["comparisons"] if fine_tunes([comparison["b"]])]
    beside = "; fine-tuning comes on top, see the recipe" if tuned else ""
    lines = [
        f"# {name}",
        "",
        "Question: on real photographs, does two-stage beat one flat model, and what is the hierarchy worth?",
        f"Date: {measured['date']}. Hardware: {environment['processors']} processors, {environment['system']}, no GPU.",
        f"Cost: {measured['head_training_seconds']:.0f} s of head training, features taken from the cache{beside}.",
        f"Result: {result['verdict']}",
        "",
        table(result),
        "",
        *_caveats(result),
        f"Forecast from validation images: {100 * forecast['used']['between']:.1f} % of the mass between macros, "
        f"{100 * forecast['used']['inside']:.1f} % inside; recommended {forecast['recommended']['linkage']}, "
        f"{forecast['recommended']['macros']} macros. {_mass(observed)}Flat's answers to test images left the macro in "
        f"{100 * observed['between']:.1f} % and erred inside in {100 * observed['inside']:.1f} %; sub-models repaired "
        f"{100 * observed['repaired']:.1f} % of the latter and broke {100 * observed['broken']:.1f} % of what was "
        "right.",
        "",
        *[f"- {comparison['sentence']}" for comparison in tuned],
        *[f"- {random['comparison']['sentence']}" for random in [result["controls"]["random"]] if random],
        *[f"- {comparison['sentence']}" for comparison in result["controls"]["hierarchies"]],
        *_sweep(result.get("sweep")),
    ]
    return "\n".join(lines) + "\n"


def _caveats(result: Mapping[str, Any]) -> list[str]:
    """Return in words how a method's design was found, where that limits what its metrics show."""
    caveats = [FOUND_BY_SEARCH, ""] if "discriminant" in result["methods"] else []
    return [*caveats, SHARED_MEMBERS, ""] if ENSEMBLES.keys() & result["methods"].keys() else caveats


def _mass(observed: Mapping[str, Any]) -> str:
    mass = observed.get("mass")
    if not mass:
        return ""
    between, inside = 100 * mass["between"], 100 * mass["inside"]
    return f"On test images the mass was {between:.1f} % between and {inside:.1f} % inside. "


def write_between(path: str | Path, text: str) -> None:
    """Put text between the two marker lines of a file.

    Raises
    ------
    ValueError
        If the file has not exactly one pair of them, in order.
    """
    path = Path(path)
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN + "\n")
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after:
        raise ValueError(f"{path} must hold the lines {BEGIN} and {END} once, in this order. Add them.")
    write_whole(path, f"{before}{begin}{text}\n{end}{after}")


def main(arguments: list[str] | None = None) -> None:
    """Keep a run's result, or write a table; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["keep", "write", "short"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args(arguments)
    if given.what != "keep":
        written = table if given.what == "write" else short_table
        write_between(given.target, written(_read(given.source)))
        return
    result = trimmed(given.source)
    given.target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(given.target, json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n")
    write_whole(given.target.with_suffix(".md"), note(result, given.target.stem))
    plot = given.source / "plots" / "difference.svg"
    write_whole(given.target.with_suffix(".svg"), plot.read_text(encoding="utf-8"))
    for file in sorted([*given.source.glob("tables/*.csv"), *given.source.glob("plots/*.svg")]):
        kept = given.target.with_suffix("") / file.relative_to(given.source)
        kept.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_text(encoding="utf-8")
        write_whole(kept, _without_folders(content) if file.name == "provenance.csv" else content)


def _verdict(name: str, compared: Mapping[str, Any]) -> str:
    if name in compared:
        return judged(compared[name])
    return "baseline" if name == "flat" else "not judged"


def _difference(comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return ""
    return f"{signed(100 * comparison['difference'])} ({interval_in_points(comparison['interval'])})"


def _random_row(random: Mapping[str, Any]) -> str:
    spread = "" if random["accuracy_sd"] is None else f" ± {random['accuracy_sd']:.3f}"
    return (
        f"| random macros | control: soft on {len(random['partitions'])} random partitions of the same sizes "
        f"| {random['accuracy_mean']:.3f}{spread} | | | | | |"
    )


def _footnotes(result: Mapping[str, Any]) -> list[str]:
    images, measured = result["data"]["images"], result["measured"]
    return [
        f"{result['n_test']} test images, {len(result['classes'])} classes, {len(result['macros'])} macros "
        f"({result['hierarchy']['origin']}), {len(result['seeds'])} seeds (± sd over seeds), trained on "
        f"{images['train']} + {images['val']} images; intervals at 95 % count {_drawn(result)} and "
        f"training seeds; soft is the primary method, the other verdicts of each column are corrected together "
        f"(step-down max-T). "
        f"{result['environment']['processors']} processors, no GPU, "
        f"{measured['date']}."
    ]


def _short_footnote(result: Mapping[str, Any]) -> str:
    images, measured = result["data"]["images"], result["measured"]
    return (
        f"{result['n_test']:,} test images, {len(result['classes'])} classes in {len(result['macros'])} "
        f"macro-categories, {len(result['seeds'])} training seeds, {images['train'] + images['val']:,} images to learn "
        f"from. In brackets: 95 % intervals, which count {_drawn(result)} and training seeds. "
        f'"{IN_WORDS["soft"]}" is the primary method; '
        "the other verdicts of each column are corrected together. "
        f"{result['environment']['processors']} processors, no GPU, {measured['date']}."
    )


def _drawn(result: Mapping[str, Any]) -> str:
    return "products" if products_known(result) else "images (products are not known)"


def _sweep(sweep: Mapping[str, Any] | None) -> list[str]:
    if not sweep:
        return []
    rows = [
        "",
        "| cut | accuracy | against flat, points | router | forecast's excess |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cut in sweep["cuts"]:
        spread = "" if cut["accuracy_sd"] is None else f" ± {cut['accuracy_sd']:.3f}"
        router = sum(cut["router_accuracy"]) / len(cut["router_accuracy"])
        rows.append(
            f"| {cut['linkage']}, {cut['macros']} macros | {cut['accuracy_mean']:.3f}{spread} "
            f"| {_difference(cut['comparison'])} | {router:.3f} | {cut['forecast'].get('excess', 0):.3f} |"
        )
    for key, what in (("forecast_rank_correlation", "excess"), ("ceiling_rank_correlation", "ceiling")):
        if found := sweep.get(key):
            rows += [
                "",
                f"Rank correlation of the forecast's {what} with accuracy over {found['n_cuts']} cuts (nested, so no "
                f"test): {found['rho']:.2f}.",
            ]
    return rows


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _rounded(content: Any) -> Any:
    if isinstance(content, float):
        return float(f"{content:.{DIGITS}g}")
    if isinstance(content, Mapping):
        return {key: _rounded(value) for key, value in content.items()}
    return [_rounded(value) for value in content] if isinstance(content, list) else content


if __name__ == "__main__":
    main()
