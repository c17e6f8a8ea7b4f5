"""Which product types become classes, and which images are candidates for them."""

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from aisles.data_prep.images.splitting import connected_products
from aisles.data_prep.io.tables import column, columns, rows

from .recipe import Selecting

# A class becomes a folder's name and a column's name.
_NAME = re.compile(r"\w(?:[\w .,&+'()-]*[\w&+')-])?")  # becomes a folder's name on any system
CLASS_COLUMNS = ("product_type", "n_listings", "n_main_images", "decision", "label", "reason")
CANDIDATE_COLUMNS = ("image_id", "label", "source", "product", "path", "main_image_ids", "decision", "reason")


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen classes and the images that they may have.

    Attributes
    ----------
    classes : DataFrame
        One row per product type, most listings first: product_type, n_listings, n_main_images, decision
        (kept, merged, dropped), label (the class that its listings go to; empty if dropped), reason.
    candidates : DataFrame
        One row per image of a kept class, sorted by label, source (main, other) and image_id: image_id,
        label, source, product (its connected component), path (as in images.csv), main_image_ids (of the
        listings that show it as an other image; separated by spaces), decision (kept, dropped), reason.
    """

    classes: pd.DataFrame
    candidates: pd.DataFrame


def select(
    listings: pd.DataFrame, images: pd.DataFrame, settings: Selecting, files: Container[str] | None = None
) -> Selection:
    """Choose classes and candidate images.

    Parameters
    ----------
    listings : DataFrame
        As `listings.read_listings` gives.
    images : DataFrame
        As `listings.read_images` gives.
    settings : Selecting
        The recipe's rules.
    files : container of str, optional
        The paths (as in images.csv) of the files that are there; all of them if not given.

    Returns
    -------
    Selection
        Independent of the order of `listings` and `images`.
    """
    classes = select_classes(listings, settings)
    label_of = dict(zip(classes["product_type"], classes["label"], strict=True))
    edges = show_images(listings)
    # Numbers in the order of the names are sorted, compared and counted in the place of hundreds of thousands of texts.
    ids = ["item_id", "image_id"]
    edges[ids] = edges[ids].astype("category")
    edges["label"] = [label_of.get(kind, "") for kind in edges["product_type"]]
    boilerplate = _shared_by_more(edges, settings.maximum_shared)
    edges["product"] = _components(edges, boilerplate)
    candidates = _one_row_per_image(rows(edges, edges["label"] != ""))
    path_of = dict(zip(images["image_id"], images["path"], strict=True))
    candidates["path"] = [path_of.get(name, "") for name in candidates["image_id"]]
    candidates["reason"] = _reasons(candidates, boilerplate, settings.maximum_shared, files)
    candidates["decision"] = np.where(candidates["reason"] == "", "kept", "dropped")
    return Selection(classes, columns(candidates, CANDIDATE_COLUMNS))


def select_classes(listings: pd.DataFrame, settings: Selecting) -> pd.DataFrame:
    """Decide on every product type: merge, then ask for the minimum, then drop twins and generics.

    Parameters
    ----------
    listings : DataFrame
        With columns product_type and main_image_id.
    settings : Selecting
        The recipe's rules. The minimum counts listings, of merged types together.

    Returns
    -------
    DataFrame
        As `Selection.classes`; types with equally many listings in the order of their names.
    """
    typed = rows(listings, listings["product_type"] != "")
    n_listings = typed["product_type"].value_counts()
    mains = columns(rows(typed, typed["main_image_id"] != ""), ("product_type", "main_image_id"))
    table = n_listings.rename_axis("product_type").reset_index(name="n_listings")
    n_mains = column(mains.drop_duplicates(), "product_type").value_counts().to_dict()
    table["n_main_images"] = [n_mains.get(kind, 0) for kind in table["product_type"]]
    table["label"] = table["product_type"].replace(_merges(settings))
    together = table.groupby("label")["n_listings"].transform("sum")
    table["reason"] = [
        _why_dropped(kind, label, count, settings)
        for kind, label, count in zip(table["product_type"], table["label"], together, strict=True)
    ]
    merged = table["product_type"] != table["label"]
    table["decision"] = np.select([table["reason"] != "", merged], ["dropped", "merged"], "kept")
    table.loc[table["decision"] == "merged", "reason"] = "united with " + table["label"]
    table.loc[table["decision"] == "dropped", "label"] = ""
    table = table.sort_values(["n_listings", "product_type"], ascending=[False, True], ignore_index=True)
    return columns(table, CLASS_COLUMNS)


def show_images(listings: pd.DataFrame) -> pd.DataFrame:
    """List which product shows which image.

    Parameters
    ----------
    listings : DataFrame
        As `listings.read_listings` gives.

    Returns
    -------
    DataFrame
        One row per (item_id, image_id, product_type, source), each once: also main_image_id of that listing.
    """
    told = ["item_id", "product_type", "main_image_id"]
    mains = columns(rows(listings, listings["main_image_id"] != ""), told).drop_duplicates()
    mains = mains.assign(image_id=mains["main_image_id"], source="main")
    others = columns(
        rows(listings, listings["other_image_id"] != ""), [*told, "other_image_id"]
    ).drop_duplicates()
    others = others.assign(image_id=column(others, "other_image_id").str.split(" "), source="other")
    edges = pd.concat([mains, others.explode("image_id").drop(columns="other_image_id")])
    return rows(edges, edges["image_id"] != "").drop_duplicates(ignore_index=True)


def _merges(settings: Selecting) -> dict[str, str]:
    merges = {s.narrow: s.wide for s in settings.synonyms if s.action == "merge"}
    for group in settings.confusable:
        if group.action == "merge":
            merges |= dict.fromkeys(group.classes[1:], group.classes[0])
    return merges


def _why_dropped(kind: str, label: str, count: int, settings: Selecting) -> str:
    """Return the reason why a type is no class, "" if it is one."""
    if count < settings.minimum:
        return f"{count} listings, fewer than {settings.minimum}"
    twins = {s.narrow: s.wide for s in settings.synonyms if s.action == "drop"}
    if kind in twins:
        return f"narrower twin of {twins[kind]}"
    if label in settings.generics:
        return "generic"
    if not _NAME.fullmatch(label):
        return "the name can't be a folder's"
    return ""


def _shared_by_more(edges: pd.DataFrame, limit: int) -> set[str]:
    pairs = columns(edges, ("item_id", "image_id")).drop_duplicates()
    counts = column(pairs, "image_id").value_counts()
    return set(counts.index.to_numpy()[counts.to_numpy() > limit])


def _components(edges: pd.DataFrame, boilerplate: set[str]) -> np.ndarray:
    """Join products through shared images, boilerplate apart: that image gets its product's own name."""
    counts = ~edges["image_id"].isin(list(boilerplate)).to_numpy()
    item = edges["item_id"].to_numpy(dtype=object)
    joined = connected_products(item[counts], edges["image_id"].to_numpy(dtype=object)[counts])
    by_item = dict(zip(item[counts], joined, strict=True))
    return np.array([by_item.get(name, name) for name in item], dtype=object)


def _one_row_per_image(edges: pd.DataFrame) -> pd.DataFrame:
    """Unite an image's rows: all its labels, main if it is main anywhere, every main image beside it."""
    ordered = edges.sort_values(["image_id", "label", "source", "main_image_id"], ignore_index=True)
    first = columns(ordered.drop_duplicates("image_id"), ("image_id", "source", "product"))
    first = first.set_index("image_id")
    first["label"] = _joined(columns(ordered, ("image_id", "label")).drop_duplicates(), "label")
    first.loc[column(rows(ordered, ordered["source"] == "main"), "image_id").unique(), "source"] = "main"
    beside = rows(ordered, (ordered["source"] == "other") & (ordered["main_image_id"] != ""))
    mains = _joined(columns(beside, ("image_id", "main_image_id")).drop_duplicates(), "main_image_id")
    first["main_image_ids"] = mains.reindex(first.index).fillna("")
    first.index = first.index.astype(str)
    return first.reset_index().sort_values(["label", "source", "image_id"], ignore_index=True)


def _joined(table: pd.DataFrame, name: str) -> pd.Series:
    """Unite each image's values in the order of the rows; most images have one, and need no grouping."""
    repeated = table["image_id"].duplicated(keep=False)
    once = column(rows(table, ~repeated).set_index("image_id"), name)
    return pd.concat([once, cast(pd.Series, rows(table, repeated).groupby("image_id")[name].agg(" ".join))])


def _reasons(
    candidates: pd.DataFrame, boilerplate: set[str], limit: int, files: Container[str] | None
) -> np.ndarray:
    shared = candidates["image_id"].isin(list(boilerplate))
    two_labels = candidates["label"].str.contains(" ", regex=False)
    no_row = candidates["path"] == ""
    no_file = np.array([files is not None and path not in files for path in candidates["path"]], dtype=bool)
    lonely = (candidates["source"] == "other") & (candidates["main_image_ids"] == "")
    return np.select(
        [shared, two_labels, no_row, no_file, lonely],
        [
            f"shared by more than {limit} products",
            "under two labels: " + candidates["label"],
            "not in images.csv",
            "no such file",
            "no main image to compare it with",
        ],
        "",
    )
