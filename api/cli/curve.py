"""`aisles benchmark --curve`: the comparison at several values of a condition, printed."""

from pathlib import Path
from typing import Any

import click

from .commands import as_json, typed


def print_curve(
    data: Path,
    output: Path,
    curve: str,
    settings: Any,
    draws: int,
    cache: str | None,
    scheduler: str | None,
    json_: bool,
) -> None:
    """Measure a curve and print its table and what every method's curve says."""
    from aisles.experiments.curves.run import run_curve

    result = run_curve(
        data, output, curve, settings, draws=draws, cache=cache, scheduler=scheduler, command=typed()
    )
    if json_:
        click.echo(as_json(result.facts))
        return
    click.echo((100 * result.table).to_string(float_format="{:.1f}".format, na_rep="-"))
    click.echo()
    for end in result.facts["ends"].values():
        click.echo(end["sentence"])
    click.echo(f"\nLook at {output / 'curve.html'}.")
