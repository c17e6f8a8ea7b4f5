"""The commands `predict` and `export`."""

import logging
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from .commands import ModelCommand, checked_rule, engine_option, plugin_option

logger = logging.getLogger(__name__)
FORMATS = ("keras", "saved_model", "onnx", "litert")


@click.command(cls=ModelCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1)
@click.option(
    "--rule",
    callback=checked_rule,
    help="Routing rule: soft, hard, beam:2, threshold:0.1, climb:0.8, climb, implied, hie, masked.  "
    "[default: the bundle's]",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="A class or macro that is possible here; may be repeated. Probabilities are conditioned on these.",
)
@click.option(
    "--only-from",
    type=click.Path(path_type=Path),
    help="CSV that says per image what is possible: columns file_name and only (names joined by |; none: all).",
)
@click.option(
    "--only-column", default="only", show_default=True, help="The column of --only-from that holds the names."
)
@click.option("--top", default=5, show_default=True, type=click.IntRange(0), help="How many classes to list.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON object per line and image.")
@click.option("--csv", "csv_", is_flag=True, help="Print CSV.")
@click.option(
    "--null", "-0", "null", is_flag=True, help="Names on standard input end with a zero byte: find -print0."
)
@click.option("--uncalibrated", is_flag=True, help="Leave the temperatures out.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1), help="Images per pass.")
@click.option(
    "--resident", type=click.IntRange(1), help="How many networks may be in memory at once.  [default: all]"
)
@click.option("--explain", type=click.Path(path_type=Path), help="Write a page that shows why, as HTML.")
@click.option("--flat", type=click.Path(path_type=Path), help="A flat bundle, for --explain to compare with.")
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="Training images, for --explain to show the nearest."
)
@click.option(
    "--tree", type=click.Path(path_type=Path), help="The tree of classes (tree.json of a run), for --explain."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder for cached features, for --explain.")
@engine_option
@plugin_option
def predict(
    bundle: Path,
    images: tuple[str, ...],
    rule: str | None,
    only: tuple[str, ...],
    only_from: Path | None,
    only_column: str,
    top: int,
    json_: bool,
    csv_: bool,
    null: bool,
    uncalibrated: bool,
    batch_size: int,
    resident: int | None,
    explain: Path | None,
    flat: Path | None,
    manifest: Path | None,
    tree: Path | None,
    cache: Path | None,
    engine: str,
) -> None:
    """Classify IMAGES: print each one's macro-category and class with their probabilities.

    IMAGES are files, folders (with everything in them), patterns such as 'photos/**/*.jpg', or - for file names on
    standard input, one per line (with -0, ended by NUL). Answers appear as batches finish. Files that can't be read are
    reported and left out; the exit code is 3 if none could be read.

    Example: aisles predict run/bundles/two-stage chair.jpg
    Example: aisles predict run/bundles/two-stage chair.jpg photos --json
    Example: aisles predict run/bundles/two-stage photos --rule climb:0.8 --csv
    """
    from aisles.data_prep.io.progress import progress
    from aisles.models.bundles.bundle import load_bundle

    from .lines import find_images, print_predictions
    from .possible import read_possible

    if not images:
        raise click.UsageError(
            "Missing argument 'IMAGES...'. Give files, folders, patterns, or - for standard input."
        )
    if null and "-" not in images:
        raise click.UsageError("-0 (--null) is about names on standard input: give - among IMAGES, too.")
    if json_ and csv_:
        raise click.UsageError("--json and --csv exclude each other: the answers are printed once.")
    if only and only_from is not None:
        raise click.UsageError(
            "--only and --only-from exclude each other: one list for all images, or one per image."
        )
    if explain is not None and (only or only_from is not None):
        raise click.UsageError("--explain shows answers over all classes: leave --only out.")
    possible = (list(only) or None) if only_from is None else read_possible(only_from, only_column)
    try:
        classifier = load_bundle(bundle, resident=resident, engine=engine)
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    with ExitStack() as stack:
        page = None
        if explain is not None:
            from aisles.experiments.report.explanation_page import open_page

            page = stack.enter_context(
                open_page(
                    explain,
                    bundle,
                    classifier,
                    rule=rule,
                    calibrated=not uncalibrated,
                    flat=flat,
                    manifest=manifest,
                    tree=tree,
                    cache=cache,
                )
            )
        counts = print_predictions(
            classifier,
            progress(find_images(images, null=null), "Predicting"),
            rule=rule,
            only=possible,
            top=top,
            form="json" if json_ else "csv" if csv_ else "text",
            calibrated=not uncalibrated,
            batch_size=batch_size,
            page=page,
        )
    if explain is not None and counts.read:
        logger.info("Explained %d images in %s.", counts.read, explain)
    if counts.unreadable:
        logger.warning("%d of %d images could not be read.", counts.unreadable, counts.total)
    if not counts.read:
        if not counts.total:
            logger.warning("No images found in %s.", ", ".join(images))
        sys.exit(3)


@click.command(cls=ModelCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File or folder to write.  [default: by format]"
)
@click.option(
    "--input",
    "input_",
    type=click.Choice(("fixed", "any")),
    default="fixed",
    show_default=True,
    help="any: the resize goes into the model (onnx, saved_model), and images of any size go in.",
)
@click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
def export(bundle: Path, format_: str, output: Path | None, input_: str, json_: bool) -> None:
    """Write BUNDLE as one Keras, SavedModel, ONNX or LiteRT model for other programs.

    The model takes uint8 images and returns class and macro probabilities (rule soft, calibrated). The written model is
    run and compared with the bundle before the command ends. onnx and litert need extras:
    python -m pip install '.[onnx]' or '.[litert]'.

    Example: aisles export run/bundles/two-stage --format saved_model
    """
    from dataclasses import asdict

    from aisles.models.bundles.bundle import load_bundle
    from aisles.models.bundles.export import default_output, export_classifier

    from .commands import as_json

    output = output or default_output(bundle, format_)
    try:
        result = export_classifier(load_bundle(bundle), output, format_, input=input_)
    except (ImportError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    if json_:
        click.echo(as_json(asdict(result)))
        return
    sides = "height, width" if input_ == "any" else "{}, {}".format(*result.input_size)
    click.echo(
        f"{result.path}: uint8 (n, {sides}, 3) to float32 (n, {result.n_classes}); differs from the bundle "
        f"by at most {result.largest_difference:.1e} on {result.n_compared} images. See {result.description_file}"
    )
