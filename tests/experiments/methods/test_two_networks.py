"""Router on one network, some sub-models on another: in the benchmark, and from its bundle."""

import json

import keras
import numpy as np
import pandas as pd
import pytest

import aisles
from aisles.experiments.methods.registry import find_method
from aisles.models.backbones.joined import JoinedBackbone
from aisles.models.backbones.registry import wrap_backbone

pytestmark = pytest.mark.keras


def tiny(filters, seed, name):
    inputs = keras.Input((8, 8, 3))
    kernel = keras.initializers.GlorotUniform(seed)
    x = keras.layers.Conv2D(filters, 3, activation="relu", kernel_initializer=kernel)(inputs)
    return wrap_backbone(keras.Model(inputs, x), name, preprocessing="symmetric")


@pytest.fixture(scope="module")
def run(tmp_path_factory, drawn_goods, small_run):
    folder = tmp_path_factory.mktemp("two") / "run"
    joined = JoinedBackbone((tiny(2, 0, "cheap"), tiny(12, 1, "strong")))
    changes = ('comparison.methods=["two-networks:1","first-look"]', 'comparison.bundles=["two-networks:1"]')
    small_run(drawn_goods, folder, "comparison.seeds=1", "training.epochs=2", *changes, backbone=joined)
    return folder


def test_its_bundle_gives_the_runs_own_probabilities_from_images(run):
    classifier = aisles.load(run / "bundles" / "two-networks-1")
    table = pd.read_csv(run / "manifest.csv")
    paths = [run / file for file in table.loc[table["split"] == "test", "file_name"]]
    with np.load(run / "probabilities" / "two-networks-1.npz") as arrays:
        judged = arrays["probs"][0]
    np.testing.assert_allclose(classifier.predict_proba(paths, calibrated=False), judged, atol=1e-4)


def test_the_cost_says_which_share_passes_the_second_network(run):
    metrics = json.loads((run / "metrics.json").read_text())
    cost = {name: m["cost"]["backbone_passes"] for name, m in metrics["methods"].items()}
    assert cost["first-look"] == 0.5
    assert 0.5 <= cost["two-networks:1"] <= 1.0
    bundle = json.loads((run / "bundles" / "two-networks-1" / "bundle.json").read_text())
    on_second = [model["backbone"] for model in bundle["models"]["submodels"]]
    assert (cost["two-networks:1"] > 0.5) == (1 in on_second)


def test_the_run_says_which_share_it_sent_and_the_report_shows_it(run):
    metrics = json.loads((run / "metrics.json").read_text())["methods"]
    sent = metrics["two-networks:1"]["sent"]
    assert sent["stated"] == 1 and "sent" not in metrics["first-look"]
    assert metrics["two-networks:1"]["cost"]["backbone_passes"] == pytest.approx((1 + sent["measured"]) / 2)
    table = pd.read_csv(run / "tables" / "sent.csv").set_index("method")
    assert set(table.index) == {"two-networks:1", "second-look-flat:1"}
    assert table.loc["second-look-flat:1", "test images"] == 1
    assert "share of images passes the stronger network" in (run / "report.md").read_text()


def test_a_share_out_of_range_is_refused():
    method = find_method("two-networks:2")
    with pytest.raises(ValueError, match="needs two networks joined|share of images sent"):
        method.fit(type("Context", (), {"backbone": None, "settings": aisles.Settings()})())
