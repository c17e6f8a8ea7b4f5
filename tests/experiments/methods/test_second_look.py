"""Second looks: gates by hand, thresholds, and the methods on two planted networks."""

from types import SimpleNamespace

import numpy as np
import pytest

from aisles.experiments.curves.points import MemoryTrainer
from aisles.experiments.methods.registry import Context, find_method
from aisles.experiments.methods.second_look import GATES, Look, read_gate, threshold_for
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.hierarchy.hierarchy import Hierarchy

pytestmark = pytest.mark.keras

VAL = Look(
    np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]]),
    np.array([0, 0, 1, 1]),
    np.array([0, 0, 1.0, 1.0]),
)
ASKED = Look(np.array([[0.7, 0.3], [0.3, 0.7], [0.5, 0.5]]), np.array([0, 1, 0]))


def test_the_margin_gate_sends_the_smallest_margin_first():
    val, asked = GATES["margin"](VAL, ASKED)
    assert np.argsort(-val).tolist() == [3, 1, 2, 0]
    assert np.argsort(-asked).tolist() == [2, 0, 1] or np.allclose(asked, [-0.4, -0.4, 0])


def test_the_macro_gate_sends_the_macro_that_gains_first_and_inside_it_the_smaller_margin():
    val, asked = GATES["macro"](VAL, ASKED)
    assert np.argsort(-val).tolist() == [3, 2, 1, 0]
    assert asked.argmax() == 1  # the only image of macro 1, though its margin is large


def test_the_gate_by_both_sends_small_margins_of_macros_that_gain_before_all_others():
    losing = Look(VAL.cheap, VAL.macro, np.array([-1.0, -1.0, 1.0, 1.0]) * 20)
    val, asked = GATES["both"](losing, ASKED)
    assert np.argsort(-val).tolist() == [3, 2, 1, 0]
    assert asked.argmax() == 1


@pytest.mark.parametrize(("share", "sent"), [(0.25, 1), (0.5, 2), (1, 4)])
def test_the_threshold_sends_the_stated_share_of_validation_images(share, sent):
    urgency = np.array([0.1, 0.4, 0.2, 0.3])
    assert (urgency >= threshold_for(urgency, share)).sum() == sent


@pytest.mark.parametrize(
    "text", ["nobody", "margin@0", "margin@2", "margin@x", "margin@0.4/", "margin@0.4/all"]
)
def test_gates_and_shares_that_there_are_not_are_refused(text):
    with pytest.raises(ValueError, match="gate is one of|share of images sent"):
        read_gate(text)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """Two networks: the first tells macros apart and classes hardly, the second classes too."""
    from aisles.experiments.benchmark.preparation import prepare_data

    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("two")
    label = np.repeat(np.arange(6), 60)
    macro = label // 2
    cheap = np.eye(8)[macro] * 6 + 0.7 * np.eye(8)[2 + label] + rng.normal(size=(360, 8))
    strong = 5 * np.eye(10)[label] + rng.normal(size=(360, 10))
    split = np.tile(["train"] * 30 + ["val"] * 10 + ["test"] * 20, 6)
    names = np.array([f"C{c}" for c in label])
    path = folder / "given.npz"
    np.savez(path, features=np.hstack([cheap, strong]), label=names, split=split)
    settings = BenchmarkSettings.model_validate({"training": {"refit": False}, "comparison": {"seeds": 1}})
    prepared = prepare_data(path, settings.data)
    features = np.asarray(prepared.vectors)
    hierarchy = Hierarchy(("M0", "M1", "M2"), (("C0", "C1"), ("C2", "C3"), ("C4", "C5")))
    parts = (SimpleNamespace(dimension=8, n_parameters=10), SimpleNamespace(dimension=10, n_parameters=30))
    backbone = SimpleNamespace(parts=parts, n_parameters=40)
    trainer = MemoryTrainer(folder, prepared, features, "two", settings.training)
    return Context(prepared, features, backbone, hierarchy, settings, trainer, folder, lambda _: hierarchy)  # pyright: ignore[reportArgumentType]


def accuracy(context, name):
    result = find_method(name).fit(context)
    return float((result.probs[0].argmax(1) == context.targets[context.rows("test")]).mean()), result


def test_a_second_look_beats_the_first_and_costs_what_its_share_says(context):
    first, cheap = accuracy(context, "first-look")
    half, looked = accuracy(context, "second-look:margin@0.5")
    every, full = accuracy(context, "second-look:margin@1")
    assert first < half < every
    assert cheap.cost["backbone_passes"] == 0.5  # one network of two
    assert looked.cost["backbone_passes"] == pytest.approx(0.75, abs=0.06)
    assert full.cost["backbone_passes"] == 1.0


def test_everybody_sent_with_no_macros_is_flat_on_all_networks(context):
    _, sent = accuracy(context, "second-look-flat:1")
    flat = context.trainer.flat(0, head="lda").probs[context.rows("test")]
    np.testing.assert_allclose(sent.probs[0], flat, atol=1e-6)


def test_a_second_look_leaves_the_macros_probability_as_it_was(context):
    _, looked = accuracy(context, "second-look:both@1")
    _, cheap = accuracy(context, "first-look")
    macro_of = context.hierarchy.macro_of
    sums = [
        np.stack([probs[:, macro_of == m].sum(axis=1) for m in range(3)], axis=1)
        for probs in (looked.probs[0], cheap.probs[0])
    ]
    np.testing.assert_allclose(sums[0], sums[1], atol=1e-5)


def test_a_share_of_the_batch_is_kept_exactly_and_said_to_be(context):
    _, looked = accuracy(context, "second-look:macro@0.3/batch")
    sent = looked.sent
    assert (sent.stated, sent.measured, sent.in_batch, sent.as_stated) == (0.3, 36 / 120, True, True)
    assert looked.cost["backbone_passes"] == pytest.approx((1 + 0.3) / 2)


def test_stated_and_measured_share_stand_side_by_side(context):
    _, looked = accuracy(context, "second-look:margin@0.5")
    sent = looked.sent
    assert sent.stated == 0.5 and sent.validation == pytest.approx(0.5, abs=1 / 60)
    assert looked.cost["backbone_passes"] == pytest.approx((1 + sent.measured) / 2)
    assert sent.as_stated and sent.interval[0] < 0.5 < sent.interval[1]


@pytest.mark.parametrize(
    ("method", "baseline"),
    [
        ("second-look:macro@0.2", "second-look-flat:0.2"),
        ("second-look:both@0.2/batch", "second-look-flat:0.2/batch"),
        ("second-look:macro", "second-look-flat"),
        ("two-networks:0.3", "second-look-flat:0.3"),
        ("two-networks", "second-look-flat"),
    ],
)
def test_a_second_look_is_judged_against_the_same_share_with_no_macros(method, baseline):
    assert find_method(method).baseline == baseline


def test_two_networks_keep_no_share_of_a_batch(context):
    with pytest.raises(ValueError, match="can't keep the share of a batch"):
        find_method("two-networks:0.3/batch").fit(context)


def test_one_network_alone_has_no_second_look(context):
    from dataclasses import replace

    alone = replace(context, backbone=SimpleNamespace(parts=(), n_parameters=1))
    with pytest.raises(ValueError, match="needs a joined backbone"):
        find_method("second-look:margin").fit(alone)
