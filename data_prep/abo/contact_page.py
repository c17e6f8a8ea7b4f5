"""One page for all contact sheets: text that can be searched, and thumbnails cut out of the sheets."""

import html
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from aisles.data_prep.images.scan import processors
from aisles.data_prep.io.files import write_whole
from aisles.data_prep.io.progress import progress

from .contact_sheet import FRAME, THUMBNAIL, Part, SheetImage, Shown, divided, draw_contact_sheet, laid_out

INNER = THUMBNAIL - 2 * FRAME
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #202020; --soft: #5c5c5c; --line: #d8d8d8; --link: #0060b0;
  --blue: #0060b0; --orange: #c85000; --gray: #5a5a5a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181c; --ink: #e8ebee; --soft: #a4adb5; --line: #343b42; --link: #62b5ee;
    --blue: #62b5ee; --orange: #f0954f; --gray: #b4bcc4; }
}
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
  background: var(--paper); color: var(--ink); }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: .95rem; margin: .8rem 0 .4rem; color: var(--part); }
a { color: var(--link); }
.classes { overflow-x: auto; }
table { border-collapse: collapse; }
td, th { padding: .1rem .8rem; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; padding-left: 0; }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: .7rem .6rem; }
figure { margin: 0; font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere; }
img { display: block; width: 126px; height: 126px; object-fit: none; border: 3px solid var(--part); }
figcaption { color: var(--soft); width: 132px; }
figcaption b { color: var(--ink); font-weight: 400; display: block; font-variant-numeric: tabular-nums; }
.blue { --part: var(--blue); } .orange { --part: var(--orange); } .gray { --part: var(--gray); }
"""


@dataclass(frozen=True)
class SheetEntry:
    """A written sheet: its class, its file, how many images of the class each part holds, and what is shown."""

    label: str
    path: Path
    counts: tuple[int, ...]
    shown: tuple[Shown, ...]


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
        counts = tuple(len(found) for _, found in divided(members, parts))
        return SheetEntry(label, path, counts, tuple(laid_out(members, parts)))

    labels = sorted(images)
    with ThreadPoolExecutor(jobs or processors()) as pool:
        entries = list(progress(pool.map(write, labels), "Contact sheets", len(labels), "sheets"))
    return write_whole(directory / "index.html", index_page(title, entries, parts))


def index_page(title: str, entries: Sequence[SheetEntry], parts: Sequence[Part]) -> str:
    """Return an HTML page with a table of the classes and their images below.

    Thumbnails are the sheet's own: each is a window on the sheet, so nothing is stored twice.
    """
    rows = "\n".join(
        f'<tr><td><a href="#{i}">{html.escape(entry.label)}</a></td>'
        f"{''.join(f'<td>{count}</td>' for count in entry.counts)}</tr>"
        for i, entry in enumerate(entries)
    )
    sheets = "\n".join(
        f'<h2 id="{i}">{html.escape(entry.label)}</h2>\n{"".join(_part(found, entry) for found in entry.shown)}'
        for i, entry in enumerate(entries)
    )
    heads = "".join(f"<th>{html.escape(part.name)}</th>" for part in parts)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<div class="classes"><table>
<tr><th>class</th>{heads}</tr>
{rows}
</table></div>
{sheets}
</html>
"""


def _part(shown: Shown, entry: SheetEntry) -> str:
    figures = "".join(
        _figure(image, corner, entry) for image, corner in zip(shown.images, shown.corners, strict=True)
    )
    color = shown.part.color_name
    return f'<div class="{color}"><h3>{html.escape(shown.heading)}</h3><div class="images">{figures}</div></div>\n'


def _figure(image: SheetImage, corner: tuple[int, int], entry: SheetEntry) -> str:
    left, top = (place + FRAME for place in corner)
    score = "" if np.isnan(image.score) else f"<b>{image.score:.3f}</b>"
    said = html.escape(image.caption)
    name, sheet = html.escape(Path(image.path).name), html.escape(entry.path.name)
    alt = html.escape(f"{entry.label}: {image.caption or Path(image.path).name}")
    return (
        f'<figure title="{name}"><img loading="lazy" src="{sheet}" '
        f'alt="{alt}" style="object-position:-{left}px -{top}px">'
        f"<figcaption>{score}{said}</figcaption></figure>"
    )


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
