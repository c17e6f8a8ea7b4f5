"""The lab's comparison of designs: how images are dealt, what is judged against what, and one small run."""

import json

import numpy as np
import pytest

from aisles.experiments.benchmark.preparation import prepare_data
from aisles.experiments.curves.run import world_of
from aisles.experiments.settings.benchmark import BenchmarkSettings
from experiments.lab import designs
from experiments.lab.designs import EQUAL_COST, FLATS, Measured, dealt_again, judged, measured
from experiments.lab.designs_note import note


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("table") / "small.npz"
    label = np.repeat(np.arange(6), 40)
    macro = np.array([0, 0, 1, 0, 1, 2])[label]
    x = np.eye(7)[macro] * 4 + 1.5 * np.eye(7)[1 + label] + rng.normal(size=(240, 7))
    np.savez(
        path,
        features=x.astype(np.float32),
        label=np.array([f"C{c}" for c in label]),
        macro=np.array([f"M{m}" for m in macro]),
        split=np.tile(["train"] * 20 + ["val"] * 8 + ["test"] * 12, 6),
        product=np.array([f"p{row // 2}" for row in range(240)]),
    )
    return path


@pytest.fixture(scope="module")
def world(table):
    settings = BenchmarkSettings.model_validate({"hierarchy": {"column": "macro"}})
    prepared = prepare_data(table, settings.data, "macro")
    return world_of(prepared, np.asarray(prepared.vectors), settings)


def test_images_are_dealt_anew_in_whole_products_and_test_images_stay(world):
    before = world.prepared.manifest
    dealt = [dealt_again(world, np.random.default_rng(seed)).prepared.manifest for seed in (0, 0, 1)]
    assert (dealt[0].splits == dealt[1].splits).all() and (dealt[0].splits != dealt[2].splits).any()
    for manifest in dealt:
        assert ((manifest.splits == "test") == (before.splits == "test")).all()
        val = manifest.splits == "val"
        assert not set(manifest.products[val]) & set(manifest.products[manifest.splits == "train"])
        counts = np.unique(manifest.labels[val].astype(str), return_counts=True)[1]
        assert counts.tolist() == [8] * 6  # whole products of two images


def by_hand(shares, val, data="toy"):
    """Make answers of 400 images at 5 seeds; method NAME is right with the chance `shares[NAME]`."""
    rng, hard = np.random.default_rng(0), np.random.default_rng(1).random(400)
    names = (*FLATS, *EQUAL_COST, *(f"random {name}" for name in EQUAL_COST))
    correct = {
        name: np.where(rng.random((5, 400)) < 0.9, hard, rng.random((5, 400))) < shares.get(name, 0.5)
        for name in names
    }
    facts = {
        name: {"val_accuracy": [val.get(name, 0.4)] * 5, "val_loss": [1.0] * 5, "searched": [3] * 5,
               "head_passes": [2.0] * 5, "seconds": [0.1] * 5}
        for name in names
    }  # fmt: skip
    return Measured(data, "all", facts, correct, np.arange(400))


def test_validation_images_choose_the_best_flat_method_and_the_design_that_stands_for_all():
    shares = {"hace": 0.7, "neighbors": 0.5, "flat-knn": 0.6, "random hace": 0.3}
    (row,) = judged([by_hand(shares, {"hace": 0.8, "flat-knn": 0.7, "flat-lda": 0.69})])
    assert row["best_flat"] == "flat-knn" and row["chosen"] == "hace"
    assert {each["best flat"]["a"] for each in row["designs"].values()} == {"flat-knn"}
    assert set(row["designs"]) == set(EQUAL_COST)
    hace = row["designs"]["hace"]
    assert hace["equal cost"]["a"] == "flat-logistic" and hace["random macros"]["a"] == "random hace"
    assert hace["best flat"]["verdict"] == "better" == hace["random macros"]["verdict"]
    assert row["designs"]["neighbors"]["best flat"]["verdict"] == "worse"
    assert hace["best flat"]["p_corrected"] == hace["best flat"]["p_value"]  # a family of its own
    neighbors = row["designs"]["neighbors"]["best flat"]
    assert neighbors["p_corrected"] > neighbors["p_value"]


def test_the_note_counts_what_is_shown_and_lists_every_method():
    chosen = {"hace": 0.8, "flat-lda": 0.5}
    rows = judged([by_hand({"hace": 0.7, "flat-knn": 0.6}, chosen), by_hand({}, {"hace": 0.8}, "other")])
    found = {"rows": rows, "seeds": 5, "equal_cost": EQUAL_COST, "command": "python -m experiments.lab.designs",
             "date": "2026-01-01", "processor_minutes": 1.0}  # fmt: skip
    text = note(found)
    assert "shown better than the best flat method in 1 and worse in 0 of 2 conditions (2 data sets" in text
    for name in (*FLATS, *EQUAL_COST):
        assert text.count(f"| {name} |") >= 2
    assert "choose flat-lda as the best flat method and hace as the design" in text
    assert (
        "On test images, which choose nothing, " in text
        and "flat-knn is right more often than flat-lda" in text
    )
    others = 2 * 3 * len(EQUAL_COST) - 2
    assert (
        f"Of the {others} other comparisons" in text and "experiments.lab.designs; 2026-01-01; 1 proc" in text
    )


def test_one_table_is_measured_and_a_second_call_measures_nothing(table, tmp_path, monkeypatch):
    found = measured(table, tmp_path, 1)
    assert [one.condition for one in found] == ["all", "5"]
    for one in found:
        assert set(one.correct) == {*FLATS, *EQUAL_COST, *(f"random {name}" for name in EQUAL_COST)}
        assert all(rows.shape == (1, 72) for rows in one.correct.values())
    assert found[0].correct["flat-lda"].mean() > 0.6
    assert found[0].facts["hace"]["searched"] == [18]
    monkeypatch.setattr(designs, "measure", lambda *_: pytest.fail("measured again"))
    again = measured(table, tmp_path, 1)
    assert (again[1].correct["hace"] == found[1].correct["hace"]).all()
    json.dumps(judged([*found]))
