"""A pool of equal models dealt out as two methods: claims are false by construction."""

import json

import numpy as np
import pytest

from experiments.lab.accelerator_study.store import Results
from experiments.lab.same_against_itself import false_claims, main, pool_of_networks


def pool(n_models, sd, n_images=1_500):
    rng = np.random.default_rng(4)
    difficulty = rng.normal(size=n_images)
    skill = 0.7 + sd * rng.normal(size=(n_models, 1))
    return skill + 0.9 * difficulty + 0.4 * rng.normal(size=(n_models, n_images)) > 0


def test_equal_models_are_rarely_told_apart_over_seeds():
    found = false_claims(pool(12, sd=0.1), 3, 60, n_resamples=100)
    assert found["claimed"] == pytest.approx(found["better"] + found["worse"])
    assert found["claimed"] <= 0.1 and found["n_images"] == 750


def test_one_training_of_each_tells_these_models_apart_and_nothing_of_the_method():
    assert false_claims(pool(12, sd=0.3), 1, 60, n_resamples=100)["claimed"] > 0.2


def test_a_pool_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="6 models are needed for 3 seeds each. Received: 5"):
        false_claims(pool(5, 0.1), 3)


def test_fine_tuned_networks_of_an_accelerator_study_are_a_pool_too(tmp_path):
    results = Results(tmp_path / "results.zip")
    labels, is_test = np.array([0, 1, 1, 0, 1]), np.array([False, True, True, True, True])
    results.put("images", {}, labels=labels, is_test=is_test)
    for number, answers in enumerate(([0, 1, 1, 0, 1], [0, 1, 0, 0, 1])):
        results.put(f"flat-{number}", {}, classes=np.eye(2)[answers])
    results.put("trial-flat-other", {}, classes=np.eye(2)[[1, 0, 0, 1, 0]])
    assert pool_of_networks(results.path).tolist() == [[True] * 4, [True, False, True, True]]
    main(["--networks", str(results.path), str(tmp_path / "aa.json"), "--draws", "3"])
    found = json.loads((tmp_path / "aa.json").read_text())
    assert found["n_models"] == 2 and found["accuracy_mean"] == 0.875
    assert [(one["n_seeds"], one["n_draws"]) for one in found["draws"]] == [(1, 3)]


def test_neither_data_nor_networks_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "aa.json")])
    assert "Give DATA and FOLDER, or --networks." in capsys.readouterr().err
