"""What one visitor has on the page; it lives in memory, and nobody else sees it."""

import csv
import hashlib
import io
import itertools
from dataclasses import dataclass, field
from pathlib import PurePath

from aisles.data_prep.io.escaping import file_name_safe, formula_safe

from .networks import Look

MOST_ROWS = 50
"""Images that one visitor may have answered at once."""
MOST_CORRECTIONS = 1000
THUMBNAIL = 72
"""Pixels of the longer side of what is kept of an image in the table."""


@dataclass(frozen=True, eq=False)
class Row:
    """One of several images: what was found, or why it could not be read."""

    name: str
    look: Look | None
    error: str = ""


@dataclass
class Visit:
    """One visitor's images and corrections.

    Attributes
    ----------
    look : Look or None
        The image on the page.
    is_example : bool
        Whether that is one of the page's own: a test image of the run teaches nothing without spoiling the test.
    rows : list of Row
        The table of several images.
    corrections : dict of str to str
        File name to the right class, in the order in which they were made.
    corrected : dict of str to str
        The same file names to a hash of the image.
    """

    look: Look | None = None
    is_example: bool = False
    rows: list[Row] = field(default_factory=list)
    corrections: dict[str, str] = field(default_factory=dict)
    corrected: dict[str, str] = field(default_factory=dict)

    @property
    def refusal(self) -> str:
        """Why the image on the page can't be corrected, as the name of a text; empty if it can be."""
        if self.look is None:
            return "correct_no_image"
        if self.is_example:
            return "correct_example"
        full = (
            len(self.corrections) >= MOST_CORRECTIONS and self._name_and_digest()[0] not in self.corrections
        )
        return "correct_too_many" if full else ""

    def correct(self, label: str) -> None:
        """Remember the right class of the image on the page; a later correction of the same image replaces it.

        Another image of the same name (pasted ones and the camera's have no name of their own) is numbered.

        Raises
        ------
        ValueError
            If it can't be corrected; the message is `refusal`.
        """
        if self.refusal:
            raise ValueError(self.refusal)
        name, digest = self._name_and_digest()
        self.corrections[name], self.corrected[name] = label, digest

    def _name_and_digest(self) -> tuple[str, str]:
        assert self.look is not None
        digest = hashlib.sha256(self.look.image.tobytes()).hexdigest()
        path, name = PurePath(self.look.name), self.look.name
        for number in itertools.count(2):
            if self.corrected.get(name, digest) == digest:
                break
            name = f"{path.stem}-{number}{path.suffix}"
        return name, digest


def manifest_csv(corrections: dict[str, str]) -> str:
    """Write corrections as a manifest: columns file_name and label, to be laid beside the images."""
    return table_csv([("file_name", "label"), *corrections.items()])


def table_csv(rows: list[tuple]) -> str:
    """Write rows of texts as CSV, a file's name first, the header being the first of them; none is a formula."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(
        [file_name_safe(name), *map(formula_safe, texts)] for name, *texts in rows
    )
    return buffer.getvalue()
