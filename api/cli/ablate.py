"""`aisles ablate ...`: benchmarks that differ in one setting, and the flat model with each head."""

from pathlib import Path
from typing import Any

import click

from .commands import Commands, ModelCommand, as_json, plugin_option, typed
from .options import BENCHMARK, TRAIN, setting_options
from .tables import as_records, as_text

PATH = click.Path(path_type=Path)
WHAT = {
    "backbone": ("Run the benchmark with each backbone.", "backbones; those whose weights are missing fail"),
    "color": ("Run the benchmark on colors and on luma alone.", "rgb, gray"),
    "macros": ("Run the benchmark with 2 to 12 macros.", "whole numbers from 2, or auto"),
    "linkage": ("Run the benchmark with each linkage of the classes.", "ward, average, complete"),
    "split": ("Run the benchmark on new splits by product, and on leaky ones by image.", "product, image"),
    "similarity-threshold": (
        "Run the benchmark without dissimilar secondary photographs among the training images.",
        "numbers, usually between 0 and 1",
    ),
}
"""What each ablation does, and which values it takes."""
CLASSIFIER = (
    "classifier.model", "classifier.sharing", "classifier.start", "classifier.rule", "fine_tuning.head",
    "hierarchy.macros", "hierarchy.file", "hierarchy.linkage",
)  # fmt: skip
"""What a comparison of flat models with different heads doesn't use."""


@click.group(cls=Commands)
def ablate() -> None:
    """Compare variants that differ in one thing."""


def _command(name: str, text: str, allowed: str) -> click.Command:
    @click.argument("data", type=PATH)
    @click.option("--output", "-o", type=PATH, required=True, help="The folder for all variants.")
    @click.option(
        "--values",
        help=f"Which, separated by commas, the first being the baseline: {allowed}.",
    )
    @setting_options(BENCHMARK)
    @click.option("--json", "json_", is_flag=True, help="Print as JSON.")
    @plugin_option
    def run(
        data: Path, output: Path, values: str | None, settings: Any, cache: str | None, json_: bool
    ) -> None:
        from aisles.experiments.ablations.settings_ablations import (
            check_values,
            run_ablation,
            said_of_verdicts,
        )

        chosen = [value.strip() for value in values.split(",")] if values else []
        try:
            check_values(name, chosen, settings)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        table = run_ablation(name, data, output, settings, values=chosen, cache=cache, command=typed())
        if json_:
            click.echo(as_json(as_records(table)))
            return
        click.echo(as_text(table.drop(columns="failed", errors="ignore")))
        for row in as_records(table):
            if row.get("failed"):
                click.echo(f"{row['variant']} failed: {row['failed']}")
        click.echo(f"\n{said_of_verdicts(table)}")

    help_text = f"{text}\n\nExample: aisles ablate {name} photos --seeds 1 --output {name}"
    return click.command(name, cls=ModelCommand, help=help_text)(run)


for _name, (_text, _allowed) in WHAT.items():
    ablate.add_command(_command(_name, _text, _allowed))


def _known_heads(_context: click.Context, _option: click.Parameter, names: str | None) -> tuple[str, ...]:
    from typing import get_args

    from aisles.models.heads.settings import Head

    heads = get_args(Head)
    chosen = tuple(name.strip() for name in names.split(",")) if names else heads
    unknown = [name for name in chosen if name not in heads]
    if unknown:
        raise click.BadParameter(f"Heads are {', '.join(heads)}. Received: {', '.join(unknown)}.")
    return chosen


@ablate.command(cls=ModelCommand)
@click.argument("data", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="The run folder.")
@click.option(
    "--heads",
    callback=_known_heads,
    help="Which, separated by commas: v1.1, v1.2, v1.3, v1.4, v2.1, v2.2, vgg.  [default: all]",
)
@setting_options(TRAIN, without=CLASSIFIER)
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
@plugin_option
def heads(
    data: Path, output: Path, heads: tuple[str, ...], settings: Any, cache: str | None, json_: bool
) -> None:
    """Train a flat model with each of the published study's heads on DATA, and print its table of heads.

    With a preset of the published study its metrics stand beside the measured ones, and each head gets at most the
    epochs that the published study gave it.

    Example: aisles ablate heads photos --set fine_tuning.tuned_epochs=0 --output heads
    """
    from aisles.experiments.ablations.heads import ablate_heads

    table = ablate_heads(data, output, settings, heads=heads, cache=cache)
    click.echo(as_json(as_records(table)) if json_ else as_text(table))
