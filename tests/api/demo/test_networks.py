"""What the page computes from one pass is what the classifier itself answers."""

import hashlib
import itertools

import numpy as np
import pytest

from aisles.data_prep.images.decoding import read_image_bytes
from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.io.errors import UnreadableImage
from aisles.demo.calibration import calibration_of
from aisles.demo.judging import distributions
from aisles.demo.networks import Networks
from aisles.demo.run_facts import foreign_object

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def test_images(run):
    manifest = read_manifest(run / "manifest.csv")
    return [path for path, split in zip(manifest.paths, manifest.splits, strict=True) if split == "test"]


def test_every_rule_and_restriction_answers_as_the_classifier_does(demo, test_images):
    networks, classifier = demo.networks, demo.networks.classifier
    macro, other = networks.hierarchy.macros[:2]
    label = networks.hierarchy.members[1][0]
    restrictions = [(), (f"macro:{macro}",), (f"macro:{macro}", f"class:{label}"), (f"macro:{other}",)]
    stages = networks.stages_of(test_images, None)
    for rule, only in itertools.product(networks.rules, restrictions):
        probs, _ = distributions(stages, networks.hierarchy, rule, only)
        expected = classifier.predict_proba(test_images, rule=rule, only=list(only) or None)
        np.testing.assert_allclose(probs, expected, atol=1e-5, err_msg=f"{rule} {only}")


def test_one_look_is_a_row_of_many(demo, test_images):
    stages = demo.networks.stages_of(test_images[:3], None)
    for row, path in enumerate(test_images[:3]):
        look = demo.look(path.read_bytes(), path.name)
        for name in ("router", "within", "flat"):
            np.testing.assert_allclose(getattr(look.stages, name)[0], getattr(stages, name)[row], atol=1e-5)
        assert look.name == path.name and look.size == (24, 24)


def test_the_level_answered_is_the_classifiers_own_at_the_same_threshold(demo, test_images):
    for path in test_images:
        look = demo.look(path.read_bytes(), path.name)
        for target in (0.5, 0.9, 0.99):
            judged = demo.judge(look, "soft", target)
            threshold = min(judged.guarantee.threshold, 2.0)
            (expected,) = demo.networks.classifier.predict([path], rule=f"climb:{threshold}")
            assert judged.answer.level == expected.answered


def test_models_on_one_backbone_cost_one_pass_and_the_flat_bundle_another(demo):
    look = demo.look(foreign_object().data, "bicycle.png")
    costs = {rule: demo.networks.cost(look, rule) for rule in (*demo.networks.rules, "flat")}
    assert len(look.passes) == 2
    assert costs["soft"].passes == costs["hard"].passes == costs["flat"].passes == 1
    assert costs["hie"].passes == costs["implied"].passes == 2
    assert costs["hie"].milliseconds == pytest.approx(sum(look.passes.values()))


def test_calibration_images_are_the_runs_test_images_and_nothing_was_learned_from_them(
    demo, run, test_images
):
    levels = demo.levels
    assert levels.truth is not None and len(levels.truth) == len(test_images)
    digests = {hashlib.sha256(read_image_bytes(path)).hexdigest() for path in test_images}
    assert demo.networks.classifier.learned_from and not digests & demo.networks.classifier.learned_from


def test_what_was_said_of_calibration_images_is_remembered(demo, run, monkeypatch):
    bundles = run / "bundles"

    def never(*_):
        raise AssertionError("the networks ran again")

    monkeypatch.setattr(demo.networks, "stages_of", never)
    found = calibration_of(
        demo.networks, run, bundles / "two-stage", bundles / "flat", cache=run.parent / "cache"
    )
    assert found is not None
    np.testing.assert_array_equal(found[0].router, demo.levels.stages.router)


def test_a_restriction_guarantees_on_images_that_it_allows(demo):
    macro = demo.networks.hierarchy.macros[0]
    members = demo.networks.hierarchy.members[0]
    truth = np.array(demo.networks.hierarchy.classes)[demo.levels.truth]
    guarantee = demo.levels.at(0.99, "soft", (f"macro:{macro}",))
    assert guarantee.n_images == np.isin(truth, members).sum() < len(truth)


def test_a_flat_bundle_alone_has_one_way_to_answer(run):
    networks = Networks(run / "bundles" / "flat")
    assert networks.rules == ("flat",)
    look = networks.look(foreign_object().data)
    assert look.stages.router is None and networks.cost(look, "flat").passes == 1


def test_a_two_stage_bundle_is_no_flat_one(run):
    bundle = run / "bundles" / "two-stage"
    with pytest.raises(ValueError, match="--flat wants a flat bundle"):
        Networks(bundle, bundle)


def test_unknown_rules_levels_and_classes_are_refused(demo):
    look = demo.look(foreign_object().data, "bicycle.png")
    with pytest.raises(ValueError, match="rule must be one of soft"):
        demo.judge(look, "climb:0.5", 0.9)
    with pytest.raises(ValueError, match=r"level must be between 0\.5 and 0\.99"):
        demo.judge(look, "soft", 1.5)
    with pytest.raises(ValueError, match="Unknown: \\['class:tapir'\\]"):
        demo.judge(look, "soft", 0.9, ("class:tapir",))


def test_what_is_no_image_or_too_large_is_refused(demo):
    with pytest.raises(UnreadableImage, match="is text"):
        demo.look(b"hello, hello", "a.jpg")
    with pytest.raises(UnreadableImage, match="has 33 MB; the limit is 32 MB"):
        demo.look(bytes(33 * 1024 * 1024), "a.jpg")


def test_every_stage_is_looked_into_and_the_nearest_training_images_are_of_the_class_asked_for(
    demo, test_images
):
    look = demo.look(test_images[0].read_bytes(), "a.png")
    views = demo.why.stages(look, "soft")
    assert len(views) == 3
    assert all(view.heat is None or (view.heat.min() >= 0 and view.heat.max() <= 1) for view in views)
    labels = list(demo.networks.hierarchy.classes[:2])
    found = demo.why.nearest(look, labels)
    assert list(found) == labels
    for label, neighbors in found.items():
        assert len(neighbors) == 3 and all(path.parent.name == label for path, _ in neighbors)
        cosines = [cosine for _, cosine in neighbors]
        assert cosines == sorted(cosines, reverse=True) and min(cosines) >= -1 and max(cosines) <= 1.0001


def test_examples_are_what_the_run_made_of_them(demo, run):
    from aisles.experiments.runs.reader import read_run

    read = read_run(run)
    name_of = {
        path.name + str(label): row
        for row, (path, label) in enumerate(zip(read.paths, read.labels, strict=True))
    }
    flat, primary = read.correct("flat")[0], read.correct(read.primary)[0]
    wanted = {
        "right": (True, True),
        "wrong": (False, False),
        "corrected": (True, False),
        "broken": (False, True),
    }
    assert demo.examples[-1].kind == "foreign"
    for example in demo.facts.examples:
        row = name_of[example.name + example.label]
        assert (primary[row], flat[row]) == wanted[example.kind]
