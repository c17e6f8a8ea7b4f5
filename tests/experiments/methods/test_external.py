"""References of other libraries, and what they cost."""

from aisles.experiments.methods.external import _n_outputs
from aisles.hierarchy.hierarchy import Hierarchy


def test_hiclass_has_a_regression_at_the_root_and_one_output_for_two_labels():
    hierarchy = Hierarchy(("a", "b", "c"), (("0", "1"), ("2", "3"), ("4",)))
    assert _n_outputs(hierarchy) == 3 + 1 + 1
