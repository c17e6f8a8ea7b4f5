"""Answers along a hierarchy as CSV, JSON and Parquet."""

import csv
import io
import json
from pathlib import Path

import pandas as pd

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import whole_file, write_whole
from aisles.data_prep.io.tables import quoting_for, spreadsheet_table

from .rollup import Rollup

SETS = ("set", "hierarchical_set")
SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")


def as_csv(table: pd.DataFrame) -> str:
    """Write rows of text; sets are JSON lists, so that names may hold any character."""
    shown = spreadsheet_table(table).copy()
    for column in SETS:
        if column in shown:
            shown[column] = [json.dumps(names, ensure_ascii=False) for names in shown[column]]
    stream = io.StringIO()
    texts = [text for name in shown.columns for text in shown[name].tolist()]
    writer = csv.writer(stream, lineterminator="\n", quoting=quoting_for(texts))
    writer.writerow(shown.columns)
    writer.writerows(
        ["" if value is None else f"{value:.9g}" if isinstance(value, float) else value for value in row]
        for row in shown.astype(object).itertuples(index=False, name=None)
    )
    return stream.getvalue()


def as_json_lines(table: pd.DataFrame) -> str:
    """Write one JSON object a line."""
    records = table.astype(object).to_dict("records")
    return "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)


def write_rollup(found: Rollup, path: Path) -> None:
    """Write the answers; the suffix says how: `.csv`, `.json` (a list), `.jsonl` (a line each) or `.parquet`.

    Raises
    ------
    DataError
        If the suffix is another one.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise DataError(f"Answers are written to {', '.join(SUFFIXES)}. Received: {path}.")
    if kind == ".parquet":
        with whole_file(path) as part:
            found.table.to_parquet(part, index=False)
        return
    if kind == ".json":
        records = found.table.astype(object).to_dict("records")
        write_whole(path, json.dumps(records, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
        return
    write_whole(path, as_csv(found.table) if kind == ".csv" else as_json_lines(found.table))
