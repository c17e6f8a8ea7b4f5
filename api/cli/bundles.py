"""Commands that change or move bundles: `rename`, `push`, `pull`."""

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
    """Rename a macro-category or a class of BUNDLE from OLD to NEW. Nothing is trained; answers stay the same.

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


@click.command(cls=ModelCommand)
@click.argument("bundle", type=PATH)
@click.argument("repo")
@click.option("--private", is_flag=True, help="Make the repository private, if it is made now.")
@click.option("--message", "-m", help="The commit's message.")
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def push(bundle: Path, repo: str, private: bool, message: str | None, json_: bool) -> None:
    """Upload BUNDLE to the Hugging Face Hub as the model REPO (OWNER/NAME), with a model card.

    Needs the extra hub (python -m pip install '.[hub]') and a login: hf auth login, or HF_TOKEN.

    Example: aisles push run/bundles/two-stage me/groceries --private
    """
    from dataclasses import asdict

    from aisles.models.bundles.hub import push_bundle

    try:
        result = push_bundle(bundle, repo, private=private, message=message)
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        as_json(asdict(result)) if json_ else f"{result.url}: {len(result.files)} files, {result.commit[:12]}"
    )


@click.command(cls=ModelCommand)
@click.argument("repo")
@click.option("--output", "-o", type=PATH, help="The bundle's folder.  [default: the repository's name]")
@click.option("--revision", help="Branch, tag or commit.")
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def pull(repo: str, output: Path | None, revision: str | None, json_: bool) -> None:
    """Download the bundle REPO (OWNER/NAME) from the Hugging Face Hub, and check every hash.

    With HF_HUB_OFFLINE, or without network, it comes from the local cache. Needs the extra hub: python -m pip install
    '.[hub]'.

    Example: aisles pull me/groceries --output groceries
    """
    from aisles.models.bundles.hub import pull_bundle

    try:
        place = pull_bundle(repo, output, revision=revision)
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    told = {"bundle": str(place), "repo": repo, "revision": revision}
    click.echo(as_json(told) if json_ else f"{place}: use it with aisles predict {place} IMAGES")
