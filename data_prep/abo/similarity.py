"""How alike each other image is to its product's main image, and which images can be read at all."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.images.decoding import check_image, read_image_bytes
from aisles.data_prep.io.errors import UnreadableImage
from aisles.data_prep.io.progress import progress
from aisles.data_prep.io.tables import rows

log = logging.getLogger(__name__)

Embed = Callable[[Sequence[Path]], np.ndarray]
SCORE_COLUMNS = ("image_id", "label", "source", "similarity", "main_image_id", "reason")
_TOGETHER = 8192  # images embedded at once: some 40 MB of features


def score(
    candidates: pd.DataFrame,
    path_of: Mapping[str, Path],
    embed: Embed,
    cap: int,
    *,
    score_all: bool = False,
) -> pd.DataFrame:
    """Look at the images that may be needed and compare other images with their main image.

    A class with enough readable main images needs no others; of a class that is short of the cap every image
    is looked at and every other image is compared.

    Parameters
    ----------
    candidates : DataFrame
        As `selection.Selection.candidates`.
    path_of : mapping of str to Path
        Where each image is, by image_id.
    embed : callable
        From n paths of readable images to features, float32 of shape (n, d), rows in the same order.
    cap : int
        How many images a class gets at most.
    score_all : bool
        Whether to look at and compare every candidate, needed or not.

    Returns
    -------
    DataFrame
        One row per image that was looked at, sorted by label, source and image_id: image_id, label, source,
        similarity (cosine with the most similar of its main images; NaN for main images and where there is
        nothing to compare with), main_image_id (that main image; equals: the first by id), reason (why the
        image can't be used, or "").
    """
    kept = rows(candidates, candidates["decision"] == "kept").sort_values(["label", "source", "image_id"])
    reasons: dict[str, str] = {}
    wanted, parts = [], []
    for _, members in progress(kept.groupby("label", sort=True), "Reading", unit="classes"):
        mains = members.loc[members["source"] == "main", "image_id"].tolist()
        others = rows(members, members["source"] == "other")
        looked_at = _look(mains, path_of, reasons, None if score_all else cap)
        if score_all or sum(not reasons[name] for name in looked_at) < cap:
            beside = {m for ids in others["main_image_ids"] for m in ids.split(" ")} - {""}
            _look([*others["image_id"], *sorted(beside)], path_of, reasons, None)
            wanted.append(others)
            looked_at += others["image_id"].tolist()
        parts.append(members[members["image_id"].isin(looked_at)])
    table = pd.concat(parts, ignore_index=True) if parts else kept.assign(reason="")
    best = _compare(pd.concat(wanted), path_of, embed, reasons) if wanted else {}
    table["reason"] = [reasons[name] for name in table["image_id"]]
    # Rounded, so that batches of another size (after a restart) give the same order.
    table["similarity"] = [round(best.get(name, (np.nan, ""))[0], 6) for name in table["image_id"]]
    table["main_image_id"] = [best.get(name, (np.nan, ""))[1] for name in table["image_id"]]
    alone = (table["source"] == "other") & (table["main_image_id"] == "") & (table["reason"] == "")
    table.loc[alone, "reason"] = "its main image can't be used"
    return table.reindex(columns=list(SCORE_COLUMNS))


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Compute the cosine of corresponding rows.

    Parameters
    ----------
    left, right : ndarray of shape (n, d)
        Feature vectors.

    Returns
    -------
    ndarray of float64, of shape (n,)
        0 where a vector is all zeros.
    """
    dots = np.einsum("nd,nd->n", left, right, dtype=np.float64)
    lengths = np.linalg.norm(left.astype(np.float64), axis=1) * np.linalg.norm(
        right.astype(np.float64), axis=1
    )
    return np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)


def usable_images(names: Sequence[str], path_of: Mapping[str, Path]) -> set[str]:
    """Try to decode images and give those that could be."""
    reasons: dict[str, str] = {}
    _look(names, path_of, reasons, None)
    return {name for name, reason in reasons.items() if not reason}


def _look(
    names: Sequence[str], path_of: Mapping[str, Path], reasons: dict[str, str], enough: int | None
) -> list[str]:
    """Try to decode images, in order, until enough could be; give those that were tried."""
    tried: list[str] = []
    remaining = list(dict.fromkeys(names))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while remaining:
            missing = len(remaining) if enough is None else enough - _usable(tried, reasons)
            if missing <= 0:
                break
            now = remaining[:missing]
            new = [name for name in now if name not in reasons]
            reasons |= zip(new, pool.map(lambda name: _why_unusable(path_of.get(name)), new), strict=True)
            tried += now
            remaining = remaining[len(now) :]
    return tried


def _usable(names: Sequence[str], reasons: Mapping[str, str]) -> int:
    return sum(not reasons[name] for name in names)


def _why_unusable(path: Path | None) -> str:
    if path is None:
        return "not in images.csv"
    try:
        check_image(read_image_bytes(path))
    except UnreadableImage as error:
        return f"can't be read: {error}"
    return ""


def _compare(
    others: pd.DataFrame, path_of: Mapping[str, Path], embed: Embed, reasons: Mapping[str, str]
) -> dict[str, tuple[float, str]]:
    """Return each other image its largest similarity and the main image that it belongs to."""
    pairs = [
        (other, main)
        for other, mains in zip(others["image_id"], others["main_image_ids"], strict=True)
        for main in mains.split(" ")
        if main and not reasons[other] and not reasons[main]
    ]
    best: dict[str, tuple[float, str]] = {}
    done = 0
    while done < len(pairs):
        chunk, images = _chunk(pairs, done)
        done += len(chunk)
        features = np.asarray(embed([path_of[name] for name in images]))
        row = {name: k for k, name in enumerate(images)}
        left, right = (features[[row[pair[side]] for pair in chunk]] for side in (0, 1))
        for (other, main), value in zip(chunk, cosines(left, right).tolist(), strict=True):
            known = best.get(other, (-2.0, ""))
            if value > known[0] or (value == known[0] and main < known[1]):
                best[other] = (value, main)
        log.info("Compared %d of %d pairs.", done, len(pairs))
    return best


def _chunk(pairs: list[tuple[str, str]], start: int) -> tuple[list[tuple[str, str]], list[str]]:
    """Take as many pairs as `_TOGETHER` images allow, and those images."""
    images: dict[str, None] = {}
    stop = start
    while stop < len(pairs) and len(images) < _TOGETHER:
        images |= dict.fromkeys(pairs[stop])
        stop += 1
    return pairs[start:stop], list(images)
