"""Classes of equal size: main images first, then the most similar of the others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aisles.data_prep.io.tables import rows

from .recipe import Threshold

BALANCE_COLUMNS = ("image_id", "label", "source", "similarity", "main_image_id", "decision", "reason")


@dataclass(frozen=True, eq=False)
class Balance:
    """The images that each class gets.

    Attributes
    ----------
    images : DataFrame
        One row per image that was looked at, sorted by label, source and image_id, with decision (kept,
        dropped) and reason.
    classes : DataFrame
        One row per class, sorted: label, threshold, n_main, n_other, n_images, missing (how many it is short
        of the cap).
    """

    images: pd.DataFrame
    classes: pd.DataFrame


def balance(
    scores: pd.DataFrame,
    threshold: Threshold,
    cap: int,
    excluded: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
) -> Balance:
    """Fill each class up to the cap.

    Parameters
    ----------
    scores : DataFrame
        As `similarity.score` gives.
    threshold : Threshold
        Other images are kept from this similarity on.
    cap : int
        How many images a class gets at most.
    excluded : mapping of str to str, optional
        Images that shall not be used, with the reason, by image_id.
    labels : sequence of str
        Classes that are counted even if no image of theirs was looked at.

    Returns
    -------
    Balance
        Main images in the order of their ids, then other images from the most similar down; equals in the
        order of their ids.
    """
    table = scores.copy()
    others = (table["source"] == "other").to_numpy()
    limits = np.array([threshold.of(label) for label in table["label"]])
    reason = table["reason"].to_numpy(dtype=object)
    if excluded:
        left_out = np.array([excluded.get(name, "") for name in table["image_id"]], dtype=object)
        reason = np.where(reason == "", left_out, reason)
    too_far = others & ~(table["similarity"].to_numpy(dtype=float) >= limits)
    reason[(reason == "") & too_far] = "below the threshold"
    rank = _ranks(table, reason == "")
    reason[(reason == "") & (rank >= cap)] = "the class is full"
    table["reason"] = reason
    table["decision"] = np.where(reason == "", "kept", "dropped")
    table = table.sort_values(["label", "source", "image_id"], ignore_index=True)
    return Balance(table.reindex(columns=list(BALANCE_COLUMNS)), _count_kept(table, threshold, cap, labels))


def _ranks(table: pd.DataFrame, usable: np.ndarray) -> np.ndarray:
    """Rank the usable images of each class, the first choice 0 and the rest -1."""
    similarity = table["similarity"].where(table["source"] == "other", np.inf)
    order = pd.DataFrame({"label": table["label"], "similarity": -similarity, "image_id": table["image_id"]})
    order = rows(order, usable).sort_values(["label", "similarity", "image_id"])
    ranks = pd.Series(-1, index=table.index)
    ranks.loc[order.index] = order.groupby("label").cumcount()
    return ranks.to_numpy()


def _count_kept(table: pd.DataFrame, threshold: Threshold, cap: int, labels: Sequence[str]) -> pd.DataFrame:
    kept = rows(table, table["decision"] == "kept")
    counts = Counter(zip(kept["label"], kept["source"], strict=True))
    counted = []
    for label in sorted({*labels, *table["label"]}):
        n_main, n_other = counts[label, "main"], counts[label, "other"]
        n = n_main + n_other
        counted.append((label, threshold.of(label), n_main, n_other, n, cap - n))
    names = ["label", "threshold", "n_main", "n_other", "n_images", "missing"]
    return pd.DataFrame(counted, columns=names)
