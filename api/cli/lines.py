"""Predictions as lines for a person or a program, from any number of images in constant memory."""

import csv
import glob
import io
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from aisles.data_prep.io.errors import UnreadableImage
    from aisles.models.prediction.two_stage import Classifier, HierarchicalPrediction

logger = logging.getLogger(__name__)
COLUMNS = ("file_name", "answered", "macro", "macro_probability", "label", "probability", "rule", "top")


class Page(Protocol):
    """Where explanations go."""

    def add(self, path: Path) -> None:
        """Add one image."""


@dataclass(frozen=True)
class Counts:
    """How many images there were, and how many of them could be read."""

    total: int
    read: int

    @property
    def unreadable(self) -> int:
        """How many could not be read."""
        return self.total - self.read


def find_images(sources: Iterable[str]) -> Iterator[Path]:
    """List the images that files, folders, patterns and `-` (names on standard input) mean, lazily.

    A folder means every file in it and below with an image's suffix, by name; hidden ones are passed over. A
    pattern is what the shell would have expanded; `**` means any depth. One that matches nothing is given as it is,
    again as the shell does: it counts as a file that can't be read, and the others are not lost.
    """
    for source in sources:
        if source == "-":
            if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors != "surrogateescape":
                sys.stdin.reconfigure(errors="surrogateescape")  # a file's name may be any bytes
            yield from (Path(line) for line in map(_without_end, sys.stdin) if line)
        elif Path(source).is_dir():
            yield from _below(source)
        elif not Path(source).exists() and glob.has_magic(source):
            yield from _matching(source)
        else:
            yield Path(source)


def print_predictions(
    classifier: "Classifier",
    images: Iterable[Path],
    *,
    rule: str | None = None,
    top: int = 5,
    form: str = "text",
    calibrated: bool = True,
    batch_size: int = 32,
    page: Page | None = None,
) -> Counts:
    """Print one line an image as batches finish; unreadable images are reported on the log and passed over.

    Parameters
    ----------
    classifier : Classifier
    images : iterable of Path
        Taken a few batches ahead, never all at once.
    rule, top, calibrated, batch_size
        As in `Classifier.predict`.
    form : {'text', 'json', 'csv'}
    page : Page, optional
        Gets every image that could be read.
    """
    names: deque[Path] = deque()
    write = {"text": _text_line, "json": _json_line, "csv": _csv_line}[form]
    total = read = 0
    answers = classifier.iter_predict(
        _remembered(images, names),
        rule=rule,
        top=top,
        calibrated=calibrated,
        batch_size=batch_size,
        unreadable="give",
    )
    if form == "csv":
        click.echo(_csv_row(COLUMNS))
    for total, answer in enumerate(answers, start=1):  # noqa: B007
        path = names.popleft()
        if isinstance(answer, Exception):
            _report(path, answer)
            continue
        read += 1
        click.echo(_as_utf8(write(str(path), answer)))
        if page is not None:
            page.add(path)
    return Counts(total, read)


def as_line(name: str, prediction: "HierarchicalPrediction") -> str:
    """Write a prediction as `chair.jpg: SEATING 0.97 > SOFA 0.91`."""
    path = " > ".join(f"{label} {probability:.2f}" for label, probability in prediction.path)
    return f"{name}: {path or 'no answer'}"


_text_line = as_line


def _json_line(name: str, prediction: "HierarchicalPrediction") -> str:
    return json.dumps({"file_name": name, **asdict(prediction)}, ensure_ascii=False, allow_nan=False)


def _csv_line(name: str, prediction: "HierarchicalPrediction") -> str:
    values = {"file_name": name, **asdict(prediction)}
    values["top"] = " ".join(f"{label}={probability:.6g}" for label, probability in prediction.top)
    return _csv_row("" if values[column] is None else values[column] for column in COLUMNS)


def _csv_row(values: Iterable[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(values)
    return buffer.getvalue()


def _as_utf8(line: str) -> str:
    r"""Write the bytes of names that are no UTF-8 as \udcXX, which JSON reads back as Python's name of the file."""
    return line.encode("utf-8", "backslashreplace").decode("utf-8")


def _report(path: Path, error: "UnreadableImage | Exception") -> None:
    logger.warning("%s %s", path, error)


def _remembered(images: Iterable[Path], names: deque[Path]) -> Iterator[Path]:
    for path in images:
        names.append(path)
        yield path


def _without_end(line: str) -> str:
    return line.rstrip("\r\n")


def _below(folder: str) -> Iterator[Path]:
    from aisles.data_prep.images.decoding import IMAGE_SUFFIXES

    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield Path(place, name)


def _matching(pattern: str) -> Iterator[Path]:
    files = [name for name in sorted(glob.glob(pattern, recursive=True)) if not Path(name).is_dir()]
    yield from map(Path, files or [pattern])
