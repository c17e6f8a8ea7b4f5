"""How many examples each class has: as a table and as a chart."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.io.files import whole_file
from aisles.data_prep.io.tables import column, read_table, rows, write_table

from .recipe import Selecting
from .selection import select_classes


@dataclass(frozen=True, eq=False)
class Statistics:
    """What `write_statistics` wrote: the table of all types, the files, and a sentence about the minimum."""

    table: pd.DataFrame
    files: tuple[Path, ...]
    summary: str


BAR_LIMIT = 100  # more classes than this are drawn as a curve without names


def count_examples(listings: pd.DataFrame) -> pd.DataFrame:
    """Count the examples of each product type.

    Parameters
    ----------
    listings : DataFrame
        As `listings.read_listings` gives.

    Returns
    -------
    DataFrame
        One row per product type, most listings first (equals by name): product_type, n_listings, n_items
        (different item_ids), n_main_images, n_other_images (different ones; images under several types count
        for each). Listings without a product type have the name "".
    """
    others = listings.assign(image=listings["other_image_id"].str.split(" ")).explode("image")
    counted = {
        "n_listings": listings.groupby("product_type").size(),
        "n_items": listings.groupby("product_type")["item_id"].nunique(),
        "n_main_images": _different(listings, "main_image_id"),
        "n_other_images": _different(others, "image"),
    }
    table = pd.DataFrame(counted).fillna(0).astype(int).rename_axis("product_type").reset_index()
    return table.sort_values(["n_listings", "product_type"], ascending=[False, True], ignore_index=True)


def write_statistics(
    listings: pd.DataFrame, settings: Selecting, output: str | Path, curated: str | Path | None = None
) -> Statistics:
    """Write `examples.csv` and the charts before and after selection.

    Parameters
    ----------
    listings : DataFrame
        As `listings.read_listings` gives.
    settings : Selecting
        Minimum and cap, which the charts mark.
    output : str or Path
        The folder to write to.
    curated : str or Path, optional
        What `curation.curate` wrote; its classes are charted as `after.png`, and by product type and listings
        otherwise.

    Returns
    -------
    Statistics
        The table and what was written.
    """
    folder = Path(output)
    table = count_examples(listings)
    write_table(folder / "examples.csv", table)
    counts = dict(zip(table["product_type"], table["n_listings"].tolist(), strict=True))
    draw_examples(
        counts,
        folder / "before.png",
        title="Listings per product type",
        minimum=settings.minimum,
        cap=settings.cap,
    )
    after = folder / "after.png"
    if curated is not None:
        classes = read_table(
            Path(curated) / "steps" / "balance" / "classes.csv",
            ["n_main", "n_other"],
            made_by=f"aisles data curate CATALOGUE --output {curated}",
        )
        mains, others = (
            dict(zip(classes["label"], classes[name].tolist(), strict=True)) for name in ("n_main", "n_other")
        )
        draw_examples(mains, after, title="Images per class after curation", cap=settings.cap, second=others)
    else:
        types = select_classes(listings, settings)
        kept: Counter[str] = Counter()
        for label, count in zip(types["label"], types["n_listings"].tolist(), strict=True):
            kept[label] += count if label else 0
        capped = {label: min(count, settings.cap) for label, count in kept.items() if label}
        title = f"Listings per class after selection, at most {settings.cap}"
        draw_examples(capped, after, title=title, minimum=settings.minimum)
    enough = sum(n >= settings.minimum for label, n in counts.items() if label)
    summary = f"{enough} of them have at least {settings.minimum} listings."
    return Statistics(table, (folder / "examples.csv", folder / "before.png", after), summary)


def draw_examples(
    counts: Mapping[str, int],
    path: str | Path,
    *,
    title: str,
    minimum: int | None = None,
    cap: int | None = None,
    second: Mapping[str, int] | None = None,
    names: tuple[str, str] = ("main images", "other images"),
) -> None:
    """Draw the examples per class, the largest first, as PNG or SVG by the file's ending.

    Parameters
    ----------
    counts : mapping of str to int
        Examples by class.
    path : str or Path
        The image's file.
    title : str
        The heading.
    minimum, cap : int, optional
        Marked by lines.
    second : mapping of str to int, optional
        A second part of each class, stacked on the first.
    names : tuple of (str, str)
        What the two parts are called.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    above = dict(second or {})
    order = sorted(counts, key=lambda label: (-counts[label] - above.get(label, 0), label))
    values = np.array([counts[label] for label in order])
    figure = Figure(figsize=(max(6.0, min(0.2 * len(order) + 2, 16)), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if len(order) > BAR_LIMIT:
        axes.fill_between(np.arange(1, len(order) + 1), values, step="mid", color="#0060b0")
        axes.set(yscale="log", xlabel="classes, the largest first")
    else:
        axes.bar(
            np.arange(len(order)), values, color="#0060b0", label=names[0] if second is not None else None
        )
        if second is not None:
            tops = [above.get(label, 0) for label in order]
            axes.bar(np.arange(len(order)), tops, bottom=values, color="#e8a060", label=names[1])
        axes.set_xticks(np.arange(len(order)), order, rotation=90, fontsize=7)
    for value, name, style in ((minimum, "minimum", ":"), (cap, "cap", "--")):
        if value is not None:
            axes.axhline(value, color="black", lw=1, ls=style, label=f"{name}: {value}")
    axes.set(title=title, ylabel="examples")
    if second is not None or minimum is not None or cap is not None:
        axes.legend(frameon=False)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)


def _different(table: pd.DataFrame, name: str) -> pd.Series:
    filled = rows(table, table[name] != "")
    return column(filled.drop_duplicates(["product_type", name]), "product_type").value_counts()
