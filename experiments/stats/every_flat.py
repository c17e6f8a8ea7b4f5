"""Better than the flat method that validation images prefer is not yet better than flat: every flat method is met.

Few validation images may prefer a weak flat method. So a method that is shown better than their choice is called better
only if it is shown better than each of the other flat methods too. All of these tests must succeed together, so their
number needs no correction (Berger, Multiparameter hypothesis testing and acceptance sampling, Technometrics 1982).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .points import change_in_points, interval_in_points
from .verdict import Comparison

PARTLY = "better than some"


def p_better(comparison: Comparison) -> float:
    """Return the p-value of being better: 1 where the interval doesn't lie above 0."""
    return comparison.p_value if comparison.interval[0] > 0 else 1.0


def hold_back(best: Mapping[str, Any], unbeaten: Sequence[Comparison]) -> dict[str, Any]:
    """Return a comparison's JSON that says better than some, and than whom it isn't shown better, if there are any.

    Parameters
    ----------
    best : mapping
        The comparison with validation's choice, as `as_json` gives it; its verdict is better.
    unbeaten : sequence of Comparison
        Those with other flat methods in which the same method is not shown better.
    """
    if not unbeaten:
        return dict(best)
    names = [one.a for one in unbeaten]
    return {**best, "verdict": PARTLY, "unbeaten": names, "sentence": partly(best, unbeaten)}


def partly(best: Mapping[str, Any], unbeaten: Sequence[Comparison]) -> str:
    """Return what may be said of a method that beats the flat method of validation's choice and not every one."""
    span = interval_in_points(best["interval"])
    others = ", ".join(f"{one.a} ({change_in_points(one.difference)})" for one in unbeaten)
    return (
        f"No advantage shown of {best['b']} over flat: {change_in_points(best['difference'])} ({span}) against "
        f"{best['a']}, which validation images prefer, but it is not shown better than {others}."
    )
