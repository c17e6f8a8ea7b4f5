"""Commands that change or move bundles: `rename`."""

from pathlib import Path

import click

from .commands import ModelCommand, as_json

PATH = click.Path(path_type=Path)


@click.command(cls=ModelCommand)
@click.argument("bundle", type=PATH)
@click.argument("old")
@click.argument("new")
@click.option(
    "--kind",
    type=click.Choice(("macro", "class")),
    help="What OLD is, where a macro and a class share a name.",
)
@click.option("--output", "-o", type=PATH, help="Folder of the renamed bundle.  [default: replace BUNDLE]")
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def rename(bundle: Path, old: str, new: str, kind: str | None, output: Path | None, json_: bool) -> None:
    """Call the macro-category or class OLD of BUNDLE otherwise: NEW. Nothing is trained, answers stay the same.

    Example: aisles rename run/bundles/two-stage moss Moss
    """
    from dataclasses import asdict

    from aisles.models.bundles.editing import rename as rename_in

    result = rename_in(bundle, old, new, kind=kind, output=output)
    if json_:
        click.echo(as_json(asdict(result)))
        return
    files = f"; changed: {', '.join(result.changed_files)}" if result.changed_files else ""
    click.echo(f"{result.bundle}: the {result.kind} {old!r} is now called {new!r}{files}")
