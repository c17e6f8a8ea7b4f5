"""Class embeddings, their tree, its cuts, and how stable they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score, silhouette_score

from aisles.hierarchy.clustering import METRICS, ClassTree, choose_n_macros, cluster_classes
from aisles.hierarchy.embeddings import ClassEmbeddings, class_embeddings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.stability import adjusted_rand, stability


def drawn(n_classes=12, n_groups=4, spread=0.4, seed=0):
    """Draw class embeddings around a few group centres."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_groups, 16))[np.arange(n_classes) % n_groups]
    vectors = vectors + spread * rng.normal(size=vectors.shape)
    names = tuple(f"class_{i:02d}" for i in range(n_classes))
    return ClassEmbeddings(names, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def compass():
    """Place six classes on a circle: three near east, two near north, one west."""
    degrees = np.radians([0, 4, 10, 90, 96, 180])
    return ClassEmbeddings(tuple("abcdef"), np.stack([np.cos(degrees), np.sin(degrees)], axis=1))


def test_embeddings_average_directions_worked_out_by_hand():
    features = np.array([[3.0, 0], [0, 0.5], [0, 0], [0, 2]], dtype=np.float32)
    found = class_embeddings(features, ["b", "b", "b", "a"])
    assert found.classes == ("a", "b")
    np.testing.assert_allclose(found.vectors, [[0, 1], [np.sqrt(0.5), np.sqrt(0.5)]], rtol=1e-12)


def test_embeddings_do_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 5)), rng.integers(0, 4, 60).astype(str)
    order = rng.permutation(60)
    one, other = class_embeddings(features, labels), class_embeddings(features[order], labels[order])
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(one.vectors, axis=1), 1)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.ones((2, 3)), ["a"], r"shape \(2, 3\), 1 labels"),
        (np.ones((0, 3)), [], "at least one row"),
        (np.ones(3), ["a"] * 3, "must be of shape"),
        (np.array([[np.nan, 1]]), ["a"], "must be finite"),
        (np.array([[1.0, 0], [0, 0]]), ["a", "b"], r"mean direction. Without: \['b'\]"),
        (np.array([[1.0, 0], [-1, 0]]), ["a", "a"], r"Without: \['a'\]"),
    ],
)
def test_features_without_meaning_are_refused(features, labels, message):
    with pytest.raises(ValueError, match=message):
        class_embeddings(features, labels)


@pytest.mark.parametrize("method", METRICS)
def test_a_cut_groups_neighbors_and_names_them_by_the_classes_nearest_the_centre(method):
    hierarchy = cluster_classes(compass(), method).cut(3)
    found = dict(zip(hierarchy.macros, hierarchy.members, strict=True))
    assert found == {"b+a": ("a", "b", "c"), "d+e": ("d", "e"), "f": ("f",)}


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 30), st.integers(0, 10_000), st.sampled_from(sorted(METRICS)), st.data())
def test_cuts_are_the_partitions_of_scikit_learn(n_classes, seed, method, data):
    embeddings = drawn(n_classes, 4, 0.8, seed)
    k = data.draw(st.integers(2, n_classes))
    hierarchy = cluster_classes(embeddings, method).cut(k)
    theirs = AgglomerativeClustering(k, metric=METRICS[method], linkage=method).fit_predict(
        embeddings.vectors
    )
    assert hierarchy.n_macros == k and hierarchy.classes == embeddings.classes
    assert adjusted_rand_score(hierarchy.macro_of.astype(str), theirs.astype(str)) == 1


def test_macros_come_in_leaf_order_and_classes_sorted():
    tree = cluster_classes(drawn(20, 5))
    hierarchy = tree.cut(5)
    place = {tree.classes[leaf]: position for position, leaf in enumerate(tree.leaves)}
    spans = [sorted(place[name] for name in names) for names in hierarchy.members]
    assert [position for span in spans for position in span] == list(range(20))
    assert all(list(names) == sorted(names) for names in hierarchy.members)


def test_equal_distances_still_give_exactly_the_macros_asked_for():
    tree = cluster_classes(ClassEmbeddings(tuple("abcdef"), np.eye(6)), "average")
    assert [tree.cut(k).n_macros for k in range(2, 7)] == [2, 3, 4, 5, 6]


def test_names_stay_unique_when_classes_are_called_like_macros():
    angles = np.radians([0, 5, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    hierarchy = cluster_classes(ClassEmbeddings(("a", "a+b", "b"), vectors[[0, 2, 1]])).cut(2)
    assert sorted(hierarchy.macros) == ["a+b", "a+b_2"]


@pytest.mark.parametrize("n_macros", [1, 13, 20, 2.5, True])
def test_a_cut_out_of_range_says_the_range(n_macros):
    with pytest.raises(
        ValueError, match=rf"between 2 and the number of classes \(12\). Received: n_macros={n_macros}"
    ):
        cluster_classes(drawn()).cut(n_macros)


@pytest.mark.parametrize("method", METRICS)
def test_the_cut_line_crosses_as_many_branches_as_there_are_macros(method):
    tree = cluster_classes(drawn(), method)
    for k in range(2, 12):
        below = (tree.linkage[:, 2] < tree.cut_height(k)).sum()
        assert 12 - below == k


def test_clustering_refuses_what_it_cannot_cluster():
    with pytest.raises(
        ValueError, match=r"one of \['average', 'complete', 'ward'\]. Received: method='single'"
    ):
        cluster_classes(drawn(), "single")
    with pytest.raises(ValueError, match="at least 2 classes"):
        cluster_classes(ClassEmbeddings(("a",), np.ones((1, 1))))


def test_cophenetic_correlation_is_scipys():
    embeddings = drawn(spread=1.0)
    tree = cluster_classes(embeddings, "average")
    expected = cophenet(tree.linkage, pdist(embeddings.vectors, "cosine"))[0]
    assert tree.cophenetic_correlation == pytest.approx(expected)
    assert np.isnan(cluster_classes(drawn(2)).cophenetic_correlation)


@pytest.mark.parametrize("method", METRICS)
def test_the_right_number_of_macros_is_chosen_by_silhouette(method):
    embeddings = drawn(24, 6, 0.3)
    tree = cluster_classes(embeddings, method)
    choice = choose_n_macros(tree)
    assert choice.n_macros == 6 and choice.candidates == tuple(range(3, 13))
    labels = tree.cut(6).macro_of
    expected = silhouette_score(embeddings.vectors, labels, metric=METRICS[method])
    assert choice.silhouettes[3] == pytest.approx(expected)


def test_choosing_stays_below_the_number_of_classes_and_refuses_too_few():
    assert choose_n_macros(cluster_classes(drawn(6)), 3, 12).candidates == (3, 4, 5)
    with pytest.raises(ValueError, match="more than low=3 classes. Received: 3"):
        choose_n_macros(cluster_classes(drawn(3)))
    with pytest.raises(ValueError, match="low=5, high=4"):
        choose_n_macros(cluster_classes(drawn()), 5, 4)


@pytest.mark.parametrize("method", METRICS)
def test_a_tree_survives_json_to_the_last_bit(method):
    tree = cluster_classes(drawn(), method)
    again = ClassTree.from_json(tree.to_json())
    np.testing.assert_array_equal(again.linkage, tree.linkage)
    np.testing.assert_array_equal(again.distances, tree.distances)
    assert again.cut(4) == tree.cut(4) and again.method == method


@pytest.mark.parametrize(
    "spoil", ['{"classes": 3}', "no json", "[]", '"linkage": [[', '"method": "ward"', '"class_00", ']
)
def test_a_spoiled_tree_is_refused(spoil):
    text = cluster_classes(drawn()).to_json()
    text = text.replace(spoil, "") if spoil in text else spoil
    with pytest.raises(ValueError, match="This is no tree of classes"):
        ClassTree.from_json(text)


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_rand_is_scikit_learns(seed):
    names = [f"c{i:02d}" for i in range(15)]
    rng = np.random.default_rng(seed)
    one, other = (Hierarchy.from_labels(names, rng.integers(0, 4, 15).astype(str).tolist()) for _ in range(2))
    expected = adjusted_rand_score(one.macro_of.astype(str), other.macro_of.astype(str))
    assert adjusted_rand(one, other) == pytest.approx(expected)
    assert adjusted_rand(one, one) == 1


def test_adjusted_rand_refuses_other_classes():
    one, other = (Hierarchy(("A",), ((name, "y"),)) for name in "xz")
    with pytest.raises(ValueError, match=r"Only in one of them: \['x', 'z'\]"):
        adjusted_rand(one, other)


def test_clear_groups_are_stable_and_noise_is_not():
    rng = np.random.default_rng(0)
    labels = np.repeat([f"c{i}" for i in range(12)], 30)
    noise = rng.normal(size=(360, 16))
    clear = 4 * drawn(spread=0.2).vectors.repeat(30, axis=0) + noise
    steady, shaky = (stability(features, labels, 4, n_bootstraps=8) for features in (clear, noise))
    assert steady.mean == 1 and steady.sd == 0
    assert shaky.mean < 0.6
    assert (
        shaky
        == stability(noise, labels, 4, n_bootstraps=8)
        != stability(noise, labels, 4, n_bootstraps=8, seed=1)
    )
    with pytest.raises(ValueError, match="n_bootstraps=0"):
        stability(noise, labels, 4, n_bootstraps=0)
