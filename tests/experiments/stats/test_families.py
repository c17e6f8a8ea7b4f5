"""Families of comparisons on many products."""

import numpy as np
import pytest

from aisles.experiments.stats import families
from aisles.experiments.stats.families import max_t
from aisles.experiments.stats.training_noise import noise_of


def test_many_products_drawn_together_are_corrected_as_when_drawn_one_by_one(monkeypatch):
    rng = np.random.default_rng(5)
    gains = [rng.choice([-1.0, 0.0, 1.0], (1, 3_000), p=[0.1, 0.79, 0.11]) for _ in range(3)]
    products = np.repeat(np.arange(1_500), 2)
    noises = [noise_of(table, products) for table in gains]
    singly = max_t(gains, noises, products)
    monkeypatch.setattr(families, "MANY_PRODUCTS", 100)
    together = max_t(gains, noises, products)
    assert together[0] == pytest.approx(singly[0], abs=0.04)
    assert together[1] == pytest.approx(singly[1], abs=0.12)
