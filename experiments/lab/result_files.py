"""What lab scripts that fit heads on a data set share: their arguments, and the two files of a result."""

import argparse
import json
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from aisles.data_prep.io.files import write_whole


def result_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of `DATA --folder FOLDER --result RESULT`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="where trained heads stay")
    parser.add_argument("--result", type=Path, required=True)
    return parser


def with_origin(
    script: str, given: argparse.Namespace, options: str, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a result after what it is of: data set, command, date and processors."""
    return {
        "name": given.data.name,
        "command": f"python -m experiments.lab.{script} DATA --folder FOLDER --result RESULT {options}",
        "date": date.today().isoformat(),
        "processors": os.cpu_count(),
        **found,
    }


def write_result(path: Path, result: Mapping[str, Any], note: str) -> None:
    """Write a result as JSON and its note beside it."""
    write_whole(path, json.dumps(result, indent=1) + "\n")
    write_whole(path.with_suffix(".md"), note)
