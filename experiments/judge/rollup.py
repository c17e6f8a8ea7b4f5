"""Class and macro, and at which level to answer, from a table of class probabilities that was made anywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.images.columns import shortened
from aisles.data_prep.io.errors import DataError
from aisles.hierarchy.distributions import sum_columns
from aisles.hierarchy.guarantees import ClimbGuarantee, SetRule, climb_guarantee, fit_prediction_sets
from aisles.hierarchy.hierarchical_sets import HierarchicalSetRule, fit_hierarchical_sets
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import climb as climb_answers
from aisles.hierarchy.rule_functions import climb_thresholds

from .systems import checked_probabilities, hierarchy_of_column
from .tables import ColumnNames, PredictionsTable, array_table, frame_tables, read_predictions


@dataclass(frozen=True, eq=False)
class Rollup:
    """Answers along a hierarchy.

    Attributes
    ----------
    table : DataFrame
        One row per row of the table given: `file_name`; `seed` and `truth` if there are any; `answered` (class, macro
        or none), `answer` and its `probability`; the most probable `class` and the `macro` that holds it, each with its
        probability; with a coverage `set` and `hierarchical_set`, tuples of names, the most probable first.
    threshold : (float, float) or None
        Of class and macro; None where the class is always answered.
    climb : ClimbGuarantee or None
        What the threshold guarantees.
    sets : SetRule or None
    hierarchical_sets : HierarchicalSetRule or None
    metrics : dict
        Rows by level answered; with truth the share of right answers at each level and of sets that hold it; the mean
        number of names in each kind of set.
    notes : tuple of str
    """

    table: pd.DataFrame
    threshold: tuple[float, float] | None
    climb: ClimbGuarantee | None
    sets: SetRule | None
    hierarchical_sets: HierarchicalSetRule | None
    metrics: dict[str, Any]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Rollup({len(self.table)} rows; {self.summary().splitlines()[0]})"

    def _repr_html_(self) -> str:
        return self.table.to_html(max_rows=10, float_format="{:.3f}".format, na_rep="", index=False)

    def summary(self) -> str:
        """Return in a few lines what was answered."""
        lines = [_levels(self.metrics)]
        if self.climb is not None:
            lines.append(
                f"threshold {self.threshold[0]:g}: at least {self.climb.target:.0%} of given answers right, with "
                f"confidence {1 - self.climb.delta:.0%}, by {self.climb.n_images:,} calibration images"
                if self.threshold is not None and self.threshold[0] <= 1
                else f"no threshold guarantees {self.climb.target:.0%}: nothing is answered"
            )
        for kind, facts in self.metrics.get("sets", {}).items():
            held = "" if facts["held"] is None else f", {facts['held']:.1%} hold the true class"
            lines.append(
                f"{kind} sets ({facts['coverage']:.0%} guaranteed): {facts['names']:.2f} names, "
                f"{facts['classes']:.2f} classes on average{held}"
            )
        return "\n".join([*lines, *self.notes])


def rollup(
    table: Any,
    hierarchy: Hierarchy | Mapping[Any, Sequence[Any]] | str | Path,
    *,
    classes: Sequence[Any] | None = None,
    climb: float | tuple[float, float] | None = None,
    calibration: Any = None,
    share: float | None = None,
    coverage: float | None = None,
    sets: str = "lac",
    seed: str = "seed",
) -> Rollup:
    """Roll class probabilities up a hierarchy: class and macro, their probabilities, and the level to answer.

    A macro's probability is the sum of its classes'. No network is loaded.

    Parameters
    ----------
    table : path, DataFrame or array of shape (n, n_classes)
        A predictions table with probabilities (columns p:CLASS), as `aisles.compare` reads; or an array with `classes`.
    hierarchy : Hierarchy, mapping, path or str
        Each class in one macro; or the name of a column with the macro of each image's true class.
    classes : sequence, optional
        Of an array's columns.
    climb : float or (float, float), optional
        Answer the class if its probability reaches this, else its macro if that does, else nothing; two numbers are
        for class and macro. Always the class unless given.
    calibration : path, DataFrame or array, optional
        A table as `table`, with truth, of images from which nothing was learned; one image per product is best.
    share : float, optional
        With `calibration`, choose the lowest threshold under which this share of given answers is right.
    coverage : float, optional
        With `calibration`, add sets that hold the true class for this share of images: flat ones and hierarchical ones.
    sets : {'lac', 'aps'}
        The kind of set; see `fit_prediction_sets`.
    seed : str
        The column with the training seed; rows of several seeds are answered one by one.

    Returns
    -------
    Rollup

    Raises
    ------
    DataError
        If tables can't be read, hold no probabilities, or don't fit the hierarchy.
    ValueError
        If an option is out of range, or there are too few calibration images.
    """
    if climb is not None and share is not None:
        raise ValueError("Give `climb`, a threshold, or `share`, from which one is found; not both.")
    if (share is not None or coverage is not None) and calibration is None:
        needs = "share" if share is not None else "coverage"
        raise ValueError(
            f"`{needs}` is guaranteed by calibration images: give `calibration`, a table with truth."
        )
    if calibration is not None and share is None and coverage is None:
        raise ValueError("`calibration` is there to guarantee something: give `share` or `coverage`.")
    threshold = None if climb is None else climb_thresholds(climb)
    brought, column = _hierarchy(hierarchy)
    given = _table(table, "the table", ColumnNames(seed=seed, coarse=column), classes)
    tree = brought or hierarchy_of_column(given.columns.get("truth"), given.columns.get("coarse"))
    if tree.overlapping:
        raise DataError(
            "A macro's probability is the sum of its classes': each class must stand in one macro."
        )
    notes: list[str] = []
    probs = _probs(given, tree, notes)
    macro_probs = sum_columns(probs, tree.macro_of, tree.n_macros)
    found_climb = flat_rule = tree_rule = None
    if calibration is not None:
        known = _table(calibration, "calibration", ColumnNames(seed=seed), classes)
        cal_probs, labels = _probs(known, tree, notes), _labels(known, tree, notes)
        if share is not None:
            cal_macros = sum_columns(cal_probs, tree.macro_of, tree.n_macros)
            found_climb = climb_guarantee(cal_probs, cal_macros, tree, labels, share)
            threshold = (found_climb.threshold, found_climb.threshold)
        if coverage is not None:
            flat_rule = fit_prediction_sets(cal_probs, labels, coverage, sets)
            tree_rule = fit_hierarchical_sets(cal_probs, labels, coverage, tree, sets)
    answers, levels = _answers(given, tree, probs, macro_probs, threshold)
    truth = _codes(given, tree)
    metrics = _metrics(levels, answers, truth, tree, probs)
    if flat_rule is not None and tree_rule is not None:
        metrics["sets"] = _add_sets(answers, probs, tree, flat_rule, tree_rule, truth)
    return Rollup(answers, threshold, found_climb, flat_rule, tree_rule, metrics, tuple(dict.fromkeys(notes)))


def _hierarchy(given: Any) -> tuple[Hierarchy | None, str | None]:
    if isinstance(given, str) and Path(given).suffix.lower() != ".json" and not Path(given).is_file():
        return None, given
    try:
        return Hierarchy.of(given), None
    except FileNotFoundError as error:
        raise DataError(f"The hierarchy {str(given)!r} is not there.") from error
    except ValueError as error:
        raise DataError(f"The hierarchy can't be used: {error}") from error


def _table(given: Any, what: str, columns: ColumnNames, classes: Sequence[Any] | None) -> PredictionsTable:
    if isinstance(given, str | Path):
        tables = read_predictions(given, columns)
    elif isinstance(given, pd.DataFrame):
        tables = frame_tables(given, what, columns)
    else:
        tables = {"": array_table(np.asarray(given), what, classes)}
    if len(tables) > 1:
        raise DataError(f"{what} holds several methods: {shortened(list(tables))}. Give the rows of one.")
    (table,) = tables.values()
    if table.probs is None:
        raise DataError(f"{table.source} has no probabilities. Add a column p:CLASS for each class.")
    return table


def _probs(table: PredictionsTable, tree: Hierarchy, notes: list[str]) -> np.ndarray:
    """Return checked probabilities in the order of the hierarchy's classes, float64, rows sum to 1."""
    unknown = sorted(set(table.classes) - set(tree.classes))
    if unknown:
        raise DataError(
            f"{table.source} has probabilities of {len(unknown)} classes that the hierarchy lacks: "
            f"{shortened(unknown)}. Add them to a macro."
        )
    lacking = sorted(set(tree.classes) - set(table.classes))
    if lacking:
        notes.append(f"{table.source}: no column for {shortened(lacking)}, whose probability is 0.")
    given = checked_probabilities(table)
    found = np.zeros((len(given), tree.n_classes))
    found[:, [tree.classes.index(name) for name in table.classes]] = given
    return found


def _codes(table: PredictionsTable, tree: Hierarchy) -> np.ndarray | None:
    """Return the true classes as indices into the hierarchy's, -1 for others; None without truth."""
    truth = table.columns.get("truth")
    if truth is None:
        return None
    return pd.Index(tree.classes).get_indexer(pd.Index(truth.categories))[np.asarray(truth.codes)]


def _labels(table: PredictionsTable, tree: Hierarchy, notes: list[str]) -> np.ndarray:
    labels = _codes(table, tree)
    if labels is None:
        raise DataError(f"{table.source} has no truth, by which guarantees are set. Add a column truth.")
    if (labels < 0).any():
        names = np.asarray(table.columns["truth"])[labels < 0]
        raise DataError(
            f"{table.source}: {len(names):,} rows are of classes that the hierarchy lacks: "
            f"{shortened(sorted(set(map(str, names))))}. Add them to a macro."
        )
    product = table.columns.get("product")
    if product is not None and len(product.categories) < table.n_rows:
        notes.append(
            f"{table.source}: {table.n_rows:,} images of {len(product.categories):,} products. Images of one product "
            "are not independent, and guarantees count them as if they were: keep one of each."
        )
    return labels


def _answers(
    table: PredictionsTable,
    tree: Hierarchy,
    probs: np.ndarray,
    macro_probs: np.ndarray,
    threshold: tuple[float, float] | None,
) -> tuple[pd.DataFrame, np.ndarray]:
    found = climb_answers(probs, macro_probs, (0.0, 0.0) if threshold is None else threshold, tree)
    rows = np.arange(len(probs))
    best, sure = probs[rows, found.class_index], macro_probs[rows, found.macro_index]
    label = np.array(tree.classes, object)[found.class_index]
    macro = np.array(tree.macros, object)[found.macro_index]
    at_class, at_macro = found.levels == "class", found.levels == "macro"
    names = [f"row-{row}" for row in rows] if table.names is None else table.names
    facts = {what: table.columns[what] for what in ("seed", "truth") if what in table.columns}
    nothing = np.full(len(rows), None, dtype=object)
    answered = {
        "file_name": list(names),
        **{what: list(values) for what, values in facts.items()},
        "answered": found.levels,
        "answer": np.where(at_class, label, np.where(at_macro, macro, nothing)),
        "probability": np.where(at_class, best, np.where(at_macro, sure, 0.0)),
        "class": label,
        "class_probability": best,
        "macro": macro,
        "macro_probability": sure,
    }
    # Text as objects: as pandas' own texts, no answer would be NaN.
    columns = {
        name: pd.Series(list(values), dtype=float if name.endswith("probability") else object)
        for name, values in answered.items()
    }
    return pd.DataFrame(columns), found.levels


def _metrics(
    levels: np.ndarray, answers: pd.DataFrame, truth: np.ndarray | None, tree: Hierarchy, probs: np.ndarray
) -> dict[str, Any]:
    counts = {level: int((levels == level).sum()) for level in ("class", "macro", "none")}
    if truth is None:
        return {"rows": len(levels), "answered": counts, "right": None}
    macro_of = np.append(tree.macro_of, -1)  # of a truth outside the hierarchy: no macro
    label = probs.argmax(axis=1)
    right_class, right_macro = label == truth, tree.macro_of[label] == macro_of[truth]
    right = {
        level: float(held[levels == level].mean()) if counts[level] else None
        for level, held in (("class", right_class), ("macro", right_macro))
    }
    return {"rows": len(levels), "answered": counts, "right": right}


def _add_sets(
    answers: pd.DataFrame,
    probs: np.ndarray,
    tree: Hierarchy,
    flat_rule: SetRule,
    tree_rule: HierarchicalSetRule,
    truth: np.ndarray | None,
) -> dict[str, Any]:
    """Add both kinds of set to the answers, and return what they are like."""
    flat, along = flat_rule.sets(probs), tree_rule.sets(probs, tree)
    macro_probs = sum_columns(probs, tree.macro_of, tree.n_macros)
    names = np.array([*tree.classes, *tree.macros], dtype=object)
    sure = np.hstack([probs, macro_probs])
    answers["set"] = _named(flat, probs, names)
    answers["hierarchical_set"] = _named(np.hstack([along.classes, along.macros]), sure, names)
    rows = np.arange(len(probs))
    found = {}
    for kind, n_names, members in (
        ("flat", flat.sum(axis=1), flat),
        ("hierarchical", along.n_names, along.members),
    ):
        held = None if truth is None else float((members[rows, truth] & (truth >= 0)).mean())
        found[kind] = {
            "coverage": flat_rule.coverage,
            "names": float(n_names.mean()),
            "classes": float(members.sum(axis=1).mean()),
            "empty": int((n_names == 0).sum()),
            "held": held,
        }
    return found


def _named(chosen: np.ndarray, sure: np.ndarray, names: np.ndarray) -> list[tuple[str, ...]]:
    order = np.argsort(-sure, axis=1, kind="stable")
    return [tuple(names[of[row[of]]]) for row, of in zip(chosen, order, strict=True)]


def _levels(metrics: Mapping[str, Any]) -> str:
    right = metrics["right"] or {}
    told = []
    for level, count in metrics["answered"].items():
        share = right.get(level)
        told.append(f"{level} {count:,}" + ("" if share is None else f" ({share:.1%} right)"))
    return f"{metrics['rows']:,} rows answered: {', '.join(told)}"
