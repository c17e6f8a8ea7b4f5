"""From a folder of photographs to checked images, splits, features and a hierarchy."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import COLUMNS
from aisles.data_prep.images.features_table import FeaturesTable, is_features_table, read_features_table
from aisles.data_prep.images.manifest import Manifest, read_manifest
from aisles.data_prep.images.scan import find_leaks, scan_images
from aisles.data_prep.images.screening import (
    joined_copies,
    readable_images,
    without_contradictions,
    without_repeated_tests,
)
from aisles.data_prep.images.spelling import one_form
from aisles.data_prep.images.splitting import crossing_products, ensure_splits
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.workers import places
from aisles.experiments.settings.benchmark import BackboneSettings, DataSettings, HierarchySettings
from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.clustering import ClusteringContext, choose_n_macros, cluster, cluster_classes
from aisles.hierarchy.embeddings import class_embeddings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import Backbone
from aisles.models.features import extract

from .coarse_images import CoarseImages, learnable, scan_coarse, with_vectors
from .extraction import built, extract_by_workers
from .given_features import GivenFeatures

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PreparedData:
    """Images that can be read, split, with their hashes.

    Attributes
    ----------
    manifest : Manifest
        With train, val and test.
    sha256 : ndarray of str
        Of each image's bytes.
    unreadable : DataFrame
        file_name, label, reason of what was left out.
    leaks : DataFrame
        Groups of equal files under several splits or labels that were found, as `scan.find_leaks` gives them; those
        that are repeated are left out, unless splits by image are asked for.
    vectors : ndarray of shape (n_images, dimension), or None
        Features that were given in place of images.
    coarse : CoarseImages or None
        Further training images that are known by their macro alone.
    """

    manifest: Manifest
    sha256: np.ndarray
    unreadable: pd.DataFrame
    leaks: pd.DataFrame
    vectors: np.ndarray | None = None
    coarse: CoarseImages | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names, labels, products, splits and bytes."""
        return self.manifest.fingerprint(self.sha256)

    @property
    def learned_from(self) -> frozenset[str]:
        """SHA-256 of the training and validation images, from which methods may learn."""
        return frozenset(map(str, self.sha256[np.isin(self.manifest.splits, ("train", "val"))]))

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split."""
        return np.flatnonzero(self.manifest.splits == split)


def prepare_data(
    data: str | Path | FeaturesTable, settings: DataSettings, hierarchy_column: str | None = None
) -> PreparedData:
    """Read, check and split the images, or a table of features.

    Raises
    ------
    DataError
        If the data can't be used; see `read_manifest`, `scan_images`, `screening` and `ensure_splits`.
    """
    given = _given_features(data, settings.label_column, hierarchy_column)
    manifest = given.manifest if given else _read(cast("str | Path", data), settings, hierarchy_column)
    scan = given.scan if given else scan_images(manifest, strict=settings.strict == "images")
    for file_name, reason in zip(scan.reasons["file_name"], scan.reasons["reason"], strict=True):
        logger.warning("Left out %s: %s", file_name, reason)
    kept = readable_images(manifest, scan, settings.strict)
    sha256 = scan.sha256[scan.readable]
    leaks = find_leaks(kept, sha256)
    brings = _brings_splits(kept, settings)
    leaky = settings.split_by != "product"
    kept, sha256 = without_contradictions(kept, sha256, settings.strict)
    if brings and not leaky and not crossing_products(kept.products, kept.splits):  # those are refused below
        kept, sha256 = without_repeated_tests(kept, sha256)
    if not leaky:
        kept = joined_copies(kept, sha256, None if given else kept.paths, join=not brings)
    split = _split(kept, settings)
    if settings.min_similarity is not None:
        enough = similar_enough(split, settings.min_similarity)
        split, sha256 = (
            split.keep(enough, f"{int((~enough).sum())} dissimilar training images left out."),
            sha256[enough],
        )
    for note in split.notes:
        logger.log(logging.WARNING if note in split.warnings else logging.INFO, "%s", note)
    if not (split.splits == "val").any():
        raise DataError(
            f"Validation images are needed to choose epochs and temperatures, and {len(split)} images of "
            f"{len(split.classes)} classes leave none. Add images: at least 3 products for some classes."
        )
    vectors = given.vectors_of(split) if given else None
    coarse = _coarse_rows(given, split) if given else scan_coarse(split, hierarchy_column, sha256)
    return PreparedData(split, sha256, scan.reasons, leaks, vectors, coarse)


def read_listed(
    data: str | Path | FeaturesTable, settings: DataSettings, hierarchy_column: str | None = None
) -> Manifest:
    """Read what is said of the images or of the rows of a features table, without looking into the images."""
    given = _given_features(data, settings.label_column, hierarchy_column)
    return given.manifest if given else _read(cast("str | Path", data), settings, hierarchy_column)


def _coarse_rows(given: FeaturesTable, manifest: Manifest) -> CoarseImages | None:
    """Return the rows of a features table that are known by their macro alone and may be learned from."""
    if given.coarse is None:
        return None
    table, vectors = given.coarse
    held = manifest.products[np.isin(manifest.splits, ("val", "test"))]
    kept = learnable(table, set(held))
    return CoarseImages(vectors[kept], table["label"].to_numpy(str)[kept])


def prepare_coarse(
    prepared: PreparedData, settings: BackboneSettings, backbone: Backbone, cache: str | Path | None = None
) -> PreparedData:
    """Extract the features of the images that are known by their macro alone, if there are any."""
    coarse = prepared.coarse
    if coarse is None or not coarse.paths:
        return prepared
    found = extract(
        backbone, list(coarse.paths), images=list(coarse.sha256), cache=cache, batch_size=settings.batch_size
    )
    logger.info("%d images are known by their macro alone.", len(coarse))
    return replace(prepared, coarse=with_vectors(coarse, found.vectors))


def _given_features(
    data: str | Path | FeaturesTable, label_column: str, hierarchy_column: str | None
) -> FeaturesTable | None:
    if isinstance(data, FeaturesTable):
        return data
    if not is_features_table(data):
        return None
    return read_features_table(data, label_column=label_column, hierarchy_column=hierarchy_column)


def _read(data: str | Path, settings: DataSettings, hierarchy_column: str | None) -> Manifest:
    return read_manifest(
        data,
        label_column=settings.label_column,
        hierarchy_column=hierarchy_column,
        strict=settings.strict,
    )


def _brings_splits(manifest: Manifest, settings: DataSettings) -> bool:
    return bool(set(manifest.splits) - {"", "train"}) and not settings.resplit


def _split(manifest: Manifest, settings: DataSettings) -> Manifest:
    if not settings.resplit and settings.split_by == "product":
        return ensure_splits(manifest, settings.shares, settings.split_seed)
    blank = manifest.with_columns("New splits are made.", split=[""] * len(manifest))
    if settings.split_by == "product":
        return ensure_splits(blank, settings.shares, settings.split_seed)
    crossing = crossing_products(manifest.products, manifest.splits)
    leaky = manifest if crossing and _brings_splits(manifest, settings) else blank
    alone = leaky.with_columns(product=[f"image-{row}" for row in range(len(manifest))])
    split = ensure_splits(alone, settings.shares, settings.split_seed)
    divided = len(crossing_products(manifest.products, split.splits))
    note = (
        f"Splits by image{', as the manifest brings them' if leaky is manifest else ''}: photographs of {divided:,} "
        "products stand in several splits, which flatters every accuracy."
    )
    logger.warning("%s", note)
    return split.with_columns(note, product=manifest.products)


def similar_enough(manifest: Manifest, threshold: float) -> np.ndarray:
    """Return which images stay: all but training images of source `other` whose similarity is below the threshold."""
    table = manifest.table
    below = (table["source"] == "other") & (table["similarity"] < threshold) & (table["split"] == "train")
    return ~below.to_numpy(dtype=bool)


def prepare_features(
    prepared: PreparedData,
    settings: BackboneSettings,
    cache: str | Path | None = None,
    backbone: Backbone | None = None,
) -> tuple[Backbone, np.ndarray]:
    """Build the backbone (or take the given one as it is) and give every image's features, (n_images, dimension)."""
    if prepared.vectors is not None:
        return cast(Backbone, GivenFeatures()), prepared.vectors
    if backbone is None:
        backbone = built(settings)
        if jobs := places():
            manifest = prepared.manifest
            extract_by_workers(backbone, settings, manifest.paths, list(prepared.sha256), cache, jobs)
    assert backbone is not None
    features = extract(
        backbone,
        prepared.manifest.paths,
        images=list(prepared.sha256),
        cache=cache,
        batch_size=settings.batch_size,
    )
    return backbone, features.vectors


@dataclass(frozen=True, eq=False)
class FoundHierarchy:
    """The macros of a run and the tree that they were cut from.

    Attributes
    ----------
    hierarchy : Hierarchy
    tree : ClassTree
        Of training images; ward's where the hierarchy was brought by a person or is a clustering's partition.
    origin : str
        Where the hierarchy comes from, and why it has so many macros unless that was set, for the report.
    """

    hierarchy: Hierarchy
    tree: ClassTree
    origin: str


def find_hierarchy(
    prepared: PreparedData,
    features: np.ndarray,
    settings: HierarchySettings,
    confusion: Callable[[], np.ndarray] | None = None,
) -> FoundHierarchy:
    """Cluster the classes' training images into macros, or read the hierarchy that a person brings.

    Clusterings of one's own can ask for the flat model's validation confusions; `confusion` computes them then.

    Raises
    ------
    ValueError
        If a hierarchy file doesn't fit the classes, or there are fewer classes than macros.
    """
    classes = prepared.manifest.classes
    context = clustering_context(prepared, features, confusion)
    brought = settings.column is not None or settings.brought is not None or settings.file is not None
    clustered = cluster(context, "ward" if brought else settings.linkage)
    tree = clustered if isinstance(clustered, ClassTree) else cluster_classes(context.embeddings)
    if settings.column is not None:
        return FoundHierarchy(
            column_hierarchy(prepared.manifest, settings.column), tree, f"column {settings.column}"
        )
    if settings.brought is not None:
        return FoundHierarchy(of_classes(settings.brought, classes), tree, "brought")
    if settings.file is not None:
        return FoundHierarchy(
            read_hierarchy(settings.file, classes), tree, f"brought: {Path(settings.file).name}"
        )
    if settings.macros != "auto":
        return FoundHierarchy(clustered.cut(settings.macros), tree, settings.linkage)
    chosen = choose_n_macros(clustered)
    found = FoundHierarchy(clustered.cut(chosen.n_macros), tree, f"{settings.linkage}, {chosen.reason}")
    logger.info("Hierarchy: %s.", found.origin)
    return found


def check_hierarchy(prepared: PreparedData, settings: HierarchySettings) -> None:
    """Refuse a hierarchy or a number of macros that doesn't fit the classes, before anything takes long.

    Raises
    ------
    DataError
        If the file can't be read, or the classes differ, or it has one macro, or there are as many macros as classes.
    """
    classes = prepared.manifest.classes
    try:
        if settings.file is not None:
            _check_brought(read_hierarchy(settings.file, classes))
        elif settings.brought is not None:
            _check_brought(of_classes(settings.brought, classes))
        elif settings.column is not None:
            _check_brought(column_hierarchy(prepared.manifest, settings.column))
        if settings.independent not in ("none", "auto"):
            column_hierarchy(prepared.manifest, settings.independent)
    except (ValueError, OSError) as error:
        raise DataError(f"The hierarchy can't be used: {error}") from error
    k = settings.macros
    brought = settings.file or settings.brought or settings.column
    if k != "auto" and not brought and k >= len(classes):
        raise DataError(
            f"The number of macros must be between 2 and one less than the number of classes ({len(classes)}). "
            f"Received: {k}. Give a smaller --macros, or --macros auto."
        )


def _check_brought(hierarchy: Hierarchy) -> None:
    if hierarchy.overlapping:
        held = {name: [] for name in hierarchy.classes}
        for macro, name in hierarchy.slots:
            held[name].append(hierarchy.macros[macro])
        told = [
            f"{name!r} in {', '.join(map(repr, macros))}" for name, macros in held.items() if len(macros) > 1
        ]
        raise ValueError(
            f"A run needs every class in one macro; overlapping macros are for prediction. In several: "
            f"{'; '.join(told[:5])}{'; ...' if len(told) > 5 else ''}. Keep each in one."
        )
    if hierarchy.n_macros < 2:
        raise ValueError(
            f"A router needs at least 2 macros to choose from. Received: 1, {hierarchy.macros[0]!r}, "
            f"with all {hierarchy.n_classes} classes. Divide it, or leave the hierarchy out to have one learned."
        )


def without_validation(prepared: PreparedData, hierarchy: Hierarchy) -> list[str]:
    """Name the macros whose sub-model has no validation images: its training loss alone tells it when to stop."""
    checked = set(prepared.manifest.labels[prepared.rows("val")])
    pairs = zip(hierarchy.macros, hierarchy.members, strict=True)
    return [macro for macro, members in pairs if len(members) > 1 and not checked & set(members)]


def clustering_context(
    prepared: PreparedData, features: np.ndarray, confusion: Callable[[], np.ndarray] | None = None
) -> ClusteringContext:
    """Return what clusterings may look at: training images, and the flat model's validation confusions."""
    train = prepared.rows("train")
    labels = prepared.manifest.labels[train].astype(str)
    embeddings = class_embeddings(features[train], labels)
    counts = np.bincount(np.searchsorted(np.array(embeddings.classes), labels))
    return ClusteringContext(embeddings, counts, confusion)


def class_tree(prepared: PreparedData, features: np.ndarray, linkage: str) -> ClassTree:
    """Cluster the classes by their training images."""
    return cluster_classes(clustering_context(prepared, features).embeddings, linkage)


def read_hierarchy(path: str | Path, classes: tuple[str, ...]) -> Hierarchy:
    """Read a hierarchy file and check that its classes are the manifest's."""
    return of_classes(Hierarchy.read(path), classes)


def of_classes(hierarchy: Hierarchy, classes: tuple[str, ...]) -> Hierarchy:
    """Return a hierarchy whose classes are the manifest's, written in the same form of Unicode, or refuse it.

    Raises
    ------
    ValueError
        If its classes are others, or two names in a macro differ by their form alone.
    """
    if set(hierarchy.classes) != set(classes):
        members = tuple(tuple(map(one_form, names)) for names in hierarchy.members)
        hierarchy = Hierarchy(hierarchy.macros, members)
    hierarchy.check_classes(classes)
    return hierarchy


def column_hierarchy(manifest: Manifest, column: str) -> Hierarchy:
    """Read the hierarchy off a column of the manifest.

    Raises
    ------
    ValueError
        If there is no such column, or a class comes with several names in it.
    """
    if column not in manifest.table.columns:
        extra = [name for name in manifest.table.columns if name not in COLUMNS]
        raise ValueError(f"The manifest has no column {column!r}. Further columns: {extra or 'none'}.")
    return Hierarchy.from_labels(manifest.labels.tolist(), manifest.table[column].astype(str).tolist())


def independent_hierarchy(
    manifest: Manifest, settings: HierarchySettings, own: Hierarchy | None = None
) -> tuple[str, Hierarchy] | None:
    """Find the grouping that a manifest brings and nobody learned from its images.

    Parameters
    ----------
    manifest : Manifest
    settings : HierarchySettings
        A column that is named there is taken; "auto" takes the first that groups the classes, but neither the one
        that the run's hierarchy is read off nor one with the same macros.
    own : Hierarchy, optional
        The run's.

    Returns
    -------
    tuple of str and Hierarchy, or None
        The column's name, and the grouping; None if the manifest brings none.
    """
    if settings.independent == "none":
        return None
    if settings.independent != "auto":
        return settings.independent, column_hierarchy(manifest, settings.independent)
    for column in (n for n in manifest.table.columns if n not in COLUMNS and n != settings.column):
        try:
            found = column_hierarchy(manifest, column)
        except ValueError:
            continue
        same = own is not None and set(map(frozenset, own.members)) == set(map(frozenset, found.members))
        if 1 < found.n_macros < found.n_classes and not same:
            return column, found
    return None
