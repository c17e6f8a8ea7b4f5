"""`aisles compare`: the verdict on predictions made anywhere."""

from pathlib import Path

import click

from aisles.experiments.stats.levels import ALPHA, MARGIN

from .commands import Command, as_json

PATH = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("systems", nargs=-1, required=True, metavar="[NAME=]FILE...")
@click.option("--baseline", metavar="NAME", help="What the others are judged against.  [default: the first]")
@click.option("--truth", type=PATH, help="A file with file_name and label, where the tables hold no truth.")
@click.option(
    "--product", default="product", show_default=True, metavar="COLUMN", help="Names each image's product."
)
@click.option("--seed", default="seed", show_default=True, metavar="COLUMN", help="Names the training seed.")
@click.option(
    "--hierarchy", metavar="FILE|COLUMN", help="Macros: a JSON file, or a column with each image's macro."
)
@click.option(
    "--margin", default=MARGIN, show_default=True, type=click.FloatRange(0, 1, min_open=True),
    help="Largest difference in accuracy that doesn't matter.",
)  # fmt: skip
@click.option(
    "--alpha", default=ALPHA, show_default=True, type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    help="Level of the tests.",
)  # fmt: skip
@click.option("--output", "-o", type=PATH, help="Folder for report, metrics and discordant images.")
@click.option(
    "--images", type=PATH, help="Folder that file names are seen from, for the report's photographs."
)
@click.option("--json", "json_", is_flag=True, help="Print metrics.json instead of the table.")
def compare(
    systems: tuple[str, ...],
    baseline: str | None,
    truth: Path | None,
    product: str,
    seed: str,
    hierarchy: str | None,
    margin: float,
    alpha: float,
    output: Path | None,
    images: Path | None,
    json_: bool,
) -> None:
    """Compare classifiers from any program by their predictions on the same images.

    Each FILE (CSV, TSV, Parquet or npz) is one system's: file_name or id; truth; answer, or probabilities in columns
    named p:CLASS, or both; product and seed if there are any. Rows are joined by name. A column method holds several
    systems in one file. The first system is the baseline. No network is loaded.

    Example: aisles compare flat.csv two-stage.csv
    Example: aisles compare flat.csv two-stage.csv --hierarchy macro --output compared
    """
    from aisles.data_prep.io.errors import DataError
    from aisles.experiments.judge.judgement import compare as judge

    names, files = zip(*map(_named, systems), strict=True)
    try:
        judged = judge(
            *files, names=names, baseline=baseline, truth=truth, product=product, seed=seed, hierarchy=hierarchy,
            margin=margin, alpha=alpha, output=output, images=images,
        )  # fmt: skip
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise click.UsageError(str(error)) from error
    click.echo(as_json(judged.metrics) if json_ else judged.summary())
    if output is not None and not json_:
        click.echo(f"\nLook at {output / 'report.html'}.")


def _named(given: str) -> tuple[str | None, str]:
    """Part NAME=FILE into its halves; a file whose own name holds an equals sign is a file."""
    name, equals, path = given.partition("=")
    if not equals or Path(given).exists() or not name or "/" in name:
        return None, given
    return name, path
