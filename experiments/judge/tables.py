"""Predictions tables: what a system said of which image, from CSV, Parquet, npz, data frames or arrays."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.io.arrays import read_arrays
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.tables import restored_table
from aisles.experiments.runs.predictions import ARCHIVES, TABLE, archive_name

KEYS = ("file_name", "id")
TRUTHS = ("truth", "label")
FACTS = (
    *KEYS,
    *TRUTHS,
    "answer",
    "probability",
    "product",
    "seed",
    "method",
    "macro",
    "router_macro",
    "split",
    "source",
    "similarity",
)
"""Columns that hold no probabilities, whatever they contain."""
PREFIX, MACRO_PREFIX = "p:", "m:"
WHAT_IT_HOLDS = (
    "A predictions table has a column file_name (or id), an answer or probabilities per class (columns named p:CLASS), "
    "and truth (or a --truth file)."
)
_MISSING = ["", "nan", "NaN", "NA"]


@dataclass(frozen=True, eq=False)
class PredictionsTable:
    """One system's rows, in any order.

    Attributes
    ----------
    source : str
        Where they come from, for messages.
    names : Index of str, or None
        Of the images; None for bare arrays, which are joined by position.
    columns : mapping of str to Categorical
        Of `truth`, `answer`, `product`, `seed` and asked for coarse columns those that are there; categories are text.
    probs : ndarray of float of shape (n_rows, n_columns), or None
        As given, unchecked.
    classes : tuple of str
        Of the columns of `probs`.
    """

    source: str
    names: pd.Index | None
    columns: Mapping[str, pd.Categorical]
    probs: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    n_rows: int = field(default=0)


@dataclass(frozen=True)
class ColumnNames:
    """How a table's optional columns are called; `coarse` is one that names each image's macro."""

    product: str = "product"
    seed: str = "seed"
    coarse: str | None = None

    @property
    def text(self) -> tuple[str, ...]:
        """All columns that hold text."""
        coarse = () if self.coarse is None else (self.coarse,)
        return tuple(dict.fromkeys((*FACTS, self.product, self.seed, *coarse)))


def read_predictions(path: str | Path, names: ColumnNames | None = None) -> dict[str, PredictionsTable]:
    """Read a file of predictions.

    Parameters
    ----------
    path : path
        `.csv`, `.tsv`, `.parquet` or `.npz`, or a run folder. The `predictions.csv` of a run has its probabilities in
        `probabilities` beside it, which are read with it.
    names : ColumnNames, optional

    Returns
    -------
    dict of str to PredictionsTable
        One table named "" or, where the file has a column `method`, one for each method.

    Raises
    ------
    DataError
        If the file can't be read or is not a predictions table.
    """
    path, names = Path(path), names or ColumnNames()
    path = path / TABLE if (path / TABLE).is_file() else path
    readers = {".csv": _read_text, ".tsv": _read_text, ".parquet": _read_parquet, ".npz": _read_npz}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} must be a .csv, .tsv, .parquet or .npz file. {WHAT_IT_HOLDS}")
    try:
        content = reader(path, names)
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there.") from error
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} can't be read: {error}. {WHAT_IT_HOLDS}") from error
    if isinstance(content, PredictionsTable):
        return {"": content}
    tables = frame_tables(content, str(path), names)
    if path.name != TABLE or "probability" not in content:
        return tables
    sure = content.groupby("method", sort=False, observed=True)["probability"].count()
    archives = {name: path.parent / ARCHIVES / archive_name(name) for name in tables if sure[name]}
    return tables | {
        name: replace(_read_npz(archive, names), source=f"{path} ({name})")
        for name, archive in archives.items()
    }


def frame_tables(
    frame: pd.DataFrame, source: str, names: ColumnNames | None = None
) -> dict[str, PredictionsTable]:
    """Read a data frame of predictions; returns and raises as `read_predictions`."""
    names = names or ColumnNames()
    if "method" not in frame:
        return {"": _frame_table(frame, source, names)}
    groups = frame.groupby("method", sort=False, observed=True)
    return {str(name): _frame_table(part, f"{source} ({name})", names) for name, part in groups}


def array_table(values: Any, source: str, classes: Sequence[Any] | None = None) -> PredictionsTable:
    """Take bare arrays, joined by position.

    Parameters
    ----------
    values : array-like
        Answers of shape (n_images,) or (n_seeds, n_images), as text or whole numbers; or probabilities of shape
        (n_images, n_classes) or (n_seeds, n_images, n_classes), as floating point numbers.
    source : str
        For messages.
    classes : sequence, optional
        The columns of the probabilities, needed for them.

    Raises
    ------
    DataError
        If the shape is another, or probabilities have no `classes`.
    """
    given = np.asarray(values)
    probable = given.dtype.kind == "f" and given.ndim > 1
    if given.ndim - probable not in (1, 2) or given.size == 0:
        raise DataError(
            f"{source} must be answers of shape (n_images,) or (n_seeds, n_images), or probabilities of shape "
            f"(n_images, n_classes) or (n_seeds, n_images, n_classes). Received: {given.shape}."
        )
    n_seeds = given.shape[0] if given.ndim - probable == 2 else 1
    n_rows = int(np.prod(given.shape[: given.ndim - probable]))
    columns = {}
    if n_seeds > 1:
        columns["seed"] = coded(np.repeat(np.arange(n_seeds), n_rows // n_seeds), "seed", source)
    if not probable:
        answers = _named(given.ravel(), classes)
        return PredictionsTable(
            source, None, {**columns, "answer": coded(answers, "answer", source)}, n_rows=n_rows
        )
    if classes is None or len(classes) != given.shape[-1]:
        raise DataError(
            f"{source} has probabilities of {given.shape[-1]} classes. Name them in order: classes=[...]. "
            f"Received: {None if classes is None else len(classes)} names."
        )
    probs = given.reshape(n_rows, given.shape[-1])
    return PredictionsTable(source, None, columns, probs, tuple(map(str, classes)), n_rows)


def coded(values: Any, what: str, source: str, names: Any = None) -> pd.Categorical:
    """Return labels as categories of text: whole numbers as their digits.

    Raises
    ------
    DataError
        If a value is missing, a number is not whole, or texts and numbers are mixed.
    """
    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        found = pd.Categorical(series)
    else:
        _check_kinds(series, what, source)
        found = pd.Categorical(series)
    labels = [_as_text(value) for value in found.categories]
    codes = np.asarray(found.codes)
    if "" in labels:
        codes = np.where(codes == labels.index(""), -1, codes)
    gaps = np.flatnonzero(codes < 0)
    if len(gaps):
        where = gaps if names is None else np.asarray(names)[gaps[:6]]
        raise DataError(
            f"{source}: {len(gaps):,} rows have no {what}, such as {shortened(list(where[:3]))}. Fill them in."
        )
    union, place = np.unique(np.array(labels, dtype=object), return_inverse=True)
    return pd.Categorical.from_codes(place[codes].astype(np.int32), categories=pd.Index(union, dtype=object))


def _check_kinds(series: pd.Series, what: str, source: str) -> None:
    kind = series.dtype.kind
    if kind == "f":
        numbers = series.to_numpy()
        fractions = numbers[np.isfinite(numbers) & (numbers % 1 != 0)]
        if len(fractions):
            raise DataError(
                f"{source}: {what} must be class names or whole numbers. Received: {fractions[0]:g}."
            )
    elif kind == "O":
        kinds = {isinstance(value, str) for value in series.dropna().unique().tolist()}
        if len(kinds) > 1:
            raise DataError(
                f"{source}: {what} mixes texts and numbers. Write every class in the same way, as text."
            )


def _as_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float | np.floating) else str(value)


def _named(labels: np.ndarray, classes: Sequence[Any] | None) -> np.ndarray:
    """Return the classes that whole numbers count; labels that are none are returned as they are."""
    texts = classes is not None and all(isinstance(name, str) for name in classes)
    if not texts or labels.dtype.kind not in "iu":
        return labels
    if labels.min() < 0 or labels.max() >= len(classes or ()):
        raise DataError(
            f"Whole numbers beside `classes` count them from 0 to {len(classes or ()) - 1}. "
            f"Received: {labels.min()} to {labels.max()}."
        )
    return np.array(list(classes or ()), dtype=object)[labels]


def separator(path: Path) -> str:
    """Return what divides the cells of a text file: a tab in .tsv, a semicolon where the first line has no comma."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    with open(path, encoding="utf-8-sig", newline="") as file:
        first = file.readline()
    return ";" if ";" in first and "," not in first else ","


def _read_text(path: Path, names: ColumnNames) -> pd.DataFrame:
    divider = separator(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        heads = next(csv.reader(file, delimiter=divider), [])
    twice = sorted({head for head in heads if heads.count(head) > 1})
    if twice:
        raise DataError(f"{path} has columns of the same name: {shortened(twice)}. Rename them.")
    probable = _class_columns(heads, names)
    wanted = [head for head in heads if head in names.text or head in probable]
    types = {head: np.float32 if head in probable else "category" for head in wanted}
    types |= {head: "str" for head in KEYS if head in wanted}
    missing: dict[str, list[str]] = {head: _MISSING if head in probable else [""] for head in wanted}
    table = pd.read_csv(
        path, sep=divider, usecols=wanted, dtype=types, na_values=missing, keep_default_na=False,  # pyright: ignore
        encoding="utf-8-sig",
    )  # fmt: skip
    return restored_table(table)


def _read_parquet(path: Path, names: ColumnNames) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise DataError(
            f"Parquet files need pyarrow: python -m pip install '.[parquet]', or write {path.stem}.csv."
        ) from error


def _read_npz(path: Path, names: ColumnNames) -> PredictionsTable:
    arrays = read_arrays(path)
    key = next((name for name in KEYS if name in arrays), None)
    if key is None:
        raise DataError(
            f"{path} has no array {' or '.join(KEYS)}. It holds {sorted(arrays)}. {WHAT_IT_HOLDS}"
        )
    keys, classes = arrays[key], arrays.get("classes")
    listed = None if classes is None else [_as_text(name) for name in classes.tolist()]
    texts = None if classes is None or classes.dtype.kind in "iuf" else listed
    found = {}
    for column in names.text:
        if column in arrays and column not in (*KEYS, "method"):
            values = _named(arrays[column], texts) if column in (*TRUTHS, "answer") else arrays[column]
            found[column] = values
    odd = {name: values.shape for name, values in found.items() if values.shape != keys.shape}
    probs = arrays.get("probs")
    if (
        probs is not None
        and probs.ndim == 3
        and probs.shape[:2] == (*arrays.get("seeds", keys[:0]).shape, len(keys))
    ):
        n_seeds = len(probs)  # a run's archive: the same images for each seed
        probs = probs.reshape(-1, probs.shape[2])
        found = {name: np.tile(values, n_seeds) for name, values in found.items()}
        found[names.seed] = np.repeat(arrays["seeds"], len(keys))
        keys = np.tile(keys, n_seeds)
    if probs is not None and (probs.ndim != 2 or probs.shape != (len(keys), len(listed or ()))):
        odd["probs"] = probs.shape
    if odd or keys.ndim != 1:
        raise DataError(
            f"{path} must have one row per image in each array ({key}: {keys.shape}), and `probs` of shape (n_images, "
            f"n_classes) with as many `classes`. Received: {odd}."
        )
    frame = pd.DataFrame({key: keys, **found})
    return _table(frame, str(path), names, probs, tuple(listed or ()) if probs is not None else ())


def _class_columns(heads: Sequence[str], names: ColumnNames) -> list[str]:
    """Return the columns of probabilities: p:CLASS, else, where no answer is given, all that are no facts."""
    prefixed = [head for head in heads if head.startswith(PREFIX)]
    if prefixed or "answer" in heads:
        return prefixed
    return [head for head in heads if head not in names.text and not head.startswith(MACRO_PREFIX)]


def _frame_table(frame: pd.DataFrame, source: str, names: ColumnNames) -> PredictionsTable:
    heads = [str(head) for head in frame.columns]
    frame = frame.set_axis(heads, axis=1)
    probable = _class_columns(heads, names)
    texts = [head for head in probable if frame[head].dtype.kind not in "fiub"]
    if texts:
        raise DataError(
            f"{source}: {shortened(texts)} are neither columns of a predictions table nor numbers. {WHAT_IT_HOLDS}"
        )
    if not probable:
        return _table(frame, source, names, None, ())
    probs = frame[probable].to_numpy(dtype=np.float32)
    if "answer" in heads and np.isnan(probs).all():  # a run lists the probabilities of some methods only
        return _table(frame, source, names, None, ())
    return _table(frame, source, names, probs, tuple(head.removeprefix(PREFIX) for head in probable))


def _table(
    frame: pd.DataFrame, source: str, names: ColumnNames, probs: np.ndarray | None, classes: tuple[str, ...]
) -> PredictionsTable:
    key = next((name for name in KEYS if name in frame), None)
    if key is None:
        raise DataError(
            f"{source} has no column {' or '.join(KEYS)}; images are joined by name, never by position. "
            f"Columns: {shortened(list(frame.columns), 12)}."
        )
    if not len(frame):
        raise DataError(f"{source} has no rows.")
    nameless = np.count_nonzero(pd.isna(frame[key].to_numpy()))
    if nameless:
        raise DataError(f"{source}: {nameless:,} rows have no {key}. Fill them in.")
    index = pd.Index(frame[key].astype(str))
    own = {"answer": "answer", "product": names.product, "seed": names.seed}
    own["truth"] = next((name for name in TRUTHS if name in frame), "truth")
    if names.coarse is not None:
        own["coarse"] = names.coarse
    columns = {what: coded(frame[name], name, source, index) for what, name in own.items() if name in frame}
    return PredictionsTable(source, index, columns, probs, classes, len(frame))
