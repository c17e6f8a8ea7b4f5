"""The report, written: from a run folder to `report.html`, `report.md`, tables and metrics."""

import csv
import io
import logging
from dataclasses import dataclass
from pathlib import Path

from aisles.data_prep.io.escaping import spreadsheet_safe
from aisles.data_prep.io.files import write_whole
from aisles.experiments.report.render.document import Document, Table
from aisles.experiments.report.render.html import html_page
from aisles.experiments.report.render.markdown import markdown_page
from aisles.experiments.runs.reader import read_run

from .assembly import run_document

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportFiles:
    """What was written.

    Attributes
    ----------
    html, markdown : Path
    tables, metrics : tuple of Path
    """

    html: Path
    markdown: Path
    tables: tuple[Path, ...]
    metrics: tuple[Path, ...]


def write_report(run_folder: str | Path, output: str | Path | None = None) -> ReportFiles:
    """Build the report of a run from its folder; no model is loaded.

    Parameters
    ----------
    run_folder : path
        What `run_benchmark` wrote. What was not run is left out of the report and named in it.
    output : path, optional
        The folder to write to; the run folder unless given.

    Returns
    -------
    ReportFiles
        `report.html` (one file, no request), `report.md`, `tables/*.csv`, `plots/*.svg`.

    Raises
    ------
    DataError
        If the folder is no finished run.
    """
    run = read_run(run_folder)
    return write_document(run_document(run), Path(output or run_folder), "report")


def write_document(document: Document, folder: Path, name: str) -> ReportFiles:
    """Write a document as HTML and Markdown, with its tables and metrics beside it."""
    tables = [write_whole(folder / "tables" / f"{t.name}.csv", table_csv(t)) for t in document.tables]
    metrics = [
        write_whole(folder / "plots" / f"{f.name}.svg", (f.wide or f.drawing).file())
        for f in document.metrics
    ]
    files = ReportFiles(
        write_whole(folder / f"{name}.html", html_page(document)),
        write_whole(folder / f"{name}.md", markdown_page(document)),
        tuple(tables),
        tuple(metrics),
    )
    logger.info("Wrote %s (%.1f MB).", files.html, files.html.stat().st_size / 1e6)
    return files


def table_csv(table: Table) -> str:
    """Write a table as CSV with full numbers; texts that a spreadsheet would compute are made harmless."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([spreadsheet_safe(column.name) for column in table.columns])
    for row in table.rows:
        writer.writerow(
            ["" if v is None or v != v else spreadsheet_safe(v) if isinstance(v, str) else v for v in row]
        )
    return buffer.getvalue()
