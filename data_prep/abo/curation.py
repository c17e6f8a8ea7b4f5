"""From a catalogue to a manifest: select, score, balance, split, write."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from aisles.data_prep.images.duplicates import (
    MAX_GROUP,
    HashedImages,
    crowded,
    duplicates_across,
    near_duplicates,
)
from aisles.data_prep.images.manifest import Manifest
from aisles.data_prep.images.splitting import (
    connected_products,
    crossing_products,
    split_by_image,
    split_by_product,
)
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import sha256_of, write_whole
from aisles.data_prep.io.step_cache import TableSteps
from aisles.data_prep.io.tables import rows

from .balancing import Balance, balance
from .listings import index_catalogue, read_images, read_listings
from .photo_checks import FAULTS, Measures, audit_images, score_measures
from .recipe import Recipe, Splitting, Threshold, packaged_recipes, unknown_names
from .selection import select
from .similarity import Embed, score
from .sources import IMAGES_TAR, find_image_root, list_image_files, stamp_images
from .writing import Materialize, check_output, remove_unfinished, write_images, write_sheets

log = logging.getLogger(__name__)

Tables = dict[str, pd.DataFrame]
AUDIT_NUMBERS = ("images", *FAULTS, "any", *Measures.__dataclass_fields__)


@dataclass(frozen=True, eq=False)
class Curation:
    """What a curation made.

    Attributes
    ----------
    manifest : Path
        The finished `metadata.csv`.
    types : DataFrame
        Every product type with its decision and reason, as `selection.Selection.classes`.
    classes : DataFrame
        Every class with its images, as `balancing.Balance.classes`.
    dropped : DataFrame
        How many images were dropped for which reason: step, reason, n_images.
    near_duplicates : DataFrame
        Pairs across splits or labels, as `duplicates.duplicates_across`; empty if not asked for.
    audited : DataFrame
        Flagged images per class, as `audit.Audit.per_class`; empty if the recipe asks for no audit.
    reused : tuple of str
        Steps that were not done again.
    """

    manifest: Path
    types: pd.DataFrame
    classes: pd.DataFrame
    dropped: pd.DataFrame
    near_duplicates: pd.DataFrame
    audited: pd.DataFrame
    reused: tuple[str, ...]


@dataclass(frozen=True)
class _Catalogue:
    """What the steps read of the catalogue."""

    index: Path
    root: Path
    hashes: HashedImages = field(default_factory=HashedImages)

    def paths(self, images: pd.DataFrame) -> dict[str, Path]:
        return {name: self.root / path for name, path in zip(images["image_id"], images["path"], strict=True)}


def curate(
    directory: str | Path,
    output: str | Path,
    recipe: Recipe,
    embed: Embed,
    *,
    backbone: str | None = None,
    weights: str = "imagenet",
    score_all: bool = False,
    materialize: Materialize | None = None,
    sheets: bool = True,
) -> Curation:
    """Make a manifest from a catalogue by a recipe.

    Every step writes its tables to `output/steps` and is skipped when nothing that went into it has changed;
    files appear whole, so a run that was killed goes on where it stopped, to the same result.

    Parameters
    ----------
    directory : str or Path
        The catalogue: Amazon's two archives, or what was unpacked from them.
    output : str or Path
        Where `metadata.csv` and the steps' tables go.
    recipe : Recipe
        All decisions.
    embed : callable
        From n paths to features, of shape (n, d). Called only if something has to be compared.
    backbone : str, optional
        What `embed` uses, if not the recipe's backbone; the recipe must have thresholds for it.
    weights : str
        The weights that `embed` uses, a name or a file: other weights mean that images are compared again.
    score_all : bool
        Whether to compare every other image, also of classes that need none.
    materialize : {"copy", "link"}, optional
        Also write `output/images/<class>/<file>`, and let the manifest point there. Links need loose files.
    sheets : bool
        Whether to write a contact sheet per class to `output/sheets`: what was kept and dropped, with scores.

    Returns
    -------
    Curation
        The manifest and what was kept and dropped on the way.

    Raises
    ------
    DataError
        If the catalogue can't be read, the recipe has no threshold for the backbone, no class or no image is
        left, or writing images would touch the catalogue's own.
    """
    output = Path(output)
    backbone = backbone or recipe.similarity.backbone
    threshold = recipe.similarity.threshold(backbone)
    index = index_catalogue(directory)
    catalogue = _Catalogue(index.folder, find_image_root(directory))
    if materialize == "link" and not catalogue.root.is_dir():
        raise DataError(
            f"Links need loose files, and {catalogue.root} is inside an archive. Unpack it beside itself "
            f"(tar -xf {IMAGES_TAR}), or copy."
        )
    check_output(output, Path(directory), catalogue.root, images=materialize is not None)
    remove_unfinished(output)
    steps = TableSteps(output / "steps", _fingerprint(catalogue))
    cap = recipe.selection.cap
    joined = recipe.split.near_duplicates == "join"
    # What is left out after the comparison makes room for images that would not be needed otherwise.
    every = score_all or joined or bool(recipe.audit.exclude)
    names, files = stamp_images(catalogue.root)

    selected = steps.run(
        "select", [recipe.selection.model_dump(), names], lambda: _select(catalogue, recipe), ("n_listings",)
    )
    _warn_of_unknown(recipe, threshold, selected["classes"])
    scored = steps.run(
        "score",
        [backbone, _hash_of(weights), cap, every, files],
        lambda: _score(catalogue, selected, embed, cap, every),
        ("similarity",),
    )
    audited = steps.run(
        "audit", recipe.audit.model_dump(), lambda: _audit(catalogue, scored, recipe), AUDIT_NUMBERS
    )
    balanced = steps.run(
        "balance",
        [threshold.model_dump(), cap, MAX_GROUP if joined else None],
        lambda: _balance(catalogue, selected, scored, audited, threshold, cap, joined),
        ("similarity", "threshold", "n_main", "n_other", "n_images", "missing"),
    )  # fmt: skip
    split = steps.run(
        "split",
        recipe.split.model_dump(),
        lambda: _split(catalogue, selected, balanced, recipe.split),
        ("similarity", "distance", "across_splits", "across_labels"),
    )
    manifest = write_images(output, catalogue.root, split["images"], materialize, steps.key)
    if sheets:
        path_of = catalogue.paths(selected["candidates"])
        flagged = _flagged(audited)
        write_sheets(output / "sheets", balanced["images"], path_of, flagged, threshold, backbone, steps.key)
    dropped = _count_reasons(select=selected["candidates"], balance=balanced["images"])
    result = Curation(
        manifest, selected["classes"], balanced["classes"], dropped, split["near_duplicates"],
        audited["per_class"], tuple(steps.reused),
    )  # fmt: skip
    write_whole(output / "curation.json", json.dumps(_summary(result, recipe, backbone), indent=1) + "\n")
    return result


def _fingerprint(catalogue: _Catalogue) -> str:
    return json.loads((catalogue.index / "index.json").read_text("utf-8"))["key"]


def _hash_of(weights: str) -> str:
    """Return the hash of a file of weights; a name as it is."""
    path = Path(weights)
    return sha256_of(path) if path.is_file() else weights


def _warn_of_unknown(recipe: Recipe, threshold: Threshold, types: pd.DataFrame) -> None:
    unknown = unknown_names(recipe, threshold, {*types["product_type"], *types["label"]} - {""})
    if unknown:
        log.warning("The recipe names classes that the catalogue doesn't have: %s.", ", ".join(unknown))


def _select(catalogue: _Catalogue, recipe: Recipe) -> Tables:
    listings, images = read_listings(catalogue.index), read_images(catalogue.index)
    selection = select(listings, images, recipe.selection, list_image_files(catalogue.root))
    if "kept" not in set(selection.classes["decision"]):
        most = [
            f"{row['product_type']} ({row['reason']})" for row in selection.classes.head(3).to_dict("records")
        ]
        raise DataError(
            f"No product type is left of {len(selection.classes)}. The most frequent: {'; '.join(most)}. "
            f"Lower selection.minimum ({recipe.selection.minimum}), check the recipe's lists, or choose another recipe "
            f"({', '.join(packaged_recipes())})."
        )
    return {"classes": selection.classes, "candidates": selection.candidates}


def _score(catalogue: _Catalogue, selected: Tables, embed: Embed, cap: int, every: bool) -> Tables:
    path_of = catalogue.paths(read_images(catalogue.index))
    candidates = selected["candidates"]
    files = list_image_files(catalogue.root)
    here = {
        name: path for name, path in path_of.items() if path.relative_to(catalogue.root).as_posix() in files
    }
    return {"scores": score(candidates, here, embed, cap, score_all=every)}


def _audit(catalogue: _Catalogue, scored: Tables, recipe: Recipe) -> Tables:
    """Flag readable images if the recipe asks for it; otherwise nothing is measured."""
    asked = recipe.audit.report or bool(recipe.audit.exclude)
    scores = scored["scores"]
    usable = rows(scores, (scores["reason"] == "") & np.full(len(scores), asked))
    path_of = catalogue.paths(read_images(catalogue.index))
    audit = audit_images([path_of[name] for name in usable["image_id"]])
    told = usable.reset_index(drop=True).reindex(columns=["image_id", "label"])
    flags = pd.concat([told, audit.flags.astype(int)], axis=1)
    spared = flags["label"].isin(recipe.audit.spare)
    excluded = [
        "" if spare else ", ".join(fault for fault in recipe.audit.exclude if row[fault])
        for spare, row in zip(spared, audit.flags.to_dict("records"), strict=True)
    ]
    faults = [", ".join(fault for fault in FAULTS if row[fault]) for row in audit.flags.to_dict("records")]
    per_class = audit.per_class(usable["label"].to_numpy()).reset_index()
    return {
        "flags": flags.assign(faults=faults, excluded=excluded),
        "measures": audit.measures,
        "per_class": per_class,
    }


def _flagged(audited: Tables) -> pd.DataFrame:
    """Return what the audit flagged, with the largest of its scores: image_id, label, faults, score."""
    flags = audited["flags"].assign(score=score_measures(audited["measures"]).max(axis=1))
    return rows(flags, flags["faults"] != "").reindex(columns=["image_id", "label", "faults", "score"])


def _balance(
    catalogue: _Catalogue,
    selected: Tables,
    scored: Tables,
    audited: Tables,
    threshold: Threshold,
    cap: int,
    joined: bool,
) -> Tables:
    """Fill the classes; without crowds of near-duplicates if near-duplicates are to be joined."""
    flags = rows(audited["flags"], audited["flags"]["excluded"] != "")
    excluded = {name: f"audit: {why}" for name, why in zip(flags["image_id"], flags["excluded"], strict=True)}
    labels = sorted({*selected["classes"]["label"]} - {""})
    path_of = catalogue.paths(selected["candidates"])
    crowd: list[str] = []
    while True:
        balanced = balance(scored["scores"], threshold, cap, excluded, labels)
        kept = rows(balanced.images, balanced.images["decision"] == "kept")["image_id"].tolist()
        if not kept:
            raise DataError(_nothing_left(catalogue, selected, balanced))
        # What fills the places may be more of the same crowd, so that those left out count as well.
        new = _crowd(catalogue, path_of, [*kept, *crowd], set(crowd)) if joined else []
        if not new:
            return {"images": balanced.images, "classes": balanced.classes}
        crowd += new
        excluded |= dict.fromkeys(new, f"one of more than {MAX_GROUP} near-duplicates")


def _crowd(
    catalogue: _Catalogue, path_of: Mapping[str, Path], names: list[str], known: set[str]
) -> list[str]:
    many = crowded(near_duplicates(catalogue.hashes.of([path_of[name] for name in names])), MAX_GROUP)
    return [name for name, is_one in zip(names, many, strict=True) if is_one and name not in known]


def _nothing_left(catalogue: _Catalogue, selected: Tables, balanced: Balance) -> str:
    counts: Counter[str] = Counter()
    for row in _count_reasons(select=selected["candidates"], balance=balanced.images).to_dict("records"):
        counts[row["reason"]] += row["n_images"]
    why = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(3))
    return (
        f"No image is left of {len(selected['candidates']):,} in {catalogue.root}: {why}. Put the images there, or "
        "lower the recipe's thresholds; the reasons are in steps/select/candidates.csv and "
        "steps/score/scores.csv."
    )


def _split(catalogue: _Catalogue, selected: Tables, balanced: Tables, settings: Splitting) -> Tables:
    candidates = selected["candidates"].set_index("image_id")
    kept = rows(balanced["images"], balanced["images"]["decision"] == "kept").reset_index(drop=True)
    known = candidates.loc[kept["image_id"]]
    kept["product"], kept["path"] = known["product"].to_numpy(), known["path"].to_numpy()
    duplicates = None
    if settings.near_duplicates != "off":
        duplicates = near_duplicates(catalogue.hashes.of([catalogue.root / path for path in kept["path"]]))
    if duplicates and settings.near_duplicates == "join":
        products = kept["product"].to_numpy(dtype=object)
        kept["product"] = connected_products(products, duplicates.groups.astype(str))
    labels, products = kept["label"].to_numpy(dtype=object), kept["product"].to_numpy(dtype=object)
    shares = {str(name): share for name, share in settings.shares.items()}
    if settings.method == "leaky":
        kept["split"] = split_by_image(len(kept), shares, settings.seed)
    else:
        kept["split"] = split_by_product(labels, products, shares, settings.seed)
        crossing = crossing_products(products, kept["split"].to_numpy(dtype=object))
        if crossing:
            raise RuntimeError(
                f"Products cross splits, which is a fault of the program: {sorted(crossing)[:5]}."
            )
    table = kept.rename(columns={"path": "file_name"})
    told = ["image_id", "label", "source", "similarity", "product", "split", "path"]
    across = pd.DataFrame(columns=["file_a", "file_b", "across_splits", "across_labels"])
    if duplicates:
        across = duplicates_across(Manifest(table, catalogue.root), duplicates)
        across = across.astype({"across_splits": int, "across_labels": int})
    return {"images": kept.reindex(columns=told), "near_duplicates": across}


def _count_reasons(**tables: pd.DataFrame) -> pd.DataFrame:
    counted = []
    for step, table in tables.items():
        dropped = rows(table, table["decision"] == "dropped")
        # "under two labels: A B" and "can't be read: ..." are one kind of reason each.
        kinds = Counter(reason.partition(":")[0] for reason in dropped["reason"])
        counted += [(step, reason, n) for reason, n in kinds.most_common()]
    return pd.DataFrame(counted, columns=["step", "reason", "n_images"])


def _summary(result: Curation, recipe: Recipe, backbone: str) -> dict:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "backbone": backbone,
        "product_types": dict(sorted(Counter(result.types["decision"]).items())),
        "classes": len(result.classes),
        "images": sum(result.classes["n_images"].tolist()),
        "short": {r["label"]: r["missing"] for r in result.classes.to_dict("records") if r["missing"] > 0},
        "dropped": result.dropped.to_dict("records"),
        "near_duplicate_pairs": len(result.near_duplicates),
    }
