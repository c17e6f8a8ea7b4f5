"""`aisles demo`: the page where anyone tries a bundle."""

from pathlib import Path

import click

from .commands import ModelCommand, plugin_option

PATH = click.Path(path_type=Path)


@click.command(cls=ModelCommand)
@click.argument("bundle", type=PATH)
@click.option(
    "--flat", type=PATH, help="A flat bundle to compare with.  [default: the bundle's own flat model]"
)
@click.option(
    "--run",
    type=PATH,
    help="The run whose test images guarantees are checked on and examples are taken from.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535))
@click.option("--export", type=PATH, help="Write a folder that runs as a Hugging Face Space; serve nothing.")
@plugin_option
def demo(
    bundle: Path, flat: Path | None, run: Path | None, host: str, port: int, export: Path | None
) -> None:
    """Open a web page on this machine where anyone can try BUNDLE; works offline.

    An image gets the deepest answer that is sure enough: class, macro-category, or none. A slider sets how sure;
    with --run its guarantees are checked on its test images. Uploads are not kept. Needs the extra demo: python -m
    pip install '.[demo]'. --export writes the page, with example images of the run, as a folder that runs elsewhere.

    Example: aisles demo run/bundles/two-stage --flat run/bundles/flat --run run
    """
    try:
        from aisles.demo.server import serve
    except ImportError as error:
        raise click.ClickException(
            f"The page needs the extra demo ({error}). Install it: python -m pip install '.[demo]'"
        ) from error
    from aisles.demo.demo import open_demo

    opened = open_demo(bundle, flat, run)
    if export is None:
        serve(opened, host, port)
        return
    from aisles.demo.space import write_space

    click.echo(write_space(opened, bundle, flat, export))
