"""Predictions as lines for a person or a program, from any number of images in constant memory."""

import csv
import glob
import io
import json
import logging
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from aisles.data_prep.io.escaping import file_name_safe, formula_safe

from .names import read_names

if TYPE_CHECKING:
    from aisles.data_prep.io.errors import UnreadableImage
    from aisles.models.prediction.restriction import Only
    from aisles.models.prediction.two_stage import Classifier, HierarchicalPrediction

logger = logging.getLogger(__name__)
_UNSEEN = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # JSON escapes the others itself
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


def find_images(sources: Iterable[str], *, null: bool = False) -> Iterator[Path | str]:
    """List the images that files, folders, patterns and `-` (names on standard input) mean, lazily.

    A folder means every file in it and below with an image's suffix, by name; hidden ones are passed over, links are
    followed. A pattern is what the shell would have expanded; `**` means any depth. One that matches nothing is given
    as it is, again as the shell does: it counts as a file that can't be read, and the others are not lost. So does an
    address (`https://...`), which is given as text. With `null`, names on standard input end with a zero byte.
    """
    for source in sources:
        if source == "-":
            yield from map(_as_path, read_names(sys.stdin, null=null))
        elif _is_address(source):
            yield source
        elif Path(source).is_dir():
            yield from _below(source)
        elif not Path(source).exists() and glob.has_magic(source):
            yield from _matching(source)
        else:
            yield Path(source)


def _as_path(name: str) -> Path | str:
    return name if _is_address(name) else Path(name)


def _is_address(name: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def print_predictions(
    classifier: "Classifier",
    images: Iterable[Path | str],
    *,
    rule: str | None = None,
    only: "Only | None" = None,
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
    rule, only, top, calibrated, batch_size
        As in `Classifier.predict`.
    form : {'text', 'json', 'csv'}
    page : Page, optional
        Gets every image that could be read.
    """
    _use_utf8(form)
    names: deque[Path | str] = deque()
    write = {"text": _text_line, "json": _json_line, "csv": _csv_line}[form]
    total = read = 0
    answers = classifier.iter_predict(
        _remembered(images, names),
        rule=rule,
        only=only,
        top=top,
        calibrated=calibrated,
        batch_size=batch_size,
        unreadable="give",
    )
    if form == "csv":
        _put(_csv_row(COLUMNS))
    for total, answer in enumerate(answers, start=1):  # noqa: B007
        path = names.popleft()
        if isinstance(answer, Exception):
            _report(path, answer)
            continue
        read += 1
        _put(_as_utf8(write(str(path), answer)))
        if page is not None:
            page.add(Path(path))
    return Counts(total, read)


def _put(line: str) -> None:
    try:
        # `color`: else Click would strip what looks like color from names, which then name no file.
        click.echo(line, color=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        said = f"{error.strerror}: standard output can't be written, the answers from here on are lost"
        raise OSError(error.errno, said) from error


def _use_utf8(form: str) -> None:
    """Write lines for programs in UTF-8, whatever the code page; a person's terminal gets escapes for what it lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding=None if form == "text" else "utf-8", errors="backslashreplace")


def as_line(name: str, prediction: "HierarchicalPrediction") -> str:
    """Write a prediction as `chair.jpg: SEATING 0.97 > SOFA 0.91`."""
    path = " > ".join(f"{label} {probability:.2f}" for label, probability in prediction.path)
    return f"{name}: {path or 'no answer'}"


def _text_line(name: str, prediction: "HierarchicalPrediction") -> str:
    """Write one line, whatever the name holds: what can't be printed, line breaks too, as Python writes it."""
    return printable(as_line(name, prediction))


def _json_line(name: str, prediction: "HierarchicalPrediction") -> str:
    line = json.dumps({"file_name": name, **asdict(prediction)}, ensure_ascii=False, allow_nan=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _csv_line(name: str, prediction: "HierarchicalPrediction") -> str:
    r"""Write a row, line breaks inside quotes; on a terminal as text, which can't harm it.

    The name stays one that opens the file, `./` in front of what a spreadsheet would compute; labels get an apostrophe
    there.
    """
    values = {**asdict(prediction), "file_name": file_name_safe(name)}
    values |= {
        key: formula_safe(text) for key in ("macro", "label", "rule") if isinstance(text := values[key], str)
    }
    values["top"] = json.dumps(
        [[label, float(f"{probability:.6g}")] for label, probability in prediction.top], ensure_ascii=False
    )
    row = _csv_row("" if values[column] is None else values[column] for column in COLUMNS)
    return printable(row) if sys.stdout.isatty() else row


def _csv_row(values: Iterable[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(values)  # so that both are quoted inside a value
    return buffer.getvalue().removesuffix("\r\n")


def printable(text: str) -> str:
    r"""Write what can't be printed (control characters, marks of direction) as Python does: \n, \x1b, \u202e."""
    return "".join(
        each if each.isprintable() or "\ud800" <= each <= "\udfff" else each.encode("unicode_escape").decode()
        for each in text
    )


def _as_utf8(line: str) -> str:
    r"""Write the bytes of names that are no UTF-8 as \udcXX, which JSON reads back as Python's name of the file."""
    return line.encode("utf-8", "backslashreplace").decode("utf-8")


def _report(path: Path | str, error: "UnreadableImage | Exception") -> None:
    if isinstance(path, str):
        said = f"{path} is an address; images are read from files: download it first."
    else:
        said = f"{path} {error}"
    logger.warning("%s", printable(said))


def _remembered(images: Iterable[Path | str], names: deque[Path | str]) -> Iterator[Path | str]:
    for path in images:
        names.append(path)
        yield path


def _below(folder: str) -> Iterator[Path]:
    from aisles.data_prep.images.decoding import IMAGE_SUFFIXES

    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:  # a link to where we have been
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield Path(place, name)


def _matching(pattern: str) -> Iterator[Path]:
    files = [name for name in sorted(glob.glob(pattern, recursive=True)) if not Path(name).is_dir()]
    yield from map(Path, files or [pattern])
