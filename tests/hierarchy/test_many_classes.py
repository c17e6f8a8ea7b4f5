"""What trees, temperatures and routing do where there are many classes."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, leaves_list

from aisles.hierarchy import calibration, class_tree, dendrogram, rules
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.dendrogram import draw_dendrogram, of_macros
from aisles.hierarchy.embeddings import class_embeddings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rules import in_parts, parse_rule, route


@pytest.fixture
def tree():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(12, 4)), 3, axis=0)
    return cluster_classes(class_embeddings(features, np.repeat(list("abcdefghijkl"), 3).tolist()))


def test_a_tree_of_many_classes_keeps_its_merges_and_leaves_its_distances_out(tree, monkeypatch):
    monkeypatch.setattr(class_tree, "MANY", 11)
    again = class_tree.ClassTree.from_json(tree.to_json())
    np.testing.assert_array_equal(again.linkage, tree.linkage)
    np.testing.assert_array_equal(again.distances, cophenet(tree.linkage))
    assert again.leaves == tuple(leaves_list(tree.linkage))


def test_a_small_tree_without_distances_is_refused(tree):
    text = tree.to_json().replace(str(tree.distances.tolist()), "null")
    with pytest.raises(ValueError, match="no tree of classes"):
        class_tree.ClassTree.from_json(text)


def test_macros_stand_at_the_mean_distance_of_their_classes():
    classes = ("a", "b", "c", "d")
    distances = np.array([1.0, 4.0, 6.0, 5.0, 9.0, 2.0])  # ab ac ad bc bd cd
    linkage = np.array([[0, 1, 1.0, 2], [2, 3, 2.0, 2], [4, 5, 6.0, 4]])
    tree = class_tree.ClassTree(classes, linkage, distances, "average", "own")
    macros, hierarchy = of_macros(tree, Hierarchy(("z", "m"), (("a", "b"), ("c", "d"))))
    assert macros.classes == ("m (2 classes)", "z (2 classes)")
    assert macros.distances.tolist() == [(4 + 6 + 5 + 9) / 4]
    assert hierarchy.macros == ("z (2 classes)", "m (2 classes)")


def test_of_many_classes_the_macros_are_drawn(tree, monkeypatch, tmp_path):
    monkeypatch.setattr(dendrogram, "MANY", 11)
    cut = tree.cut(4)
    svg, _ = draw_dendrogram(tree, cut, tmp_path / "tree")
    drawn = svg.read_text()
    assert "4 macros of 12 classes" in drawn
    for number, (name, size) in enumerate(zip(cut.macros, cut.sizes, strict=True), 1):
        assert f"{number}  {name} ({size})" in drawn and f"{name} ({size} classes)" in drawn


@pytest.mark.parametrize("name", ["soft", "hard", "hie", "implied", "beam:2"])
def test_routing_in_parts_is_routing(name, monkeypatch):
    monkeypatch.setattr(rules, "CELLS", 9)
    rng = np.random.default_rng(1)
    hierarchy = Hierarchy(("x", "y"), (("a", "b"), ("c", "d")))
    within = rng.dirichlet(np.ones(2), size=(11, 2)).reshape(11, 4)
    tables = {"macro_probs": rng.dirichlet(np.ones(2), 11), "within_probs": within}
    tables["flat_probs"] = rng.dirichlet(np.ones(4), 11)
    found = in_parts(parse_rule(name), hierarchy, tables)
    np.testing.assert_array_equal(found, route(name, hierarchy=hierarchy, **tables))


def test_a_temperature_of_a_large_table_comes_from_evenly_spaced_rows(monkeypatch):
    rng = np.random.default_rng(2)
    logs, labels = rng.normal(size=(400, 3)), rng.integers(0, 3, 400)
    rows = np.linspace(0, 399, 40).astype(int)
    expected = calibration.fit_temperature(logs[rows], labels[rows])
    monkeypatch.setattr(calibration, "CELLS", 120)
    monkeypatch.setattr(calibration, "FEWEST_ROWS", 10)
    assert calibration.fit_temperature(logs, labels) == expected
    monkeypatch.setattr(calibration, "CELLS", 1200)
    assert calibration.fit_temperature(logs, labels) != expected


def test_scaling_in_parts_is_scaling(monkeypatch):
    probs = np.random.default_rng(3).dirichlet(np.ones(5), 23)
    whole = calibration.apply_temperature(probs, 2.0)
    monkeypatch.setattr(calibration, "AT_ONCE", 12)
    np.testing.assert_array_equal(calibration.apply_temperature(probs, 2.0), whole)
