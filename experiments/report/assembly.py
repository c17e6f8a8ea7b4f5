"""Which sections a run's report has, and in which order."""

from aisles.experiments.report.render.document import Document, Section, signed
from aisles.experiments.report.sections.audit import audit_section
from aisles.experiments.report.sections.classes import classes_section, confusion_section, tree_section
from aisles.experiments.report.sections.design import (
    controls_section,
    distances_section,
    forecast_section,
    stability_section,
    sweep_section,
)
from aisles.experiments.report.sections.gallery import galleries_section
from aisles.experiments.report.sections.limits import limits_section, provenance_section
from aisles.experiments.report.sections.trust import calibration_section, has_temperatures
from aisles.experiments.report.sections.verdict import (
    budget_section,
    cost_section,
    methods_section,
    opening,
)
from aisles.experiments.runs.reader import FLAT, Run
from aisles.experiments.runs.schema import ComparisonFacts

from .changes import class_changes, image_changes
from .headline import evidence, headline
from .names import seeds_in_words, what_it_is


def run_document(run: Run) -> Document:
    """Put a run's report together; sections whose metrics the run lacks are left out and named under limits."""
    by_class, by_image = class_changes(run, run.primary), image_changes(run, run.primary)
    sections: list[Section | None] = [
        methods_section(run),
        budget_section(run),
        cost_section(run),
        tree_section(run, by_class),
        confusion_section(run),
        classes_section(run, by_class),
        galleries_section(run, by_image),
        calibration_section(run),
        forecast_section(run),
        sweep_section(run),
        controls_section(run),
        stability_section(run),
        distances_section(run),
        audit_section(run),
    ]
    kept = [section for section in sections if section]
    ran = {section.anchor for section in kept} | ({"calibrated"} if has_temperatures(run) else set())
    verdict, *lines = _verdict(run)
    return Document(
        title=f"Flat or two-stage: {run.name}",
        verdict=verdict,
        facts=(*lines, _facts(run), *_warnings(run)),
        opening=opening(run),
        sections=(*kept, limits_section(run, ran), provenance_section(run)),
    )


def _verdict(run: Run) -> tuple[str, ...]:
    """Return the plain verdict against the best flat method, on what it rests, and the verdict against flat itself.

    Where the hierarchy leaves nothing to route, the reason stands in their place.
    """
    if run.hierarchy.degenerate:
        return (run.metrics["verdict"],)
    against_flat, best = run.metrics["comparisons"][0], run.metrics["best_flat"]
    role = run.metrics["methods"][run.primary]["role"]
    ours = "the two-stage classifier" if role == "two-stage" else run.primary
    named = f"Two-stage: {run.primary}, {_planned(run)}." if role == "two-stage" else ""
    judged = next((c for c in best["comparisons"] if c["b"] == run.primary), None)
    if judged is None or best["name"] == FLAT:
        decides = judged if judged is not None and against_flat["a"] == FLAT else against_flat
        theirs = "the flat model" if against_flat["a"] == FLAT else against_flat["a"]
        return headline(decides, ours, theirs), evidence(decides), f"{named} {_unbeaten(decides)}".strip()
    known = what_it_is(best["name"], run.metrics).removeprefix("flat: ")
    chosen = f"Best flat, chosen by validation images: {best['name']}" + (f" ({known})." if known else ".")
    second = f"Against {against_flat['a']} alone: {against_flat['verdict']}, {_points(against_flat['difference'])}."
    return (
        headline(judged, ours, "the best flat model"),
        evidence(judged),
        f"{named} {chosen} {second} {_unbeaten(judged)}".strip(),
    )


def _unbeaten(comparison: ComparisonFacts) -> str:
    """Name the flat methods that a method is not shown better than, where it beats the one of validation's choice."""
    return f"Not shown better than: {', '.join(comparison['unbeaten'])}." if "unbeaten" in comparison else ""


def _planned(run: Run) -> str:
    """Return whether the plan stood before any test image was predicted; `limits_section` says more."""
    changed = run.metrics["plan"]["earlier"]
    return "not pre-specified: the plan was changed after a run had begun" if changed else "pre-specified"


def _points(difference: float) -> str:
    return f"{signed(100 * difference)} points"


def _facts(run: Run) -> str:
    data = run.metrics["data"]
    trained = f", trained on {data['images']['train']} and {data['images']['val']} images"
    note = run.settings.get("data", {}).get("note", "")
    return (
        f"{run.metrics['n_test']} test images, {len(run.classes)} classes in {run.hierarchy.n_macros} macros, "
        f"{seeds_in_words(run.metrics)}{trained}." + (f" {note}" if note else "")
    )


def _warnings(run: Run) -> list[str]:
    """Return what is to be minded about the images, a line each."""
    return [f"Mind: {warning}" for warning in run.metrics["data"]["warnings"]]
