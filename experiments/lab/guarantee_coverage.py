"""Whether guarantees are kept: the images of a test split dealt again and again into calibration and new images.

    python -m experiments.lab.guarantee_coverage BUNDLE MANIFEST
    python -m experiments.lab.guarantee_coverage RUN

Question: of the answers that climb gives under a guarantee of 95 %, how many are right, how many images do the
prediction sets cover, and with how many names? Each deal calibrates on one half and counts on the other. Of a run of
`aisles benchmark` the primary rule's probabilities of the first seed are taken, as the run judged them.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from aisles.hierarchy.guarantees import SET_METHODS, climb_guarantee, fit_prediction_sets
from aisles.hierarchy.hierarchical_sets import fit_hierarchical_sets
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import climb


@dataclass(frozen=True)
class Coverage:
    """What a guarantee came to over all deals.

    Attributes
    ----------
    target, delta : float
        The guaranteed share, and the chance over deals that it may be missed.
    n_deals, n_calibration, n_new : int
    right_of_answered : float
        Mean share of right answers among those given.
    share_of_deals_kept : float
        Deals in which the share on the new images reached the target. The guarantee is about the distribution: the
        share of finitely many new images lies below a kept target in up to half of the deals.
    answered, answered_class : float
        Mean share of new images that got an answer, and that got a class.
    thresholds : tuple of float
        Lowest, median and highest.
    set_coverage : dict of str to (float, float)
        For each kind of set the mean share of covered images and the mean number of names in a set: of classes, and in
        hierarchical sets (`lac, hierarchical`) of classes and macros.
    """

    target: float
    delta: float
    n_deals: int
    n_calibration: int
    n_new: int
    right_of_answered: float
    share_of_deals_kept: float
    answered: float
    answered_class: float
    thresholds: tuple[float, float, float]
    set_coverage: dict[str, tuple[float, float]]


def measure_coverage(
    probs: np.ndarray,
    macro_probs: np.ndarray,
    hierarchy: Hierarchy,
    labels: np.ndarray,
    target: float,
    *,
    delta: float = 0.1,
    n_deals: int = 200,
    seed: int = 0,
) -> Coverage:
    """Deal images into halves, calibrate on one and count on the other.

    Parameters
    ----------
    probs, macro_probs : ndarray of shape (n, n_classes), (n, n_macros)
    hierarchy : Hierarchy
    labels : int ndarray of shape (n,)
        Indices into `hierarchy.classes`.
    target, delta : float
    n_deals, seed : int
    """
    rng = np.random.default_rng(seed)
    holds = np.zeros((hierarchy.n_macros, hierarchy.n_classes), bool)
    holds[hierarchy.slot_macro, hierarchy.slot_class] = True
    half = len(labels) // 2
    rows, sets = [], {name: [] for method in SET_METHODS for name in (method, f"{method}, hierarchical")}
    for _ in range(n_deals):
        order = rng.permutation(len(labels))
        known, new = order[:half], order[half:]
        found = climb_guarantee(probs[known], macro_probs[known], hierarchy, labels[known], target, delta)
        answers = climb(probs[new], macro_probs[new], found.threshold, hierarchy)
        at_class, given = answers.levels == "class", answers.answered
        right = np.where(
            at_class, answers.class_index == labels[new], holds[answers.macro_index, labels[new]]
        )
        share = right[given].mean() if given.any() else np.nan
        rows.append((share, given.mean(), at_class.mean(), found.threshold))
        truth = np.arange(len(new)), labels[new]
        for method in SET_METHODS:
            inside = fit_prediction_sets(probs[known], labels[known], target, method).sets(probs[new])
            sets[method].append((inside[truth].mean(), inside.sum(1).mean()))
            if hierarchy.overlapping:
                continue
            rule = fit_hierarchical_sets(probs[known], labels[known], target, hierarchy, method)
            along = rule.sets(probs[new], hierarchy)
            sets[f"{method}, hierarchical"].append((along.members[truth].mean(), along.n_names.mean()))
    shares, given, at_class, thresholds = np.array(rows).T
    answering = ~np.isnan(shares)
    return Coverage(
        target,
        delta,
        n_deals,
        half,
        len(labels) - half,
        float(np.nanmean(shares)) if answering.any() else 1.0,
        float(np.where(answering, shares >= target, True).mean()),
        float(given.mean()),
        float(at_class.mean()),
        (float(thresholds.min()), float(np.median(thresholds)), float(thresholds.max())),
        {
            name: (float(c), float(s))
            for name, (c, s) in ((n, np.mean(v, axis=0)) for n, v in sets.items() if v)
        },
    )


def _of_bundle(bundle: str, manifest: str) -> tuple[np.ndarray, np.ndarray, Hierarchy, np.ndarray]:
    """Return probabilities of classes and macros, the hierarchy and the true classes of a manifest's test images."""
    from aisles.data_prep.images.manifest import read_manifest
    from aisles.models.bundles.bundle import load_bundle

    classifier, images = load_bundle(bundle), read_manifest(manifest)
    test, hierarchy = images.keep(images.splits == "test"), classifier.hierarchy
    if hierarchy is None:
        raise ValueError(f"{bundle} has no hierarchy to climb in. Give another bundle.")
    probs, macro_probs = classifier.predict_proba(test.paths), classifier.predict_macro_proba(test.paths)
    return (
        probs,
        macro_probs,
        hierarchy,
        np.searchsorted(np.array(hierarchy.classes), test.labels.astype(str)),
    )


def _of_run(folder: str) -> tuple[np.ndarray, np.ndarray, Hierarchy, np.ndarray]:
    """Return the same of a run's primary rule and its first seed."""
    from aisles.experiments.runs.reader import read_run

    run = read_run(folder)
    tables = (by[run.primary][0].astype(np.float64) for by in (run.classes_by, run.router_by))
    probs, macro_probs = (table / table.sum(axis=1, keepdims=True) for table in tables)
    return probs, macro_probs, run.hierarchy, run.truth


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on the test images of a manifest."""
    parser = argparse.ArgumentParser(prog="python -m experiments.lab.guarantee_coverage")
    parser.add_argument("source", metavar="BUNDLE|RUN")
    parser.add_argument("manifest", nargs="?", help="the images of a bundle; a run has its own")
    parser.add_argument("--targets", type=float, nargs="+", default=[0.8, 0.9, 0.95])
    parser.add_argument("--deals", type=int, default=200)
    options = parser.parse_args(arguments)
    if options.manifest is None:
        probs, macro_probs, hierarchy, labels = _of_run(options.source)
    else:
        probs, macro_probs, hierarchy, labels = _of_bundle(options.source, options.manifest)
    rows = [
        asdict(measure_coverage(probs, macro_probs, hierarchy, labels, target, n_deals=options.deals))
        for target in options.targets
    ]
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
