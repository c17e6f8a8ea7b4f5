"""Each change alone: rows differ in one thing, planted differences come out, and the committed table is its JSON's."""

import numpy as np
import pytest

from aisles.models.heads.registry import HEADS
from experiments.lab.each_change import CHANGES, Change, Outcome, Pipeline, disagreeing, judged

A, B, C = Pipeline("net", "squash", "v1.3"), Pipeline("net", "crop", "v1.3"), Pipeline("net", "crop", "lda")


def outcome(wrong: slice) -> Outcome:
    correct = np.ones((3, 600), bool)
    correct[:, wrong] = False
    return Outcome(correct, 0.5, 1)


def test_a_planted_change_is_found_and_one_that_changes_nothing_is_not():
    found = {A: outcome(slice(0, 200)), B: outcome(slice(0, 140)), C: outcome(slice(60, 200))}
    products = np.arange(600).astype(str)
    gain, none = judged([Change("fit", A, B), Change("head", B, C)], found, products)
    assert gain["comparison"]["difference"] == pytest.approx(60 / 600)
    assert gain["comparison"]["verdict"] == "better" and gain["comparison"]["corrected"] == [60] * 3
    assert none["comparison"]["difference"] == 0 and none["comparison"]["verdict"] != "better"
    assert none["comparison"]["family"] == 2
    low, high = gain["comparison"]["simultaneous"]
    assert low <= gain["comparison"]["interval"][0] and high >= gain["comparison"]["interval"][1]


def test_a_row_that_changes_two_things_is_refused():
    with pytest.raises(ValueError, match="alters one thing. Received: net, squash, v1.3 -> net, crop, lda"):
        Change("both", A, C)


def test_the_table_asks_for_each_change_the_issue_names():
    assert {change.what for change in CHANGES} == {
        "preprocessing", "square root", "head", "backbone", "joined",
    }  # fmt: skip
    assert len(set(CHANGES)) == len(CHANGES)


def test_raw_and_rooted_discriminants_share_the_whole_grid_between_them():
    raw, rooted, both = (HEADS[name].grid(None) for name in ("lda-raw", "lda-root", "lda"))
    assert {s["feature_map"] for s in raw} == {"raw"} and "raw" not in {s["feature_map"] for s in rooted}
    assert len(raw) + len(rooted) == len(both)


def test_a_step_down_p_that_its_simultaneous_interval_contradicts_is_named():
    row = {
        "change": "root",
        "before": "net",
        "comparison": {"p_corrected": 0.03, "alpha": 0.05, "simultaneous": [-0.01, 0.03]},
    }
    clear = {**row, "comparison": {**row["comparison"], "simultaneous": [0.01, 0.03]}}
    assert disagreeing([clear]) == ""
    assert disagreeing([clear, row]).endswith("Shown though the simultaneous interval holds 0: root on net.")
