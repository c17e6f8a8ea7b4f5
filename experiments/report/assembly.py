"""Which sections a run's report has, and in which order."""

from aisles.experiments.report.render.document import Document, Section
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
from aisles.experiments.runs.reader import Run

from .changes import class_changes, image_changes
from .names import seeds_in_words


def study_document(run: Run) -> Document:
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
    return Document(
        title=f"Flat or two-stage: {run.name}",
        verdict=run.metrics["verdict"],
        facts=_facts(run),
        opening=opening(run),
        sections=(*kept, limits_section(run, ran), provenance_section(run)),
    )


def _facts(run: Run) -> str:
    data = run.metrics["data"]
    trained = f", trained on {data['images']['train']} and {data['images']['val']} images"
    said = [run.settings.get("data", {}).get("note", ""), *data["warnings"]]
    note = " ".join(filter(None, said))
    return (
        f"{run.metrics['n_test']} test images, {len(run.classes)} classes in {run.hierarchy.n_macros} macros, "
        f"{seeds_in_words(run.metrics)}{trained}." + (f" {note}" if note else "")
    )
