"""Renaming in bundles: other names, the same answers, and no file changed that need not be."""

import json

import numpy as np
import pytest

from aisles.hierarchy.class_tree import ClassTree
from aisles.models.bundles.bundle import BundleError, load_bundle, read_bundle, save_bundle
from aisles.models.bundles.editing import rename
from aisles.models.prediction.two_stage import FlatClassifier

pytestmark = pytest.mark.keras


def tree_of(classes):
    # amber and navy join first, then pink, red, sky, white one after the other
    n = len(classes)
    linkage = [[0, 1, 1, 2]] + [[i + 1, n + i - 1, i + 1, i + 2] for i in range(1, n - 1)]
    distances = np.arange(1, n * (n - 1) // 2 + 1, dtype=float)
    return ClassTree(tuple(classes), np.array(linkage, float), distances)


@pytest.fixture
def bundle(hierarchy, make_two_stage, tmp_path):
    classifier = make_two_stage(hierarchy, temperature=1.3)
    classifier.learned_from = frozenset({"ab" * 32})
    return save_bundle(classifier, tmp_path / "bundle", tree=tree_of(hierarchy.classes))


def probabilities(folder, images):
    classifier = load_bundle(folder, engine="tensorflow")
    flat = classifier.model_proba("flat", images)
    return classifier, classifier.predict_proba(images), classifier.predict_macro_proba(images), flat


def test_a_renamed_macro_answers_as_before_and_every_network_stays_byte_for_byte(bundle, images):
    before, (_, probs, macro, flat) = read_bundle(bundle), probabilities(bundle, images)
    result = rename(bundle, "warm", "Papayas & peppers")
    after = read_bundle(bundle)
    assert (result.kind, result.changed_files) == ("macro", ())
    assert {n: d for n, d in after["files"].items() if n != "README.md"} == {
        n: d for n, d in before["files"].items() if n != "README.md"
    }
    classifier, *found = probabilities(bundle, images)
    assert classifier.hierarchy.macros == ("Papayas & peppers", "one", "cold")
    for mine, theirs in zip(found, (probs, macro, flat), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    answer = classifier.predict(images)[0]
    assert answer.macro in classifier.hierarchy.macros
    assert "'warm' renamed" in (bundle / "README.md").read_text()


@pytest.mark.parametrize(
    "new", ["aardvark", "zebra"]
)  # the first and the last of all, where red was the fourth
def test_a_renamed_class_moves_to_its_new_place_in_every_model_with_its_probability(bundle, new, images):
    before, probs, macro, flat = probabilities(bundle, images)
    files = read_bundle(bundle)["files"]
    result = rename(bundle, "red", new)
    after, *found = probabilities(bundle, images)
    assert list(after.classes_) == sorted([new, *(c for c in before.classes_ if c != "red")])
    assert after.hierarchy.members[0] == (new, "amber", "pink")  # the sub-model's columns stay where they are
    columns = [list(before.classes_).index("red" if name == new else name) for name in after.classes_]
    np.testing.assert_array_equal(found[0], probs[:, columns])
    np.testing.assert_array_equal(found[1], macro)
    np.testing.assert_allclose(found[2], flat[:, columns], atol=1e-7)
    assert result.changed_files == ("flat.keras", "tree.json")
    left = read_bundle(bundle)["files"]
    assert all(
        left[name] == files[name] for name in files if name not in (*result.changed_files, "README.md")
    )
    rename(bundle, new, "red")  # and back
    np.testing.assert_allclose(probabilities(bundle, images)[3], flat, atol=1e-7)


def test_the_tree_keeps_each_class_where_it_joined(hierarchy):
    tree = tree_of(hierarchy.classes)
    moved = tree.renamed({"amber": "zebra"})
    assert moved.classes == ("navy", "pink", "red", "sky", "white", "zebra")
    assert sorted(moved.linkage[0, :2]) == [0, 5]  # navy and what amber is called now
    groups = [{moved.classes[i] for i in g} for g in moved.groups(3)]
    expected = [
        {("zebra" if tree.classes[i] == "amber" else tree.classes[i]) for i in g} for g in tree.groups(3)
    ]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected))
    assert ClassTree.from_json(moved.renamed({"zebra": "amber"}).to_json()).to_json() == tree.to_json()


def test_a_flat_bundle_without_a_hierarchy_and_a_given_network_are_renamed_too(
    make_backbone, make_model, hierarchy, images, tmp_path
):
    import keras
    from keras import layers

    own = FlatClassifier(make_model(("a", "b", "c"), make_backbone()))
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]
    )
    given = FlatClassifier.from_model(network, ["c", "a", "b"])
    for name, classifier in (("own", own), ("given", given)):
        folder = save_bundle(classifier, tmp_path / name)
        probs = load_bundle(folder, engine="tensorflow").predict_proba(images)
        rename(folder, "a", "z", output=tmp_path / f"{name}-renamed")
        found = load_bundle(tmp_path / f"{name}-renamed", engine="tensorflow")
        assert list(found.classes_) == ["b", "c", "z"]
        np.testing.assert_allclose(found.predict_proba(images), probs[:, [1, 2, 0]], atol=1e-7)
        assert list(load_bundle(folder).classes_) == ["a", "b", "c"]  # the old one stays


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        ("warm", "cold", None, "already a macro 'cold'"),
        ("red", "sky", None, "already a class 'sky'"),
        ("warmth", "x", None, "no macro or class 'warmth'. Its macros: warm, one, cold"),
        ("red", "x", "macro", "no macro 'red'"),
        ("red", " ", None, "not empty"),
        ("red", "a\nb", None, "one line"),
        ("red", "x", "shelf", "kind must be one of"),
    ],
)
def test_what_can_not_be_renamed_is_refused_and_nothing_changes(bundle, old, new, kind, message):
    before = (bundle / "bundle.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        rename(bundle, old, new, kind=kind)
    assert (bundle / "bundle.json").read_bytes() == before


def test_a_name_that_is_a_macro_and_a_class_needs_to_be_told_apart(bundle):
    rename(bundle, "one", "white")
    with pytest.raises(ValueError, match="--kind macro"):
        rename(bundle, "white", "snow")
    rename(bundle, "white", "snow", kind="class")
    assert json.loads((bundle / "bundle.json").read_text())["hierarchy"]["macros"]["white"] == ["snow"]


def test_a_changed_bundle_and_a_folder_that_is_none_are_refused(bundle, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not a bundle"):
        rename(bundle, "warm", "hot", output=tmp_path / "other")
    (bundle / "router.keras").write_bytes(b"x")
    with pytest.raises(BundleError, match="has changed"):
        rename(bundle, "warm", "hot")
