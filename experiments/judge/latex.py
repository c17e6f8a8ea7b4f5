"""A run for a paper: its result table and the sentence with interval, test, power and protocol, as LaTeX."""

from pathlib import Path

from aisles.data_prep.io.files import write_whole
from aisles.experiments.report.names import mean_of
from aisles.experiments.runs.reader import read_metrics
from aisles.experiments.runs.schema import (
    BENCHMARK,
    COMPARE,
    ComparisonFacts,
    MethodFacts,
    Metrics,
    SystemFacts,
)
from aisles.experiments.stats.points import change_in_points, interval_in_points, signed, size_in_points
from aisles.experiments.stats.verdict import FEW_PRODUCTS

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def write_latex(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write `report.tex` of a run: a table (package booktabs) and a paragraph.

    Parameters
    ----------
    folder : path
        Of a run of `aisles benchmark` or `aisles compare`.
    output : path, optional
        Folder to write to; the run unless given.

    Raises
    ------
    DataError
        If the folder is no finished run.
    """
    metrics = read_metrics(Path(folder))
    text = f"% needs \\usepackage{{booktabs}}\n{result_table(metrics)}\n\n{result_sentence(metrics)}\n"
    return write_whole(Path(output or folder) / "report.tex", text)


def result_table(metrics: Metrics) -> str:
    """Return the methods with accuracy, macro-F1, and difference with interval, p and verdict; controls left out."""
    compared = {comparison["b"]: comparison for comparison in metrics["comparisons"]}
    rows = [
        _row(name, facts, compared.get(name))
        for name, facts in metrics["methods"].items()
        if facts["role"] != "control"
    ]
    first = metrics["comparisons"][0]
    baselines = dict.fromkeys(comparison["a"] for comparison in metrics["comparisons"])
    caption = (
        f"Accuracy and macro-F1 in percent (mean{_spread(metrics)}), and the difference in accuracy from "
        f"{_escaped(', '.join(baselines))} in points with its {100 * (1 - first['alpha']):g}\\,\\% "
        f"interval; {_counts(metrics)}."
    )
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            r"\begin{tabular}{lrrrrl}",
            r"\toprule",
            r"Method & Accuracy & Macro-F1 & Difference (interval) & $p$ & Verdict \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def result_sentence(metrics: Metrics) -> str:
    """Return the comparison that decides in words: difference, interval, test, power and protocol.

    A benchmark's is the primary method's against the flat method that validation images prefer, else the first one.
    """
    first = (metrics["best_flat"] if metrics["kind"] == BENCHMARK else metrics)["comparisons"][0]
    if first["verdict"] == "not judged":
        return _escaped(first["sentence"])
    a, b = _escaped(first["a"]), _escaped(first["b"])
    said = {
        "better": f"{b} is more accurate than {a}",
        "worse": f"{b} is less accurate than {a}",
        "better than some": f"No advantage of {b} was shown over every flat method; against {a}",
        "equivalent": f"{b} and {a} are equivalent within {size_in_points(first['margin'])}",
    }.get(first["verdict"], f"No difference in accuracy was shown between {b} and {a}")
    family = len(metrics["comparisons"])
    own = metrics["kind"] == COMPARE
    corrected = " corrected (step-down max-T)" if own and family > 1 else ""
    seeds = " and training seeds" if first["n_seeds"] > 1 else ""
    method = (
        "" if seeds else "Student's t " if metrics["n_products"] < FEW_PRODUCTS else "percentile bootstrap "
    )
    unit = "products" if metrics["n_products"] < metrics["n_test"] else "images"
    sentences = [
        f"{said}: {change_in_points(first['difference'])} ({100 * (1 - first['alpha']):g}\\,\\% {method}"
        f"interval over {unit}{seeds} {interval_in_points(first['interval'])};{corrected} "
        f"two-sided sign-flip test over {unit}{', and test over both,' if seeds else ','} "
        f"{_p(first['p_corrected'])}; {_counts(metrics)}).",
        f"With these images a difference of {100 * first['smallest_detectable']:.1f} points would be shown "
        f"{100 * first['power']:g} times in 100; the margin of equivalence was "
        f"{size_in_points(first['margin'])} and the level {first['alpha']:g}.",
    ]
    if metrics["kind"] == BENCHMARK:
        images = metrics["data"]["images"]
        sentences.append(
            f"All methods were given the same {images['train']:,} training and {images['val']:,} "
            f"validation images, features of {_escaped(metrics['backbone'])} and seeds; test images chose "
            "nothing."
        )
    if not own and family > 1:
        sentences.append(f"The other {family - 1} comparisons were corrected together (step-down max-T).")
    return " ".join(sentences)


def _row(name: str, facts: MethodFacts | SystemFacts, comparison: ComparisonFacts | None) -> str:
    spread = facts["accuracy_sd"]
    accuracy = f"{100 * facts['accuracy_mean']:.1f}" + (
        "" if spread is None else rf" $\pm$ {100 * spread:.1f}"
    )
    cells = [_escaped(name), accuracy, f"{100 * (mean_of(facts, 'macro_f1') or 0):.1f}"]
    if comparison is None:
        cells += ["", "", "baseline" if facts["role"] in ("flat", "baseline") else ""]
    else:
        difference = (
            f"{signed(100 * comparison['difference'])} ({interval_in_points(comparison['interval'])})"
        )
        cells += [
            difference.replace("-", "$-$"),
            _p(comparison["p_corrected"], short=True),
            comparison["verdict"],
        ]
    return " & ".join(cells) + r" \\"


def _p(value: float, short: bool = False) -> str:
    text = r"$<$ 0.0001" if value < 1e-4 else f"{value:.2g}"
    return text if short else rf"$p$ {text}" if value < 1e-4 else rf"$p$ = {text}"


def _spread(metrics: Metrics) -> str:
    return " $\\pm$ standard deviation over seeds" if len(metrics["seeds"]) > 1 else ""


def _counts(metrics: Metrics) -> str:
    n, products, seeds = metrics["n_test"], metrics["n_products"], len(metrics["seeds"])
    grouped = f" of {products:,} products" if products < n else ""
    return f"{n:,} test images{grouped}, {len(metrics['classes'])} classes, {seeds} seed{'s' if seeds > 1 else ''}"


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)
