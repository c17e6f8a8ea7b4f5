"""The command line: each command parses, calls one function of the library, and prints.

Results go to stdout, logs and progress to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input data,
4 pretrained weights missing.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from .ablate import ablate
from .bundles import pull, push, rename
from .commands import QUIET, Commands, ModelCommand, as_json, plugin_option, typed
from .compare import compare
from .curve import print_curve
from .data import data as data_group
from .demo import demo
from .help_pages import SECTIONS, first_screen, versions
from .options import BENCHMARK, setting_options
from .predict import export, predict
from .report import audit_labels, cite, report
from .reproduce import reproduce
from .rollup import rollup
from .serve import serve
from .settings import settings
from .train import evaluate, train

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input data, 4 pretrained weights missing."


def _say_versions(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(versions())
        context.exit()


@click.group(
    cls=Commands,
    sections=SECTIONS,
    epilog=EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_versions,
    help="Show the versions of aisles, Python and the main libraries.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help=QUIET)
@click.pass_context
def main(context: click.Context, quiet: bool) -> None:
    """Route a product photograph to its aisle, then to its shelf, and see whether that beats one flat model."""
    if context.invoked_subcommand is None:
        click.echo(first_screen())
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("aisles").setLevel(logging.WARNING if quiet else logging.INFO)
    logging.captureWarnings(True)


@main.command(cls=ModelCommand)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="The run folder.")
@setting_options(BENCHMARK)
@click.option(
    "--full",
    is_flag=True,
    help="Add every method on frozen features that can run here to those that are named: more flat heads, all routing "
    "rules, random macros, HiClass. Seeds stay as they are (--preset full: the same methods with 5 seeds).",
)
@click.option("--sweep", is_flag=True, help="Also try 2 to 12 macros.")
@click.option("--resume", is_flag=True, help="Go on with the benchmark in RUN; refuse to begin one.")
@click.option("--replace", is_flag=True, help="Replace what other settings or images gave in RUN.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Extract and train on this Dask cluster, e.g. tcp://10.0.0.5:8786."
)
@click.option(
    "--curve",
    metavar="[AXIS=]VALUES",
    help="Only the curve: 1,2,5,all fine labels per class, or classes=, noise-inside=, noise-across=, imbalance=, "
    "sources=, source-distance=, macros=, or any number among the settings.",
)
@click.option(
    "--draws",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Random draws per point of the curve.",
)
@click.option("--json", "json_", is_flag=True, help="Print metrics.json instead of the table.")
@plugin_option
def benchmark(
    data: Path,
    output: Path,
    settings: Any,
    cache: str | None,
    full: bool,
    sweep: bool,
    resume: bool,
    replace: bool,
    scheduler: str | None,
    curve: str | None,
    draws: int,
    json_: bool,
) -> None:
    """Find out whether two-stage classification beats a flat model on DATA.

    DATA is a folder of class folders, a folder with a metadata.csv, a manifest CSV (file_name, label; product and split
    if there are any), or a file of embeddings (npz or Parquet).
    After an interruption, run the same command again: what is done is kept.

    Example: aisles benchmark photos --output run
    Example: aisles benchmark embeddings.npz --output run --macros 5 --seeds 5
    Example: aisles benchmark photos --output run --hierarchy mine.json --full
    """
    from aisles.experiments.benchmark.run import run_benchmark
    from aisles.experiments.benchmark.summary import summary
    from aisles.experiments.settings.benchmark import with_all_methods

    if curve is not None:
        for given, option in ((sweep, "--sweep"), (resume, "--resume"), (replace, "--replace")):
            if given:
                raise click.UsageError(
                    f"{option} takes no part in --curve, which measures its own points and goes on where it stopped. "
                    f"Leave {option} out."
                )
    if full:
        settings = with_all_methods(settings)
    if curve is not None:
        print_curve(data, output, curve, settings, draws, cache, scheduler, json_)
        return
    result = run_benchmark(
        data, output, settings, cache=cache, scheduler=scheduler, sweep=sweep, resume=resume, replace=replace,
        command=typed(),
    )  # fmt: skip
    click.echo(as_json(result.metrics) if json_ else summary(result))


@main.command()
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def weights(json_: bool) -> None:
    """List the pretrained weights that are installed, and those that are missing.

    Example: aisles weights
    """
    from aisles.models.backbones.weights import weights_files

    files = weights_files()
    if json_:
        rows = [{"backbone": f.backbone, "state": f.state, "path": str(f.path), "md5": f.md5} for f in files]
        click.echo(as_json(rows))
        return
    for file in files:
        click.echo(f"{file.backbone:<20} {file.state:<8} {file.path}")
        if file.state != "present":
            click.echo(f"{'':<20} MD5 {file.md5}. {file.origin}")


@main.command(cls=ModelCommand)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=Path("aisles-quickstart"), show_default=True
)
@click.option("--seed", default=0, show_default=True, help="Seed of the synthetic catalogue.")
@click.option("--json", "json_", is_flag=True, help="Print metrics.json instead of the table.")
def quickstart(output: Path, seed: int, json_: bool) -> None:
    """Try everything offline, on a small synthetic catalogue.

    Example: aisles quickstart --output aisles-quickstart
    """
    from aisles.quickstart import run_quickstart

    click.echo(run_quickstart(output, seed=seed, json_=json_))


main.add_command(data_group)
main.add_command(predict)
main.add_command(export)
main.add_command(rename)
main.add_command(push)
main.add_command(pull)
main.add_command(demo)
main.add_command(serve)
main.add_command(report)
main.add_command(compare)
main.add_command(cite)
main.add_command(rollup)
main.add_command(reproduce)
main.add_command(audit_labels)
main.add_command(train)
main.add_command(evaluate)
main.add_command(ablate)
main.add_command(settings)

if __name__ == "__main__":
    main()
