"""Calibration of a classifier, its guarantees, and their coverage."""

import numpy as np
import pytest
from PIL import Image

from aisles.models.prediction.two_stage import FlatClassifier


def true_labels(hierarchy, macro, within, seed):
    """Draw each image's class from the distributions themselves, so that they are calibrated."""
    rng = np.random.default_rng(seed)
    labels = []
    for m, w in zip(macro, within, strict=True):
        chosen = rng.choice(hierarchy.n_macros, p=m)
        block = w[hierarchy.blocks[chosen]]
        labels.append(hierarchy.members[chosen][rng.choice(len(block), p=block)])
    return labels


@pytest.fixture
def overconfident(hierarchy, table_classifier, make_tables):
    """A classifier of 250 images whose probabilities are sharper than the truth, and the true classes."""
    macro, within, flat = make_tables(hierarchy, 250, 0, 0.6)
    labels = true_labels(hierarchy, macro, within, 1)
    powers = macro**2.5
    sharp = np.hstack(
        [within[:, b] ** 2 / (within[:, b] ** 2).sum(1, keepdims=True) for b in hierarchy.blocks]
    )
    return table_classifier(hierarchy, powers / powers.sum(1, keepdims=True), sharp, flat), labels


def log_loss(probs, labels, classes):
    place = {name: i for i, name in enumerate(classes)}
    return -np.mean(np.log([row[place[label]] for row, label in zip(probs, labels, strict=True)]))


def test_calibration_finds_the_temperatures_and_leaves_hards_answers(overconfident):
    made, labels = overconfident
    classifier = made.classifier
    before = [p.label for p in classifier.predict(made.images, rule="hard")]
    raw = classifier.predict_proba(made.images)
    assert classifier.calibrate(made.images, labels) is classifier
    assert classifier.router.temperature == pytest.approx(2.5, rel=0.3)
    assert classifier.submodels[0].temperature == pytest.approx(2, rel=0.4)
    assert classifier.submodels[1].temperature == 1
    after = classifier.predict_proba(made.images)
    assert log_loss(after, labels, classifier.classes_) < log_loss(raw, labels, classifier.classes_)
    np.testing.assert_array_equal(classifier.predict_proba(made.images, calibrated=False), raw)
    assert [p.label for p in classifier.predict(made.images, rule="hard")] == before
    assert [p.label for p in classifier.predict(made.images, rule="hard", calibrated=False)] == before


def test_a_flat_model_is_calibrated_too(hierarchy, make_tables):
    flat_probs = make_tables(hierarchy, 250, 0, 0.6)[2]
    rng = np.random.default_rng(0)
    names = np.array(sorted(hierarchy.classes))
    labels = [names[rng.choice(6, p=row)] for row in flat_probs]
    sharp = flat_probs**3 / (flat_probs**3).sum(1, keepdims=True)
    flat = FlatClassifier.from_model(lambda pixels: sharp[pixels[:, 0, 0, 0]], names, input_size=(1, 1))
    images = [np.full((1, 1, 3), i, np.uint8) for i in range(250)]
    assert flat.calibrate(images, labels).model.temperature == pytest.approx(3, rel=0.3)


def test_confidence_sets_climbs_thresholds_and_prediction_sets(overconfident):
    made, labels = overconfident
    classifier = made.classifier.calibrate(made.images, labels)
    with pytest.raises(ValueError, match="set_confidence"):
        classifier.predict_sets(made.images)
    assert classifier.set_confidence(0.7, made.images, labels, coverage=0.8) is classifier
    threshold = classifier.confidence.climb.threshold
    by_name = classifier.predict(made.images, rule="climb")
    assert by_name == classifier.predict(made.images, rule=f"climb:{threshold}")
    given = [(p, label) for p, label in zip(by_name, labels, strict=True) if p.answered != "none"]
    holds = dict(zip(classifier.hierarchy.macros, classifier.hierarchy.members, strict=True))
    right = [p.label == label if p.answered == "class" else label in holds[p.macro] for p, label in given]
    assert np.mean(right) >= 0.7
    sets = classifier.predict_sets(made.images)
    assert np.mean([label in chosen for chosen, label in zip(sets, labels, strict=True)]) >= 0.8
    with pytest.raises(ValueError, match="calibrated"):
        classifier.predict(made.images, rule="climb", calibrated=False)


def test_hierarchical_sets_name_a_macro_for_its_classes_and_cover_as_often(overconfident):
    made, labels = overconfident
    classifier = made.classifier
    classifier.set_confidence(0.7, made.images, labels, coverage=0.8)
    holds = dict(zip(classifier.hierarchy.macros, map(set, classifier.hierarchy.members), strict=True))
    assert not set(holds) & set(classifier.classes_)
    flat = classifier.predict_sets(made.images)
    along = classifier.predict_sets(made.images, hierarchical=True)
    probs = classifier.predict_proba(made.images)
    quantile = classifier.confidence.hierarchical_sets.quantile
    assert quantile <= classifier.confidence.sets.quantile
    covered = []
    for row, names, label in zip(probs, along, labels, strict=True):
        inside = {name for name, p in zip(classifier.classes_, row, strict=True) if 1 - p <= quantile}
        expected = set()
        for macro, members in holds.items():
            both = inside & members
            expected |= {macro} if len(both) > 1 else both
        assert set(names) == expected and len(names) == len(expected)
        covered.append(any(label == name or label in holds.get(name, ()) for name in names))
    assert np.mean(covered) >= 0.8
    assert any(set(names) & set(holds) for names in along) and not any(
        set(names) & set(holds) for names in flat
    )
    assert sum(map(len, along)) < sum(map(len, flat))


def test_hierarchical_sets_need_a_hierarchy(hierarchy, make_tables):
    probs, names = make_tables(hierarchy, 60, 0, 0.6)[2], sorted(hierarchy.classes)
    flat = FlatClassifier.from_model(lambda pixels: probs[pixels[:, 0, 0, 0]], names, input_size=(1, 1))
    images = [np.full((1, 1, 3), i, np.uint8) for i in range(60)]
    flat.set_confidence(0.5, images, [names[int(row.argmax())] for row in probs])
    with pytest.raises(ValueError, match="Hierarchical sets need a hierarchy with each class in one macro"):
        flat.predict_sets(images, hierarchical=True)


def test_guarantees_need_known_labels_one_a_image_and_enough_images(overconfident):
    made, labels = overconfident
    with pytest.raises(ValueError, match="tartan"):
        made.classifier.set_confidence(0.9, made.images, ["tartan"] * 250)
    with pytest.raises(ValueError, match="one label an image"):
        made.classifier.set_confidence(0.9, made.images[:5], labels)
    with pytest.raises(ValueError, match="calibration images"):
        made.classifier.set_confidence(0.95, made.images[:5], labels[:5])


@pytest.mark.parametrize("share", [95, 0, 1, -0.1])
def test_a_share_that_is_none_is_refused_by_its_name_before_anything_runs(overconfident, share):
    made, labels = overconfident
    with pytest.raises(ValueError, match=f"`share` must be between 0 and 1.* Received: share={share}"):
        made.classifier.set_confidence(share, made.images, labels)
    assert made.router.passes == 0


def test_calibration_needs_one_label_a_image_and_at_least_one(overconfident, hierarchy):
    made, labels = overconfident
    names = sorted(hierarchy.classes)
    flat = FlatClassifier.from_model(lambda p: np.full((len(p), 6), 1 / 6), names, input_size=(1, 1))
    for classifier in (made.classifier, flat):
        with pytest.raises(ValueError, match="one label an image. Received: 5 images and 3 labels"):
            classifier.calibrate(made.images[:5], labels[:3])
        with pytest.raises(ValueError, match="one label an image. Received: 5 images and 0 labels"):
            classifier.calibrate(made.images[:5], [])
        with pytest.raises(ValueError, match="needs labelled images. Received: none"):
            classifier.calibrate([], [])


def test_with_too_few_images_for_climb_the_sets_are_set_all_the_same(overconfident, caplog):
    made, labels = overconfident
    made.classifier.set_confidence(0.9, made.images[:20], labels[:20])
    assert made.classifier.confidence.climb is None and made.classifier.confidence.sets.n_images == 20
    assert "needs at least 38 calibration images, and there are 20" in caplog.text
    assert len(made.classifier.predict_sets(made.images[:3])) == 3
    with pytest.raises(ValueError, match="set_confidence with enough images first"):
        made.classifier.predict(made.images, rule="climb")


@pytest.fixture
def files(tmp_path):
    """Write 60 image files of one pixel that a table of probabilities knows by its value."""
    for i in range(60):
        Image.fromarray(np.full((1, 1, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    return [tmp_path / f"{i}.png" for i in range(60)]


@pytest.mark.parametrize("kind", ["two-stage", "flat"])
def test_a_guarantee_refuses_images_that_were_learned_from_however_they_are_given(overconfident, files, kind):
    made, labels = overconfident
    classifier = made.classifier
    if kind == "flat":
        table = np.full((250, 6), 1 / 6)
        names = sorted(classifier.hierarchy.classes)
        classifier = FlatClassifier.from_model(lambda p: table[p[:, 0, 0, 0]], names, input_size=(1, 1))
    classifier.calibrate(files[:10], labels[:10])
    assert len(classifier.learned_from) == 10
    shuffled = [files[5].read_bytes(), *files[20:58], str(files[7])]
    known = [labels[5], *labels[20:58], labels[7]]
    with pytest.raises(ValueError, match="2 of 40 are training or validation images"):
        classifier.set_confidence(0.7, shuffled, known)
    assert classifier.confidence is None
    assert classifier.set_confidence(0.7, files[10:], labels[10:60]).confidence.sets.n_images == 50


def test_new_temperatures_void_an_old_guarantee(overconfident):
    made, labels = overconfident
    made.classifier.set_confidence(0.7, made.images, labels)
    assert made.classifier.confidence is not None
    assert made.classifier.calibrate(made.images, labels).confidence is None


def test_a_flat_model_guarantees_too(hierarchy, make_tables):
    probs = make_tables(hierarchy, 250, 0)[2]
    rng = np.random.default_rng(0)
    names = np.array(sorted(hierarchy.classes))
    labels = [names[rng.choice(6, p=row)] for row in probs]
    images = [np.full((1, 1, 3), i, np.uint8) for i in range(250)]
    for macros in (None, hierarchy):
        flat = FlatClassifier.from_model(lambda p: probs[p[:, 0, 0, 0]], names, macros, input_size=(1, 1))
        flat.set_confidence(0.8, images, labels)
        assert (flat.confidence.climb is None) == (macros is None)
        assert len(flat.predict_sets(images)) == 250
