"""How often a table of methods holds a false claim where training noise is planted and all methods are equal.

    python -m experiments.lab.planted_noise RESULT --tables 400

Each table: flat and six methods, equal in what they are expected to get right; the true accuracy of each trained model
varies with a standard deviation of 0.5 or 2 points. A table counts if any method is called better or worse than flat.

A table here is one family: the six comparisons with flat, corrected together. A benchmark's page holds further families
of 5 % each (the best flat method, other hierarchies, coarse labels), which these worlds don't have; see
docs/method/families.md.
"""

import argparse
import json
from datetime import date
from pathlib import Path

import numpy as np
from scipy import stats

from aisles.data_prep.io.files import write_whole
from aisles.experiments.stats.verdict import compare_family

METHODS, IMAGES, SEEDS, SPREADS, ACCURACY = 7, 2_000, (3, 5), (0.005, 0.02), 0.75


def world(rng: np.random.Generator, n_seeds: int, sd: float) -> np.ndarray:
    """Draw which answers are right, (n_methods, n_seeds, n_images).

    Of the variance over images 0.85 is shared by all, 0.08 is a method's own, and 0.07 a trained model's own.
    """
    middle = stats.norm.ppf(ACCURACY)
    shared = np.sqrt(0.85) * rng.normal(size=IMAGES)
    method = np.sqrt(0.08) * rng.normal(size=(METHODS, 1, IMAGES))
    model = np.sqrt(0.07) * rng.normal(size=(METHODS, n_seeds, IMAGES))
    luck = sd / stats.norm.pdf(middle) * rng.normal(size=(METHODS, n_seeds, 1))
    return middle + luck + shared + method + model > 0


def share_of_tables_with_a_claim(n_tables: int, n_seeds: int, sd: float) -> float:
    """Return the share of tables in which something is called better or worse."""
    rng, claimed = np.random.default_rng([n_seeds, round(1000 * sd)]), 0
    names = ("flat", *(f"method {number}" for number in range(1, METHODS)))
    for _ in range(n_tables):
        correct = dict(zip(names, world(rng, n_seeds, sd), strict=True))
        found = compare_family([("flat", name) for name in names[1:]], correct, n_resamples=200)
        claimed += any(each.verdict in ("better", "worse") for each in found)
    return claimed / n_tables


def main() -> None:
    """Draw tables and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--tables", type=int, default=400)
    given = parser.parse_args()
    found = [
        {
            "n_seeds": seeds,
            "sd": sd,
            "tables_with_a_claim": share_of_tables_with_a_claim(given.tables, seeds, sd),
        }
        for seeds in SEEDS
        for sd in SPREADS
    ]
    facts = {
        "command": f"python -m experiments.lab.planted_noise RESULT --tables {given.tables}",
        "date": date.today().isoformat(),
        "counts": "tables, each one family of six comparisons with flat, that call any method better or worse",
        "tables": given.tables,
        "methods": METHODS - 1,
        "images": IMAGES,
        "found": found,
    }
    write_whole(given.result, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
