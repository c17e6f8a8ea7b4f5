"""`aisles train`, `aisles evaluate` and `aisles ablate`: training on images, and what came of it."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .shared_options import ModelCommand, as_json, checked_rule

if TYPE_CHECKING:
    import pandas as pd

    from aisles.experiments.training.bundle_evaluation import BundleEvaluation

PATH = click.Path(path_type=Path)
CLASSIFIER = ("classifier.model", "classifier.trunk", "classifier.start", "classifier.rule")
"""Which classifier is trained: a comparison of all of them takes none of these."""


def train_options(*without: str) -> Callable[[Callable], Callable]:
    """Add the options that make the settings of a training; the command gets `settings` and `cache`.

    Parameters
    ----------
    *without : str
        Settings that the command doesn't use, whose options it must not offer.
    """
    options = {key: option for key, option in _train_options().items() if key not in without}
    shared = [
        click.option(
            "--config",
            help="Settings: a TOML file, or a recipe: abo65-flat, abo65-two-stage, grocery16-trunks.",
        ),
        click.option(
            "--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting."
        ),
        *options.values(),
        click.option("--cache", type=PATH, help="Folder for cached features."),
    ]

    def decorate(command: Callable) -> Callable:
        @wraps(command)
        def with_settings(config: str | None, changes: tuple[str, ...], **values: Any):
            from aisles.experiments.settings.training import read_train_settings

            given = {key: values.pop(_parameter(key)) for key in options}
            spoken = [f"{key}={_toml(value)}" for key, value in given.items() if value is not None]
            try:
                settings = read_train_settings(config, [*spoken, *changes])
            except ValueError as error:
                raise click.UsageError(str(error)) from error
            return command(settings=settings, **values)

        decorated: Callable = with_settings
        for option in reversed(shared):
            decorated = option(decorated)
        return decorated

    return decorate


def _train_options() -> dict[str, Callable]:
    """Return the options by the settings that they change."""
    return {
        "classifier.model": click.option(
            "--model", type=click.Choice(["flat", "two-stage"]), help="[default: two-stage]"
        ),
        "classifier.trunk": click.option(
            "--trunk",
            type=click.Choice(["shared", "tuned", "separate"]),
            help="shared: the pretrained network, frozen; tuned: one network, fine-tuned as the flat model's; "
            "separate: each model fine-tunes its own.  [default: tuned]",
        ),
        "classifier.start": click.option(
            "--start",
            type=click.Choice(["imagenet", "flat"]),
            help="What the models of separate start from.  [default: imagenet]",
        ),
        "classifier.rule": click.option("--rule", help="Routing rule of the bundle.  [default: soft]"),
        "classifier.seed": click.option("--seed", type=click.IntRange(0), help="[default: 0]"),
        "hierarchy.macros": click.option("--macros", help="Number of macros, or auto.  [default: 5]"),
        "hierarchy.file": click.option(
            "--hierarchy", type=click.Path(), help="A hierarchy of your own, as JSON."
        ),
        "backbone.name": click.option(
            "--backbone", help="efficientnet_lite0, inception_v3 or vgg16.  [default: efficientnet_lite0]"
        ),
        "backbone.weights": click.option("--weights", help="imagenet, none or a file.  [default: imagenet]"),
        "backbone.color": click.option("--color", type=click.Choice(["rgb", "gray"]), help="[default: rgb]"),
        "images.head": click.option("--head", help="v1.1 to v1.4, v2.1, v2.2 or vgg.  [default: v1.3]"),
        "images.precision": click.option(
            "--precision",
            type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
            help="[default: auto]",
        ),
        "images.augment": click.option(
            "--augment", is_flag=True, default=None, help="Train on randomly changed images."
        ),
        "images.deterministic": click.option(
            "--deterministic",
            is_flag=True,
            default=None,
            help="The same result bit for bit for the same seed.",
        ),
        "images.tensorboard": click.option(
            "--tensorboard",
            is_flag=True,
            default=None,
            help="Write the curves for TensorBoard too: tensorboard --logdir RUN.",
        ),
        "data.label_column": click.option("--label-column", help="Column with the class.  [default: label]"),
        "data.strict": click.option(
            "--strict",
            is_flag=True,
            default=None,
            help="Fail on unreadable images instead of leaving them out.",
        ),
    }


@click.command(cls=ModelCommand)
@click.argument("data", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="The run folder.")
@train_options()
@click.option("--json", "json_", is_flag=True, help="Print the metrics as JSON.")
def train(data: Path, output: Path, settings: Any, cache: Path | None, json_: bool) -> None:
    """Train a classifier on DATA in two phases: the head on the frozen network, then both.

    DATA is a manifest CSV, a folder with a metadata.csv, or a folder of class folders. The bundle is written to
    bundle/ in the run folder, networks and curves to models/. Run it again to go on after an interruption: finished
    models are not trained again, an unfinished one goes on from its last finished epoch.

    Example: aisles train photos --model two-stage --trunk tuned --output run
    """
    from dataclasses import asdict

    from aisles.experiments.training.runs import train_classifier

    result = train_classifier(data, output, settings, cache=cache)
    found = {"val": result.validation, **({"test": result.test} if result.test else {})}
    if json_:
        metrics = {split: asdict(evaluation) for split, evaluation in found.items()}
        click.echo(as_json({"bundle": str(result.bundle), **metrics}))
        return
    for split, e in found.items():
        macro = "" if e.macro_accuracy is None else f", macro {e.macro_accuracy:.3f}"
        told = "validation images, which chose the weights" if split == "val" else "test images"
        click.echo(f"accuracy {e.accuracy:.3f}{macro}, macro-F1 {e.macro_f1:.3f} on {e.n_images} {told}")
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
    confusion matrix, ordered by macro-category, and the most confident mistakes. For a bundle from a recipe of a
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
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        click.echo(as_json({"accuracy": found.accuracy, "rule": found.rule, "classes": rows}))
        return
    click.echo(_as_text(table.rename(columns={"published_f1": "published"})))
    click.echo(f"\n{_summary(found, table)}")
    if page is not None:
        click.echo(f"Look at {page}.")


class _Ablations(click.Group):
    """The group of ablations, which knows `trunk` by its other name, too."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find an ablation."""
        return super().get_command(ctx, {"trunk": "trunks"}.get(cmd_name, cmd_name))


@click.group(cls=_Ablations)
def ablate() -> None:
    """Train variants that differ in one thing."""


@ablate.command(cls=ModelCommand)
@click.argument("data", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="The run folder.")
@click.option("--heads", "names", help="Which, separated by commas.  [default: all]")
@train_options(*CLASSIFIER, "images.head")
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def heads(
    data: Path, output: Path, names: str | None, settings: Any, cache: Path | None, json_: bool
) -> None:
    """Train a flat model with each of the study's heads on DATA, and print its table of heads.

    With a recipe of the published study its metrics stand beside the measured ones, and each head gets at most the
    epochs that the study gave it.

    Example: aisles ablate heads photos --set images.tuned_epochs=0 --output heads
    """
    from aisles.experiments.ablations.heads import ablate_heads
    from aisles.models.heads.variants import VARIANTS

    chosen = tuple(name.strip() for name in names.split(",")) if names else tuple(VARIANTS)
    unknown = [name for name in chosen if name not in VARIANTS]
    if unknown:
        raise click.UsageError(f"Heads are {', '.join(VARIANTS)}. Received: {', '.join(unknown)}.")
    table = ablate_heads(data, output, settings, heads=chosen, cache=cache)
    click.echo(as_json(table.to_dict("records")) if json_ else _as_text(table))


@ablate.command(cls=ModelCommand)
@click.argument("data", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="The run folder.")
@train_options(*CLASSIFIER)
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def trunks(data: Path, output: Path, settings: Any, cache: Path | None, json_: bool) -> None:
    """Fine-tune a flat model on DATA, train two-stage classifiers with each trunk, and give the verdicts.

    The trunks are judged under the rule soft, which is pre-specified, beside the flat model with as many further
    epochs as the models that are trained on from it; p-values are corrected in this family, and in that of all others.

    Example: aisles ablate trunks photos --output trunks
    """
    from aisles.experiments.ablations.sharing import compare_trunks

    result = compare_trunks(data, output, settings, cache=cache)
    if json_:
        rows = result.table.astype(object).where(result.table.notna(), None).to_dict("records")
        click.echo(as_json({"methods": rows, "verdicts": result.sentences, "validation": result.validation}))
        return
    click.echo(_as_text(result.table.fillna({"verdict": ""})))
    click.echo("\n" + "\n".join(result.sentences))


def _summary(found: "BundleEvaluation", table: "pd.DataFrame") -> str:
    means = table[["precision", "recall", "f1"]].mean()
    text = (
        f"accuracy {found.accuracy:.3f}, macro average precision {means['precision']:.3f}, recall "
        f"{means['recall']:.3f}, F1 {means['f1']:.3f} on {len(found.truth)} images"
    )
    if not found.published_f1:
        return text
    both = table.dropna(subset="published_f1")
    if both.empty:
        return f"{text}\nnone of these classes has a published F1"
    return (
        f"{text}\npublished macro average F1 {both['published_f1'].mean():.3f}, measured {both['f1'].mean():.3f} on "
        f"the same {len(both)} classes\npublished: validation images, split by image; measured: {found.measured_on}"
    )


def _as_text(table: "pd.DataFrame") -> str:
    return table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="")


def _parameter(key: str) -> str:
    """Return the name under which Click hands over an option's value."""
    return {"hierarchy.file": "hierarchy", "backbone.name": "backbone"}.get(key, key.partition(".")[2])


def _toml(value: Any) -> str:
    text = str(value)
    return text.lower() if isinstance(value, bool) else text if text.isdigit() else json.dumps(text)
