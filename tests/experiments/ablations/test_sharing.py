"""Trunks judged against the fine-tuned flat model on the same test images."""

import json

import keras
import pandas as pd
import pytest

from aisles.experiments.ablations.sharing import compare_trunks
from aisles.experiments.settings.training import read_train_settings
from aisles.experiments.stats.verdict import holm
from aisles.models.backbones.registry import wrap_backbone

pytestmark = [pytest.mark.keras, pytest.mark.slow]


@pytest.fixture(scope="module")
def compared(image_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("trunks")
    inputs = keras.Input((8, 8, 3))
    kernel = keras.initializers.GlorotUniform(0)
    x = keras.layers.Conv2D(6, 3, activation="relu", kernel_initializer=kernel)(inputs)
    backbone = wrap_backbone(keras.Model(inputs, x), "small", preprocessing="symmetric")
    changes = (
        "hierarchy.macros=2", "images.frozen_epochs=15", "images.tuned_epochs=1", "images.frozen_rate=0.01",
        "images.batch_size=8",
    )  # fmt: skip
    settings = read_train_settings(None, changes)
    trunks = ("shared", "tuned", "separate from flat")
    result = compare_trunks(
        image_folder, output, settings, trunks=trunks, cache=output / "cache", backbone=backbone
    )
    return output, result


def test_every_method_is_judged_against_the_fine_tuned_flat_model(compared):
    _, result = compared
    names = result.table["method"].tolist()
    assert names[:2] == ["flat", "flat, frozen"]
    assert {"shared, soft", "tuned, soft", "tuned, implied", "flat, more epochs"} <= set(names)
    assert result.table["verdict"].isna().tolist() == [True] + [False] * (len(names) - 1)
    assert len(result.sentences) == len(names) - 1
    by_name = result.table.set_index("method")
    expected = by_name.loc["tuned, soft", "accuracy"] - by_name.loc["flat", "accuracy"]
    assert by_name.loc["tuned, soft", "difference"] == pytest.approx(expected)


def test_p_values_are_corrected_in_the_primary_family_and_in_the_others(compared):
    _, result = compared
    table = result.table.set_index("method")
    primary = table.index[table["family"] == "primary"]
    assert set(primary) == {"flat, more epochs", "shared, soft", "tuned, soft", "separate from flat, soft"}
    for family in ("primary", "further"):
        rows = table[table["family"] == family]
        assert rows["p"].tolist() == pytest.approx(holm(rows["p_uncorrected"].to_numpy()).tolist())
    assert pd.isna(table.loc["flat", "family"])


def test_figures_are_written_with_what_they_rest_on(compared):
    output, result = compared
    content = json.loads((output / "trunks.json").read_text())
    assert content["verdicts"] == list(result.sentences)
    assert set(content["flat_validation_accuracy"]) == {"frozen", "tuned"}
    assert content["environment"]["processors"] >= 1
    assert sum(len(members) for members in content["hierarchy"].values()) == 6
    assert pd.read_csv(output / "trunks.csv")["method"].tolist() == result.table["method"].tolist()
