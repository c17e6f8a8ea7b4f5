"""Measure whether a curve finds where a planted advantage ends, and how often it claims one that isn't there.

    python -m experiments.lab.planted_curves --draws 400 --output experiments/lab/results/planted-curves

Two worlds, drawn again and again, both judged by the same code as `aisles benchmark --curve`:

- answers: correctness of 1,000 test images by a flat and a two-stage method, 5 draws per point, with a common part
  (the same images are hard for both) and a spread over draws. The advantage at 1, 2, 5, 10, 20 and 50 labels is
  planted: 12, 8, 5, 0, 0, 0 points, or nothing anywhere. The truth of the crossing is 10.
- heads: normal classes in macros, with real discriminants. The "two methods" are one and the same discriminant, each
  with labels of its own from the same classes, so nothing is there to be found.

Writes `planted-curves.json` and a drawing.
"""

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.experiments.curves.judging import Point, judge_curve
from aisles.experiments.curves.points import Answers, Draw
from aisles.experiments.report.plots.drawing import WIDTH, Drawing, Scale

GRID = (1, 2, 5, 10, 20, 50)
ADVANTAGE = (0.12, 0.08, 0.05, 0.0, 0.0, 0.0)
TRUTH = 10
METHOD = "soft:lda"


def planted_points(
    advantage: tuple[float, ...],
    rng: np.random.Generator,
    *,
    n_test: int = 1000,
    draws: int = 5,
    spread: float = 0.01,
    common: float = 0.7,
) -> list[Point]:
    """Draw the answers of a flat and of a two-stage method at every point.

    Parameters
    ----------
    advantage : tuple of float
        By which the two-stage method's chance exceeds the flat one's, at each value of `GRID`.
    rng : Generator
    n_test, draws : int
    spread : float
        Standard deviation of each method's chance over draws.
    common : float
        Chance that both methods meet an image with the same luck.
    """
    names = np.arange(n_test).astype(str)
    points = []
    hard = rng.random(n_test)
    for place, (value, shift) in enumerate(zip(GRID, advantage, strict=True)):
        base = 0.4 + 0.08 * place
        found = []
        for _ in range(draws):
            luck = np.where(rng.random(n_test) < 0.8, hard, rng.random(n_test))
            other = np.where(rng.random(n_test) < common, luck, rng.random(n_test))
            flat = luck < base + spread * rng.normal()
            two = other < base + shift + spread * rng.normal()
            answers = {
                "flat-lda": Answers(flat, 0.5, 1.0, "flat", False),
                METHOD: Answers(two, 0.5, 1.0, "two-stage", False),
            }
            found.append(Draw(answers, {}, names, names))
        points.append(Point(value, found))
    return points


def outcomes(advantage: tuple[float, ...], n: int, *, seed: int = 0, **world: Any) -> dict[str, Any]:
    """Judge `n` curves of a world.

    Returns
    -------
    dict
        `draws`; `nothing_from`: how often the crossing was found at each value ("never" for the last point shown
        better); `claimed`: the share of curves with a better or worse verdict anywhere; `better_at`: the share at each
        value; `within_one_step`: the share with the crossing at `TRUTH` or beside it.
    """
    rng = np.random.default_rng(seed)
    where = {str(value): 0 for value in (*GRID, "never")}
    better = dict.fromkeys(map(str, GRID), 0)
    claimed = close = 0
    for _ in range(n):
        end = judge_curve(planted_points(advantage, rng, **world), METHOD)["ends"][METHOD]
        found = end["nothing_from"]
        where["never" if found is None else str(found)] += 1
        claimed += bool(end["better"] or end["worse"])
        for value in end["better"]:
            better[str(value)] += 1
        close += found is not None and abs(GRID.index(found) - GRID.index(TRUTH)) <= 1
    return {
        "draws": n,
        "nothing_from": where,
        "claimed": claimed / n,
        "better_at": {value: count / n for value, count in better.items()},
        "within_one_step": close / n,
    }


def real_heads_without_difference(n: int, *, seed: int = 0) -> dict[str, Any]:
    """Judge `n` curves of real discriminants between which nothing is planted.

    Both "methods" are the flat discriminant, each with labels of its own from one pool of normal classes in macros.
    """
    from aisles.models.heads.closed_form import fit_lda

    rng, claimed = np.random.default_rng(seed), 0
    grid, n_classes, dimension, n_test, draws = (1, 2, 5, 10), 10, 16, 400, 5
    setting = [{"feature_map": "raw", "shrinkage": 0.4}]
    for _ in range(n):
        centers = np.repeat(rng.normal(size=(3, dimension)), (4, 3, 3), axis=0)
        centers = 1.2 * centers + 0.8 * rng.normal(size=(n_classes, dimension))
        truth = np.repeat(np.arange(n_classes), n_test // n_classes)
        x = centers[truth] + rng.normal(size=(n_test, dimension))
        names, points = np.arange(n_test).astype(str), []
        for k in grid:
            found = []
            for _ in range(draws):
                labels = np.repeat(np.arange(n_classes), k)
                right = []
                for _ in range(2):
                    known = centers[labels] + rng.normal(size=(len(labels), dimension))
                    (head,) = fit_lda(known, labels, n_classes, setting)
                    right.append(head.logits(x).argmax(1) == truth)
                answers = {
                    "flat-lda": Answers(right[0], 0.5, 1.0, "flat", False),
                    METHOD: Answers(right[1], 0.5, 1.0, "two-stage", False),
                }
                found.append(Draw(answers, {}, names, names))
            points.append(Point(k, found))
        end = judge_curve(points, METHOD)["ends"][METHOD]
        claimed += bool(end["better"] or end["worse"])
    return {"draws": n, "claimed": claimed / n}


def drawing(found: dict[str, Any]) -> Drawing:
    """Draw how often the crossing was found at each value."""
    counts = found["planted"]["nothing_from"]
    height, left = 190, 40
    x, y = Scale(-0.6, len(counts) - 0.4, left, WIDTH - 14), Scale(0, max(counts.values()), height, 24)
    plot = Drawing(
        WIDTH, height + 34, "Where the end of a planted advantage is found",
        "; ".join(f"{value}: {count}" for value, count in counts.items()) + f"; the truth is {TRUTH}.",
    )  # fmt: skip
    plot.text(4, 11, f"curves of {found['planted']['draws']} ↑", "soft small")
    for place, (value, count) in enumerate(counts.items()):
        truth = value == str(TRUTH)
        plot.rect(
            x(place) - 16, y(count), 32, height - y(count), "two" if truth else "other", f"{value}: {count}"
        )
        plot.text(x(place), y(count) - 3, str(count), "small", "middle")
        plot.text(x(place), height + 13, value, "soft small", "middle")
    plot.line(left, height, WIDTH - 14, height)
    plot.text(
        (left + WIDTH - 14) / 2,
        height + 27,
        "labels from which on nothing is shown; planted: 10 →",
        "soft small",
        "middle",
    )
    return plot


def main(arguments: list[str] | None = None) -> None:
    """Draw the worlds, judge them, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path("experiments/lab/results/planted-curves"))
    given = parser.parse_args(arguments)
    found = {
        "command": f"python -m experiments.lab.planted_curves --draws {given.draws}",
        "date": date.today().isoformat(),
        "grid": list(GRID),
        "advantage": list(ADVANTAGE),
        "truth": TRUTH,
        "planted": outcomes(ADVANTAGE, given.draws),
        "nothing": outcomes((0.0,) * len(GRID), given.draws, seed=1),
        "nothing_real_heads": real_heads_without_difference(given.draws, seed=2),
    }
    write_whole(given.output.with_suffix(".json"), json.dumps(found, indent=1) + "\n")
    write_whole(given.output.with_suffix(".svg"), drawing(found).file())


if __name__ == "__main__":
    main()
