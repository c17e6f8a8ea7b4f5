from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aisles.data_prep.images.manifest import Manifest
from aisles.experiments.benchmark.preparation import PreparedData
from aisles.experiments.curves.axes import World, find_axis, read_curve
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.hierarchy.hierarchy import Hierarchy

CLASSES = ("A", "B", "C", "D", "E", "F")
AISLES = Hierarchy(("first", "second"), (("A", "B", "C"), ("D", "E", "F")))


@pytest.fixture(params=[True, False], ids=["brought", "learned"])
def world(request, tmp_path):
    label = np.repeat(CLASSES, 20)
    split = np.tile(["train"] * 12 + ["val"] * 4 + ["test"] * 4, len(CLASSES))
    names = [f"{i}.jpg" for i in range(len(label))]
    table = pd.DataFrame({"file_name": names, "label": label, "product": names, "split": split})
    features = np.arange(len(label), dtype=np.float32)[:, None]
    prepared = PreparedData(Manifest(table, tmp_path), np.array(names), table.iloc[:0], table.iloc[:0])
    return World(prepared, features, BenchmarkSettings(), AISLES if request.param else None, AISLES)


def at(world, axis, value, seed=0):
    return find_axis(axis).apply(world, value, np.random.default_rng(seed))


def held_out(world):
    return world.features[world.prepared.rows("test")].ravel().tolist()


def train_of(world):
    return set(world.features[world.prepared.rows("train")].ravel().tolist())


@pytest.mark.parametrize(
    ("axis", "value"),
    [("labels", 2), ("noise-inside", 0.4), ("noise-across", 0.4), ("imbalance", 10), ("source-distance", 2),
     ("macros", "random"),
     ("hierarchy.macros", 3)],
)  # fmt: skip
def test_an_axis_leaves_test_images_and_their_labels_untouched(world, axis, value):
    changed = at(world, axis, value)
    assert held_out(changed) == held_out(world)
    rows = changed.prepared.rows("test")
    assert changed.labels[rows].tolist() == world.labels[world.prepared.rows("test")].tolist()


def test_k_labels_keep_k_training_and_at_most_k_validation_images_per_class_and_lie_in_larger_draws(world):
    two, five = at(world, "labels", 2), at(world, "labels", 5)
    for split, expected in (("train", [2] * 6), ("val", [2] * 6)):
        rows = two.prepared.rows(split)
        assert np.unique(two.labels[rows], return_counts=True)[1].tolist() == expected
    assert len(five.prepared.rows("val")) == 24  # no more than there are
    assert train_of(two) < train_of(five) < train_of(world)
    assert train_of(two) != train_of(at(world, "labels", 2, seed=1))


def test_images_left_out_keep_their_macro_only_where_a_person_brings_the_macros(world):
    changed = at(world, "labels", 2)
    if world.hierarchy is None:
        assert changed.prepared.coarse is None
        return
    coarse = changed.prepared.coarse
    assert len(coarse) == 6 * 10
    left = train_of(world) - train_of(changed)
    assert set(coarse.vectors.ravel().tolist()) == left
    truth = np.where(coarse.vectors.ravel() < 60, "first", "second")
    assert coarse.macros.tolist() == truth.tolist()


def test_all_labels_are_the_world_itself(world):
    assert at(world, "labels", "all") is world


def test_noise_stays_inside_macros_or_crosses_them_and_has_the_stated_share(world):
    for axis, inside in (("noise-inside", True), ("noise-across", False)):
        changed = at(world, axis, 0.5)
        for split in ("train", "val"):
            rows = world.prepared.rows(split)
            before, after = world.labels[rows], changed.labels[rows]
            differ = before != after
            assert differ.sum() == round(0.5 * (len(rows) - 6))  # one image of each class keeps its label
            macro = {name: m for m, members in zip("12", AISLES.members, strict=True) for name in members}
            crossing = [macro[a] != macro[b] for a, b in zip(before[differ], after[differ], strict=True)]
            assert not any(crossing) if inside else all(crossing)
        assert set(changed.labels) == set(CLASSES)


def test_a_long_tail_has_the_stated_ratio(world):
    changed = at(world, "imbalance", 6)
    _, counts = np.unique(changed.labels[changed.prepared.rows("train")], return_counts=True)
    assert counts.max() == 12 and counts.min() == 2
    assert sorted(counts.tolist()) == [2, 3, 4, 6, 8, 12]  # 12 * 6 ** (-i / 5), rounded


def test_classes_are_drawn_in_nested_subsets_and_the_hierarchy_follows(world):
    four, five = at(world, "classes", 4), at(world, "classes", 5)
    assert set(four.labels) < set(five.labels) and len(set(four.labels)) == 4
    assert set(four.known.classes) == set(four.labels)
    assert (four.hierarchy is None) == (world.hierarchy is None)
    with pytest.raises(ValueError, match="There are 6 classes"):
        at(world, "classes", 7)


def test_macros_are_learned_brought_or_random_of_the_same_sizes(world):
    assert at(world, "macros", "learned").hierarchy is None
    random = at(world, "macros", "random").hierarchy
    assert sorted(random.sizes) == [3, 3]
    if world.hierarchy is None:
        with pytest.raises(ValueError, match="Nobody brings macros"):
            at(world, "macros", "brought")
    else:
        assert at(world, "macros", "brought").hierarchy is AISLES


def test_a_number_among_the_settings_is_an_axis(world):
    assert at(world, "hierarchy.macros", 3).settings.hierarchy.macros == 3
    assert at(world, "training.label_smoothing", 0.1).settings.training.label_smoothing == 0.1


def test_curves_are_read_as_they_are_typed():
    axis, values = read_curve("1, 2,all")
    assert (axis.name, values) == ("labels", (1, 2, "all"))
    axis, values = read_curve("noise-inside=0,0.25")
    assert (axis.name, values) == ("noise-inside", (0.0, 0.25))
    assert read_curve("macros=learned,random")[1] == ("learned", "random")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1", "at least two different values"),
        ("1,1", "at least two different values"),
        ("0,2", "takes a whole number from 1 or all"),
        ("1.5,2", "takes a whole number"),
        ("noise-inside=0,2", "takes a number from 0 to 0.9"),
        ("macros=3,4", "takes learned or brought or random"),
        ("nonsense=1,2", "There is no axis 'nonsense'|nonsense"),
        ("backbone.batch_size=1,2", "A setting can be an axis if"),
        ("comparison.primary=1,2", "A setting can be an axis if"),
        ("labels=nan,2", "takes a whole number"),
    ],
)
def test_curves_that_make_no_sense_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_curve(text)


def test_another_source_moves_all_learning_images_by_one_shift_in_spreads_inside_classes(world):
    near, far = (
        at(world, "source-distance", value).features[:, 0] - world.features[:, 0] for value in (1, 3)
    )
    learning = world.prepared.manifest.splits != "test"
    assert len(np.unique(near[learning].round(3))) == 1 and not near[~learning].any()
    np.testing.assert_allclose(far, 3 * near, rtol=1e-4)
    draw = np.random.default_rng(0).normal()
    labels, training = world.labels, world.prepared.manifest.splits == "train"
    inside = [world.features[training & (labels == name), 0].var() for name in CLASSES]
    np.testing.assert_allclose(near[learning][0], draw * np.sqrt(np.mean(inside)), rtol=1e-4)
    assert (at(world, "source-distance", 0).features == world.features).all()


def with_sources(world, sources):
    manifest = world.prepared.manifest.with_columns(source=sources)
    return replace(world, prepared=replace(world.prepared, manifest=manifest))


def test_training_images_come_from_the_sources_of_test_images_or_from_others_as_many_of_each_class(world):
    places = np.tile(np.arange(20), 6)  # of each class 12 training, 4 validation, 4 test images
    sources = np.where((places < 5) | (places >= 15), "shop", np.where(places < 9, "web", "phone"))
    given = with_sources(world, sources)
    for value, wanted in (("same", {"shop"}), ("other", {"web", "phone"})):
        kept = at(given, "sources", value)
        manifest = kept.prepared.manifest
        learning = manifest.splits != "test"
        assert set(manifest.table["source"][learning]) <= wanted and held_out(kept) == held_out(world)
        for split, n in (("train", 5), ("val", 1)):  # the smaller of 5 and 7, of 1 and 3
            rows = kept.prepared.rows(split)
            assert np.unique(kept.labels[rows], return_counts=True)[1].tolist() == [n] * 6
    with pytest.raises(ValueError, match="column `source`. Without one of both: 'A'"):
        at(world, "sources", "same")
    with pytest.raises(ValueError, match="The axis sources takes same or other. Received: '3'"):
        read_curve("sources=same,3")
