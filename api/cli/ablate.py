"""`aisles ablate backbone|color|macros|linkage|split|similarity-threshold`: studies that differ in one thing."""

from pathlib import Path
from typing import Any

import click

from .shared_options import ModelCommand, as_json, settings_options

PATH = click.Path(path_type=Path)
WHAT = {
    "backbone": "Run the study with each backbone whose weights are here.",
    "color": "Run the study on colors and on luma alone.",
    "macros": "Run the study with 2 to 12 macros.",
    "linkage": "Run the study with each linkage of the classes.",
    "split": "Run the study on new splits by product, and on leaky ones by image.",
    "similarity-threshold": "Run the study without dissimilar secondary photographs among the training images.",
}


def add_ablations(group: click.Group) -> None:
    """Add a command for each ablation of a study to the group `ablate`."""
    for name, text in WHAT.items():
        group.add_command(_command(name, text))


def _command(name: str, text: str) -> click.Command:
    @click.argument("data", type=PATH)
    @click.option("--output", "-o", type=PATH, required=True, help="The folder for all variants.")
    @click.option(
        "--values", help="Which, separated by commas, the first being what others are compared with."
    )
    @settings_options
    @click.option("--json", "json_", is_flag=True, help="Print as JSON.")
    def run(
        data: Path, output: Path, values: str | None, settings: Any, cache: Path | None, json_: bool
    ) -> None:
        from aisles.experiments.ablations.settings_ablations import check_values, run_ablation

        chosen = [value.strip() for value in values.split(",")] if values else []
        try:
            check_values(name, chosen, settings)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        table = run_ablation(name, data, output, settings, values=chosen, cache=cache)
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        click.echo(as_json(rows) if json_ else table.to_string(index=False, float_format="%.3f", na_rep=""))

    help_text = f"{text}\n\nExample: aisles ablate {name} photos --seeds 1 --output {name}"
    return click.command(name, cls=ModelCommand, help=help_text)(run)
