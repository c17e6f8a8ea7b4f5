"""One image, one answer: whatever comes before it, however many at once, by any engine and any number of threads."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.prediction import images as decoding

pytestmark = pytest.mark.keras
RULES = ("soft", "hard", "beam:2", "threshold:0.2", "climb:0.6", "implied", "hie", "masked")
ENGINES = {"tensorflow": 1e-6, "onnx": 1e-4}
"""How far probabilities of an engine may be from those of TensorFlow on all images at once."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, hierarchy, make_two_stage):
    """A bundle, and 20 images of several sizes and formats."""
    root, rng = tmp_path_factory.mktemp("same"), np.random.default_rng(7)
    save_bundle(make_two_stage(hierarchy, temperature=1.3), root / "bundle")
    for number in range(20):
        height, width = rng.integers(6, 40, 2)
        pixels = rng.uniform(0, 255, (1, 1, 3)) + rng.normal(0, 25, (height, width, 3))
        suffix = ("png", "jpg", "webp", "gif")[number % 4]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"{number:02d}.{suffix}")
    return root


@pytest.fixture(scope="module")
def paths(place):
    return sorted(path for path in place.iterdir() if path.is_file())


@pytest.fixture(scope="module")
def expected(place, paths):
    """Each rule's probabilities, of all images in one batch."""
    classifier = load_bundle(place / "bundle", engine="tensorflow")
    return {rule: classifier.predict_proba(paths, rule=rule, batch_size=64) for rule in RULES}


@pytest.mark.parametrize("engine", ENGINES)
def test_any_order_batch_size_and_number_of_decoders_gives_the_same(
    engine, place, paths, expected, monkeypatch, tmp_path
):
    if engine == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    monkeypatch.setenv("AISLES_CACHE", str(tmp_path))
    classifier = load_bundle(place / "bundle", engine=engine)
    rng, within = np.random.default_rng(11), ENGINES[engine]
    for trial in range(24):
        rule, batch_size = RULES[trial % len(RULES)], int(rng.integers(1, 30))
        chosen = rng.integers(
            len(paths), size=int(rng.integers(1, 40))
        )  # some images several times, some not at all
        monkeypatch.setattr(decoding, "DECODERS", int(rng.integers(1, 9)))
        given = [paths[i] for i in chosen]
        want = expected[rule][chosen]
        told = f"{rule}, {len(given)} images, {batch_size} a batch"
        probs = classifier.predict_proba(iter(given), rule=rule, batch_size=batch_size)
        np.testing.assert_allclose(probs, want, atol=within, err_msg=told)
        answers = classifier.predict(given, rule=rule, batch_size=batch_size, top=6)
        for answer, row in zip(answers, want, strict=True):
            shares = dict(answer.top)
            assert [shares.get(name, 0) for name in classifier.classes_] == pytest.approx(row, abs=within), (
                told
            )


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same(threads, place, paths, expected):
    words = [
        "predict",
        str(place / "bundle"),
        *map(str, paths),
        "--json",
        "--top",
        "6",
        "--engine",
        "tensorflow",
    ]
    numbers = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-m", "aisles", *words, "--rule", "soft"],
        env={**os.environ, **dict.fromkeys(numbers, str(threads))},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file_name"] for row in rows] == list(map(str, paths))
    classes = load_bundle(place / "bundle").classes_
    shares = [[dict(row["top"])[name] for name in classes] for row in rows]
    np.testing.assert_allclose(shares, expected["soft"], atol=1e-6)
