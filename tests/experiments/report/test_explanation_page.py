"""The page that shows why."""

import os
import re
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from aisles.experiments.report.explanation_page import open_page
from aisles.experiments.report.plots.tree_path import tree_path
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.embeddings import class_embeddings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.registry import wrap_backbone
from aisles.models.bundles.bundle import load_bundle, save_bundle
from aisles.models.heads.building import build_head
from aisles.models.heads.variants import HeadVariant
from aisles.models.prediction.explanation import is_itself
from aisles.models.prediction.label_model import LabelModel
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

pytestmark = pytest.mark.keras
HIERARCHY = Hierarchy(("warm & <red>", "one", "cold"), (("red", "amber"), ("white",), ("blue", "navy")))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder as a run writes it: bundles, manifest, tree."""
    root = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, 3))
    maps = layers.Conv2D(3, 3, strides=2, activation="relu")(pixels)
    backbone = wrap_backbone(keras.Model(pixels, maps), "tiny")
    plain = HeadVariant((), batch_norm=False, dropout=0.0, augmentation=False)

    def model(labels):
        head = build_head(plain, backbone.dimension, len(labels)) if len(labels) > 1 else None
        return LabelModel(tuple(labels), backbone if head else None, head)

    two_stage = TwoStageClassifier(
        model(HIERARCHY.macros), [model(names) for names in HIERARCHY.members], HIERARCHY
    )
    tree = cluster_classes(class_embeddings(np.eye(5) + 0.1, list(HIERARCHY.classes)))
    save_bundle(two_stage, root / "bundles" / "two-stage", tree=tree)
    save_bundle(FlatClassifier(model(HIERARCHY.classes), HIERARCHY), root / "bundles" / "flat")
    rows = ["file_name,label,split"]
    for i, name in enumerate(HIERARCHY.classes):
        Image.new("RGB", (16, 16), (40 * i, 0, 200 - 40 * i)).save(root / f"{name}.png")
        rows.append(f"{name}.png,{name},train")
    (root / "manifest.csv").write_text("\n".join(rows))
    return root


class Checker(HTMLParser):
    """Collects what a page would load, and whether its tags are closed."""

    def __init__(self):
        super().__init__()
        self.loaded, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page_of(run, tmp_path, images, bundle="two-stage", **options):
    folder = run / "bundles" / bundle
    options.setdefault("cache", tmp_path / "cache")
    with open_page(tmp_path / "why.html", folder, load_bundle(folder), **options) as page:
        for image in images:
            page.add(image)
    html = (tmp_path / "why.html").read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(html)
    assert not checker.open
    return html, checker


def test_one_page_holds_everything_and_loads_nothing(run, tmp_path):
    images = [run / "red.png", run / "navy.png"]
    html, checker = page_of(run, tmp_path, images, flat=run / "bundles" / "flat", rule="hard")
    assert checker.loaded and all(value.startswith("data:image/jpeg;base64,") for value in checker.loaded)
    assert not re.search(r"https?://|<script|@import|url\(", html)
    assert "default-src 'none'" in html
    text = " ".join(checker.text)
    assert html.count("<section>") == 2
    for words in (
        "Router",
        "Sub-model of",
        "Flat model",
        "Nearest training images",
        "in the tree of classes",
        "rule hard",
    ):
        assert text.count(words) == 2, words
    assert "warm & <red>" in text and "<red>" not in html
    assert html.count("<svg") == 2
    assert 4 <= text.count("Grad-CAM") <= 6  # a macro of one class has nothing to look into


def test_a_training_image_is_no_neighbor_of_itself(run, tmp_path):
    _, checker = page_of(run, tmp_path, [run / "amber.png"])
    near = [text for text in checker.text if re.fullmatch(r"\w+ -?\d\.\d\d", text)]
    assert len(near) == 4 and not [text for text in near if text.startswith("amber")]


def test_an_equal_looking_image_with_other_pixels_stays_a_neighbor(run):
    with Image.open(run / "amber.png") as opened:
        image = opened.convert("RGB")
    other = image.copy()
    other.putpixel((0, 0), (1, 2, 3))
    assert is_itself(run / "amber.png", image, 1.0)
    assert not is_itself(run / "amber.png", other, 1.0)
    assert not is_itself(run / "missing.png", image, 1.0)


def test_without_a_run_around_it_the_page_shows_the_rest(run, tmp_path):
    import shutil

    shutil.copytree(run / "bundles" / "flat", tmp_path / "alone" / "deep" / "flat")
    folder = tmp_path / "alone" / "deep" / "flat"
    with open_page(tmp_path / "why.html", folder, load_bundle(folder)) as page:
        page.add(run / "red.png")
    html = (tmp_path / "why.html").read_text()
    assert "Flat model" in html and "Nearest" not in html and "<svg" in html


def test_a_name_that_is_no_utf_8_is_shown_with_its_bytes_escaped(run, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes((run / "red.png").read_bytes())
    assert r"caf\udce9.png" in page_of(run, tmp_path, [path])[0]


def test_a_page_without_images_is_no_file(run, tmp_path, caplog):
    folder = run / "bundles" / "flat"
    with open_page(tmp_path / "why.html", folder, load_bundle(folder), cache=tmp_path / "cache"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert "why.html was not written" in caplog.text


def test_a_page_that_fails_leaves_nothing_behind(run, tmp_path):
    with pytest.raises(ValueError, match="can't be read"):
        page_of(run, tmp_path, [run / "missing.png"])
    assert not list(tmp_path.glob("*.html"))
    with pytest.raises(ValueError, match="wants a flat bundle"):
        page_of(run, tmp_path, [], flat=run / "bundles" / "two-stage")
    with pytest.raises(FileNotFoundError, match="no tree"):
        page_of(run, tmp_path, [], tree=tmp_path / "tree.json")


def test_the_path_names_every_fork_from_the_root():
    vectors = np.array([[1, 0, 0, 0.0], [0.9, 0.3, 0, 0], [0, 0, 1, 0.1], [0, 0, 0.9, 0.5]])
    tree = cluster_classes(class_embeddings(vectors, ["a", "b", "c", "d"]))
    hierarchy = tree.cut(2)
    drawing = tree_path("a", hierarchy, tree)
    assert "2 others: c, d" in drawing and "2 forks" in drawing and hierarchy.macros[0] in drawing
    without = tree_path("a", hierarchy)
    assert "2 others: c, d" in without and ">b<" in without
