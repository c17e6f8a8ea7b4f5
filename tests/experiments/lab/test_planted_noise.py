"""The planted worlds of equal methods with training noise."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.lab.planted_noise import ACCURACY, IMAGES, METHODS, share_of_tables_with_a_claim, world


def test_methods_are_equal_in_expectation_and_trainings_vary_as_planted():
    rng = np.random.default_rng(0)
    shares = np.stack([world(rng, 5, 0.02).mean(axis=2) for _ in range(60)])
    assert world(rng, 5, 0.02).shape == (METHODS, 5, IMAGES)
    np.testing.assert_allclose(shares.mean(axis=(0, 2)), ACCURACY, atol=0.006)
    image_noise = ACCURACY * (1 - ACCURACY) * 0.07 / IMAGES  # a model's own, about
    assert shares.std(axis=2, ddof=1).mean() == pytest.approx(np.sqrt(0.02**2 + image_noise), rel=0.12)


def test_tables_of_equal_methods_rarely_hold_a_claim():
    assert share_of_tables_with_a_claim(10, 3, 0.02) <= 0.3


def test_the_committed_tables_hold_no_more_claims_than_chance_explains():
    path = Path(__file__).parents[3] / "experiments/lab/results/planted-noise.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    scatter = np.sqrt(0.05 * 0.95 / result["tables"])
    assert len(result["found"]) == 4
    assert all(found["tables_with_a_claim"] <= 0.05 + 2 * scatter for found in result["found"])
