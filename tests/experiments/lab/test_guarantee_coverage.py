"""The coverage experiment, on probabilities that are true, and what the documentation says of its result."""

import json
from pathlib import Path

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import soft
from experiments.lab.guarantee_coverage import measure_coverage


def test_guarantees_are_kept_on_average_over_deals():
    hierarchy = Hierarchy(("a", "b"), (("x", "y"), ("z", "w")))
    rng = np.random.default_rng(0)
    macro = rng.dirichlet([0.2, 0.2], 1200)
    within = np.hstack([rng.dirichlet([0.2, 0.2], 1200), rng.dirichlet([0.2, 0.2], 1200)])
    probs = soft(macro, within, hierarchy)
    labels = np.array([rng.choice(4, p=row / row.sum()) for row in probs])
    found = measure_coverage(probs, macro, hierarchy, labels, 0.9, n_deals=30)
    assert found.right_of_answered >= 0.9 and 0.3 < found.answered < 1
    assert found.answered_class < found.answered
    assert abs(found.set_coverage["lac"][0] - 0.9) < 0.02
    assert found.set_coverage["aps"][0] >= 0.88
    for method in ("lac", "aps"):
        covered, names = found.set_coverage[f"{method}, hierarchical"]
        assert covered >= 0.88 and names <= found.set_coverage[method][1]
    assert found.n_calibration + found.n_new == 1200


def test_the_documented_numbers_are_those_of_the_committed_result():
    root = Path(__file__).parents[3]
    results = root / "experiments/lab/results"
    result, along = (
        json.loads((results / f"{name}_grocery.json").read_text(encoding="utf-8"))
        for name in ("guarantee_coverage", "hierarchical_sets")
    )
    deals = result["deals"]
    page = " ".join((root / "docs" / "howto" / "guarantee.md").read_text(encoding="utf-8").split())

    def listed(values, digits=3):
        first, second, third = (f"{value:.{digits}f}" if digits else f"{value:g}" for value in values)
        return f"{first}, {second} and {third}"

    (n_deals,), (known,), (new,) = ({d[key] for d in deals} for key in ("n_deals", "n_calibration", "n_new"))
    assert f"dealt {n_deals} times into {known:,} to calibrate on and {new:,} new ones" in page
    guarantees = listed((deal["target"] for deal in deals), digits=0)
    right = listed(deal["right_of_answered"] for deal in deals)
    assert f"guarantees of {guarantees} gave {right} right of those answered" in page
    assert (
        f"reached the guaranteed share in {listed(d['share_of_deals_kept'] for d in deals)} of the deals"
        in page
    )
    assert f"{listed(deal['answered'] for deal in deals)} of the images got an answer" in page
    covered = listed(deal["set_coverage"]["lac"][0] for deal in deals)
    assert f"Sets (lac) of the same shares held the true class of {covered} of the images" in page
    kinds = {
        name: [deal["set_coverage"][name] for deal in along["deals"]] for name in ("lac", "lac, hierarchical")
    }
    held, names = zip(*kinds["lac, hierarchical"], strict=True)
    assert f"at {guarantees} they held the true class of {listed(held)} of the images with " in page
    flat = listed((n for _, n in kinds["lac"]), digits=2)
    assert f"{listed(names, digits=2)} names on average, where flat sets needed {flat}." in page
    assert along["command"].removesuffix(" RUN") in page
    assert "with probability 0.9" in page and {deal["delta"] for deal in deals} == {0.1}
    assert result["command"].partition(" run/")[0] in page
