"""Whether guarantees are kept: the images of a test split dealt again and again into calibration and new images.

    python -m experiments.lab.guarantee_coverage BUNDLE MANIFEST

Question: of the answers that climb gives under a guarantee of 95 %, how many are right, and how many images do the
prediction sets cover? Each deal calibrates on one half and counts on the other.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from aisles.hierarchy.guarantees import climb_guarantee, fit_prediction_sets
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
        For each kind of set the mean share of covered images and the mean number of classes in a set.
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
    rows, sets = [], {"lac": [], "aps": []}
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
        for method, counts in sets.items():
            inside = fit_prediction_sets(probs[known], labels[known], target, method).sets(probs[new])
            counts.append((inside[np.arange(len(new)), labels[new]].mean(), inside.sum(1).mean()))
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
        {name: (float(c), float(s)) for name, (c, s) in ((n, np.mean(v, axis=0)) for n, v in sets.items())},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on the test images of a manifest."""
    parser = argparse.ArgumentParser(prog="python -m experiments.lab.guarantee_coverage")
    parser.add_argument("bundle")
    parser.add_argument("manifest")
    parser.add_argument("--targets", type=float, nargs="+", default=[0.8, 0.9, 0.95])
    parser.add_argument("--deals", type=int, default=200)
    options = parser.parse_args(arguments)
    from aisles.data_prep.images.manifest import read_manifest
    from aisles.models.bundles.bundle import load_bundle

    classifier, manifest = load_bundle(options.bundle), read_manifest(options.manifest)
    test = manifest.keep(manifest.splits == "test")
    hierarchy = classifier.hierarchy
    if hierarchy is None:
        raise ValueError(f"{options.bundle} has no hierarchy to climb in. Give another bundle.")
    paths = test.paths
    probs, macro_probs = classifier.predict_proba(paths), classifier.predict_macro_proba(paths)
    labels = np.searchsorted(np.array(hierarchy.classes), test.labels.astype(str))
    rows = [
        asdict(measure_coverage(probs, macro_probs, hierarchy, labels, target, n_deals=options.deals))
        for target in options.targets
    ]
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
