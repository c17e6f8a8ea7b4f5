"""Classifiers in a service: threads share networks, forks are refused, workers load by path."""

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module

import numpy as np
import pytest

from aisles.data_prep.io.errors import UnreadableImage
from aisles.models.bundles.bundle import BundleError, load_bundle, save_bundle
from aisles.models.prediction import processes, stacks
from aisles.models.prediction.stored import Residents
from aisles.models.prediction.two_stage import FlatClassifier

pytestmark = pytest.mark.keras


@pytest.fixture
def bundle(hierarchy, make_two_stage, tmp_path):
    return save_bundle(make_two_stage(hierarchy, separate=True), tmp_path / "bundle")


def test_one_bad_image_among_many_gives_its_error_in_its_place(bundle, images):
    classifier = load_bundle(bundle, engine="tensorflow")
    mixed = [images[0], b"not an image", images[1], "nowhere.jpg"]
    answers = classifier.predict(mixed, unreadable="give")
    assert [isinstance(answer, UnreadableImage) for answer in answers] == [False, True, False, True]
    assert [answers[0], answers[2]] == classifier.predict(images[:2])
    with pytest.raises(UnreadableImage, match="Image 1"):
        classifier.predict(mixed)
    with pytest.raises(ValueError, match="'raise' or 'give'"):
        classifier.predict(mixed, unreadable="skip")


def test_eight_threads_load_each_network_once_and_answer_alike(bundle, images):
    classifier = load_bundle(bundle, engine="tensorflow")
    expected = load_bundle(bundle, engine="tensorflow").predict_proba(images)
    start = threading.Barrier(8)

    def work(_):
        start.wait()
        return classifier.predict_proba(images)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert classifier.residents.loads == 3  # router and two sub-models; the third macro has a single class
    for probs in found:
        np.testing.assert_array_equal(probs, expected)


def test_threads_trace_each_head_on_onnxruntime_once_and_raise_no_alarm(
    bundle, images, monkeypatch, tmp_path
):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("AISLES_CACHE", str(tmp_path))
    called, start = [], threading.Barrier(8)

    class Counted:
        def __init__(self, head):
            self.head = head

        def __call__(self, features, **options):
            called.append(1)
            return self.head(features, **options)

    monkeypatch.setattr(stacks, "_checked", lambda head, model, backbone: Counted(head))
    warned = []
    logs = import_module("tensorflow.python.platform.tf_logging")
    monkeypatch.setattr(logs, "warning", lambda *said, **_: warned.append(said))
    classifier = load_bundle(bundle, engine="onnx")

    def work(_):
        start.wait()
        return classifier.predict_proba(images)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert (
        len(called) == classifier.residents.loads == 3
    )  # a head is called when it is traced, and never after
    assert not warned  # TensorFlow takes threads that wait for one tracing for several tracings
    for probs in found:
        np.testing.assert_allclose(probs, found[0], atol=1e-6)


def test_threads_never_hold_more_than_the_limit():
    residents, held = Residents(2), []

    def load(key):
        held.append(len(residents))
        return key

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: residents.get(i % 4, lambda: load(i % 4)), range(24)))
    assert found == [i % 4 for i in range(24)]
    assert max(held) <= 1 and len(residents) == 2  # room is made before a third one comes


def test_in_memory_networks_are_compiled_once_by_threads(hierarchy, make_two_stage, images, monkeypatch):
    from aisles.models.prediction import stacks

    classifier, compiled = make_two_stage(hierarchy), []
    real = stacks.compiled
    monkeypatch.setattr(stacks, "compiled", lambda *args, **named: compiled.append(1) or real(*args, **named))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: classifier.predict(images), range(4)))
    assert len(compiled) == 1


def test_a_classifier_is_pickled_as_path_and_hashes_and_loaded_there(bundle, hierarchy, images):
    classifier = load_bundle(bundle, engine="tensorflow", resident=2)
    classifier.set_confidence(0.5, images, ["red"] * len(images), delta=0.4)
    sent = pickle.dumps(classifier)
    assert len(sent) < 3000 and classifier.origin.sha256.encode() in sent
    there = pickle.loads(sent)
    assert there.residents.limit == 2 and there.engine == "tensorflow" and len(there.residents) == 0
    np.testing.assert_array_equal(there.predict_proba(images), classifier.predict_proba(images))
    assert there.confidence.sets == classifier.confidence.sets


def test_what_has_no_bundle_any_more_is_not_pickled(
    bundle, hierarchy, make_backbone, make_model, images, make_two_stage
):
    with pytest.raises(TypeError, match="aisles.save"):
        pickle.dumps(FlatClassifier(make_model(hierarchy.classes, make_backbone())))
    classifier = load_bundle(bundle, engine="tensorflow")
    sent = pickle.dumps(classifier)
    classifier.calibrate(images, ["red", "sky"] * 6)
    with pytest.raises(TypeError, match="changed since it was loaded"):
        pickle.dumps(classifier)
    save_bundle(make_two_stage(hierarchy, temperature=2.0), bundle)
    with pytest.raises(BundleError, match="has been replaced meanwhile"):
        pickle.loads(sent)


def _predict(classifier, images):
    return os.getpid(), classifier.predict_proba(images)


def test_spawned_workers_load_by_path_and_answer_the_same(bundle, images):
    classifier = load_bundle(bundle, engine="tensorflow")
    expected = classifier.predict_proba(images)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        number, found = pool.submit(_predict, classifier, images).result(timeout=240)
    assert number != os.getpid()
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_forked_child_raises_instead_of_hanging(bundle, images):
    classifier = load_bundle(bundle, engine="tensorflow")
    classifier.predict(images)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        told = "it answered"
        try:
            classifier.predict(images)
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(write, told.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    assert told.startswith("RuntimeError") and "get_context('spawn')" in told
    assert not processes._forked_while_running
    classifier.predict(images)  # the parent goes on


def test_callables_that_are_no_networks_run_in_forks(monkeypatch, hierarchy):
    monkeypatch.setattr(processes, "_forked_while_running", True)
    given = FlatClassifier.from_model(
        lambda pixels: np.tile([0.25, 0.75], (len(pixels), 1)), ["a", "b"], input_size=(2, 2)
    )
    assert given.predict_proba([np.zeros((2, 2, 3), np.uint8)])[0, 1] == 0.75
