"""Backbones, alone and joined: validation images choose, whatever test images say."""

import numpy as np
import pytest

from experiments.lab.backbone_choice import candidates, judged, note
from experiments.lab.each_change import Outcome


def outcome(n_right: int, val: float, likelihood: float = -1.0) -> Outcome:
    return Outcome(np.arange(400)[None] < n_right, val, 16, likelihood)


def test_every_combination_is_tried_and_smaller_ones_stand_first():
    names = [p.backbone for p in candidates(("a", "b", "c"), "lda")]
    assert names == ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]


def test_validation_images_choose_even_where_test_images_disagree():
    a, b, both = candidates(("a", "b"), "lda")
    found = {a: outcome(390, 0.70), b: outcome(300, 0.75, -2.0), both: outcome(340, 0.75, -1.5)}
    result = judged(found, np.arange(400).astype(str))
    assert (result["best"], result["best_single"]) == ("a+b", "b")
    against = {c["a"]: c for c in result["comparisons"]}
    assert set(against) == {"a", "b"} and {c["b"] for c in against.values()} == {"a+b"}
    assert against["b"]["difference"] == pytest.approx(0.1) and against["b"]["verdict"] == "better"
    assert against["a"]["difference"] == pytest.approx(-0.125) and against["a"]["verdict"] == "worse"
    images = {"train": 100, "val": 40, "test": 400}
    more = {"name": "x", "date": "", "processors": 2, "command": "", "head": "lda", "images": images}
    text = note(result | more)
    assert "| a+b (chosen) | 0.750 | 0.850" in text and "| b (best single) | 0.750 | 0.750" in text
