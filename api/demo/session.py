"""What one visitor has on the page; it lives in memory, and nobody else sees it."""

import base64
import csv
import io
from dataclasses import dataclass, field

from PIL import Image

from aisles.data_prep.io.escaping import file_name_safe, formula_safe

from .networks import Look

MOST_ROWS = 50
"""Images that one visitor may have answered at once."""
MOST_CORRECTIONS = 1000


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
    rows : list of Row
        The table of several images.
    corrections : dict of str to str
        File name to the right class, in the order in which they were made.
    """

    look: Look | None = None
    rows: list[Row] = field(default_factory=list)
    corrections: dict[str, str] = field(default_factory=dict)

    def correct(self, label: str) -> None:
        """Remember the right class of the image on the page; a later correction of the same file replaces it.

        Raises
        ------
        ValueError
            If there is no image, or too many corrections.
        """
        if self.look is None:
            raise ValueError("There is no image to correct.")
        if len(self.corrections) >= MOST_CORRECTIONS and self.look.name not in self.corrections:
            raise ValueError(f"{MOST_CORRECTIONS} corrections are kept. Download them and reload the page.")
        self.corrections[self.look.name] = label


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


def data_uri(data: bytes, kind: str) -> str:
    """Write bytes as an address that holds them, so that no file is needed."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def image_uri(image: Image.Image, side: int, quality: int = 82) -> str:
    """Write an image, its longer side at most `side` pixels, as a JPEG inside an address."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return data_uri(buffer.getvalue(), "image/jpeg")
