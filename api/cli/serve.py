"""`aisles serve`: a bundle behind HTTP."""

import signal
from pathlib import Path
from typing import Any

import click

from .commands import ModelCommand, as_json, checked_rule, engine_option, plugin_option


@click.command(cls=ModelCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option(
    "--rule", callback=checked_rule, help="Routing rule unless asked otherwise.  [default: the bundle's]"
)
@click.option("--resident", type=click.IntRange(1), help="Networks in memory at once.  [default: all]")
@click.option(
    "--image-mb", default=32, show_default=True, type=click.IntRange(1), help="Largest image, in megabytes."
)
@click.option(
    "--images", default=64, show_default=True, type=click.IntRange(1), help="Most images in one request."
)
@click.option(
    "--waiting",
    default=32,
    show_default=True,
    type=click.IntRange(1),
    help="Most requests at once; further ones get status 503.",
)
@click.option("--json", "json_", is_flag=True, help="Print where it is reached as JSON.")
@engine_option
@plugin_option
def serve(
    bundle: Path,
    host: str,
    port: int,
    rule: str | None,
    resident: int | None,
    image_mb: int,
    images: int,
    waiting: int,
    json_: bool,
    engine: str,
) -> None:
    """Serve BUNDLE over HTTP: image bytes in, JSON out.

    POST /predict takes one image's bytes, or several files as multipart/form-data; an image that can't be read gets an
    error of its own. GET /info tells classes, macros and limits; GET /health tells that the server is up. Networks
    are loaded before the first line is printed. Interrupt it to stop.

    Example: aisles serve run/bundles/two-stage --port 8000
    """
    from aisles.models.bundles.bundle import load_bundle
    from aisles.service.answering import MEGABYTE, Limits, Service
    from aisles.service.http import Server

    classifier = load_bundle(bundle, resident=resident, engine=engine)
    service = Service(classifier, rule=rule, limits=Limits(image_mb * MEGABYTE, images, waiting))
    service.warm_up()
    with Server(service, host, port) as server:
        told = {"url": server.url, "bundle": str(bundle)}
        click.echo(as_json(told) if json_ else f"{bundle} answers at {server.url} (Ctrl-C ends it).")
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("Ended.", err=True)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
