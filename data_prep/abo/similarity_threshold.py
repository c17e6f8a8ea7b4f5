"""From which similarity on an other image is kept: a threshold proposed from the catalogue itself.

Same-product pairs (an other image and its main image) are a mixture of true views and of scenes, swatches and
charts; other-product pairs (an other image and the main image of a product of another class) show how alike
images are that have nothing to do with each other. Where the rejected part of the mixture is like the
other-product pairs, the threshold that separates the two curves best (Youden's J, "Index for rating diagnostic
tests", Cancer 1950) is also the one that separates true views best, whatever their share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import whole_file
from aisles.data_prep.io.tables import rows, write_table

from .listings import index_catalogue, read_images, read_listings
from .recipe import Recipe
from .selection import select
from .similarity import Embed, cosines, usable_images
from .sources import find_image_root, list_image_files

GRID = np.round(np.arange(0.0, 1.0, 0.01), 2)
LEAST_PAIRS = 20


@dataclass(frozen=True, eq=False)
class Calibration:
    """A proposed threshold and what it was read from.

    Attributes
    ----------
    backbone : str
        What compared the images; the threshold means nothing for another one.
    threshold : float
        On a grid of 0.01; where J is equal, the lowest.
    separation : float
        Youden's J there: the share of same-product pairs kept less that of other-product pairs kept.
    same, other : ndarray of float
        Similarities of the pairs.
    classes : DataFrame
        One row per class, sorted: label, n_pairs, kept (share at the threshold), own_threshold (from this
        class's pairs alone, NaN if they are fewer than 20). A class far below needs an exception.
    """

    backbone: str
    threshold: float
    separation: float
    same: np.ndarray
    other: np.ndarray
    classes: pd.DataFrame


def calibrate(
    candidates: pd.DataFrame,
    path_of: Mapping[str, Path],
    embed: Embed,
    backbone: str,
    *,
    n_pairs: int = 2000,
    seed: int = 0,
) -> Calibration:
    """Compare a sample of other images with their own and with foreign main images.

    Parameters
    ----------
    candidates : DataFrame
        As `selection.Selection.candidates`.
    path_of : mapping of str to Path
        Where each image is, by image_id.
    embed : callable
        From n paths to features, float32 of shape (n, d).
    backbone : str
        What `embed` uses, for the record.
    n_pairs : int
        How many same-product pairs to draw at most, spread evenly over the classes; as many other-product pairs.
    seed : int
        Of the draw.

    Returns
    -------
    Calibration
        The proposal.

    Raises
    ------
    DataError
        If there are fewer than 20 pairs or fewer than two classes.
    """
    rng = np.random.default_rng(seed)
    pairs = _draw_pairs(candidates, n_pairs, rng)
    known = list(usable_images(sorted({*pairs["other"], *pairs["main"]}), path_of))
    pairs = rows(pairs, pairs["other"].isin(known) & pairs["main"].isin(known)).reset_index(drop=True)
    n_classes = len(set(pairs["label"]))
    if len(pairs) < LEAST_PAIRS or n_classes < 2:
        raise DataError(
            f"A threshold needs at least {LEAST_PAIRS} readable pairs of an other and a main image, in at least "
            f"two classes. There are {len(pairs)}, in {n_classes}."
        )
    images = sorted({*pairs["other"], *pairs["main"]})
    features = np.asarray(embed([path_of[name] for name in images]))
    row = {name: k for k, name in enumerate(images)}
    others = features[[row[name] for name in pairs["other"]]]
    mains = features[[row[name] for name in pairs["main"]]]
    labels = pairs["label"].to_numpy(dtype=object)
    same, other = cosines(others, mains), cosines(others, mains[_foreign(labels, rng)])
    threshold, separation = propose_threshold(same, other)
    return Calibration(
        backbone, threshold, separation, same, other, _by_class(labels, same, other, threshold)
    )


def propose_threshold(same: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Find the threshold that separates two samples of similarities best.

    Parameters
    ----------
    same, other : ndarray of float
        Similarities of pairs that belong together, and of pairs that do not.

    Returns
    -------
    tuple of (float, float)
        The threshold on a grid of 0.01 (the lowest of equals), and Youden's J: the share of `same` that is at
        least the threshold, less that share of `other`.
    """
    gains = shares_kept(same) - shares_kept(other)
    best = int(np.argmax(gains))
    return float(GRID[best]), float(gains[best])


def shares_kept(values: np.ndarray) -> np.ndarray:
    """Return the share of values that are at least each point of `GRID`, of shape (100,)."""
    return 1 - np.searchsorted(np.sort(values), GRID, side="left") / len(values)


def draw_curves(calibration: Calibration, path: str | Path, current: float | None = None) -> None:
    """Draw the shares kept over the threshold, and the proposal, as PNG or SVG by the file's ending.

    Parameters
    ----------
    calibration : Calibration
        What to show.
    path : str or Path
        The image's file.
    current : float, optional
        The threshold in force, for comparison.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(GRID, shares_kept(calibration.same), color="#0060b0", label="same product")
    axes.plot(
        GRID, shares_kept(calibration.other), color="#c85000", ls="--", label="product of another class"
    )
    proposed = f"proposed: {calibration.threshold:.2f}"
    axes.axvline(calibration.threshold, color="black", lw=1, label=proposed)
    if current is not None:
        axes.axvline(current, color="gray", lw=1, ls=":", label=f"in force: {current:g}")
    axes.set(
        xlabel=f"similarity ({calibration.backbone})",
        ylabel="share of pairs kept",
        xlim=(0, 1),
        ylim=(0, 1.01),
    )
    axes.legend(frameon=False)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)


def _draw_pairs(candidates: pd.DataFrame, n_pairs: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw other images with the first of their main images, as many of each class as there are, or a fair share."""
    usable = (candidates["decision"] == "kept") & (candidates["source"] == "other")
    others = rows(candidates, usable).sort_values(["label", "image_id"], ignore_index=True)
    share = -(-n_pairs // max(1, len(set(others["label"]))))
    others["chance"] = rng.permutation(len(others))
    chosen = others.sort_values("chance").groupby("label").head(share).sort_values(["label", "image_id"])
    mains = [ids.partition(" ")[0] for ids in chosen["main_image_ids"]]
    return pd.DataFrame(
        {"other": chosen["image_id"].to_numpy(), "main": mains, "label": chosen["label"].to_numpy()}
    )


def _foreign(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each pair choose another one of a different class, of shape (n,)."""
    choice = rng.integers(len(labels), size=len(labels))
    for k in range(len(labels)):
        while labels[choice[k]] == labels[k]:
            choice[k] = rng.integers(len(labels))
    return choice


def _by_class(labels: Sequence[str] | np.ndarray, same: np.ndarray, other: np.ndarray, threshold: float):
    found = []
    for label in sorted(set(labels)):
        mine = np.asarray(labels) == label
        enough = int(mine.sum()) >= LEAST_PAIRS
        own = propose_threshold(same[mine], other[mine])[0] if enough else np.nan
        found.append((label, int(mine.sum()), float((same[mine] >= threshold).mean()), own))
    return pd.DataFrame(found, columns=["label", "n_pairs", "kept", "own_threshold"])


def calibrate_catalogue(
    directory: str | Path,
    output: str | Path,
    recipe: Recipe,
    embed: Embed,
    backbone: str,
    *,
    n_pairs: int = 2000,
    seed: int = 0,
) -> Calibration:
    """Calibrate on the classes that a recipe selects from a catalogue; write table and curves to `output`.

    Parameters
    ----------
    directory : str or Path
        The catalogue.
    output : str or Path
        Gets `<backbone>.csv` and `<backbone>.png`.
    recipe : Recipe
        Selects the classes.
    embed, backbone, n_pairs, seed
        As in `calibrate`.

    Returns
    -------
    Calibration
        The proposal.
    """
    index, root = index_catalogue(directory), find_image_root(directory)
    images, files = read_images(index.folder), list_image_files(root)
    selection = select(read_listings(index.folder), images, recipe.selection, files)
    path_of = {
        name: root / path
        for name, path in zip(images["image_id"], images["path"], strict=True)
        if path in files
    }
    found = calibrate(selection.candidates, path_of, embed, backbone, n_pairs=n_pairs, seed=seed)
    write_table(Path(output) / f"{backbone}.csv", found.classes)
    known = recipe.similarity.thresholds.get(backbone)
    draw_curves(found, Path(output) / f"{backbone}.png", known.default if known else None)
    return found
