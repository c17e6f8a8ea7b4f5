"""Curves of planted worlds: the crossing is found, and nothing is claimed where nothing is."""

import json
from pathlib import Path

from experiments.lab.planted_curves import ADVANTAGE, GRID, outcomes, real_heads_without_difference

RESULTS = Path(__file__).parents[3] / "experiments" / "lab" / "results" / "planted-curves.json"


def test_the_end_of_a_planted_advantage_is_found_within_one_step_of_the_grid():
    assert outcomes(ADVANTAGE, 20)["within_one_step"] >= 0.9


def test_hardly_any_advantage_is_claimed_where_nothing_is_planted():
    assert outcomes((0.0,) * len(GRID), 40, seed=1)["claimed"] <= 0.1
    assert real_heads_without_difference(20, seed=2)["claimed"] <= 0.1


def test_an_advantage_at_every_point_never_ends():
    assert outcomes((0.15,) * len(GRID), 5)["nothing_from"]["never"] == 5


def test_the_committed_measurement_holds_what_the_map_rests_on():
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert found["planted"]["draws"] >= 100 and found["planted"]["within_one_step"] >= 0.9
    assert found["nothing"]["claimed"] < 0.05 and found["nothing_real_heads"]["claimed"] < 0.05
