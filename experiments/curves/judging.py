"""From answers at the points of a curve to verdicts: where is an advantage shown, and from which value on none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisles.experiments.stats.levels import ALPHA, MARGIN
from aisles.experiments.stats.points import change_in_points, interval_in_points
from aisles.experiments.stats.verdict import Comparison, apply_holm, as_json, compare

from .axes import Value
from .points import Draw

TWO_STAGE = ("two-stage", "hierarchy", "control")


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

    def best_flat(self, *, coarse: bool) -> str | None:
        """Return the flat method that validation images prefer: highest accuracy, ties to the lower loss.

        Methods on coarse labels are among them if `coarse`.
        """
        facts = self.draws[0].answers
        flats = [
            name
            for name in self.methods
            if facts[name].role in ("flat", "ensemble") and (coarse or not facts[name].coarse)
        ]
        if not flats:
            return None
        return max(flats, key=lambda name: (self.mean(name, "val_accuracy"), -self.mean(name, "val_loss")))


def judge_curve(
    points: Sequence[Point], primary: str, *, margin: float = MARGIN, alpha: float = ALPHA
) -> dict[str, Any]:
    """Judge every two-stage method at every point against the best flat method of equal labels.

    Draws are the replications of `stats.verdict.compare`, so what is claimed is about the methods over other images and
    other draws. The primary's points are one family, corrected by Holm; all other methods' points are another; methods
    on coarse labels against the best flat method on fine labels alone are a third.

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
        `methods` (each `accuracy` and `sd` over draws, `role`, `coarse`, `comparison`, `against_fine`); `ends`: by
        method what `end_of` says, and its `sentence`.
    """
    main: list[tuple[int, str, Comparison]] = []
    rest: list[tuple[int, str, Comparison]] = []
    fine: list[tuple[int, str, Comparison]] = []
    rows = []
    for place, point in enumerate(points):
        best = {coarse: point.best_flat(coarse=coarse) for coarse in (False, True)}
        rows.append(_row(point, best))
        for name in point.methods:
            facts = point.draws[0].answers[name]
            baseline = best[facts.coarse]
            if facts.role in TWO_STAGE and baseline is not None:
                (main if name == primary else rest).append(
                    (place, name, _compare(point, baseline, name, margin, alpha))
                )
            if facts.coarse and best[False] is not None:
                fine.append((place, name, _compare(point, str(best[False]), name, margin, alpha)))
    for key, family in (("comparison", main), ("comparison", rest), ("against_fine", fine)):
        for (place, name, _), judged in zip(family, apply_holm([c for *_, c in family]), strict=True):
            rows[place]["methods"][name][key] = as_json(judged)
    names = dict.fromkeys(name for row in rows for name, m in row["methods"].items() if "comparison" in m)
    ends = {name: end_of(rows, name) for name in names}
    fine_ends = {
        name: end_of(rows, name, "against_fine")
        for name in dict.fromkeys(name for row in rows for name, m in row["methods"].items() if m["coarse"])
    }
    return {"primary": primary, "points": rows, "ends": ends, "ends_against_fine": fine_ends}


def _compare(point: Point, a: str, b: str, margin: float, alpha: float) -> Comparison:
    return compare(
        point.correct(a), point.correct(b), point.products, names=(a, b), margin=margin, alpha=alpha,
        n_resamples=2_000,
    )  # fmt: skip


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


def end_of(rows: Sequence[Mapping[str, Any]], name: str, key: str = "comparison") -> dict[str, Any]:
    """Return where a method is shown better, and from which value on nothing is shown.

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
        "sentence": _sentence(name, judged, first),
    }


def _sentence(name: str, judged: Sequence[tuple[Value, Mapping[str, Any]]], first: int) -> str:
    told = []
    for word in ("better", "worse"):
        found = [(value, c) for value, c in judged if c["verdict"] == word]
        if found:
            each = ", ".join(f"{value}: {_points(c)}" for value, c in found)
            told.append(f"{name} is {word} than the best flat method at {each}")
    after = judged[first:]
    if not after:
        return "; ".join(told) + "."
    most = max(c["interval"][1] for _, c in after)
    where = f"from {after[0][0]} on" if first else "nowhere"
    what = "no advantage is shown" if first else "is an advantage shown"
    told.append(f"{where} {what} (at most {change_in_points(most)})")
    text = "; ".join(told) + "."
    return text if told[0].startswith(name) else f"{name}: {text}"


def _points(comparison: Mapping[str, Any]) -> str:
    return f"{change_in_points(comparison['difference'])} ({interval_in_points(comparison['interval'])})"
