"""`aisles report` and `aisles audit-labels`: what a finished run tells, and which labels it doubts."""

from pathlib import Path

import click

from .commands import Command, ModelCommand, as_json, plugin_option

PATH = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option(
    "--output", "-o", type=PATH, help="Folder to write to.  [default: the run; comparison for several runs]"
)
@click.option(
    "--json", "json_", is_flag=True, help="Print the names of the files, or the comparisons, as JSON."
)
@plugin_option
def report(runs: tuple[Path, ...], output: Path | None, json_: bool) -> None:
    """Write the report of a run again, or compare several RUNS on the same test images.

    No model is loaded. One run gives report.html and report.md in its folder, with tables and metrics; several give
    comparison.html and comparison.md, and are refused if their test images differ.

    Example: aisles report run
    """
    if len(runs) == 1:
        from aisles.experiments.report.writing import write_report

        files = write_report(runs[0], output)
        click.echo(as_json({"html": files.html, "markdown": files.markdown}) if json_ else files.html)
        return
    from dataclasses import asdict

    from aisles.experiments.report.comparison import write_comparison

    compared, files = write_comparison(runs, output or Path("comparison"))
    if json_:
        click.echo(as_json([asdict(comparison) for comparison in compared.comparisons]))
        return
    for comparison in compared.comparisons:
        click.echo(comparison.sentence())
    click.echo(f"\nLook at {files.html}.")


@click.command("audit-labels", cls=ModelCommand)
@click.argument("run", type=PATH)
@click.option(
    "--output", "-o", type=PATH, help="Folder to write to.  [default: RUN/audit, where the report looks]"
)
@click.option("--folds", default=5, show_default=True, help="How many folds.")
@click.option("--seed", default=0, show_default=True, help="Which products go to which fold.")
@click.option("--cache", type=PATH, help="Folder for cached features.")
@click.option("--json", "json_", is_flag=True, help="Print audit.json.")
def audit_labels(
    run: Path, output: Path | None, folds: int, seed: int, cache: Path | None, json_: bool
) -> None:
    """List the photographs of a RUN whose labels look wrong.

    Every image is judged by models that saw no photograph of its product. Nothing is changed: suspects.csv and contact
    sheets are for a person to look at. Run `aisles report RUN` afterwards to have them in the report.

    Example: aisles audit-labels run
    """
    from aisles.experiments.label_audit.audited_run import audit_run

    audit = audit_run(run, output=output, cache=cache, n_folds=folds, seed=seed)
    click.echo(as_json(audit.facts) if json_ else audit.summary())
