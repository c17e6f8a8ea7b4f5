import json

import numpy as np
import pandas as pd
import pytest

from aisles.data_prep.io.errors import DataError
from aisles.experiments.runs.reader import read_run


def test_a_run_folder_is_read_back_image_by_image(make_run):
    folder = make_run()

    run = read_run(folder)

    assert run.primary == "soft" and run.seeds == {"flat": (0, 1), "soft": (0, 1)}
    assert run.classes_by["flat"].shape == (2, 8, 4)
    np.testing.assert_allclose(run.classes_by["flat"][0, 1], [0.1, 0.7, 0.1, 0.1])
    assert run.correct("soft").sum(axis=1).tolist() == [6, 7]
    assert list(run.router_by) == ["soft"] and run.router_by["soft"].shape == (2, 8, 2)
    assert run.paths[3] == folder / "images/3.png"


def test_classes_are_ordered_macro_by_macro(make_run):
    run = read_run(make_run(classes=("zebra", "ant", "yak", "bee")))

    assert run.classes == ("ant", "bee", "yak", "zebra")
    assert {run.classes[i] for i in run.order[:2]} == {"ant", "zebra"}
    assert [run.hierarchy.macros[i] for i in run.macro_of[run.order]] == ["warm", "warm", "cool", "cool"]


def test_a_class_called_like_a_missing_value_stays_a_class(make_run):
    run = read_run(make_run(classes=("NA", "nan", "null", "None")))

    assert set(run.labels) == {"NA", "nan", "null", "None"}
    assert run.correct("flat").sum() == 10


@pytest.mark.parametrize("file", ["metrics.json", "hierarchy.json", "predictions.csv"])
def test_a_folder_without_a_needed_file_is_no_finished_run(make_run, file):
    with pytest.raises(DataError, match="is no finished run"):
        read_run(make_run(drop=(file,)))


def test_predictions_of_other_classes_are_refused(make_run):
    folder = make_run()
    other = {"macros": {"warm": ["apple", "cherry"], "cool": ["lime", "mint"]}}
    (folder / "hierarchy.json").write_text(json.dumps(other), encoding="utf-8")

    with pytest.raises(DataError, match="name different classes. Only in one: .*moss"):
        read_run(folder)


def test_a_method_with_other_images_is_refused(make_run):
    folder = make_run()
    table = pd.read_csv(folder / "predictions.csv")
    table.drop(index=table.index[-1]).to_csv(folder / "predictions.csv", index=False)

    with pytest.raises(DataError, match="other images for 'soft', seed 1"):
        read_run(folder)


def test_without_tree_and_manifest_the_rest_is_still_read(make_run):
    run = read_run(make_run(drop=("tree.json", "manifest.csv", "settings.toml")))

    assert run.tree is None and run.settings == {}
    assert set(run.paths) == {None}
    assert run.order.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("spoiled", ["lost", "of other seeds", "not numbers", "no archive"])
def test_probabilities_that_are_lost_or_do_not_fit_are_named(make_run, spoiled):
    folder = make_run()
    path = folder / "probabilities" / "soft.npz"
    probs = np.full((2, 8, 4), 0.25)
    if spoiled == "lost":
        path.unlink()
    elif spoiled == "no archive":
        path.write_text("nothing")
    else:
        np.savez(path, probs=probs[:1] if spoiled == "of other seeds" else np.full_like(probs, np.nan))

    with pytest.raises(DataError, match="soft"):
        read_run(folder)
