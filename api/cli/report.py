"""`aisles report` and `aisles audit-labels`: what a finished run tells, and which labels it doubts."""

from pathlib import Path

import click

from aisles.experiments.stats.points import change_in_points, interval_in_points

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
@click.option(
    "--latex", is_flag=True, help="Write report.tex: the result table and the sentence for a paper."
)
@click.option("--across", is_flag=True, help="Combine RUNS on different data sets: a random-effects mean.")
@click.option("--method", metavar="NAME", help="With --across: whose comparison.  [default: the primary one]")
@plugin_option
def report(
    runs: tuple[Path, ...], output: Path | None, json_: bool, latex: bool, across: bool, method: str | None
) -> None:
    """Rewrite the report of a run, or compare several RUNS on the same test images.

    No model is loaded. One run gives report.html and report.md in its folder, with tables and metrics; several give
    comparison.html and comparison.md, and are refused if their test images differ. With --across, runs on different
    data sets give their mean difference, with its interval and how much the sets differ.

    Example: aisles report run
    Example: aisles report run run-3 --output comparison
    Example: aisles report run --latex
    """
    if method is not None and not across:
        raise click.UsageError("--method goes with --across.")
    if across:
        _across(runs, output or Path("across"), method, json_)
        return
    if latex:
        from aisles.experiments.judge.latex import write_latex

        if len(runs) > 1:
            raise click.UsageError("--latex takes one run.")
        file = write_latex(next(iter(runs)), output)
        click.echo(as_json({"latex": file}) if json_ else file)
        return
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


def _across(runs: tuple[Path, ...], output: Path, method: str | None, json_: bool) -> None:
    from aisles.experiments.judge.across import combine_runs, write_across

    across = combine_runs(runs, method=method)
    files = write_across(across, output)
    if json_:
        click.echo((output / "across.json").read_text(encoding="utf-8"), nl=False)
        return
    width = max(map(len, across.names))
    for name, comparison, weight in zip(
        across.names, across.comparisons, across.combined.weights, strict=True
    ):
        difference = (
            f"{change_in_points(comparison['difference']):>13} ({interval_in_points(comparison['interval'])})"
        )
        click.echo(f"{name:<{width}}  {difference}  weight {100 * weight:.0f} %  {comparison['verdict']}")
    click.echo(f"\n{across.sentence()}\n\nLook at {files.html}.")


@click.command(cls=Command)
@click.argument("run", type=PATH)
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def cite(run: Path, json_: bool) -> None:
    """Print the sources of a RUN's data set, networks, methods and statistics as BibTeX.

    Example: aisles cite run
    """
    from dataclasses import asdict

    from aisles.experiments.judge.citations import as_bibtex, citations

    found = citations(run)
    click.echo(as_json([asdict(citation) for citation in found]) if json_ else as_bibtex(found))


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
    """List photographs of a RUN whose labels look wrong.

    Every image is judged by models that saw no photograph of its product. Nothing is changed: suspects.csv and contact
    sheets are for a person to look at. Run `aisles report RUN` afterwards to have them in the report.

    Example: aisles audit-labels run
    """
    from aisles.experiments.label_audit.audited_run import audit_run

    audit = audit_run(run, output=output, cache=cache, n_folds=folds, seed=seed)
    click.echo(as_json(audit.facts) if json_ else audit.summary())
