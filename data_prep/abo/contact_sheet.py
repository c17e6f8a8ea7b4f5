"""Contact sheets: the images of a class in parts, such as kept and dropped, with scores, for a person to judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aisles.data_prep.images.decoding import load_pixels
from aisles.data_prep.io.errors import UnreadableImage

THUMBNAIL = 132
GAP = 10
FRAME = 3
LINE = 17  # height of a line of text
COLUMNS = 8
CELL = THUMBNAIL + 2 * LINE + GAP  # from one row to the next
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

    @property
    def color_name(self) -> str:
        """What a page calls the color, which it shows lighter on a dark screen."""
        return {BLUE: "blue", ORANGE: "orange", GRAY: "gray"}[self.color]


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
class Shown:
    """One part of one sheet: its images by score, those that are shown, and where: the left upper corners.

    Attributes
    ----------
    part : Part
    n_members : int
        How many images of the class the part has.
    images : tuple of SheetImage
        Those that are shown.
    corners : tuple of (left, top)
        Of each shown image's frame, in pixels of the sheet.
    top : int
        Of the part's heading.
    """

    part: Part
    n_members: int
    images: tuple[SheetImage, ...]
    corners: tuple[tuple[int, int], ...]
    top: int

    @property
    def heading(self) -> str:
        """Say how many there are, and which of them are shown if not all."""
        if len(self.images) == self.n_members:
            return f"{self.part.name}: {self.n_members}"
        how = "the first by score" if self.part.first else "evenly spaced by score"
        return f"{self.part.name}: {self.n_members} ({len(self.images)} of them shown, {how})"


def laid_out(images: Sequence[SheetImage], parts: Sequence[Part], most: int = MOST) -> list[Shown]:
    """Return where each image of a sheet is drawn, part after part; parts without images are left out."""
    shown, top = [], MARGIN + 2 * LINE
    for part, members in divided(images, parts):
        if not members:
            continue
        chosen = members[:most] if part.first else spaced(members, most)
        corners = tuple(
            (MARGIN + i % COLUMNS * (THUMBNAIL + GAP), top + 2 * LINE + i // COLUMNS * CELL)
            for i in range(len(chosen))
        )
        shown.append(Shown(part, len(members), tuple(chosen), corners, top))
        top += -(-len(chosen) // COLUMNS) * CELL + 3 * LINE
    return shown


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
    shown = laid_out(images, parts, most)
    below = max(
        (corners[-1][1] + CELL + LINE for corners in (s.corners for s in shown)), default=MARGIN + 2 * LINE
    )
    width = 2 * MARGIN + COLUMNS * (THUMBNAIL + GAP) - GAP
    canvas = Image.new("RGB", (width, below + MARGIN), "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN, MARGIN), _fitting(pen, title, width - 2 * MARGIN, 20), INK, _font(20))
    for found in shown:
        pen.text((MARGIN, found.top), found.heading, found.part.color, _font(15))
        for image, corner in zip(found.images, found.corners, strict=True):
            _draw_image(canvas, pen, image, *corner, found.part.color)
    return canvas


def divided(images: Sequence[SheetImage], parts: Sequence[Part]) -> list[tuple[Part, list[SheetImage]]]:
    """Return each part with its images, ordered by score."""
    return [(part, sorted_images([image for image in images if image.part == part])) for part in parts]


def sorted_images(images: Sequence[SheetImage]) -> list[SheetImage]:
    """Order images by score, the highest first, then by path; those without a score before all."""
    return sorted(images, key=lambda p: (-np.inf if np.isnan(p.score) else -p.score, str(p.path)))


def spaced(images: list[SheetImage], most: int) -> list[SheetImage]:
    """Choose at most `most` images, evenly spaced, both ends included."""
    if len(images) <= most:
        return images
    return [images[i] for i in np.linspace(0, len(images) - 1, most).round().astype(int)]


# ---- drawing ------------------------------------------------------------------------------------


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
