"""Images that are no product photographs: textures, text panels, rooms that swamp the product.

Each image is measured once; scores follow from the measures, decisions from the scores, and each
is kept, so that a threshold changes without measuring again. The measures are simple on purpose. They
find candidates for a person to look at in a contact sheet; a rug seen from above is a texture to them.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from aisles.data_prep.images.decoding import load_pixels
from aisles.data_prep.images.scan import processors
from aisles.data_prep.io.progress import progress

SIDE = 256  # pixels that an image is measured at, whatever its shape
BORDER = 16  # width of the frame that counts as border
NEAR = 24  # largest difference in any channel, 0-255, that still counts as the same color
EDGE = 16  # least difference of gray values two pixels apart that counts as an edge
INK = 50  # least difference of gray values between a mark and its surroundings
_GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601 luma
_FRAME = np.ones((SIDE, SIDE), dtype=bool)
_FRAME[BORDER:-BORDER, BORDER:-BORDER] = False


@dataclass(frozen=True)
class Measures:
    """What is measured on one image of 256 x 256 pixels.

    Attributes
    ----------
    plain_border : float
        Share of the border that has the border's most frequent color; 1 in a studio photograph.
    subject_share : float
        Share of the image that differs from that color.
    border_bits : float
        Entropy of the border's colors on a 4 x 4 x 4 grid, in bits; 0 if one color, 6 at most.
    edge_spread : float
        Share of 8 x 8 cells in which more than 5 % of the pixels are edges.
    cell_difference : float
        How much the mean colors of 4 x 4 cells differ: root mean square distance from their mean.
    cell_unevenness : float
        Standard deviation over those cells of their inner contrast, divided by its mean.
    text_marks : float
        Number of small separate marks, dark on light or light on dark, of the size of letters or words.
    text_rhythm : float
        How much the marks gather in lines: about 1 or less where they lie at random, more for text.
    text_paper : float
        Share of the most frequent color in the box around the marks: the paper.
    text_cover : float
        Share of the image that this box covers.
    """

    plain_border: float
    subject_share: float
    border_bits: float
    edge_spread: float
    cell_difference: float
    cell_unevenness: float
    text_marks: float
    text_rhythm: float
    text_paper: float
    text_cover: float


@dataclass(frozen=True)
class Ramp:
    """A score that goes from 0 to 1 while a measure goes from `zero` to `one` (which may be the smaller)."""

    measure: str
    zero: float
    one: float

    def score(self, values: np.ndarray) -> np.ndarray:
        """Score an array of the measure's values."""
        return np.clip((values - self.zero) / (self.one - self.zero), 0.0, 1.0)


# An image has a fault as far as all of its ramps say so, and none of the faults before it does: the
# score is the smallest of theirs and of 1 minus the earlier scores (a page full of text is no texture).
# Set on the 26 photographs of the published similarity metrics and on synthetic images.
FAULTS: Mapping[str, tuple[Ramp, ...]] = {
    "text": (
        Ramp("text_marks", 10, 30),
        Ramp("text_rhythm", 1.4, 2.4),
        Ramp("text_paper", 0.35, 0.65),
        Ramp("text_cover", 0.25, 0.45),
    ),
    "texture": (Ramp("cell_difference", 24, 12), Ramp("cell_unevenness", 0.35, 0.15)),
    "room": (
        Ramp("plain_border", 0.75, 0.5),
        Ramp("border_bits", 0.8, 1.6),
        Ramp("edge_spread", 0.2, 0.4),
        Ramp("cell_unevenness", 0.12, 0.28),
    ),
}
LIMIT = 0.5


@dataclass(frozen=True, eq=False)
class Audit:
    """Measures, scores and decisions, one row per image, in the images' order.

    Attributes
    ----------
    measures : DataFrame
        Columns as `Measures`.
    scores : DataFrame
        One column per fault, 0 to 1.
    flags : DataFrame
        One column per fault, whether the score reaches the limit.
    """

    measures: pd.DataFrame
    scores: pd.DataFrame
    flags: pd.DataFrame

    def per_class(self, labels: Sequence[str] | np.ndarray) -> pd.DataFrame:
        """Count flagged images per class: columns images, each fault, and any of them."""
        flags = {**{str(name): column for name, column in self.flags.items()}, "any": self.flags.any(axis=1)}
        classes, rows = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
        counts = {"images": np.bincount(rows, minlength=len(classes))}
        for name, column in flags.items():
            counts[name] = np.bincount(rows[np.asarray(column, dtype=bool)], minlength=len(classes))
        return pd.DataFrame(counts, index=pd.Index(classes, name="label"))


def audit_images(
    paths: Sequence[str | Path],
    jobs: int | None = None,
    faults: Mapping[str, tuple[Ramp, ...]] = FAULTS,
    limit: float = LIMIT,
) -> Audit:
    """Measure images, score them and flag those that are no product photographs.

    Parameters
    ----------
    paths : sequence of str or Path
        Readable images, as for `images.load_pixels`.
    jobs : int, optional
        Threads; by default one per processor.
    faults : mapping of str to tuple of Ramp
        The faults to look for.
    limit : float
        The least score that flags an image.

    Returns
    -------
    Audit
        In the order of `paths`.
    """
    measures = measure_images(paths, jobs)
    scores = score_measures(measures, faults)
    return Audit(measures, scores, flag_scores(scores, limit))


def measure_images(paths: Sequence[str | Path], jobs: int | None = None) -> pd.DataFrame:
    """Measure images from their files; a table with the columns of `Measures`, in the order of `paths`."""
    with ThreadPoolExecutor(jobs or processors()) as pool:
        found = pool.map(lambda path: measure_pixels(load_pixels(path, (SIDE, SIDE))), paths)
        rows = [asdict(m) for m in progress(found, "Measuring", len(paths))]
    return pd.DataFrame(rows, columns=list(Measures.__dataclass_fields__), dtype=float)


def score_measures(measures: pd.DataFrame, faults: Mapping[str, tuple[Ramp, ...]] = FAULTS) -> pd.DataFrame:
    """Score measured images.

    Parameters
    ----------
    measures : DataFrame
        As `measure_images` gives it.
    faults : mapping of str to tuple of Ramp
        For each fault the ramps that must all agree; in order of precedence.

    Returns
    -------
    DataFrame
        One column per fault, 0 (none) to 1 (certain), rows as in `measures`.
    """
    free = np.ones(len(measures))
    columns: dict[str, np.ndarray] = {}
    for name, ramps in faults.items():
        ramped = [ramp.score(measures[ramp.measure].to_numpy(dtype=float)) for ramp in ramps]
        columns[name] = np.min([free, *ramped], axis=0)
        free = np.minimum(free, 1 - columns[name])
    return pd.DataFrame(columns, index=measures.index)


def flag_scores(scores: pd.DataFrame, limit: float | Mapping[str, float] = LIMIT) -> pd.DataFrame:
    """Return which scores reach the limit (one for all faults, or one for each); a table of bool."""
    limits = dict(limit) if isinstance(limit, Mapping) else dict.fromkeys(scores.columns, limit)
    unknown = sorted(set(limits) - set(scores.columns))
    if unknown:
        raise ValueError(f"Limits must be for known faults {list(scores.columns)}. Received: {unknown}.")
    return pd.DataFrame({name: scores[name] >= limits.get(name, LIMIT) for name in scores.columns})


# ---- measuring ----------------------------------------------------------------------------------


def measure_pixels(pixels: np.ndarray) -> Measures:
    """Measure one image.

    Parameters
    ----------
    pixels : ndarray of uint8, of shape (256, 256, 3)
        RGB, 0-255.

    Returns
    -------
    Measures
        Described there.
    """
    gray = pixels @ _GRAY
    plain_border, subject_share, border_bits = _border(pixels)
    cell_difference, cell_unevenness = _cells(pixels, gray)
    marks, rhythm, paper, cover = _text(pixels, gray)
    return Measures(
        plain_border=plain_border,
        subject_share=subject_share,
        border_bits=border_bits,
        edge_spread=_edge_spread(gray),
        cell_difference=cell_difference,
        cell_unevenness=cell_unevenness,
        text_marks=marks,
        text_rhythm=rhythm,
        text_paper=paper,
        text_cover=cover,
    )


def _border(pixels: np.ndarray) -> tuple[float, float, float]:
    """Return the plain share of the border, the share of the subject and the border's entropy."""
    border = pixels[_FRAME]
    same = _near(pixels, _most_frequent_color(border))
    coarse = border.astype(np.int64) >> 6
    counts = np.bincount(coarse @ np.array([16, 4, 1]), minlength=64)
    shares = counts[counts > 0] / len(border)
    return float(same[_FRAME].mean()), float(1 - same.mean()), float(abs((shares * np.log2(shares)).sum()))


def _cells(pixels: np.ndarray, gray: np.ndarray) -> tuple[float, float]:
    side = SIDE // 4
    means = pixels.reshape(4, side, 4, side, 3).mean(axis=(1, 3))
    difference = np.sqrt(((means - means.mean(axis=(0, 1))) ** 2).sum(axis=-1).mean())
    contrasts = gray.reshape(4, side, 4, side).std(axis=(1, 3))
    return float(difference), float(contrasts.std() / (contrasts.mean() + 1))


def _edge_spread(gray: np.ndarray) -> float:
    smooth = ndimage.uniform_filter(gray, 3)
    edges = np.zeros(gray.shape, dtype=bool)
    edges[:, 1:-1] |= np.abs(smooth[:, 2:] - smooth[:, :-2]) > EDGE
    edges[1:-1] |= np.abs(smooth[2:] - smooth[:-2]) > EDGE
    cell = SIDE // 8
    return float((edges.reshape(8, cell, 8, cell).mean(axis=(1, 3)) > 0.05).mean())


def _text(pixels: np.ndarray, gray: np.ndarray) -> tuple[float, float, float, float]:
    """Return number, rhythm, paper and cover of the marks: dark ones or light ones, whichever are more."""
    dark = _marks(ndimage.grey_closing(gray, 7) - gray > INK)
    light = _marks(gray - ndimage.grey_opening(gray, 7) > INK)
    boxes = dark if len(dark) >= len(light) else light
    if not len(boxes):
        return 0.0, 0.0, 0.0, 0.0
    top, left = boxes[:, 0].min(), boxes[:, 2].min()
    bottom, right = boxes[:, 1].max(), boxes[:, 3].max()
    inside = pixels[top:bottom, left:right].reshape(-1, 3)
    paper = _near(inside, _most_frequent_color(inside)).mean()
    cover = (bottom - top) * (right - left) / SIDE**2
    return float(len(boxes)), _rhythm(boxes, top, bottom), float(paper), float(cover)


def _marks(mask: np.ndarray) -> np.ndarray:
    """Find connected marks of the size of letters or words; rows top, bottom, left, right."""
    labels = np.empty(mask.shape, dtype=np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=labels)
    found = [(rows.start, rows.stop, cols.start, cols.stop) for rows, cols in ndimage.find_objects(labels)]
    boxes = np.array(found, dtype=np.int64).reshape(-1, 4)
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    return boxes[(height >= 3) & (height <= 24) & (width >= 2) & (width <= 96)]


def _rhythm(boxes: np.ndarray, top: int, bottom: int) -> float:
    """Compare the marks' number in each three rows of pixels with its running mean.

    The squared differences over the number of marks: the index of dispersion, which is about 1 for
    marks thrown at random (Poisson).
    """
    middles = (boxes[:, 0] + boxes[:, 1] - 1) // 2
    counts = np.bincount((middles - top) // 3, minlength=(bottom - top) // 3 + 1).astype(float)
    smooth = ndimage.uniform_filter1d(counts, 9, mode="nearest")
    return float(((counts - smooth) ** 2).sum() / counts.sum())


def _most_frequent_color(colors: np.ndarray) -> np.ndarray:
    """Mean of the fullest cell of a 16 x 16 x 16 grid of colors; `colors` of shape (n, 3)."""
    cell = (colors.astype(np.int64) >> 4) @ np.array([256, 16, 1])
    return colors[cell == np.bincount(cell).argmax()].mean(axis=0)


def _near(colors: np.ndarray, color: np.ndarray) -> np.ndarray:
    return np.abs(colors - color.astype(np.float32)).max(axis=-1) <= NEAR
