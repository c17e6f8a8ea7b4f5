"""Sub-models in closed form: linear discriminants, one a macro, each with the covariance of its own macro.

A linear discriminant tells classes apart along the directions in which they differ, measured in units of the spread
inside classes. A flat one must assume that spread equal everywhere; one a macro learns its own, which a single
head over all classes can't. As sub-models behind the router that the flat model implies they need no epochs, and as
many parameters as one linear layer over all classes. Their flat baseline of exactly that cost is the flat model
together with one discriminant over all classes.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from aisles.data_prep.io.step_cache import read_facts, step
from aisles.experiments.metrics.probabilistic import nll
from aisles.hierarchy.calibration import (
    Temperatures,
    apply_temperature,
    fit_composed_temperatures,
    fit_temperature,
    held_temperature,
)
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import implied, macro_from_flat
from aisles.hierarchy.rules import parse_rule

from .head_jobs import HeadJob, flat_job
from .registry import Context, MethodResult, register_method
from .savable import routed_classifier

if TYPE_CHECKING:
    from aisles.experiments.benchmark.preparation import PreparedData
    from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

SHRINKAGES = (0.1, 0.3, 0.5, 0.7, 0.9)
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, eq=False)
class DiscriminantTables:
    """What discriminants of every shrinkage say; the distributions of one macro's classes sum to 1.

    Attributes
    ----------
    val, test : ndarray of shape (n_shrinkages, n_images, n_slots)
        Of validation images after training images alone, and of test images after both.
    """

    val: np.ndarray
    test: np.ndarray


def discriminant_tables(
    folder: Path, prepared: "PreparedData", features: np.ndarray, feature_key: str, hierarchy: Hierarchy
) -> DiscriminantTables:
    """Fit a discriminant per macro, for every shrinkage; kept as a step.

    Each is linear discriminant analysis with a covariance pooled over the macro's classes and drawn towards a
    multiple of the identity by `SHRINKAGES` (Friedman, Regularized discriminant analysis, JASA 1989).
    """
    inputs = {
        "data": prepared.fingerprint,
        "features": feature_key,
        "members": hierarchy.members,
        "by": SHRINKAGES,
        "precision": "float64",
    }

    def make(part: Path) -> None:
        start = time.perf_counter()
        train, val, test = (prepared.rows(split) for split in ("train", "val", "test"))
        labels = prepared.manifest.labels.astype(str)
        both = np.concatenate([train, val])
        tables = {"val": _tables(features, labels, train, val, hierarchy)}
        tables["test"] = _tables(features, labels, both, test, hierarchy)
        seconds = round(time.perf_counter() - start, 3)
        (part / "budget.json").write_text(json.dumps({"seconds": seconds}))
        np.savez_compressed(part / "tables.npz", val=tables["val"], test=tables["test"])

    with threadpool_limits(1):
        step(folder, inputs, make)
    with np.load(folder / "tables.npz", allow_pickle=False) as arrays:
        return DiscriminantTables(arrays["val"], arrays["test"])


def _heads(context: Context) -> list[HeadJob]:
    return [flat_job(context.classes, seed) for seed in context.seeds]


def _discriminant_saved(context: Context) -> "TwoStageClassifier":
    """Return flat and the chosen discriminants, routed by `implied`; the router is there for the other rules."""
    from aisles.models.prediction.label_model import LabelModel
    from aisles.models.prediction.two_stage import TwoStageClassifier

    hierarchy = context.hierarchy
    tables, _ = _discriminants(context, "discriminant", hierarchy)
    chosen = choose_within(tables, hierarchy, context.targets[context.rows("val")])
    whole = routed_classifier(context, parse_rule("implied"), hierarchy)
    submodels = [
        LabelModel(members, context.backbone, _refitted(context, members, chosen.shrinkage, temperature))
        if len(members) > 1
        else LabelModel(members)
        for members, temperature in zip(hierarchy.members, chosen.temperatures.submodels, strict=True)
    ]
    return TwoStageClassifier(whole.router, submodels, hierarchy, flat=whole.flat, rule="implied")


def _flat_discriminant_saved(context: Context) -> "FlatClassifier":
    """Return flat and the chosen discriminant as one head; its temperature comes from validation images."""
    from aisles.models.heads.combined import geometric_mean as multiplied
    from aisles.models.prediction.label_model import LabelModel
    from aisles.models.prediction.two_stage import FlatClassifier

    tables, _ = _discriminants(context, "flat-discriminant", Hierarchy(("ALL",), (context.classes,)))
    flat_val, flat_test, val_truth = _flat_says(context)
    chosen = choose_with_flat(tables, flat_val, flat_test, val_truth)
    discriminant = _refitted(context, context.classes, chosen.shrinkage, chosen.temperature)
    head = multiplied(context.trainer.flat(0).network(), discriminant, chosen.weight)
    temperature = held_temperature(_log(chosen.val[0]), val_truth)
    return FlatClassifier(LabelModel(context.classes, context.backbone, head, temperature), context.hierarchy)


def _refitted(context: Context, members: Sequence[str], shrinkage: float, temperature: float):
    """Fit a discriminant of the training and validation images of some classes as a network."""
    from aisles.models.heads.closed_form import fit_lda

    rows = np.concatenate([context.rows("train"), context.rows("val")])
    labels = context.prepared.manifest.labels.astype(str)
    rows = rows[np.isin(labels[rows], members)]
    targets = np.array([list(members).index(name) for name in labels[rows]])
    settings = [{"feature_map": "raw", "shrinkage": shrinkage}]
    (head,) = fit_lda(context.features[rows], targets, len(members), settings)
    return head.divided(temperature).network()


@register_method(
    "discriminant",
    description="flat's own macro probabilities, times a linear discriminant per macro",
    heads=_heads,
    classifier=_discriminant_saved,
    full=True,
)
def discriminant(context: Context) -> MethodResult:
    """Put a discriminant per macro behind the router that the flat model implies.

    Shrinkage and temperatures come from validation images.
    """
    hierarchy = context.hierarchy
    tables, seconds = _discriminants(context, "discriminant", hierarchy)
    flat_val, flat_test, val_truth = _flat_says(context)
    probs, val_probs, within_test = in_macros(tables, hierarchy, flat_test, flat_val, val_truth)
    in_order = within_test[:, np.argsort(hierarchy.slot_class)].astype(np.float32)
    macro, val_macro = (
        np.stack([macro_from_flat(p, hierarchy) for p in some]).astype(np.float32)
        for some in (flat_test, flat_val)
    )
    return MethodResult(
        np.stack(probs),
        np.stack(val_probs),
        tuple((job,) for job in _heads(context)),
        hierarchy,
        macro,
        val_macro,
        head_passes=1.0 + hierarchy.n_macros,
        parameters=_n_weights(context, hierarchy),
        inside=np.repeat(in_order[None], len(probs), axis=0),
        searched=len(SHRINKAGES),
        seconds=seconds,
    )


@register_method(
    "flat-discriminant",
    description="flat times one linear discriminant over all classes",
    role="ensemble",
    heads=_heads,
    classifier=_flat_discriminant_saved,
    full=True,
)
def flat_discriminant(context: Context) -> MethodResult:
    """Multiply the flat model with a discriminant over all classes, P_flat^(1 - w) P^w, rescaled.

    Shrinkage, temperature and weight come from validation images.
    """
    hierarchy = Hierarchy(("ALL",), (context.classes,))
    tables, seconds = _discriminants(context, "flat-discriminant", hierarchy)
    flat_val, flat_test, val_truth = _flat_says(context)
    probs, val_probs = with_flat(tables, hierarchy, flat_test, flat_val, val_truth)
    return MethodResult(
        np.stack(probs),
        np.stack(val_probs),
        tuple((job,) for job in _heads(context)),
        head_passes=2.0,
        parameters=_n_weights(context, hierarchy),
        searched=len(SHRINKAGES) * len(WEIGHTS),
        seconds=seconds,
    )


def _discriminants(context: Context, name: str, hierarchy: Hierarchy) -> tuple[DiscriminantTables, float]:
    place, trainer = context.place(name), context.trainer
    tables = discriminant_tables(place, context.prepared, trainer.features, trainer.feature_key, hierarchy)
    return tables, read_facts(place / "budget.json")["seconds"]


def _flat_says(context: Context) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    val, test = context.rows("val"), context.rows("test")
    fitted = [context.trainer.flat(seed) for seed in context.seeds]
    return [m.val_probs[val] for m in fitted], [m.probs[test] for m in fitted], context.targets[val]


def _n_weights(context: Context, hierarchy: Hierarchy) -> int:
    return (context.features.shape[1] + 1) * sum(size for size in hierarchy.sizes if size > 1)


def in_macros(tables: DiscriminantTables, hierarchy: Hierarchy, flat_test, flat_val, val_truth: np.ndarray):
    """Put the chosen discriminants behind the macros that flat models imply.

    Returns
    -------
    tuple
        Class distributions of test and of validation images, one a flat model; what the discriminants say of test
        images, of shape (n_images, n_slots).
    """
    chosen = choose_within(tables, hierarchy, val_truth)
    return (
        [implied(flat, chosen.test, hierarchy) for flat in flat_test],
        [implied(flat, chosen.val, hierarchy) for flat in flat_val],
        chosen.test,
    )


@dataclass(frozen=True, eq=False)
class ChosenWithin:
    """The discriminants that validation images prefer inside macros.

    Attributes
    ----------
    shrinkage : float
    temperatures : Temperatures
        Of the discriminants; the router's means nothing.
    val, test : ndarray of shape (n_images, n_slots)
        What they say, the temperatures applied.
    """

    shrinkage: float
    temperatures: Temperatures
    val: np.ndarray
    test: np.ndarray


def choose_within(tables: DiscriminantTables, hierarchy: Hierarchy, val_truth: np.ndarray) -> ChosenWithin:
    """Choose shrinkage and temperatures by the likelihood of validation images inside their true macros."""
    true_macro = np.eye(hierarchy.n_macros)[hierarchy.macro_of[val_truth]]
    best, chosen = np.inf, None
    for shrinkage, val, test in zip(SHRINKAGES, tables.val, tables.test, strict=True):
        uniform = np.zeros((len(val), hierarchy.n_macros))
        temperatures = fit_composed_temperatures(uniform, _log(val), hierarchy, val_truth)
        scaled = [temperatures.apply_submodels(table, hierarchy) for table in (val, test)]
        loss = nll(_mixed(true_macro, scaled[0], hierarchy), val_truth)
        if chosen is None or loss < best:
            best, chosen = loss, ChosenWithin(shrinkage, temperatures, *scaled)
    assert chosen is not None
    return chosen


def with_flat(tables: DiscriminantTables, hierarchy: Hierarchy, flat_test, flat_val, val_truth: np.ndarray):
    """Multiply flat models with the chosen discriminant; test and validation images, one table per flat model."""
    order = np.argsort(hierarchy.slot_class)
    sorted_tables = DiscriminantTables(tables.val[:, :, order], tables.test[:, :, order])
    chosen = choose_with_flat(sorted_tables, flat_val, flat_test, val_truth)
    return chosen.test, chosen.val


@dataclass(frozen=True, eq=False)
class ChosenWithFlat:
    """The product of flat models and a discriminant that validation images prefer.

    Attributes
    ----------
    shrinkage, temperature, weight : float
        Of the discriminant; the weight is its exponent.
    val, test : list of ndarray of shape (n_images, n_classes)
        The products, one per flat model.
    """

    shrinkage: float
    temperature: float
    weight: float
    val: list[np.ndarray]
    test: list[np.ndarray]


def choose_with_flat(
    tables: DiscriminantTables, flat_val, flat_test, val_truth: np.ndarray
) -> ChosenWithFlat:
    """Choose shrinkage, temperature and weight by the likelihood of validation images, over all seeds."""
    best, chosen = np.inf, None
    for shrinkage, val, test in zip(SHRINKAGES, tables.val, tables.test, strict=True):
        temperature = fit_temperature(_log(val), val_truth)
        val, test = apply_temperature(val, temperature), apply_temperature(test, temperature)
        for weight in WEIGHTS:
            mixed = [geometric_mean(flat, val, weight) for flat in flat_val]
            loss = float(np.mean([nll(probs, val_truth) for probs in mixed]))
            if chosen is None or loss < best:
                products = [geometric_mean(flat, test, weight) for flat in flat_test]
                best, chosen = loss, ChosenWithFlat(shrinkage, temperature, weight, mixed, products)
    assert chosen is not None
    return chosen


def geometric_mean(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """Return first^(1 - weight) second^weight, rescaled to sum to 1 in every row."""
    logs = (1 - weight) * _log(first) + weight * _log(second)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _mixed(macro_probs: np.ndarray, within: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    joint = macro_probs[:, hierarchy.slot_macro] * within
    return joint[:, np.argsort(hierarchy.slot_class)]


def _tables(features: np.ndarray, labels: np.ndarray, train, asked, hierarchy: Hierarchy) -> np.ndarray:
    tables = np.ones((len(SHRINKAGES), len(asked), hierarchy.n_slots))  # float32 would end at 1e-45
    for members, block in zip(hierarchy.members, hierarchy.blocks, strict=True):
        rows = train[np.isin(labels[train], members)]
        if len(members) > 1:
            tables[:, :, block] = discriminant_probs(
                features[rows], labels[rows], features[asked], members, SHRINKAGES
            )
    return tables


def discriminant_probs(
    features: np.ndarray,
    labels: np.ndarray,
    asked: np.ndarray,
    members: Sequence[str],
    shrinkages: Sequence[float],
) -> np.ndarray:
    """Fit linear discriminants and give the probabilities of other images.

    Parameters
    ----------
    features, labels : ndarray of shape (n_images, dimension) and (n_images,)
        Of training images of the members; each member has at least one.
    asked : ndarray of shape (n_asked, dimension)
    members : sequence of str
        The classes, in the order of the columns.
    shrinkages : sequence of float
        s in (0, 1]: the covariance is (1 - s) C + s tr(C) / dimension I, C pooled inside the classes.

    Returns
    -------
    ndarray of shape (n_shrinkages, n_asked, n_members)
        Softmax of x C^-1 m_c - m_c C^-1 m_c / 2 + log share of c, as scikit-learn's LinearDiscriminantAnalysis. One
        decomposition serves all shrinkages.
    """
    x, wanted = features.astype(np.float64), np.array(members)
    means = np.stack([x[labels == name].mean(axis=0) for name in wanted])
    shares = np.array([(labels == name).mean() for name in wanted])
    centered = x - means[np.argmax(labels[:, None] == wanted, axis=1)]
    values, vectors = np.linalg.eigh(centered.T @ centered / len(x))
    rotated_means, rotated = means @ vectors, asked.astype(np.float64) @ vectors
    tables = []
    for shrinkage in shrinkages:
        spread = (1 - shrinkage) * np.maximum(values, 0) + shrinkage * values.mean()
        weights = rotated_means / np.maximum(spread, 1e-12)
        scores = rotated @ weights.T - 0.5 * (weights * rotated_means).sum(axis=1) + np.log(shares)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        tables.append(powers / powers.sum(axis=1, keepdims=True))
    return np.stack(tables)


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, 1e-12))
