"""Class embeddings, their tree, its cuts, and how stable they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score, silhouette_score

from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.clustering import (
    CLUSTERINGS,
    ClusteringContext,
    allowed_numbers,
    choose_n_macros,
    cluster,
    cluster_classes,
    register_clustering,
)
from aisles.hierarchy.embeddings import ClassEmbeddings, class_embeddings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.stability import adjusted_rand, stability

METRICS = {"ward": "euclidean", "average": "cosine", "complete": "cosine"}


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
        ValueError, match="Unknown clustering 'single'. Choose one of: ward, average, complete."
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
    assert choice.n_macros == 6 and choice.candidates == tuple(range(2, 13))
    labels = tree.cut(6).macro_of
    expected = silhouette_score(embeddings.vectors, labels, metric=METRICS[method])
    assert choice.silhouettes[4] == pytest.approx(expected)


@pytest.mark.parametrize(("n_classes", "most"), [(2, 2), (3, 2), (5, 2), (6, 3), (11, 5), (24, 12), (60, 12)])
def test_no_more_than_half_as_many_macros_as_classes_are_tried(n_classes, most):
    choice = choose_n_macros(cluster_classes(drawn(n_classes)))
    assert choice.candidates == tuple(range(2, most + 1))
    assert 2 <= choice.n_macros <= most and str(choice.n_macros) in choice.reason


def far_apart(*sizes):
    """Return a tree of groups of near classes that lie apart; single ones lean towards the first group."""
    axes = np.eye(len(sizes))
    axes[np.array(sizes) == 1, 0] = 0.2
    vectors = np.repeat(axes, sizes, axis=0)
    vectors = np.hstack([vectors, 0.1 * np.eye(len(vectors))])
    names = tuple(f"c{i:02d}" for i in range(len(vectors)))
    return cluster_classes(ClassEmbeddings(names, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))


def test_cuts_of_many_single_classes_are_left_out_where_others_are_left():
    tree = far_apart(4, 4, 4, 1, 1, 1)
    choice = choose_n_macros(tree)
    assert int(np.argmax(choice.silhouettes)) + 2 == 6 and choice.alone[6 - 2] == 3
    assert allowed_numbers(tree) == [3, 4, 5] and choice.n_macros in (4, 5)
    assert "of 3 to 5, without 6, 7 for their many single classes" in choice.reason


def test_two_macros_are_taken_where_three_would_be_mostly_single_classes():
    choice = choose_n_macros(far_apart(4, 1, 1))
    assert choice.alone == (0, 2) and choice.n_macros == 2


def test_a_degenerate_hierarchy_says_what_routing_lacks():
    assert Hierarchy(("A", "B"), (("a",), ("b", "c"))).degenerate is None
    assert "each of the 2 macros holds a single class" in str(
        Hierarchy(("A", "B"), (("a",), ("b",))).degenerate
    )
    assert "one macro, 'A', with all 2 classes" in str(Hierarchy(("A",), (("a", "b"),)).degenerate)


def test_macros_are_ordered_only_when_they_are_named_or_drawn(monkeypatch):
    def refuse(*_):
        raise AssertionError("ordered")

    monkeypatch.setattr("aisles.hierarchy.class_tree.scipy_hierarchy.optimal_leaf_ordering", refuse)
    tree = cluster_classes(drawn())
    assert choose_n_macros(tree).n_macros == 4 and len(set(tree.labels(5))) == 5 and tree.cut_height(3) > 0
    rng = np.random.default_rng(0)
    assert stability(rng.normal(size=(60, 5)), [str(i % 6) for i in range(60)], 3, n_bootstraps=2).mean <= 1
    with pytest.raises(AssertionError, match="ordered"):
        tree.cut(3)


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(CLUSTERINGS, "_known", dict(CLUSTERINGS))


def test_a_tree_of_ones_own_distance_is_cut_like_ours(own):
    def by_number(context):
        return pdist(np.arange(len(context.classes))[:, None] // 4, "euclidean")

    @register_clustering("by-number", description="neighbors by number", distance=by_number)
    def build(distances, context):
        return scipy_linkage(distances, "single")

    tree = cluster(ClusteringContext(drawn(12)), "by-number")
    assert isinstance(tree, ClassTree) and tree.metric == "own"
    assert sorted(tree.cut(3).members) == [
        tuple(f"class_{i:02d}" for i in range(s, s + 4)) for s in (0, 4, 8)
    ]
    assert ClassTree.from_json(tree.to_json()).cut(3) == tree.cut(3)


def test_a_partition_of_ones_own_is_numbered_named_and_chosen_like_a_tree(own):
    made = []

    @register_clustering("by-rest", description="by the rest", makes="partition", distance="euclidean")
    def build(context, n_macros):
        made.append(n_macros)
        return np.arange(len(context.classes)) % n_macros

    found = cluster(ClusteringContext(drawn(12, 4, 0.1)), "by-rest")
    choice = choose_n_macros(found)
    assert choice.n_macros == 4 and choice.silhouettes[2] == pytest.approx(
        silhouette_score(drawn(12, 4, 0.1).vectors, np.arange(12) % 4)
    )
    hierarchy = found.cut(4)
    assert hierarchy.members == tuple(tuple(f"class_{i:02d}" for i in range(s, 12, 4)) for s in range(4))
    assert all(
        name.split("+")[0] in inside for name, inside in zip(hierarchy.macros, hierarchy.members, strict=True)
    )
    assert made == [2, 3, 4, 5, 6]  # each once
    with pytest.raises(ValueError, match=r"number of classes \(12\). Received: n_macros=1"):
        found.cut(1)
    with pytest.raises(ValueError, match="'by-rest' makes no tree. Choose one of: ward, average, complete."):
        cluster_classes(drawn(), "by-rest")


def test_clusterings_that_give_nonsense_are_refused_by_name(own):
    register_clustering("one", description="all in one", makes="partition")(
        lambda context, k: np.zeros(12, int)
    )
    with pytest.raises(
        ValueError, match="'one' must number the groups of 12 classes from 0 to 2.*1 different"
    ):
        cluster(ClusteringContext(drawn()), "one").cut(3)
    register_clustering("short", description="", distance=lambda context: np.ones(3))(
        lambda distances, _: distances
    )
    with pytest.raises(ValueError, match=r"'short' must give 66 finite numbers.*shape \(3,\)"):
        cluster(ClusteringContext(drawn()), "short")
    with pytest.raises(ValueError, match="tree or partition. Received for 'x': 'forest'"):
        register_clustering("x", description="", makes="forest")
    with pytest.raises(ValueError, match="euclidean, cosine or a function"):
        register_clustering("x", description="", distance="city")
    with pytest.raises(ValueError, match="only a benchmark has them"):
        _ = ClusteringContext(drawn()).validation_confusion


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
