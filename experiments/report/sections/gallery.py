"""The photographs that change hands, with what both systems said of them."""

import io
import logging
from pathlib import Path

import numpy as np
from PIL import Image

from aisles.data_prep.images.decoding import decode_image, read_image_bytes
from aisles.data_prep.io.errors import DataError
from aisles.experiments.report.changes import ImageChanges, common_seeds, image_changes
from aisles.experiments.report.names import macro_tag
from aisles.experiments.report.render.document import Block, Card, Gallery, Section, Text
from aisles.experiments.runs.reader import FLAT, Run

logger = logging.getLogger(__name__)
IMAGES = 18
SIDE = 168
QUALITY = 62


def galleries_section(run: Run, changes: ImageChanges | None = None, most: int = IMAGES) -> Section:
    """Return photographs that the primary method rescues, and that it loses.

    Parameters
    ----------
    run : Run
    changes : ImageChanges, optional
    most : int
        Photographs on each side: those that change hands in most seeds, with the largest change first.
    """
    changes = changes or image_changes(run, run.primary)
    blocks: list[Block] = [Text(_counts(run, changes))]
    for word, seeds, rows in (
        ("Corrected", changes.only_other, changes.corrected(most)),
        ("Broken", changes.only_flat, changes.broken(most)),
    ):
        who = f"only {run.primary} is right" if word == "Corrected" else "only flat is right"
        if not rows:
            blocks.append(Text(f"{word}: no image ({who})."))
            continue
        cards = tuple(_card(run, row, seeds[:, row], word) for row in rows)
        caption = (
            f"{word}: {who}. {len(rows)} of {int(seeds.any(axis=0).sum())} images, those first whose "
            "probability changes most."
            if len(seeds) == 1
            else f"{word}: {who}. {len(rows)} of {int(seeds.any(axis=0).sum())} images, those first that change hands "
            "in most seeds and by the largest probability. Probabilities are those of the first seed in which they do."
        )
        blocks.append(Gallery(caption, cards))
    return Section("galleries", "Corrected and broken photographs", tuple(blocks))


def thumbnail(path: Path | None, side: int = SIDE, quality: int = QUALITY) -> bytes | None:
    """Make a small JPEG of a photograph; None if there is no path or the file can't be read."""
    if path is None:
        return None
    try:
        image = decode_image(read_image_bytes(path))
    except DataError as error:
        logger.warning("No thumbnail of %s: %s", path, error)
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _counts(run: Run, changes: ImageChanges) -> str:
    if changes.n_seeds == 1:
        corrected, broken = int(changes.corrected_seeds.sum()), int(changes.broken_seeds.sum())
        return f"{corrected} of {len(run.truth)} test images are corrected, {broken} are broken."
    always_corrected = int((changes.corrected_seeds == changes.n_seeds).sum())
    always_broken = int((changes.broken_seeds == changes.n_seeds).sum())
    return (
        f"{int((changes.corrected_seeds > 0).sum())} of {len(run.truth)} test images are corrected in at least one of "
        f"{changes.n_seeds} seeds, {always_corrected} in all; {int((changes.broken_seeds > 0).sum())} are broken in at "
        f"least one, {always_broken} in all."
    )


def _card(run: Run, row: int, seeds: np.ndarray, word: str) -> Card:
    """Return what was said of a photograph in the first seed in which it changes hands."""
    ours, theirs = common_seeds(run, run.primary, FLAT)
    first = int(np.flatnonzero(seeds)[0])
    lines = [
        (FLAT, _said(run, FLAT, theirs[first], row)),
        (run.primary, _said(run, run.primary, ours[first], row)),
    ]
    if run.primary in run.router_by:
        lines.append(("router", _routed(run, run.router_by[run.primary][ours[first], row], row)))
    if len(seeds) > 1:
        lines.append((word.lower(), f"in {int(seeds.sum())} of {len(seeds)} seeds"))
    return Card(thumbnail(run.paths[row]), str(run.labels[row]), str(run.file_names[row]), tuple(lines))


def _said(run: Run, method: str, seed: int, row: int) -> str:
    probs = run.classes_by[method][seed, row]
    answer, truth = int(probs.argmax()), int(run.truth[row])
    said = f"{run.classes[answer]} {_percent(probs[answer])}"
    return said if answer == truth else f"{said}, true class {_percent(probs[truth])}"


def _routed(run: Run, macro_probs: np.ndarray, row: int) -> str:
    best = int(macro_probs.argmax())
    judged = "right" if run.labels[row] in run.hierarchy.members[best] else "wrong"
    return f"{macro_tag(best)} {run.hierarchy.macros[best]} {_percent(macro_probs[best])} ({judged})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"
