"""Contact sheets: the images of a class in parts, such as kept and dropped, with scores, for a person to judge."""

import html
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aisles.data_prep.images.decoding import load_pixels
from aisles.data_prep.images.scan import processors
from aisles.data_prep.io.errors import UnreadableImage
from aisles.data_prep.io.files import write_whole
from aisles.data_prep.io.progress import progress

THUMBNAIL = 132
GAP = 10
FRAME = 3
LINE = 17  # height of a line of text
COLUMNS = 8
MARGIN = 16
MOST = 48  # images shown of each kind
INK, FAINT = (32, 32, 32), (110, 110, 110)
BLUE, ORANGE, GRAY = (0, 96, 176), (200, 80, 0), (90, 90, 90)  # told apart by everyone


@dataclass(frozen=True)
class Part:
    """A part of every sheet: its heading, the color of its frames, and which images are shown if there are many.

    Attributes
    ----------
    name : str
    color : tuple of int
        RGB, 0 to 255.
    first : bool
        Whether the first by score are shown, or images evenly spaced by it, both ends included.
    """

    name: str
    color: tuple[int, int, int]
    first: bool = False


KEPT, DROPPED, FLAGGED = Part("kept", BLUE), Part("dropped", ORANGE), Part("flagged", GRAY, first=True)
SUSPECTED, SUREST = Part("suspected", ORANGE, first=True), Part("surest of this label", BLUE, first=True)


@dataclass(frozen=True)
class SheetImage:
    """One image of a contact sheet.

    Attributes
    ----------
    path : str or Path
        As for `images.load_pixels`.
    score : float
        What the images are ordered by, the highest first; NaN (no score) comes before all.
    part : Part
        Where it belongs.
    caption : str
        A second line under the score, for example the reason why it was dropped.
    """

    path: str | Path
    score: float
    part: Part
    caption: str = ""


@dataclass(frozen=True)
class SheetEntry:
    """A written sheet: its class, its file and how many images of the class each part holds."""

    label: str
    path: Path
    counts: tuple[int, ...]


def draw_contact_sheet(
    title: str, images: Sequence[SheetImage], parts: Sequence[Part], most: int = MOST
) -> Image.Image:
    """Draw one part after another, each ordered by score; a part without images is left out.

    Parameters
    ----------
    title : str
        The heading, usually the class.
    images : sequence of SheetImage
        In any order. An unreadable one is shown as an empty frame.
    parts : sequence of Part
        From top to bottom.
    most : int
        How many are shown of each part.

    Returns
    -------
    PIL.Image.Image
        RGB, 8 images in a row.
    """
    shown = [
        (part, members, _chosen(part, members, most)) for part, members in divided(images, parts) if members
    ]
    cell_height = THUMBNAIL + 2 * LINE + GAP
    n_rows = [-(-len(chosen) // COLUMNS) for *_, chosen in shown]
    height = 2 * MARGIN + 2 * LINE + sum(rows * cell_height + 3 * LINE for rows in n_rows)
    width = 2 * MARGIN + COLUMNS * (THUMBNAIL + GAP) - GAP
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN, MARGIN), _fitting(pen, title, width - 2 * MARGIN, 20), INK, _font(20))
    top = MARGIN + 2 * LINE
    for (part, members, chosen), rows in zip(shown, n_rows, strict=True):
        how = "the first by score" if part.first else "evenly spaced by score"
        pen.text(
            (MARGIN, top), _part_heading(part.name, len(members), len(chosen), how), part.color, _font(15)
        )
        for i, image in enumerate(chosen):
            left = MARGIN + (i % COLUMNS) * (THUMBNAIL + GAP)
            _draw_image(canvas, pen, image, left, top + 2 * LINE + i // COLUMNS * cell_height, part.color)
        top += rows * cell_height + 3 * LINE
    return canvas


def write_contact_sheets(
    images: dict[str, list[SheetImage]],
    directory: str | Path,
    title: str,
    parts: Sequence[Part],
    jobs: int | None = None,
) -> Path:
    """Write one contact sheet per class and a page that shows them all, light or dark as the reader's screen.

    Parameters
    ----------
    images : dict of str to list of SheetImage
        Each class's images.
    directory : str or Path
        Where the sheets (`<class>.jpg`) and `index.html` go.
    title : str
        The page's heading: what the score is and where it was cut.
    parts : sequence of Part
        From top to bottom. One that no class has images in is named nowhere.
    jobs : int, optional
        Threads; by default one per processor.

    Returns
    -------
    Path
        The page.
    """
    directory = Path(directory)
    names = sheet_names(list(images))
    held = {image.part.name for members in images.values() for image in members}
    parts = [part for part in parts if part.name in held]

    def write(label: str) -> SheetEntry:
        members = images[label]
        stream = BytesIO()
        draw_contact_sheet(label, members, parts).save(stream, "JPEG", quality=85)
        path = write_whole(directory / names[label], stream.getvalue())
        return SheetEntry(label, path, tuple(len(found) for _, found in divided(members, parts)))

    labels = sorted(images)
    with ThreadPoolExecutor(jobs or processors()) as pool:
        entries = list(progress(pool.map(write, labels), "Contact sheets", len(labels), "sheets"))
    return write_whole(directory / "index.html", index_page(title, entries, parts))


def index_page(title: str, entries: Sequence[SheetEntry], parts: Sequence[Part]) -> str:
    """Return an HTML page with a table of the classes and their sheets below."""
    rows = "\n".join(
        f'<tr><td><a href="#{i}">{html.escape(entry.label)}</a></td>'
        f"{''.join(f'<td>{count}</td>' for count in entry.counts)}</tr>"
        for i, entry in enumerate(entries)
    )
    sheets = "\n".join(
        f'<h2 id="{i}">{html.escape(entry.label)}</h2>\n'
        f'<img loading="lazy" src="{html.escape(entry.path.name)}" alt="{html.escape(_in_words(entry, parts))}">'
        for i, entry in enumerate(entries)
    )
    heads = "".join(f"<th>{html.escape(part.name)}</th>" for part in parts)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .1rem .8rem; text-align: right; }}
td:first-child, th:first-child {{ text-align: left; }}
img {{ max-width: 100%; border: 1px solid #888; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #14181c; color: #e8ebee; }}
  a {{ color: #62b5ee; }}
  img {{ filter: brightness(.8); }}
}}
</style>
<h1>{html.escape(title)}</h1>
<table>
<tr><th>class</th>{heads}</tr>
{rows}
</table>
{sheets}
</html>
"""


def _in_words(entry: SheetEntry, parts: Sequence[Part]) -> str:
    said = (f"{count} {part.name}" for count, part in zip(entry.counts, parts, strict=True))
    return f"{entry.label}: {', '.join(said)}"


def sheet_names(labels: Sequence[str]) -> dict[str, str]:
    """Return each class a file name that is safe everywhere and differs from the others."""
    names: dict[str, str] = {}
    taken = {"index"}
    for label in sorted(labels):
        stem = re.sub(r"[^\w+-]+", "_", label, flags=re.ASCII).strip("_")[:80] or "class"
        name, number = stem, 2
        while name.lower() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.lower())
        names[label] = f"{name}.jpg"
    return names


def divided(images: Sequence[SheetImage], parts: Sequence[Part]) -> list[tuple[Part, list[SheetImage]]]:
    """Return each part with its images, ordered by score."""
    return [(part, sorted_images([image for image in images if image.part == part])) for part in parts]


def _chosen(part: Part, members: list[SheetImage], most: int) -> list[SheetImage]:
    return members[:most] if part.first else spaced(members, most)


def sorted_images(images: Sequence[SheetImage]) -> list[SheetImage]:
    """Order images by score, the highest first, then by path; those without a score before all."""
    return sorted(images, key=lambda p: (-np.inf if np.isnan(p.score) else -p.score, str(p.path)))


def spaced(images: list[SheetImage], most: int) -> list[SheetImage]:
    """Choose at most `most` images, evenly spaced, both ends included."""
    if len(images) <= most:
        return images
    return [images[i] for i in np.linspace(0, len(images) - 1, most).round().astype(int)]


# ---- drawing ------------------------------------------------------------------------------------


def _part_heading(name: str, n_members: int, n_shown: int, how: str) -> str:
    if n_shown == n_members:
        return f"{name}: {n_members}"
    return f"{name}: {n_members} ({n_shown} of them shown, {how})"


def _draw_image(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    image: SheetImage,
    left: int,
    top: int,
    color: tuple[int, int, int],
) -> None:
    inner = THUMBNAIL - 2 * FRAME
    pen.rectangle((left, top, left + THUMBNAIL - 1, top + THUMBNAIL - 1), outline=color, width=FRAME)
    try:
        pixels = load_pixels(image.path, (inner, inner), "pad")
        canvas.paste(Image.fromarray(pixels), (left + FRAME, top + FRAME))
    except UnreadableImage:
        pen.text((left + 2 * FRAME, top + THUMBNAIL // 2 - LINE // 2), "unreadable", FAINT, _font(13))
    score = "" if np.isnan(image.score) else f"{image.score:.3f}"
    pen.text((left, top + THUMBNAIL + 2), score, INK, _font(13))
    if image.caption:
        text = _fitting(pen, image.caption, THUMBNAIL, 12)
        pen.text((left, top + THUMBNAIL + LINE), text, FAINT, _font(12))


def _fitting(pen: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """Cut a text in its middle until it fits."""
    if pen.textlength(text, _font(size)) <= width:
        return text
    for length in range(len(text) - 1, 1, -1):
        cut = text[: length // 2] + "..." + text[len(text) - (length - length // 2) :]
        if pen.textlength(cut, _font(size)) <= width:
            return cut
    return ""


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
