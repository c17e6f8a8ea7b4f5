"""A run whose hierarchy was brought by a person: what it is compared with."""

import numpy as np
import pandas as pd
import pytest

from aisles.data_prep.images.manifest import read_manifest
from aisles.experiments.benchmark.preparation import column_hierarchy, independent_hierarchy
from aisles.experiments.metrics.hierarchy_quality import hierarchy_quality
from aisles.experiments.settings.benchmark import HierarchySettings
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.embeddings import class_embeddings
from aisles.hierarchy.hierarchy import Hierarchy

CLASSES = ("apple", "cherry", "lime", "moss")


@pytest.fixture
def manifest(tmp_path):
    rows = [
        {
            "file_name": f"{c}.png",
            "label": c,
            "aisle": "12"[i // 2],
            "shelf": "xy"[i // 2],
            "color": "rg"[i % 2],
        }
        for i, c in enumerate(CLASSES)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    for row in rows:
        (tmp_path / row["file_name"]).write_bytes(b"")
    return read_manifest(tmp_path / "metadata.csv")


def test_the_runs_own_column_and_equal_groupings_are_not_independent(manifest):
    settings = HierarchySettings(column="aisle")
    own = column_hierarchy(manifest, "aisle")
    found = independent_hierarchy(manifest, settings, own)
    assert found is not None and found[0] == "color"  # `shelf` groups as `aisle` does
    learned = independent_hierarchy(manifest, HierarchySettings(), None)
    assert learned is not None and learned[0] == "aisle"
    asked = independent_hierarchy(manifest, HierarchySettings(column="aisle", independent="shelf"), own)
    assert asked is not None and asked[0] == "shelf"


def test_stability_is_of_the_tree_s_cut_and_a_brought_hierarchy_is_told_apart():
    rng = np.random.default_rng(0)
    labels = np.repeat(CLASSES, 6)
    centers = np.repeat([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0.1]], 6, axis=0)
    features = centers + rng.normal(0, 0.01, (24, 3))
    tree = cluster_classes(class_embeddings(features, labels))
    brought = Hierarchy(("a", "b"), (("apple", "moss"), ("cherry", "lime")))
    for hierarchy, agrees in ((tree.cut(2), True), (brought, False)):
        found = hierarchy_quality(hierarchy, tree, features, labels, 3)
        assert found["stability"]["mean"] == 1
        assert (found["tree_agreement"] == 1) is agrees
