"""No verdict on routing where there is nothing to route."""

from collections.abc import Mapping
from typing import Any

from aisles.experiments.stats.verdict import Comparison, as_json
from aisles.hierarchy.hierarchy import Hierarchy


def unroutable(hierarchy: Hierarchy) -> str | None:
    """Return, in place of a verdict, why routing can't be judged on this hierarchy; None if it can."""
    why = hierarchy.degenerate
    return why and f"No verdict on routing: {why}. Group the classes otherwise (--macros, --hierarchy)."


def judged_on(hierarchy: Hierarchy, comparison: Comparison | Mapping[str, Any]) -> dict[str, Any]:
    """Return a comparison of a method that routes as JSON; without verdict where there is nothing to route."""
    fact = as_json(comparison) if isinstance(comparison, Comparison) else dict(comparison)
    if why := unroutable(hierarchy):
        fact.update(verdict="not judged", sentence=why)
    return fact
