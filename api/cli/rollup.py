"""`aisles rollup`: class, macro and the level to answer, from probabilities made anywhere."""

from pathlib import Path
from typing import Any

import click

from .commands import Command

PATH = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("table", type=PATH)
@click.option(
    "--hierarchy", required=True, metavar="FILE|COLUMN",
    help="Macros: a JSON file, or a column with the macro of each image's true class.",
)  # fmt: skip
@click.option(
    "--climb",
    metavar="T[,T]",
    help="Answer the class from this probability on, else its macro, else nothing.",
)
@click.option("--calibration", type=PATH, help="A table with truth, of images that nothing was learned from.")
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="With --calibration: the threshold under which this share of given answers is right.",
)  # fmt: skip
@click.option(
    "--coverage", type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="With --calibration: add sets that hold the true class for this share of images.",
)  # fmt: skip
@click.option(
    "--sets", type=click.Choice(["lac", "aps"]), default="lac", show_default=True,
    help="lac: the smallest sets; aps: never empty, larger on hard images.",
)  # fmt: skip
@click.option("--seed", default="seed", show_default=True, metavar="COLUMN", help="Names the training seed.")
@click.option("--output", "-o", type=PATH, help="Write the answers to this .csv, .json or .parquet file.")
@click.option("--json", "json_", is_flag=True, help="Print the answers, one JSON object a line.")
@click.option("--csv", "csv_", is_flag=True, help="Print the answers as CSV.")
def rollup(
    table: Path,
    hierarchy: str,
    climb: str | None,
    calibration: Path | None,
    share: float | None,
    coverage: float | None,
    sets: str,
    seed: str,
    output: Path | None,
    json_: bool,
    csv_: bool,
) -> None:
    """Roll the class probabilities of TABLE up to macro-categories, and choose the level to answer.

    TABLE (CSV, TSV, Parquet or npz) has file_name or id and a column p:CLASS for each class, from any model. A macro's
    probability is the sum of its classes'. Sets name a macro in place of two or more of its classes. No network is
    loaded.

    Example: aisles rollup predictions.csv --hierarchy hierarchy.json --climb 0.9 --csv
    """
    from aisles.experiments.judge.rollup import rollup as roll_up
    from aisles.experiments.judge.rollup_files import as_csv, as_json_lines, write_rollup

    if json_ and csv_:
        raise click.UsageError("--json and --csv exclude each other: the answers are printed once.")
    try:
        thresholds: Any = None if climb is None else tuple(map(float, climb.split(",")))
    except ValueError as error:
        raise click.BadParameter(f"{climb!r} is no threshold, such as 0.9 or 0.9,0.8.") from error
    found = roll_up(
        table, hierarchy, climb=thresholds, calibration=calibration, share=share, coverage=coverage, sets=sets,
        seed=seed,
    )  # fmt: skip
    if output is not None:
        write_rollup(found, output)
    if json_ or csv_:
        click.echo(as_json_lines(found.table) if json_ else as_csv(found.table), nl=False)
        click.echo(found.summary(), err=True)
        return
    click.echo(found.summary())
    if output is not None:
        click.echo(f"\nThe answers are in {output}.")
