"""`aisles reproduce`: a published study from the download to the verdict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .commands import ModelCommand, as_json, typed


@click.command(cls=ModelCommand)
@click.argument("study")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Where everything goes.")
@click.option("--check", is_flag=True, help="Say what it needs (weights, disk, time) and stop.")
@click.option("--base-url", help="Another server's folder with the archives.  [default: the study's]")
@click.option("--any-size", is_flag=True, help="Take archives of other sizes (from other servers).")
@click.option("--recipe", help="Curate by another recipe.  [default: the study's]")
@click.option("--backbone", help="Another network, for curation too.  [default: the study's]")
@click.option("--weights", default="imagenet", show_default=True, help="imagenet, none or a file.")
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting.")
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def reproduce(
    study: str, output: Path, check: bool, base_url: str | None, any_size: bool, recipe: str | None,
    backbone: str | None, weights: str, changes: Sequence[str], json_: bool,
) -> None:  # fmt: skip
    """Reproduce a published STUDY, from the download to the report.

    What it needs is said first; missing weights and too small a disk end it before anything begins. Run it again to go
    on after an interruption.

    Example: aisles reproduce abo65 --output abo65 --check
    Example: aisles reproduce abo65 --output abo65
    """
    from aisles.experiments.benchmark.summary import summary
    from aisles.experiments.reproduction.run import reproduce as again

    more: Any = {"base_url": base_url, "any_size": any_size, "recipe": recipe, "backbone": backbone}
    done = again(study, output, changes, weights=weights, only_check=check, command=typed(), **more)
    if done.result is None:
        click.echo(as_json(vars(done.needs)) if json_ else done.needs.text)
        return
    click.echo(as_json(done.result.metrics) if json_ else summary(done.result))
    if not json_:
        click.echo(f"\nLook at {output / 'reproduction.md'}.")
