"""`aisles train` and `aisles evaluate`: training on images, and what came of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .commands import ModelCommand, as_json, checked_rule, plugin_option, typed
from .options import TRAIN, options_of, setting_options
from .tables import as_records, as_text

if TYPE_CHECKING:
    import pandas as pd

    from aisles.experiments.training.bundle_evaluation import BundleEvaluation

PATH = click.Path(path_type=Path)


@click.command(cls=ModelCommand)
@click.argument("data", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="The run folder.")
@setting_options(TRAIN)
@click.option(
    "--update",
    type=PATH,
    metavar="BUNDLE",
    help="Teach this bundle DATA: new classes, corrections, more images.",
)
@click.option(
    "--old",
    type=PATH,
    help="With --update: what the bundle learned from.  [default: the manifest.csv of its run]",
)
@click.option(
    "--macro", help="With --update: where new classes go, and the only macro that is trained again."
)
@click.option("--json", "json_", is_flag=True, help="Print the metrics as JSON.")
@plugin_option
@click.pass_context
def train(
    context: click.Context,
    data: Path,
    output: Path,
    settings: Any,
    cache: str | None,
    update: Path | None,
    old: Path | None,
    macro: str | None,
    json_: bool,
) -> None:
    """Train a classifier on DATA: first the head on the frozen network, then both.

    DATA is a manifest CSV, a folder with a metadata.csv, or a folder of class folders. The bundle is written to
    bundle/ in the run folder, networks and curves to models/. Run it again to go on after an interruption: finished
    models are not trained again, an unfinished one goes on from its last finished epoch.

    With --update BUNDLE nothing but the router and the sub-models that DATA concerns is trained again, as heads on the
    bundle's networks; every other file stays. DATA is a manifest (file_name, label) or a folder of class folders with
    new classes, corrections or further images.

    Example: aisles train photos --model two-stage --sharing fine-tuned --output run
    Example: aisles train corrections/metadata.csv --update run/bundle --output better
    """
    from dataclasses import asdict

    typed_in = {name for name in context.params | _SETTINGS if _is_typed(context, name)}
    if update is not None:
        foreign = sorted(typed_in - _OF_UPDATE)
        if foreign:
            raise click.UsageError(f"--{foreign[0].replace('_', '-')} takes no part in --update.")
        head = settings.fine_tuning.head if "head" in typed_in else None
        _update(update, data, output, settings, old, macro, head, cache, json_)
        return
    if old is not None or macro is not None:
        raise click.UsageError("--old and --macro go with --update BUNDLE.")

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


_SETTINGS = dict.fromkeys(option.keyword for option in options_of(TRAIN))
_OF_UPDATE = {
    *(
        "data",
        "output",
        "update",
        "old",
        "macro",
        "json_",
        "cache",
        "preset",
        "config",
        "changes",
        "plugin",
        "quiet",
    ),
    *("head", "seed", "label_column", "hierarchy_column"),
}


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _update(
    bundle: Path,
    data: Path,
    output: Path,
    settings: Any,
    old: Path | None,
    macro: str | None,
    head: str | None,
    cache: str | None,
    json_: bool,
) -> None:
    from dataclasses import asdict

    from aisles.experiments.training.updating import update_bundle

    result = update_bundle(bundle, data, output, settings, old=old, macro=macro, head=head, cache=cache)
    if json_:
        click.echo(as_json(asdict(result)))
        return
    click.echo(f"{result.n_new} new or corrected images; changed files: {', '.join(result.changed_files)}")
    for label, place in result.added.items():
        click.echo(f"new class {label}" + ("" if place is None else f" in {place}"))
    told = {
        "before": "test images before",
        "after": "the same test images after",
        "after_all": "test images with those of new classes",
    }
    for name, what in told.items():
        found = getattr(result, name)
        if found is not None:
            click.echo(
                f"accuracy {found.accuracy:.3f}, macro-F1 {found.macro_f1:.3f} on {found.n_images} {what}"
            )
    if result.before is None:
        click.echo("There are no test images to compare before and after on.")
    click.echo(f"\nSee more: aisles evaluate {result.bundle} {result.manifest} --before {bundle}")


@click.command(cls=ModelCommand)
@click.argument("bundle", type=PATH)
@click.argument("data", type=PATH)
@click.option("--split", help="train, val, test or all.  [default: test if there is one, else all]")
@click.option("--rule", callback=checked_rule, help="Routing rule.  [default: the bundle's]")
@click.option(
    "--label-column", default="label", show_default=True, help="The manifest's column with the class."
)
@click.option("--strict", is_flag=True, help="Fail on unreadable images instead of leaving them out.")
@click.option("--before", type=PATH, help="An earlier bundle, whose metrics on these images stand beside.")
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
    before: Path | None,
    output: Path | None,
    json_: bool,
) -> None:
    """Print precision, recall, F1 and support of each class of BUNDLE on DATA, worst first.

    DATA is a manifest CSV, a folder with a metadata.csv, or a folder of class folders. With --output a page shows the
    confusion matrix, ordered by macro-category, and the most confident mistakes. For a bundle from a preset of a
    published study its F1 stands beside the measured one.

    Example: aisles evaluate run/bundle photos --output evaluation
    """
    from aisles.experiments.training.bundle_evaluation import accuracy_on, evaluate_bundle, with_earlier

    found = evaluate_bundle(bundle, data, split=split, rule=rule, label_column=label_column, strict=strict)
    table = found.per_class()
    earlier = None
    if before is not None:
        earlier = evaluate_bundle(
            before, data, split=split, rule=rule, label_column=label_column, strict=strict, known_only=True
        )
        table = with_earlier(table, earlier)
    page = None
    if output is not None:
        from aisles.experiments.report.bundle_report import write_bundle_report

        page = write_bundle_report(found, output, str(bundle)).html
    if json_:
        facts = {"accuracy": found.accuracy, "rule": found.rule, "classes": as_records(table)}
        if earlier is not None:
            facts["before"] = {"accuracy": earlier.accuracy, "n_images": len(earlier.truth)}
            facts["accuracy_on_the_same_images"] = accuracy_on(found, earlier)
        click.echo(as_json(facts))
        return
    click.echo(as_text(table.rename(columns={"published_f1": "published"})))
    click.echo(f"\n{_summary(found, table)}")
    if earlier is not None:
        click.echo(
            f"On the {len(earlier.truth)} images of classes that {before} knows: accuracy {earlier.accuracy:.3f} "
            f"before, {accuracy_on(found, earlier):.3f} now."
        )
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
