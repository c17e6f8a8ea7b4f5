"""The page that `aisles evaluate` writes: classes, confusion matrix, the most confident mistakes."""

from pathlib import Path

from aisles.experiments.report.plots.classes import FEW, confusion_plots
from aisles.experiments.report.render.document import (
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
from aisles.experiments.training.bundle_evaluation import BundleEvaluation

from .names import macro_tag
from .writing import ReportFiles, write_document

IMAGES = 24


def write_bundle_report(evaluation: BundleEvaluation, output: str | Path, name: str) -> ReportFiles:
    """Write `evaluation.html` and `evaluation.md` with tables and metrics into a folder.

    Parameters
    ----------
    evaluation : BundleEvaluation
    output : path
    name : str
        What the page calls the bundle.
    """
    return write_document(bundle_document(evaluation, name), Path(output), "evaluation")


def bundle_document(evaluation: BundleEvaluation, name: str) -> Document:
    """Put the page together."""
    table = evaluation.per_class()
    n_images = len(evaluation.truth)
    right, f1 = 100 * evaluation.accuracy, 100 * table["f1"].mean()
    verdict = f"{right:.1f} % of {n_images} images are right, macro F1 {f1:.1f} %."
    facts = [f"{len(evaluation.classes)} classes, routing rule {evaluation.rule}."]
    if evaluation.on_absent:
        facts.append(evaluation.on_absent)
    if evaluation.published_f1:
        both = table.dropna(subset="published_f1")
        facts.append(
            f"On the {len(both)} classes with published metrics F1 is {100 * both['f1'].mean():.1f} %, published "
            f"{100 * both['published_f1'].mean():.1f} %."
        )
    sections = (_classes(evaluation), _confusion(evaluation), _mistakes(evaluation))
    return Document(f"Evaluation of {name}", verdict, tuple(facts), (), sections)


def _classes(evaluation: BundleEvaluation) -> Section:
    table = evaluation.per_class()
    columns = [
        Column("class"),
        *(Column(n, "share") for n in ("precision", "recall", "F1")),
        Column("images", "count"),
    ]
    if evaluation.published_f1:
        columns += [Column("published F1", "share"), Column("difference", "points")]
    rows = tuple(tuple(None if value != value else value for value in row) for row in table.values.tolist())
    caption = "The lowest F1 first."
    return Section("classes", "Classes", (Table("classes", caption, tuple(columns), rows, sortable=True),))


def _confusion(evaluation: BundleEvaluation) -> Section:
    drawings = confusion_plots(evaluation, evaluation.confusion, "the bundle")
    caption = "Rows are true classes, columns answers; a cell holds its images."
    legend = []
    if evaluation.hierarchy is not None:
        caption += " Frames are macro-categories."
        rows = tuple(
            (macro_tag(i), macro, ", ".join(members))
            for i, (macro, members) in enumerate(
                zip(evaluation.hierarchy.macros, evaluation.hierarchy.members, strict=True)
            )
        )
        columns = (Column("frame", "word"), Column("macro-category", "word"), Column("classes"))
        legend = [Table("macros", "The frames.", columns, rows)]
    plot = Plot("confusion", caption, *drawings, zoomable=len(evaluation.classes) > FEW)
    return Section("confusion", "Confusion matrix", (plot, *legend))


def _mistakes(evaluation: BundleEvaluation) -> Section:
    rows = evaluation.mistakes(IMAGES).tolist()
    if not rows:
        return Section("mistakes", "Mistakes", (Text("There is none."),))
    paths, table = evaluation.manifest.paths, evaluation.manifest.table
    cards = []
    for row in rows:
        answer, truth = int(evaluation.answers[row]), int(evaluation.truth[row])
        lines = (
            ("answered", f"{evaluation.classes[answer]} {evaluation.probs[row, answer]:.0%}"),
            ("true class", f"{evaluation.classes[truth]} {evaluation.probs[row, truth]:.0%}"),
        )
        title = evaluation.classes[truth]
        cards.append(Card(thumbnail(paths[row]), title, str(table["file_name"].iloc[row]), lines))
    n_wrong = int((evaluation.answers != evaluation.truth).sum())
    caption = f"The {len(rows)} most confident of {n_wrong} mistakes; some may be wrong labels."
    return Section("mistakes", "Most confident mistakes", (Gallery(caption, tuple(cards)),))
