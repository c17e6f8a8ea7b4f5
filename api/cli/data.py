"""`aisles data`: from Amazon's archives to a manifest."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .commands import Commands, ModelCommand, as_json

if TYPE_CHECKING:
    from aisles.data_prep.abo.recipe import Recipe

PATH = click.Path(path_type=Path)
json_option = click.option("--json", "json_", is_flag=True, help="Print as JSON.")


@click.group(cls=Commands)
def data() -> None:
    """Make a data set from Amazon Berkeley Objects (ABO), or from a synthetic catalogue like it.

    Example: aisles data sample shop && aisles data curate shop --recipe sample --output curated
    """


@data.command()
@click.argument("directory", type=PATH)
@click.option("--base-url", help="Another server's folder with the archives.  [default: Amazon's]")
@click.option("--only", type=click.Choice(["listings", "images"]), help="Download only this archive.")
@click.option(
    "--any-size", is_flag=True, help="Don't ask for the sizes of Amazon's archives (for other servers)."
)
@json_option
def fetch(directory: Path, base_url: str | None, only: str | None, any_size: bool, json_: bool) -> None:
    """Download ABO's listings and small images (3.3 GB) to DIRECTORY; a broken download resumes.

    Example: aisles data fetch abo
    """
    from aisles.data_prep.abo.fetch import ATTRIBUTION, BASE_URL, SIZES, fetch_archives

    sizes = {name: None if any_size else size for name, size in SIZES.items() if not only or only in name}
    fetched = fetch_archives(directory, base_url=base_url or BASE_URL, sizes=sizes)
    if json_:
        click.echo(as_json({"archives": [vars(archive) for archive in fetched], "attribution": ATTRIBUTION}))
        return
    for archive in fetched:
        state = "was here" if archive.reused else "fetched"
        click.echo(f"{archive.path}  {archive.n_bytes:,} bytes  {state}  SHA-256 {archive.sha256}")
    click.echo(f"\n{ATTRIBUTION}", nl=False)


@data.command()
@click.argument("directory", type=PATH)
@click.option("--output", "-o", type=PATH, help="Where the tables go.  [default: DIRECTORY/index]")
@click.option("--jobs", default=-1, show_default=True, help="Processes; -1: one per processor.")
@json_option
def index(directory: Path, output: Path | None, jobs: int, json_: bool) -> None:
    """Read the listings and the image table in DIRECTORY into CSV tables.

    DIRECTORY holds the archives, or what was unpacked from them. Lines that can't be read are listed in
    malformed.csv.

    Example: aisles data index abo
    """
    from aisles.data_prep.abo.listings import index_catalogue

    found = index_catalogue(directory, output, jobs=jobs)
    if json_:
        click.echo(as_json(vars(found)))
        return
    click.echo(
        f"{found.n_listings:,} listings in {found.n_files} files, {found.n_images:,} images: {found.folder}"
    )
    if found.n_malformed:
        click.echo(f"{found.n_malformed:,} malformed lines: {found.folder / 'malformed.csv'}")
    if found.reused:
        click.echo("Nothing has changed since the last time.")


@data.command()
@click.argument("directory", type=PATH)
@click.option(
    "--recipe", default="abo65", show_default=True, help="A recipe's name or TOML file, for the lines drawn."
)
@click.option("--output", "-o", type=PATH, help="Where table and charts go.  [default: DIRECTORY/stats]")
@click.option("--curated", type=PATH, help="A curated data set: also chart its classes after selection.")
@click.option("--top", default=20, show_default=True, help="How many types to print.")
@json_option
def stats(
    directory: Path, recipe: str, output: Path | None, curated: Path | None, top: int, json_: bool
) -> None:
    """Count the examples of each product type in DIRECTORY, and draw charts before and after selection.

    Example: aisles data stats abo --curated abo65
    """
    from aisles.data_prep.abo.listings import index_catalogue, read_listings
    from aisles.data_prep.abo.stats import write_statistics

    selection = _recipe(recipe).selection
    listings = read_listings(index_catalogue(directory).folder)
    written = write_statistics(listings, selection, output or directory / "stats", curated)
    records: Any = written.table.to_dict("records")
    if json_:
        click.echo(as_json({"files": [str(path) for path in written.files], "product_types": records}))
        return
    click.echo(_table(records[:top], list(written.table.columns)))
    click.echo(f"\n{len(records)} product types, {len(listings):,} listings. {written.summary}")
    click.echo("\n".join(str(path) for path in written.files))


def _recipe_options(command: Callable) -> Callable:
    options = [
        click.option("--recipe", default="abo65", show_default=True, help="A recipe's name, or a TOML file."),
        click.option(
            "--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting."
        ),
        click.option("--backbone", help="What compares images.  [default: the recipe's]"),
        click.option("--weights", default="imagenet", show_default=True, help="imagenet, none or a file."),
        click.option("--cache", type=PATH, help="Folder for cached features."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@data.command(cls=ModelCommand)
@click.argument("directory", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="The folder of the manifest.")
@_recipe_options
@click.option("--all", "score_all", is_flag=True, help="Compare every image, also of classes that need none.")
@click.option(
    "--near-duplicates",
    type=click.Choice(["off", "report", "join"]),
    help="Report those across splits, or join them into one product: all images are compared, groups of more than "
    "50 left out.  "
    "[default: the recipe's]",
)
@click.option(
    "--audit", is_flag=True, help="Flag textures, text panels and rooms, per class and on the sheets."
)
@click.option("--materialize", type=click.Choice(["copy", "link"]), help="Also write one folder per class.")
@click.option("--sheets/--no-sheets", default=True, help="Contact sheets of what was kept and dropped.")
@json_option
def curate(
    directory: Path, output: Path, recipe: str, changes: Sequence[str], backbone: str | None, weights: str,
    cache: Path | None, score_all: bool, near_duplicates: str | None, audit: bool, materialize: Any,
    sheets: bool, json_: bool,
) -> None:  # fmt: skip
    """Make a balanced data set, split into train, val and test, from the catalogue in DIRECTORY.

    Run it again to go on after an interruption, or with other settings: only what depends on them is done again.

    Example: aisles data curate abo --recipe abo65 --backbone efficientnet_lite0 --output abo65
    """
    from aisles.data_prep.abo.curation import curate as make

    more = [f"split.near_duplicates={near_duplicates}"] if near_duplicates else []
    more += ["audit.report=true"] if audit else []
    chosen = _recipe(recipe, [*changes, *more])
    name = backbone or chosen.similarity.backbone
    chosen.similarity.threshold(name)
    result = make(
        directory, output, chosen, _embedding(name, weights, cache), backbone=name, weights=weights,
        score_all=score_all, materialize=materialize, sheets=sheets,
    )  # fmt: skip
    if json_:
        click.echo((output / "curation.json").read_text("utf-8"), nl=False)
        return
    click.echo(_told(result, output))


@data.command(cls=ModelCommand)
@click.argument("directory", type=PATH)
@_recipe_options
@click.option("--output", "-o", type=PATH, help="Where the curves go.  [default: DIRECTORY/calibration]")
@click.option(
    "--pairs", default=2000, show_default=True, type=click.IntRange(20), help="How many pairs to compare."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draw of pairs.")
@json_option
def calibrate(
    directory: Path, recipe: str, changes: Sequence[str], backbone: str | None, weights: str, cache: Path | None,
    output: Path | None, pairs: int, seed: int, json_: bool,
) -> None:  # fmt: skip
    """Suggest a similarity threshold for a backbone, from the catalogue in DIRECTORY.

    Example: aisles data calibrate abo --backbone efficientnet_lite0
    """
    from aisles.data_prep.abo.similarity_threshold import calibrate_catalogue

    chosen = _recipe(recipe, changes)
    name = backbone or chosen.similarity.backbone
    folder = output or directory / "calibration"
    found = calibrate_catalogue(
        directory, folder, chosen, _embedding(name, weights, cache), name, n_pairs=pairs, seed=seed
    )
    image = folder / f"{name}.png"
    classes: Any = found.classes.to_dict("records")
    if json_:
        told = {"backbone": name, "threshold": found.threshold, "separation": found.separation}
        click.echo(as_json(told | {"image": str(image), "classes": classes}))
        return
    click.echo(_table(classes, list(found.classes.columns)))
    click.echo(
        f"\nProposed for {name}: {found.threshold:.2f} (separates {found.separation:.2f} of the pairs)."
    )
    click.echo(
        f"Try it with --set similarity.thresholds.{name}.default={found.threshold:.2f}; curves: {image}"
    )


@data.command()
@click.argument("directory", type=PATH)
@click.option(
    "--products", default=30, show_default=True, type=click.IntRange(8), help="Products of a type, about."
)
@click.option("--seed", default=0, show_default=True, help="The same number draws the same catalogue.")
@json_option
def sample(directory: Path, products: int, seed: int, json_: bool) -> None:
    """Make a synthetic catalogue in ABO's formats in DIRECTORY, with the real one's traps and a truth.csv.

    Example: aisles data sample shop
    """
    from aisles.data_prep.synthetic.catalogue import write_sample

    made = write_sample(directory, products_per_type=products, seed=seed)
    if json_:
        click.echo(as_json(vars(made)))
        return
    click.echo(
        f"{made.n_listings:,} listings of {made.n_products:,} products, {made.n_images:,} images: {directory}"
    )
    click.echo(f"What each image is: {made.truth}")
    click.echo("Synthetic images tell nothing about ABO.")
    click.echo(f"Next: aisles data curate {shlex.quote(str(directory))} --recipe sample --output curated")


def _recipe(name: str, changes: Sequence[str] = ()) -> "Recipe":
    from aisles.data_prep.abo.recipe import load_recipe
    from aisles.data_prep.io.errors import DataError

    wrong = [change for change in changes if "=" not in change]
    if wrong:
        raise click.UsageError(f"--set needs SECTION.KEY=VALUE. Received: {wrong[0]!r}.")
    given = {key.strip(): value for key, _, value in (change.partition("=") for change in changes)}
    try:
        return load_recipe(name, given)
    except DataError as error:
        raise click.UsageError(str(error)) from error


def _embedding(name: str, weights: str, cache: Path | None) -> Callable[[Sequence[Path]], Any]:
    """Return what passes images through a backbone, which is built when it is first needed."""
    from aisles.models.backbones.weights import find_weights

    built: list[Any] = []
    if weights == "imagenet":
        find_weights(name)  # before hours of reading, not after

    def embed(paths: Sequence[Path]):
        from aisles.models.backbones.registry import build_backbone
        from aisles.models.features import extract

        if not built:
            built.append(build_backbone(name, weights=weights))
        return extract(built[0], paths, cache=cache).vectors

    return embed


def _told(result: Any, output: Path) -> str:
    lines = [_table(result.classes.to_dict("records"), list(result.classes.columns)), "", "Dropped:"]
    lines += [
        f"  {row['n_images']:>7,}  {row['step']}: {row['reason']}"
        for row in result.dropped.to_dict("records")
    ]
    if len(result.audited):
        found = result.audited.drop(columns=["label", "images"]).sum().to_dict()
        flagged = ", ".join(f"{fault} {int(count):,}" for fault, count in found.items())
        lines.append(
            f"Audited, flagged: {flagged}. Per class: {output / 'steps' / 'audit' / 'per_class.csv'}"
        )
    if len(result.near_duplicates):
        where = output / "steps" / "split" / "near_duplicates.csv"
        lines.append(
            f"Pairs of near-duplicates across splits or classes: {len(result.near_duplicates):,}, {where}"
        )
    if result.reused:
        lines.append(f"Taken from the last time: {', '.join(result.reused)}.")
    short = result.classes[result.classes["missing"] > 0]
    if len(short):
        lines.append(f"Classes that stay short: {', '.join(short['label'])}.")
    lines.append(
        f"{result.classes['n_images'].sum():,} images of {len(result.classes)} classes: {result.manifest}"
    )
    return "\n".join(lines)


def _table(records: Sequence[dict], columns: list[str]) -> str:
    """Lay records out in columns: text to the left, numbers to the right."""
    rows = [[_cell(record[name]) for name in columns] for record in records]
    widths = [max(len(row[k]) for row in [columns, *rows]) for k in range(len(columns))]
    left = [any(isinstance(record[name], str) for record in records) for name in columns]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in [columns, *rows]
    )


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
