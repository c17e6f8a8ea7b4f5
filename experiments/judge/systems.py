"""Several systems on the same images: tables joined by name, checked, in one order of images, seeds and classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.io.errors import DataError
from aisles.hierarchy.hierarchy import Hierarchy

from .tables import PredictionsTable

ROWS_AT_ONCE = 4096
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Systems:
    """What several systems said of the same images.

    Attributes
    ----------
    names : Index of str of shape (n_images,)
        Of the images.
    classes : tuple of str
        Sorted; what `truth` and answers count, and the columns of probabilities.
    truth : ndarray of int of shape (n_images,)
    products : ndarray of int of shape (n_images,), or None
        The product of each image as a number; None where each image is its own.
    seeds : tuple of str
        One name per seed; a single empty one where the tables tell none.
    answers : mapping of str to ndarray of int of shape (n_seeds, n_images)
        By system, in the order given.
    probs : mapping of str to ndarray of float32 of shape (n_seeds, n_images, n_classes)
        Of those systems that give probabilities; a system without seeds has one row for all of them.
    hierarchy : Hierarchy or None
    notes : tuple of str
        What a reader must know of the tables.
    product_names : tuple of str
        What the numbers of `products` stand for.
    """

    names: pd.Index
    classes: tuple[str, ...]
    truth: np.ndarray
    products: np.ndarray | None
    seeds: tuple[str, ...]
    answers: Mapping[str, np.ndarray]
    probs: Mapping[str, np.ndarray]
    hierarchy: Hierarchy | None
    notes: tuple[str, ...] = ()
    product_names: tuple[str, ...] = ()

    def correct(self, name: str) -> np.ndarray:
        """Return which answers are right, of shape (n_seeds, n_images)."""
        return self.answers[name] == self.truth


def join(
    tables: Mapping[str, PredictionsTable],
    truth: PredictionsTable | None = None,
    hierarchy: Hierarchy | None = None,
    *,
    by_column: bool = False,
) -> Systems:
    """Join systems by the names of their images.

    Parameters
    ----------
    tables : mapping of str to PredictionsTable
        By system. Its images are those of `truth`, else of the first table.
    truth : PredictionsTable, optional
        Truth, and products or coarse labels if there are any, where the tables don't hold them.
    hierarchy : Hierarchy, optional
        Must hold every class of truth and answers.
    by_column : bool
        Whether the hierarchy is read off the tables' coarse column.

    Returns
    -------
    Systems

    Raises
    ------
    DataError
        If an image is missing, doubled or unknown somewhere, tables contradict each other, a class is named
        differently, or probabilities are none.
    """
    sources = ([truth] if truth is not None else []) + list(tables.values())
    images = _images(sources)
    order = {id(table): _row_of(table, images) for table in sources}
    facts = {what: _agreed(what, sources, order, images) for what in ("truth", "product", "coarse")}
    true = facts["truth"]
    if true is None:
        raise DataError("No table holds the truth. Add a column truth, or name a file with it: --truth FILE.")
    if by_column:
        hierarchy = hierarchy_of_column(true, facts["coarse"])
    answers = {name: _answers(table) for name, table in tables.items()}
    classes = _classes(true, answers, tables, hierarchy)
    strange = _strange_answers(true, answers, tables)
    place = {label: index for index, label in enumerate(classes)}
    seeds, notes = _seeds(tables, order)
    notes += strange
    given, probs = {}, {}
    for name, table in tables.items():
        rows = order[id(table)]
        lookup = np.array([place[label] for label in answers[name].categories], dtype=np.int32)
        own = lookup[np.asarray(answers[name].codes)][rows]
        given[name] = np.broadcast_to(own, (len(seeds), len(images)))
        if table.probs is not None:
            probs[name] = _arranged(table, rows, place)
            notes += _contradictions(name, probs[name], own, classes, table)
    products = facts["product"]
    codes = None if products is None else np.asarray(products.codes)
    return Systems(
        names=images,
        classes=classes,
        truth=np.array([place[label] for label in true.categories], dtype=np.int32)[np.asarray(true.codes)],
        products=codes,
        seeds=seeds,
        answers=given,
        probs=probs,
        hierarchy=hierarchy,
        notes=tuple(notes),
        product_names=() if products is None else tuple(products.categories),
    )


def _images(sources: Sequence[PredictionsTable]) -> pd.Index:
    """Return the names of the images: the first source's, each once."""
    nameless = [table for table in sources if table.names is None]
    if nameless and len(nameless) < len(sources):
        raise DataError(
            f"{nameless[0].source} has no names of images, other tables have: images are joined by name. Add a column "
            "file_name to all, or give arrays alone."
        )
    first = sources[0]
    if first.names is not None:
        return pd.Index(first.names.unique())
    seeds = first.columns.get("seed")
    return pd.Index(np.arange(first.n_rows // (1 if seeds is None else len(seeds.categories))).astype(str))


def _row_of(table: PredictionsTable, images: pd.Index) -> np.ndarray:
    """Return where each image stands in a table, of shape (n_seeds, n_images); refuse any that is not there once."""
    seeds = table.columns.get("seed")
    n_seeds = 1 if seeds is None else len(seeds.categories)
    if table.names is None:
        if table.n_rows != n_seeds * len(images):
            raise DataError(
                f"{table.source} has {table.n_rows // n_seeds:,} rows, others {len(images):,}: arrays are joined by "
                "position and must be equally long."
            )
        return np.arange(table.n_rows).reshape(n_seeds, len(images))
    place = images.get_indexer(table.names)
    unknown = np.flatnonzero(place < 0)
    seed = (
        np.zeros(table.n_rows, dtype=np.int64) if seeds is None else np.asarray(seeds.codes, dtype=np.int64)
    )
    known = np.flatnonzero(place >= 0)
    cells = seed[known] * len(images) + place[known]
    counts = np.bincount(cells, minlength=n_seeds * len(images))
    faults = [
        _fault("unknown", table.names[unknown]),
        _fault("missing", images[np.flatnonzero(counts == 0) % len(images)]),
        _fault("doubled", images[np.flatnonzero(counts > 1) % len(images)]),
    ]
    if any(faults):
        per_seed = f" of {n_seeds} seeds" if n_seeds > 1 else ""
        raise DataError(
            f"{table.source}, {table.n_rows:,} rows{per_seed}, does not hold each of the {len(images):,} images once: "
            f"{'; '.join(filter(None, faults))}. All systems must answer the same images."
        )
    rows = np.empty(n_seeds * len(images), dtype=np.int64)
    rows[cells] = known
    return rows.reshape(n_seeds, len(images))


def _fault(word: str, names: pd.Index) -> str:
    return f"{len(names):,} {word} ({shortened(list(names.unique()[:4]), 3)})" if len(names) else ""


def _agreed(
    what: str, sources: Sequence[PredictionsTable], order: Mapping[int, np.ndarray], images: pd.Index
) -> pd.Categorical | None:
    """Return a fact about images that all tables that tell it agree on, of shape (n_images,)."""
    found, told_by = None, ""
    for table in sources:
        own = table.columns.get(what)
        if own is None:
            continue
        codes = np.asarray(own.codes)[order[id(table)]]
        if found is None:
            found, told_by = pd.Categorical.from_codes(codes[0], categories=own.categories), table.source
        same = pd.Index(found.categories).get_indexer(own.categories)[codes] == np.asarray(found.codes)
        differing = np.flatnonzero(~same.all(axis=0))
        if len(differing):
            at = differing[0]
            theirs = own.categories[codes[~same[:, at], at][0]]
            raise DataError(
                f"{len(differing):,} images have two values of {what}, such as {images[at]!r}: {found[at]!r} in "
                f"{told_by}, {theirs!r} in {table.source}. Mend one of them."
            )
    return found


def _answers(table: PredictionsTable) -> pd.Categorical:
    """Return a system's answers: those it gives, else the most probable class (of equals the first)."""
    if table.probs is not None:
        _check_probabilities(table, table.probs)
    if "answer" in table.columns:
        return table.columns["answer"]
    if table.probs is None:
        raise DataError(f"{table.source} has neither answers nor probabilities. Add a column answer.")
    return pd.Categorical.from_codes(
        table.probs.argmax(axis=1), categories=pd.Index(table.classes, dtype=object)
    )


def checked_probabilities(table: PredictionsTable) -> np.ndarray:
    """Return a table's probabilities, float64 of shape (n_rows, n_columns), rows sum to 1.

    Raises
    ------
    DataError
        If they are none.
    """
    assert table.probs is not None
    _check_probabilities(table, table.probs)
    found = table.probs.astype(np.float64).clip(0)
    return found / found.sum(axis=1, keepdims=True)


def _check_probabilities(table: PredictionsTable, probs: np.ndarray) -> None:
    if len(set(table.classes)) < len(table.classes):
        raise DataError(
            f"{table.source} has several columns of probabilities for one class. Keep one of each."
        )
    empty = negative = off = 0
    example = None
    for start in range(0, len(probs), ROWS_AT_ONCE):
        part = probs[start : start + ROWS_AT_ONCE].astype(np.float64)
        sums = part.sum(axis=1)
        nothing = ~np.isfinite(sums)
        below = ~nothing & (part.min(axis=1) < -1e-6)
        wrong = ~nothing & ~below & (np.abs(sums - 1) > _SUM_TOLERANCE)
        empty, negative, off = empty + nothing.sum(), negative + below.sum(), off + wrong.sum()
        bad = np.flatnonzero(nothing | below | wrong)
        if example is None and len(bad):
            row = start + int(bad[0])
            name = row if table.names is None else table.names[row]
            example = f"{name!r}, whose probabilities sum to {sums[bad[0]]:g}"
    counts = [(empty, "hold NaN or infinity"), (negative, "hold negative numbers"), (off, "do not sum to 1")]
    said = "; ".join(f"{count:,} rows {words}" for count, words in counts if count)
    if said:
        raise DataError(
            f"{table.source}: {said}, the first for {example}. Give probabilities, not logits; or answers alone."
        )


def _classes(
    true: pd.Categorical,
    answers: Mapping[str, pd.Categorical],
    tables: Mapping[str, PredictionsTable],
    hierarchy: Hierarchy | None,
) -> tuple[str, ...]:
    """Return all classes; refuse labels that are spelled differently, and classes nobody could answer."""
    labels = _used(true)
    numeric = all(_is_number(label) for label in labels)
    known = set(labels)
    for name, given in answers.items():
        said = _used(given)
        odd = [label for label in said if _is_number(label) != numeric and label not in known]
        if odd and (numeric or not any(_is_number(label) for label in labels)):
            raise DataError(
                f"{tables[name].source} answers {shortened(odd[:3])}, where the truth has {shortened(labels[:3])}: "
                "whole numbers and class names don't go together. Write class names in every table."
            )
        lacking = sorted(set(labels) - set(tables[name].classes)) if tables[name].classes else []
        if lacking:
            raise DataError(
                f"{tables[name].source} has no probabilities of {len(lacking)} classes of the truth: "
                f"{shortened(lacking)}. If the system can't answer them, add columns of zeros."
            )
    union = known.union(*(_used(given) for given in answers.values()), *(t.classes for t in tables.values()))
    if hierarchy is None:
        return tuple(sorted(union))
    outside = sorted(union - set(hierarchy.classes))
    if outside:
        raise DataError(
            f"The hierarchy lacks {len(outside)} classes of truth or answers: {shortened(outside)}. Add them to the "
            "hierarchy file."
        )
    return hierarchy.classes


def _strange_answers(
    true: pd.Categorical, answers: Mapping[str, pd.Categorical], tables: Mapping[str, PredictionsTable]
) -> list[str]:
    """Report answers that are no class of the truth; refuse those that are one in another spelling, and none but such.

    A truth of a single class is refused, too: whoever answers it always is right.
    """
    known = _used(true)
    if len(known) < 2:
        raise DataError(
            f"All {len(true):,} images are of one class, {known[0]!r}. A comparison needs images of at least two."
        )
    spelled, notes = {_folded(label): label for label in known}, []
    for name, given in answers.items():
        others = [label for label in _used(given) if label not in known]
        respelled = [
            label for label in others if _folded(label) in spelled and label not in tables[name].classes
        ]
        if respelled:
            raise DataError(
                f"{tables[name].source} answers {respelled[0]!r}, the truth has {spelled[_folded(respelled[0])]!r}: "
                f"{len(respelled)} classes differ in capitals or blanks alone. Spell them alike."
            )
        if len(others) == len(_used(given)):
            raise DataError(
                f"No answer of {tables[name].source} is a class of the truth: it answers {shortened(others[:3], 3)}, "
                f"the truth has {shortened(known[:3], 3)}. Are these tables of the same classes?"
            )
        if others:
            counts = np.bincount(np.asarray(given.codes), minlength=len(given.categories))
            wrong = int(sum(counts[given.categories.get_loc(label)] for label in others))
            notes.append(
                f"{name}: {wrong:,} answers name classes that no image has ({shortened(others, 3)})."
            )
    return notes


def _folded(label: str) -> str:
    return "".join(label.split()).casefold()


def _used(values: pd.Categorical) -> list[str]:
    """Return the categories that occur, sorted."""
    counts = np.bincount(np.asarray(values.codes), minlength=len(values.categories))
    return sorted(str(values.categories[index]) for index in np.flatnonzero(counts))


def _is_number(label: str) -> bool:
    return label.lstrip("-").replace(".", "", 1).isdigit()


def hierarchy_of_column(true: pd.Categorical | None, coarse: pd.Categorical | None) -> Hierarchy:
    """Read a hierarchy off the true classes and the macros of the same rows.

    Raises
    ------
    DataError
        If there is no such column, no truth beside it, or a class has several macros.
    """
    if true is None:
        raise DataError(
            "A hierarchy is read off a column beside the true classes. Add a column truth, or name a file."
        )
    if coarse is None:
        raise DataError("No table has the column that --hierarchy names. Name a column or a JSON file.")
    pairs = pd.DataFrame({"label": true, "macro": coarse}).drop_duplicates()
    try:
        return Hierarchy.from_labels(pairs["label"].astype(str).tolist(), pairs["macro"].astype(str).tolist())
    except ValueError as error:
        raise DataError(f"The hierarchy can't be read off the column: {error}") from error


def _seeds(
    tables: Mapping[str, PredictionsTable], order: Mapping[int, np.ndarray]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the seeds that pair the systems; one without seeds stands beside every seed of the others."""
    named = {name: tuple(_seed_names(table)) for name, table in tables.items()}
    several = {name: seeds for name, seeds in named.items() if len(seeds) > 1}
    if not several:
        return next(iter(named.values())), []
    counts = {len(seeds) for seeds in several.values()}
    if len(counts) > 1:
        said = ", ".join(f"{name} {len(seeds)}" for name, seeds in several.items())
        raise DataError(f"Systems must have equally many seeds, or one. Received: {said}. Leave seeds out.")
    notes = []
    single = [name for name in named if name not in several]
    if single:
        notes.append(f"{', '.join(single)}: one set of answers, set beside every seed of the others.")
    if len(set(several.values())) > 1:
        notes.append("Seeds are named differently; they are paired in the order of their names.")
    return next(iter(several.values())), notes


def _seed_names(table: PredictionsTable) -> list[str]:
    seeds = table.columns.get("seed")
    return [""] if seeds is None else [str(name) for name in seeds.categories]


def _arranged(table: PredictionsTable, rows: np.ndarray, place: Mapping[str, int]) -> np.ndarray:
    """Return probabilities in the order of images and classes, rows summing to 1, zero where there is no column."""
    given: Any = table.probs
    columns = np.array([place[label] for label in table.classes])
    whole = len(columns) == len(place) and (columns == np.arange(len(place))).all()
    found = np.zeros((*rows.shape, len(place)), dtype=np.float32)
    for seed, images in enumerate(rows):
        for start in range(0, len(images), ROWS_AT_ONCE):
            part = given[images[start : start + ROWS_AT_ONCE]].astype(np.float64).clip(0)
            part /= part.sum(axis=1, keepdims=True)
            target = found[seed, start : start + ROWS_AT_ONCE]
            if whole:
                target[:] = part
            else:
                target[:, columns] = part
    return found


def _contradictions(
    name: str, probs: np.ndarray, answers: np.ndarray, classes: tuple[str, ...], table: PredictionsTable
) -> list[str]:
    if "answer" not in table.columns:
        return []
    best = probs.argmax(axis=2)
    taken = np.take_along_axis(probs, answers[..., None].astype(np.int64), axis=2)[..., 0]
    differing = int((taken < np.take_along_axis(probs, best[..., None], axis=2)[..., 0]).sum())
    if not differing:
        return []
    return [
        f"{name}: {differing:,} answers are not the most probable class. Accuracy goes by the answers, calibration by "
        "the probabilities."
    ]
