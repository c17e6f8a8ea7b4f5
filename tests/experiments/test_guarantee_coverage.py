"""The coverage experiment, on probabilities that are true."""

import numpy as np

from aisles.experiments.guarantee_coverage import measure_coverage
from aisles.hierarchy.routing import soft
from aisles.hierarchy.taxonomy import Hierarchy


def test_promises_are_kept_on_average_over_deals():
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
    assert found.n_calibration + found.n_new == 1200
