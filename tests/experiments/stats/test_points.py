"""Points in words: a sign where there is a direction, none on zero, and one point is singular."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aisles.experiments.report.headline import headline
from aisles.experiments.stats.points import change_in_points, interval_in_points, signed, size_in_points
from aisles.experiments.stats.verdict import as_json, compare

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (0.02, "+2.0 points"), (-0.011, "-1.1 points"), (0.0, "0.0 points"), (0.0004, "0.0 points"),
        (-0.0004, "0.0 points"), (-0.0, "0.0 points"), (0.01, "+1.0 points"), (0.0006, "+0.1 points"),
    ],
)  # fmt: skip
def test_a_change_has_a_sign_unless_it_is_zero_as_shown(difference, said):
    assert change_in_points(difference) == said


@pytest.mark.parametrize(
    ("share", "said"), [(0.01, "1 point"), (0.005, "0.5 points"), (0.02, "2 points"), (0.07, "7 points")]
)
def test_a_size_of_one_is_singular(share, said):
    assert size_in_points(share) == said


def test_an_interval_and_a_number_lose_the_sign_of_zero():
    assert interval_in_points((-0.00002, 0.0123)) == "0.0 to +1.2"
    assert (signed(0.004, 2), signed(0.006, 2), signed(-12.345)) == ("0.00", "+0.01", "-12.3")


def test_the_sentence_of_equivalence_reads_as_written_by_hand():
    same = np.ones((1, 4000), bool)
    same[:, :400] = False
    found = compare(same, same, names=("flat", "soft"))
    start = (
        "soft and flat are equivalent within 1 point: 90.0 % against 90.0 % correct, 0.0 points "
        "(95 % interval 0.0 to 0.0, p of equivalence < 0.0001, 4000 images, one training: these trained models; "
    )
    assert found.sentence().startswith(start)
    assert "within 2 points:" in replace(found, margin=0.02).sentence()
    page = headline(as_json(found), "soft", "flat")
    assert page == "soft and flat are equivalent within 1 point: 90.0 % against 90.0 % correct, 0.0 points."


def test_no_printed_page_signs_a_zero_or_says_one_points():
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "experiments" / "lab").rglob("*.md"),
    ]
    wrong = {
        path.name: found
        for path in pages
        if (found := re.findall(r"(?<![\d.])[+-]0\.0(?!\d)|(?<![\d.])1 points", path.read_text("utf-8")))
    }
    assert not wrong
