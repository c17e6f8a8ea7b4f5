"""From answers at the points of a curve to verdicts: where is an advantage shown, and from which value on none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisles.experiments.stats.every_flat import PARTLY, hold_back, p_better
from aisles.experiments.stats.levels import ALPHA, MARGIN
from aisles.experiments.stats.points import change_in_points, interval_in_points
from aisles.experiments.stats.significance import holm
from aisles.experiments.stats.verdict import Comparison, as_json, compare, corrected

from .axes import Value
from .points import Draw

TWO_STAGE = ("two-stage", "hierarchy", "control")
FLAT = "the best flat method"
SAME = "the best flat method on the same labels"
FINE = "the best flat method on fine labels alone"


@dataclass(frozen=True, eq=False)
class Point:
    """One value of a curve.

    Attributes
    ----------
    value : float, int or str
    draws : sequence of Draw
    """

    value: Value
    draws: Sequence[Draw]

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that answered in every draw."""
        first = self.draws[0].answers
        return tuple(name for name in first if all(name in draw.answers for draw in self.draws))

    @property
    def same_test(self) -> bool:
        """Whether all draws have the same test images."""
        return all(np.array_equal(draw.test, self.draws[0].test) for draw in self.draws)

    @property
    def products(self) -> np.ndarray:
        """The product of each column of `correct`."""
        if self.same_test:
            return self.draws[0].products
        return np.concatenate([draw.products for draw in self.draws])

    def correct(self, name: str) -> np.ndarray:
        """Return a method's correctness, (n_draws, n_test), or (1, n) with all draws' images where these differ."""
        rows = [draw.answers[name].correct for draw in self.draws]
        return np.stack(rows) if self.same_test else np.concatenate(rows)[None]

    def mean(self, name: str, key: str) -> float:
        """Return the mean of a fact over draws."""
        return float(np.mean([getattr(draw.answers[name], key) for draw in self.draws]))

    def flats(self, *, coarse: bool) -> list[str]:
        """List the flat methods, those on coarse labels among them if `coarse`."""
        facts = self.draws[0].answers
        return [
            name
            for name in self.methods
            if facts[name].role in ("flat", "ensemble") and (coarse or not facts[name].coarse)
        ]

    def best_flat(self, *, coarse: bool) -> str | None:
        """Return the flat method that validation images prefer: highest accuracy, ties to the lower loss.

        Methods on coarse labels are among them if `coarse`.
        """
        flats = self.flats(coarse=coarse)
        if not flats:
            return None
        return max(flats, key=lambda name: (self.mean(name, "val_accuracy"), -self.mean(name, "val_loss")))


@dataclass(frozen=True)
class Claim:
    """A method's comparison with validation's choice of flat methods at one point.

    Attributes
    ----------
    place : int
        Of the point.
    best : Comparison
    others : tuple of Comparison
        With every other flat method, where the method is better than the best one; else none.
    """

    place: int
    best: Comparison
    others: tuple[Comparison, ...]

    @property
    def p_every(self) -> float:
        """The largest p-value of all flat methods': that of being better than every one."""
        return max([self.best.p_value, *map(p_better, self.others)])


def judge_curve(
    points: Sequence[Point], primary: str, *, margin: float = MARGIN, alpha: float = ALPHA
) -> dict[str, Any]:
    """Judge every two-stage method at every point against the flat methods of equal labels.

    Draws are the replications of `stats.verdict.compare`, so what is claimed is about the methods over other images and
    other draws. The primary's points are one family, corrected by Holm; all other methods' points are another; methods
    on coarse labels against the flat methods on fine labels alone are a third. A method that is better than
    validation's choice is called better only if it is shown better than every other flat method too, with its
    largest p-value in that correction; else it is better than some (`stats.every_flat`).

    Parameters
    ----------
    points : sequence of Point
        In the order of the curve.
    primary : str
        The pre-specified method.
    margin, alpha : float
        As in `compare`.

    Returns
    -------
    dict
        `primary`; `points`: one per value with `value`, `n_draws`, `n_test`, `best_flat`, `best_flat_fine` and
        `methods` (each `accuracy` and `sd` over draws, `role`, `coarse`, `comparison`, `against_fine`; these have
        `p_every`, and `unbeaten` where they say better than some); `ends`: by method what `end_of` says, and its
        `sentence`; `ends_against_fine`.
    """
    main: list[Claim] = []
    rest: list[Claim] = []
    fine: list[Claim] = []
    rows = []
    for place, point in enumerate(points):
        rows.append(_row(point, {coarse: point.best_flat(coarse=coarse) for coarse in (False, True)}))
        for name in point.methods:
            facts = point.draws[0].answers[name]
            if facts.role in TWO_STAGE and point.best_flat(coarse=facts.coarse) is not None:
                found = _claim(place, point, name, facts.coarse, margin, alpha)
                (main if name == primary else rest).append(found)
            if facts.coarse and point.best_flat(coarse=False) is not None:
                fine.append(_claim(place, point, name, False, margin, alpha))
    for key, family in (("comparison", main), ("comparison", rest), ("against_fine", fine)):
        for claim, judged in zip(family, _judged(family, alpha), strict=True):
            rows[claim.place]["methods"][claim.best.b][key] = judged
    coarse_flats = any(set(point.flats(coarse=True)) > set(point.flats(coarse=False)) for point in points)
    ends = {
        name: end_of(rows, name, flat=FLAT if not coarse_flats else SAME if coarse else FINE)
        for name, coarse in {
            name: m["coarse"] for row in rows for name, m in row["methods"].items() if "comparison" in m
        }.items()
    }
    fine_ends = {
        name: end_of(rows, name, "against_fine", FINE)
        for name in dict.fromkeys(name for row in rows for name, m in row["methods"].items() if m["coarse"])
    }
    return {"primary": primary, "points": rows, "ends": ends, "ends_against_fine": fine_ends}


def _claim(place: int, point: Point, name: str, coarse: bool, margin: float, alpha: float) -> Claim:
    def judged(flat: str) -> Comparison:
        return compare(
            point.correct(flat), point.correct(name), point.products, names=(flat, name), margin=margin,
            alpha=alpha, n_resamples=2_000,
        )  # fmt: skip

    strongest = str(point.best_flat(coarse=coarse))
    best = judged(strongest)
    others = [flat for flat in point.flats(coarse=coarse) if flat not in (strongest, name)]
    return Claim(place, best, tuple(map(judged, others)) if best.verdict == "better" else ())


def _judged(family: Sequence[Claim], alpha: float) -> list[dict[str, Any]]:
    """Return a family's comparisons with validation's choice as JSON, corrected by Holm over the points.

    Whether a method is better than every flat method is one claim per point, with the largest of its p-values. So what
    keeps a claim from being made is a p-value above Holm's threshold for those that aren't made.
    """
    hardest = [claim.p_every for claim in family]
    claims = holm(hardest)
    threshold = alpha / max(1, int((claims >= alpha).sum()))
    equivalences = holm([claim.best.equivalence_p for claim in family])
    found = []
    for place, claim in enumerate(family):
        own = holm([*hardest[:place], claim.best.p_value, *hardest[place + 1 :]])[place]
        fact = as_json(corrected(claim.best, float(own), float(equivalences[place]), len(family)))
        if fact["verdict"] == "better" and claims[place] >= alpha:
            fact = hold_back(fact, [one for one in claim.others if p_better(one) >= threshold])
        found.append({**fact, "p_every": claim.p_every})
    return found


def _row(point: Point, best: Mapping[bool, str | None]) -> dict[str, Any]:
    methods = {}
    for name in point.methods:
        shares = np.array([draw.answers[name].correct.mean() for draw in point.draws])
        methods[name] = {
            "accuracy": float(shares.mean()),
            "sd": float(shares.std(ddof=1)) if len(shares) > 1 else None,
            "val_accuracy": point.mean(name, "val_accuracy"),
            "role": point.draws[0].answers[name].role,
            "coarse": point.draws[0].answers[name].coarse,
        }
    return {
        "value": point.value,
        "n_draws": len(point.draws),
        "n_test": len(point.draws[0].test),
        "best_flat": best[True],
        "best_flat_fine": best[False],
        "methods": methods,
        "failed": dict(point.draws[0].failed),
    }


def end_of(
    rows: Sequence[Mapping[str, Any]], name: str, key: str = "comparison", flat: str = FLAT
) -> dict[str, Any]:
    """Return where a method is shown better, and from which value on nothing is shown.

    Parameters
    ----------
    rows : sequence of mapping
        One per value; see `judge_curve`.
    name, key : str
        Of the method, and of its comparison.
    flat : str
        What the sentence calls the flat methods' best.

    Returns
    -------
    dict
        `better`, `worse`: the values where that is shown; `nothing_from`: the first value from which on the method is
        nowhere shown better, None if it is at the last one; `at_most`: the highest upper bound of the intervals from
        there on; `sentence`.
    """
    judged = [
        (row["value"], row["methods"][name][key]) for row in rows if key in row["methods"].get(name, {})
    ]
    better = [value for value, c in judged if c["verdict"] == "better"]
    worse = [value for value, c in judged if c["verdict"] == "worse"]
    first = max((i + 1 for i, (_, c) in enumerate(judged) if c["verdict"] == "better"), default=0)
    after = judged[first:]
    return {
        "better": better,
        "worse": worse,
        "nothing_from": after[0][0] if after else None,
        "at_most": max((c["interval"][1] for _, c in after), default=None),
        "sentence": _sentence(name, judged, first, flat),
    }


def _sentence(name: str, judged: Sequence[tuple[Value, Mapping[str, Any]]], first: int, flat: str) -> str:
    told = []
    for word in ("better", "worse"):
        found = [(value, c) for value, c in judged if c["verdict"] == word]
        if found:
            each = ", ".join(f"{value}: {_points(c)}" for value, c in found)
            told.append(f"{name} is {word} than {flat} at {each}")
    partly = [(value, c) for value, c in judged if c["verdict"] == PARTLY]
    if partly:
        each = ", ".join(
            f"{value}: {_points(c)} against {c['a']}, not shown over {' and '.join(c['unbeaten'])}"
            for value, c in partly
        )
        told.append(
            f"{name} is better than the choice of validation images, not than every flat method, at {each}"
        )
    after = judged[first:]
    if not after:
        return "; ".join(told) + "."
    most = max(c["interval"][1] for _, c in after)
    where = f"from {after[0][0]} on" if first else "nowhere"
    what = "no advantage is shown" if first else "is an advantage shown"
    over = "" if flat == FLAT else f" over {flat}"
    told.append(f"{where} {what}{over} (at most {change_in_points(most)})")
    text = "; ".join(told) + "."
    return text if told[0].startswith(name) else f"{name}: {text}"


def _points(comparison: Mapping[str, Any]) -> str:
    return f"{change_in_points(comparison['difference'])} ({interval_in_points(comparison['interval'])})"
