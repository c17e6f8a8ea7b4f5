"""`aisles train` and `aisles evaluate`: training on images, and what came of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .commands import ModelCommand, as_json, checked_rule, plugin_option, typed
from .options import TRAIN, setting_options
from .tables import as_records, as_text

if TYPE_CHECKING:
    import pandas as pd

    from aisles.experiments.training.bundle_evaluation import BundleEvaluation

PATH = click.Path(path_type=Path)


@click.command(cls=ModelCommand)
@click.argument("data", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="The run folder.")
@setting_options(TRAIN)
@click.option("--json", "json_", is_flag=True, help="Print the metrics as JSON.")
@plugin_option
def train(data: Path, output: Path, settings: Any, cache: str | None, json_: bool) -> None:
    """Train a classifier on DATA in two phases: the head on the frozen network, then both.

    DATA is a manifest CSV, a folder with a metadata.csv, or a folder of class folders. The bundle is written to
    bundle/ in the run folder, networks and curves to models/. Run it again to go on after an interruption: finished
    models are not trained again, an unfinished one goes on from its last finished epoch.

    Example: aisles train photos --model two-stage --sharing fine-tuned --output run
    """
    from dataclasses import asdict

    from aisles.experiments.training.runs import train_classifier

    result = train_classifier(data, output, settings, cache=cache, command=typed())
    found = {"val": result.validation, **({"test": result.test} if result.test else {})}
    if json_:
        metrics = {split: asdict(evaluation) for split, evaluation in found.items()}
        click.echo(as_json({"bundle": str(result.bundle), **metrics}))
        return
    for split, e in found.items():
        macro = "" if e.macro_accuracy is None else f", macro {e.macro_accuracy:.3f}"
        told = "validation images, which chose the weights" if split == "val" else "test images"
        click.echo(f"accuracy {e.accuracy:.3f}{macro}, macro-F1 {e.macro_f1:.3f} on {e.n_images} {told}")
        if e.answers_on_absent:
            click.echo(
                f"{e.answers_on_absent} answers are classes of which there is none; F1 is 0 for these classes."
            )
    click.echo(f"\nSee more: aisles evaluate {result.bundle} {result.manifest}")


@click.command(cls=ModelCommand)
@click.argument("bundle", type=PATH)
@click.argument("data", type=PATH)
@click.option("--split", help="train, val, test or all.  [default: test if there is one, else all]")
@click.option("--rule", callback=checked_rule, help="Routing rule.  [default: the bundle's]")
@click.option(
    "--label-column", default="label", show_default=True, help="The manifest's column with the class."
)
@click.option("--strict", is_flag=True, help="Fail on unreadable images instead of leaving them out.")
@click.option("--output", "-o", type=PATH, help="Folder for a page with confusion matrix and mistakes.")
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
@plugin_option
def evaluate(
    bundle: Path,
    data: Path,
    split: str | None,
    rule: str | None,
    label_column: str,
    strict: bool,
    output: Path | None,
    json_: bool,
) -> None:
    """Print precision, recall, F1 and support of each class of BUNDLE on DATA, the worst first.

    DATA is a manifest CSV, a folder with a metadata.csv, or a folder of class folders. With --output a page shows the
    confusion matrix, ordered by macro-category, and the most confident mistakes. For a bundle from a preset of a
    published study its F1 stands beside the measured one.

    Example: aisles evaluate run/bundle photos --output evaluation
    """
    from aisles.experiments.training.bundle_evaluation import evaluate_bundle

    found = evaluate_bundle(bundle, data, split=split, rule=rule, label_column=label_column, strict=strict)
    table = found.per_class()
    page = None
    if output is not None:
        from aisles.experiments.report.bundle_report import write_bundle_report

        page = write_bundle_report(found, output, str(bundle)).html
    if json_:
        facts = {"accuracy": found.accuracy, "rule": found.rule, "classes": as_records(table)}
        click.echo(as_json(facts))
        return
    click.echo(as_text(table.rename(columns={"published_f1": "published"})))
    click.echo(f"\n{_summary(found, table)}")
    if page is not None:
        click.echo(f"Look at {page}.")


def _summary(found: "BundleEvaluation", table: "pd.DataFrame") -> str:
    means = table[["precision", "recall", "f1"]].mean()
    text = (
        f"accuracy {found.accuracy:.3f}, macro average precision {means['precision']:.3f}, recall "
        f"{means['recall']:.3f}, F1 {means['f1']:.3f} on {len(found.truth)} images"
    )
    if found.on_absent:
        text += f"\n{found.on_absent}"
    if not found.published_f1:
        return text
    both = table.dropna(subset="published_f1")
    if both.empty:
        return f"{text}\nnone of these classes has a published F1"
    return (
        f"{text}\npublished macro average F1 {both['published_f1'].mean():.3f}, measured {both['f1'].mean():.3f} on "
        f"the same {len(both)} classes\npublished: validation images, split by image; measured: {found.measured_on}"
    )
