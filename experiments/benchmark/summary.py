"""The verdict as a table that a person reads in ten seconds."""

import shlex
from pathlib import Path

from aisles.experiments.report.names import judged, mean_of
from aisles.experiments.runs.schema import (
    BenchmarkMetrics,
    BestFlat,
    ComparisonFacts,
    Controls,
    MethodFacts,
)
from aisles.experiments.stats.points import change_in_points, interval_in_points

from .run import BenchmarkResult


def summary(result: BenchmarkResult) -> str:
    """Write a run's result as text: methods, comparisons, router, verdict, and where to look."""
    metrics = result.metrics
    images = metrics["data"]["images"]
    level = 100 * (1 - metrics["comparisons"][0]["alpha"])
    width = 2 + max(8, *(len(name) for name in (*metrics["methods"], *metrics["failed"])))
    interval = f"{level:g} % interval"
    lines = [
        *(f"Mind: {warning}" for warning in metrics["data"]["warnings"]),
        f"{metrics['n_test']} test images, {len(metrics['classes'])} classes, {len(metrics['macros'])} macros "
        f"({metrics['hierarchy']['origin']}), {len(metrics['seeds'])} seeds, trained on {images['train']} + "
        f"{images['val']} images",
        "",
        f"{'':<{width}}{'accuracy':>16}{'macro-F1':>10}{'against flat':>15}{interval:>18}{'p':>9}  verdict",
    ]
    comparisons = {comparison["b"]: comparison for comparison in metrics["comparisons"]}
    more = _further(metrics)
    for name, method in metrics["methods"].items():
        lines.append(_row(name, method, comparisons.get(name), width))
    lines += [f"{name:<{width}}failed: {reason}" for name, reason in metrics["failed"].items()]
    first = metrics["comparisons"][0]
    router = metrics["router"]
    bundle = result.folder / "bundles" / "two-stage"
    lines += [
        "",
        f"router accuracy {_mean(router['accuracy']):.3f}, implied by flat {_mean(router['implied_by_flat']):.3f}",
        f"McNemar, {first['b']} against flat, a seed each: "
        + ", ".join(f"p = {test['p_value']:.2g}" for test in first["mcnemar"])
        + f" (corrected {_counts(first['corrected'])}, broken {_counts(first['broken'])})",
        *_absent(metrics),
        *_controls(metrics["controls"]),
        *_best_flat(metrics["best_flat"]),
        *more,
        "",
        f"Verdict: {metrics['verdict']}",
        *_meant(metrics),
        metrics["plan"]["in_words"],
        "",
        f"Look at {_typed(result.folder / 'report.html')}; every number is in "
        f"{_typed(result.folder / 'metrics.json')}.",
        *([f"Predict: aisles predict {_typed(bundle)} IMAGE..."] if bundle.exists() else []),
    ]
    return "\n".join(lines)


def _meant(metrics: BenchmarkMetrics) -> list[str]:
    """Say what the two methods of the verdict are, where that is known."""
    judged = [*metrics["best_flat"]["comparisons"], *metrics["comparisons"]][0]
    named = ((name, metrics["methods"][name]["what"]) for name in (judged["b"], judged["a"]))
    said = "; ".join(f"{name}: {what.removeprefix('flat: ').rstrip('.')}" for name, what in named if what)
    return [f"{said}."] if said else []


def _best_flat(best: BestFlat) -> list[str]:
    """Name the strongest flat method, and every two-stage method's verdict against it."""
    if best["name"] == "flat":
        alone = len(best["val_accuracy"]) == 1
        lines = [
            "flat is the only flat method that took part: a stronger one may change the verdict (--preset full)."
            if alone
            else "The strongest flat method on validation images is flat itself."
        ]
        shown = [one for one in best["comparisons"] if "unbeaten" in one]
    else:
        lines = [f"Against {best['name']}, the flat method that validation images prefer:"]
        shown = best["comparisons"]
    for comparison in shown:
        change, span = change_in_points(comparison["difference"]), interval_in_points(comparison["interval"])
        beside = f" (not than {', '.join(comparison['unbeaten'])})" if "unbeaten" in comparison else ""
        other = "" if comparison["a"] == best["name"] else f" against {comparison['a']}"
        lines.append(f"  {comparison['b']}: {change} ({span}){other}, {comparison['verdict']}{beside}")
    return lines


def _absent(metrics: BenchmarkMetrics) -> list[str]:
    """Name the classes without test images, which make macro-F1 lower where they are answered."""
    support = metrics["methods"]["flat"]["per_class"]["support"]
    names = [name for name, images in zip(metrics["classes"], support, strict=True) if not images]
    if not names:
        return []
    shown = f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
    return [
        f"No test image shows {shown} ({len(names)} of {len(support)} classes): F1 is 0 for those of them that are "
        "answered, and counts in macro-F1."
    ]


def _further(metrics: BenchmarkMetrics) -> list[str]:
    """List the metrics that came from outside, by method."""
    ours = {"accuracy", "top5_accuracy", "balanced_accuracy", "macro_f1"}
    return [
        f"{facts['label']}: "
        + ", ".join(
            f"{name} {mean:.3f}"
            for name, method in metrics["methods"].items()
            if (mean := mean_of(method, key)) is not None
        )
        for key, facts in metrics["metrics"].items()
        if facts["shown"] and key not in ours
    ]


def _controls(controls: Controls) -> list[str]:
    """Return what the macros are worth: against random ones of the same sizes, and against other hierarchies."""
    random = controls["random"]
    sentences = [] if random is None else [f"Against random macros: {random['comparison']['sentence']}"]
    return sentences + [comparison["sentence"] for comparison in controls["hierarchies"]]


def _typed(path: Path) -> str:
    """Write a path as it has to be typed in a shell."""
    return shlex.quote(str(path))


def _row(name: str, method: MethodFacts, comparison: ComparisonFacts | None, width: int) -> str:
    spread = "" if method["accuracy_sd"] is None else f" ± {method['accuracy_sd']:.3f}"
    row = (
        f"{name:<{width}}{method['accuracy_mean']:>8.3f}{spread:<8}{mean_of(method, 'macro_f1') or 0:>10.3f}"
    )
    if comparison is None:
        return row
    return (
        f"{row}{change_in_points(comparison['difference']):>15}{interval_in_points(comparison['interval']):>18}"
        f"{comparison['p_corrected']:>9.2g}  {judged(comparison)}"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _counts(values: list[int]) -> str:
    return "/".join(map(str, values))
