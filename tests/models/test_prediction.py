"""Prediction: every kind of image, every rule, in order, the same alone and in company."""

import io
import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.io.errors import UnreadableImage
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import climb
from aisles.models.prediction.two_stage import FlatClassifier

RULES = ("soft", "hard", "beam:2", "threshold:0.2", "climb:0.6", "implied", "hie", "masked")
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def brute_force(rule, macro, within, flat, hierarchy):
    """Compute one image's distribution with nested loops, straight from the definitions."""
    holds = {m: set(names) for m, names in enumerate(hierarchy.members)}
    inside = {(m, name): within[slot] for slot, (m, name) in enumerate(hierarchy.slots)}
    order = sorted(range(hierarchy.n_macros), key=lambda m: (-macro[m], m))
    name, _, value = rule.partition(":")
    if name == "implied":
        macro = [sum(flat[hierarchy.classes.index(c)] for c in holds[m]) for m in holds]
    kept = {
        "hard": order[:1], "beam": order[: int(value or 1)] if name == "beam" else None,
        "threshold": [m for m in order if macro[m] >= float(value or 0)] or order[:1] if name == "threshold" else None,
    }.get(name, list(holds))  # fmt: skip
    scores = {}
    for number, c in enumerate(hierarchy.classes):
        if name == "hie":
            scores[c] = flat[number] * sum(macro[m] for m in holds if c in holds[m])
        elif name == "masked":
            scores[c] = flat[number] if c in holds[order[0]] else 0
        else:
            scores[c] = sum(macro[m] * inside[m, c] for m in kept if c in holds[m])
    total = sum(scores.values())
    return [scores[c] / total for c in hierarchy.classes]


@few
@given(seed=st.integers(0, 10**6), rule=st.sampled_from(RULES))
def test_every_rule_end_to_end_equals_nested_loops(seed, rule, hierarchy, table_classifier, make_tables):
    tables = make_tables(hierarchy, 6, seed)
    made = table_classifier(hierarchy, *tables)
    found = made.classifier.predict_proba(made.images, rule=rule)
    expected = [brute_force(rule, *rows, hierarchy) for rows in zip(*tables, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1)


@few
@given(
    seed=st.integers(0, 10**6), rule=st.sampled_from(["soft", "hard", "beam:1", "climb:0.5", "hie", "masked"])
)
def test_overlapping_macros_work_end_to_end(seed, rule, overlapping, table_classifier, make_tables):
    tables = make_tables(overlapping, 5, seed)
    made = table_classifier(overlapping, *tables)
    expected = [brute_force(rule, *rows, overlapping) for rows in zip(*tables, strict=True)]
    np.testing.assert_allclose(made.classifier.predict_proba(made.images, rule=rule), expected, atol=1e-12)
    for prediction in made.classifier.predict(made.images, rule=rule):
        if prediction.label is not None:
            assert prediction.label in overlapping.members[overlapping.macros.index(prediction.macro)]


def test_what_needs_one_macro_a_class_says_so_before_anything_runs(
    overlapping, table_classifier, make_tables
):
    made = table_classifier(overlapping, *make_tables(overlapping, 2, 0))
    with pytest.raises(ValueError, match="violet"):
        made.classifier.iter_predict(made.images, rule="implied")
    assert made.router.passes == 0


@few
@given(seed=st.integers(0, 10**6))
def test_the_rules_meet_at_their_ends(seed, hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 8, seed))
    labels = {
        rule: [p.label for p in made.classifier.predict(made.images, rule=rule)]
        for rule in ("hard", "beam:1", "soft", "beam:3", "threshold:0", "threshold:1", "climb:0")
    }
    assert labels["beam:1"] == labels["hard"] == labels["threshold:1"]
    assert labels["beam:3"] == labels["soft"] == labels["threshold:0"] == labels["climb:0"]
    assert all(p.answered == "class" for p in made.classifier.predict(made.images, rule="climb:0"))


@few
@given(seed=st.integers(0, 10**6))
def test_hard_accuracy_is_the_routers_times_the_submodels(
    seed, hierarchy, table_classifier, make_tables, tmp_path
):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 30, seed))
    truth = np.random.default_rng(seed).integers(0, hierarchy.n_classes, 30)
    answers = made.classifier.predict(made.images, rule="hard")
    right = np.array([p.label == hierarchy.classes[t] for p, t in zip(answers, truth, strict=True)])
    routed = np.array(
        [p.macro == hierarchy.macros[hierarchy.macro_of[t]] for p, t in zip(answers, truth, strict=True)]
    )
    product = routed.mean() * (right[routed].mean() if routed.any() else 0)
    assert right.mean() == pytest.approx(product, abs=1e-12)


@few
@given(seed=st.integers(0, 10**6), rule=st.sampled_from(RULES))
def test_reordered_macros_and_classes_reorder_the_answer(
    seed, rule, hierarchy, table_classifier, make_tables
):
    macro, within, flat = make_tables(hierarchy, 5, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(hierarchy.n_macros)
    inside = [rng.permutation(size) for size in hierarchy.sizes]
    other = Hierarchy(
        tuple(hierarchy.macros[m] for m in order),
        tuple(tuple(hierarchy.members[m][i] for i in inside[m]) for m in order),
    )
    shuffled = np.hstack([within[:, hierarchy.blocks[m]][:, inside[m]] for m in order])
    one = table_classifier(hierarchy, macro, within, flat)
    two = table_classifier(other, macro[:, order], shuffled, flat)
    np.testing.assert_allclose(
        one.classifier.predict_proba(one.images, rule=rule),
        two.classifier.predict_proba(two.images, rule=rule),
        atol=1e-12,
    )
    for a, b in zip(
        one.classifier.predict(one.images, rule=rule),
        two.classifier.predict(two.images, rule=rule),
        strict=True,
    ):
        assert (a.label, a.macro, a.answered) == (b.label, b.macro, b.answered)


@pytest.mark.keras
@pytest.mark.parametrize("separate", [False, True], ids=["shared backbone", "separate networks"])
def test_a_batch_and_its_images_one_by_one_agree(separate, hierarchy, make_two_stage, images):
    classifier = make_two_stage(hierarchy, separate=separate)
    for rule in RULES:
        together = classifier.predict_proba(images, rule=rule)
        alone = np.vstack([classifier.predict_proba([image], rule=rule) for image in images])
        np.testing.assert_allclose(together, alone, atol=1e-6)
        uneven = classifier.predict_proba(list(images), rule=rule, batch_size=5)
        np.testing.assert_allclose(together, uneven, atol=1e-6)


@pytest.mark.keras
def test_all_kinds_of_image_give_the_same_answer(hierarchy, make_two_stage, images, tmp_path):
    classifier = make_two_stage(hierarchy)
    image = Image.fromarray(images[0])
    image.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    kinds = [images[0], image, image.convert("RGBA"), data, tmp_path / "a.png", str(tmp_path / "a.png")]
    probs = classifier.predict_proba(iter(kinds))
    assert np.ptp(probs, axis=0).max() == 0
    assert probs.shape == (len(kinds), len(classifier.classes_))


@pytest.mark.keras
def test_large_photographs_are_read_as_in_training(hierarchy, make_two_stage, tmp_path):
    from aisles.data_prep.images.decoding import load_pixels

    noise = np.random.default_rng(1).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((800, 600)).save(tmp_path / "large.jpg")
    classifier = make_two_stage(hierarchy)
    by_hand = classifier.predict_proba([load_pixels(tmp_path / "large.jpg", (8, 8))])
    np.testing.assert_array_equal(classifier.predict_proba([tmp_path / "large.jpg"]), by_hand)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("photo.jpg", r"predict\(\[image\]\)"),
        (b"bytes", "list of images"),
        (np.zeros((8, 8, 3), np.uint8), r"shape \(8, 8, 3\)"),
        (Image.new("RGB", (4, 4)), "list of images"),
        ([np.zeros((8, 8, 3))], "float64"),
        ([np.zeros((8, 8, 5), np.uint8)], "uint8"),
        ([7], "int"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_images_is_refused(images, message, hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 1, 0))
    with pytest.raises(TypeError, match=message):
        made.classifier.predict(images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "best"}, "Unknown routing rule"),
        ({"rule": "beam:9"}, "number of macros"),
        ({"rule": "climb"}, "set_confidence"),
        ({"batch_size": 0}, "batch_size"),
        ({"top": -1}, "top"),
        ({"top": True}, "top"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message, hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 1, 0))
    with pytest.raises(ValueError, match=message):
        made.classifier.predict(made.images, **options)


def test_rules_that_need_a_flat_model_say_so(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 1, 0)[:2])
    for rule in ("implied", "hie", "masked"):
        with pytest.raises(ValueError, match="needs a flat model"):
            made.classifier.predict(made.images, rule=rule)


def test_no_images_give_empty_answers(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 1, 0))
    assert made.classifier.predict([]) == []
    assert made.classifier.predict_proba([]).shape == (0, 6)
    assert made.classifier.predict_macro_proba(iter(())).shape == (0, 3)


def test_an_unreadable_image_stops_the_run_or_stands_in_its_place(hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 3, 0))
    buffer = io.BytesIO()
    Image.fromarray(made.images[2]).save(buffer, "PNG")
    mixed = [made.images[0], b"no image", buffer.getvalue(), b""]
    with pytest.raises(UnreadableImage, match="Image 1 is text"):
        made.classifier.predict(mixed)
    given_back = list(made.classifier.iter_predict(mixed, unreadable="give"))
    assert [isinstance(item, UnreadableImage) for item in given_back] == [False, True, False, True]
    assert [given_back[0], given_back[2]] == made.classifier.predict([made.images[0], made.images[2]])
    cut = io.BytesIO(buffer.getvalue()[:45])
    lazily = [made.images[0], Image.open(cut), made.images[2]]
    kinds = [type(item).__name__ for item in made.classifier.iter_predict(lazily, unreadable="give")]
    assert kinds == ["HierarchicalPrediction", "UnreadableImage", "HierarchicalPrediction"]
    only_bad = list(made.classifier.iter_predict([b"", b"x"], unreadable="give"))
    assert all(isinstance(item, UnreadableImage) for item in only_bad)


def test_an_unreadable_file_is_named(hierarchy, table_classifier, make_tables, tmp_path):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 1, 0))
    Image.fromarray(made.images[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    paths = [tmp_path / "good.png", str(tmp_path / "bad.png")]
    with pytest.raises(UnreadableImage, match=r"bad\.png is empty .* Repair it, or leave it out"):
        made.classifier.predict(paths)
    _, error = made.classifier.iter_predict(paths, unreadable="give")
    assert isinstance(error, UnreadableImage) and error.path == paths[1]
    (tmp_path / "metadata.csv").write_text("file_name,label\ngood.png,sky\nbad.png,sky\n")
    manifest = read_manifest(tmp_path, check_files=False, min_classes=1)
    with pytest.raises(UnreadableImage, match=r"bad\.png is empty"):
        made.classifier.evaluate(manifest)


@pytest.mark.keras
def test_negative_probabilities_are_refused():
    from aisles.models.prediction.label_model import LabelModel

    model = LabelModel(("a",))
    with pytest.raises(ValueError, match="gave negative probabilities for 1 of 2 images"):
        model.scaled(np.array([[1.5, -0.5], [0.5, 0.5]]))
    np.testing.assert_allclose(model.scaled(np.array([[1e-30, 3e-30]], np.float32)), [[0.25, 0.75]])


@pytest.mark.keras
def test_a_network_that_gives_no_numbers_is_refused(hierarchy, make_two_stage, images):
    classifier = make_two_stage(hierarchy)
    head = classifier.submodels[0].head
    head.set_weights([weight * np.nan for weight in head.get_weights()])
    assert len(classifier.predict(images, rule="masked")) == 12  # which doesn't need it
    for rule in ("soft", "hard"):
        with pytest.raises(
            ValueError,
            match=r"model of \['red', 'amber', 'pink'\] gave .* not finite, or all 0, for 12 of 12",
        ):
            classifier.predict(images, rule=rule)


@pytest.mark.keras
def test_a_backbone_that_gives_no_numbers_is_refused_though_a_relu_would_hide_it(
    make_backbone, make_model, images
):
    backbone = make_backbone()
    flat = FlatClassifier(make_model(("a", "b"), backbone, units=(4,)))
    backbone.network.set_weights([weight * np.nan for weight in backbone.network.get_weights()])
    maps = backbone.network.get_layer("maps")
    maps.activation = lambda x: x  # else it would hide them itself
    with pytest.raises(ValueError, match="not finite"):
        flat.predict(images)


@few
@given(seed=st.integers(0, 10**6), rule=st.sampled_from(["hard", "beam:2", "threshold:0.3"]))
def test_top_leaves_out_the_classes_of_macros_that_the_rule_drops(
    seed, rule, hierarchy, table_classifier, make_tables
):
    macro, within, _ = make_tables(hierarchy, 6, seed)
    made = table_classifier(hierarchy, macro, within)
    for answer, row in zip(made.classifier.predict(made.images, rule=rule, top=9), macro, strict=True):
        best = np.argsort(-row)
        kept = {"hard": best[:1], "beam:2": best[:2]}.get(
            rule, [m for m in best if row[m] >= 0.3] or best[:1]
        )
        assert {name for name, _ in answer.top} == {c for m in kept for c in hierarchy.members[m]}
        assert sum(share for _, share in answer.top) == pytest.approx(1)


def test_top_keeps_a_class_that_a_kept_and_a_dropped_macro_share(overlapping, table_classifier):
    made = table_classifier(overlapping, [[0.9, 0.1]], np.array([[0.3, 0.7, 0.5, 0.25, 0.25]]))
    (answer,) = made.classifier.predict(made.images, rule="hard")
    assert [name for name, _ in answer.top] == ["violet", "red"]


@pytest.mark.keras
def test_top_is_the_same_over_a_shared_backbone(hierarchy, make_two_stage, images):
    for answer in make_two_stage(hierarchy).predict(images, rule="hard", top=9):
        members = hierarchy.members[hierarchy.macros.index(answer.macro)]
        assert {name for name, _ in answer.top} == set(members)


@pytest.mark.parametrize("rule", ["soft", "hard"])
def test_ten_thousand_images_are_never_in_memory_together(rule, hierarchy, table_classifier, make_tables):
    made = table_classifier(hierarchy, *make_tables(hierarchy, 4, 0))
    taken, most = 0, 0

    def endless():
        nonlocal taken
        for i in range(10_000):
            taken += 1
            yield made.images[i % 4]

    for given_out, _ in enumerate(made.classifier.iter_predict(endless(), rule=rule, top=1)):
        most = max(most, taken - given_out)
    assert given_out == 9_999
    assert most <= 256 + 64 + 1


def test_predictions_come_in_order_with_every_field(hierarchy, table_classifier):
    macro = np.array([[0.7, 0.1, 0.2], [0.2, 0.2, 0.6]])
    within = np.array([[0.5, 0.3, 0.2, 1, 0.9, 0.1], [0.4, 0.3, 0.3, 1, 0.05, 0.95]])
    made = table_classifier(hierarchy, macro, within)
    first, second = made.classifier.predict(made.images, top=2)
    assert (first.macro, first.label, first.answered, first.rule) == ("warm", "red", "class", "soft")
    assert first.macro_probability == pytest.approx(0.7)
    assert first.probability == pytest.approx(0.35)
    assert [name for name, _ in first.top] == ["red", "amber"]
    assert first.path == (("warm", first.macro_probability), ("red", first.probability))
    assert (second.macro, second.label) == ("cold", "navy")
    climbed = made.classifier.predict(made.images, rule="climb:0.65")
    assert [(p.answered, p.macro, p.label) for p in climbed] == [
        ("macro", "warm", None),
        ("none", None, None),
    ]
    assert climbed[0].path == (("warm", pytest.approx(0.7)),)
    assert climbed[1].path == () and climbed[1].probability == 0
    with pytest.raises(AttributeError):
        first.label = "amber"


@pytest.mark.keras
def test_the_flat_model_has_the_same_interface(hierarchy, make_backbone, make_model, images):
    model = make_model(hierarchy.classes, make_backbone(), temperature=1.5)
    flat = FlatClassifier(model, hierarchy)
    probs = flat.predict_proba(images)
    assert probs.shape == (12, 6) and list(flat.classes_) == sorted(hierarchy.classes)
    np.testing.assert_allclose(flat.predict_macro_proba(images).sum(1), 1)
    for prediction, row in zip(flat.predict(images), probs, strict=True):
        assert prediction.label == flat.classes_[row.argmax()] and prediction.rule == "flat"
        assert prediction.label in hierarchy.members[hierarchy.macros.index(prediction.macro)]
    answers = climb(probs, flat.predict_macro_proba(images), 0.5, hierarchy)
    assert [p.answered for p in flat.predict(images, rule="climb:0.5")] == answers.levels.tolist()
    with pytest.raises(ValueError, match="leave it out"):
        flat.predict(images, rule="hard")
    plain = FlatClassifier(model)
    assert plain.predict(images)[0].macro is None and len(plain.predict(images)[0].path) == 1
    with pytest.raises(ValueError, match="no hierarchy"):
        plain.predict_macro_proba(images)


def test_evaluate_computes_the_metrics_of_a_manifest(hierarchy, table_classifier, make_tables, tmp_path):
    macro, within, _ = make_tables(hierarchy, 40, 3)
    made = table_classifier(hierarchy, macro, within)
    truth = np.random.default_rng(0).choice(hierarchy.classes, 40)
    lines = ["file_name,label,split"]
    for i, label in enumerate(truth):
        Image.fromarray(made.images[i]).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{label},{'test' if i >= 10 else 'train'}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    manifest = read_manifest(tmp_path)
    found = made.classifier.evaluate(manifest)
    assert found.n_images == 30
    answers = [p.label for p in made.classifier.predict(made.images[10:])]
    assert found.accuracy == pytest.approx(np.mean(answers == truth[10:]))
    hard = made.classifier.evaluate(manifest, rule="hard")
    assert hard.accuracy == pytest.approx(hard.macro_accuracy * hard.accuracy_where_macro_right)
    climbed = made.classifier.evaluate(manifest, rule="climb:0.5", split="train")
    assert climbed.n_images == 10 and sum(climbed.answered.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="no images of the split 'val'"):
        made.classifier.evaluate(manifest, split="val")
    foreign = manifest.with_columns(label=["tartan"] * 40)
    with pytest.raises(ValueError, match="tartan"):
        made.classifier.evaluate(foreign)


@pytest.mark.keras
def test_many_networks_and_batch_sizes_cause_no_retracing(hierarchy, make_two_stage, images, caplog):
    classifier = make_two_stage(hierarchy, separate=True)
    with caplog.at_level(logging.WARNING):
        for n in range(1, 9):
            classifier.predict(images[:n], rule="soft")
            classifier.predict(images[:n], rule="hie")
    assert "retracing" not in caplog.text
