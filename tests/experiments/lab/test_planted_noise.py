"""The planted worlds of equal methods with training noise."""

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
