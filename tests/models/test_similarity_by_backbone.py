"""The similarity filter with real networks: against the published decisions and against the drawn truth."""

import csv

import numpy as np
import pytest

from aisles.data_prep.abo.listings import index_catalogue, read_images, read_listings
from aisles.data_prep.abo.recipe import load_recipe
from aisles.data_prep.abo.selection import select
from aisles.data_prep.abo.similarity import cosines, score
from aisles.data_prep.abo.similarity_threshold import calibrate_catalogue
from aisles.data_prep.abo.sources import find_image_root, list_image_files
from aisles.data_prep.synthetic.catalogue import write_sample

pytestmark = pytest.mark.keras


def embedding(name, cache):
    from aisles.models.backbones.registry import build_backbone
    from aisles.models.features import extract

    backbone = build_backbone(name)
    return lambda paths: extract(backbone, paths, cache=cache).vectors


def golden_scores(shared, embed):
    """Return the published pairs and their similarities by another network."""
    folder = shared / "abo" / "golden"
    with (folder / "vgg16_scores.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    mains, others = (embed([folder / pair[name] for pair in pairs]) for name in ("main_image", "other_image"))
    return pairs, cosines(mains, others)


def test_the_packaged_backbone_decides_as_published_on_every_golden_pair(shared, tmp_path):
    pairs, found = golden_scores(shared, embedding("efficientnet_lite0", tmp_path))
    threshold = load_recipe("abo65").similarity.threshold("efficientnet_lite0")
    decisions = [
        value >= threshold.of(pair["product_type"]) for pair, value in zip(pairs, found, strict=True)
    ]
    assert len(pairs) == 11
    assert decisions == [pair["kept"] == "true" for pair in pairs], found.round(3).tolist()


def test_vgg16_gives_the_published_scores(shared, tmp_path):
    from aisles.models.backbones.weights import WeightsMissingError

    try:
        embed = embedding("vgg16", tmp_path)
    except WeightsMissingError as error:
        pytest.skip(f"the VGG16 weights are not here: {error}")
    pairs, found = golden_scores(shared, embed)
    assert found == pytest.approx([float(pair["vgg16_similarity"]) for pair in pairs], abs=0.02)


@pytest.mark.slow
def test_the_filter_finds_the_views_of_a_drawn_catalogue(tmp_path):
    """Precision and recall at the calibrated threshold are at least 0.9."""
    write_sample(tmp_path, products_per_type=15)
    embed = embedding("efficientnet_lite0", tmp_path / "cache")
    recipe = load_recipe("sample", {"selection.minimum": 10})
    threshold = calibrate_catalogue(
        tmp_path, tmp_path / "calibration", recipe, embed, "efficientnet_lite0"
    ).threshold
    index, root = index_catalogue(tmp_path), find_image_root(tmp_path)
    images, files = read_images(index.folder), list_image_files(root)
    path_of = {
        name: root / path
        for name, path in zip(images["image_id"], images["path"], strict=True)
        if path in files
    }
    candidates = select(read_listings(index.folder), images, recipe.selection, files).candidates
    scores = score(candidates, path_of, embed, 1000)
    with (tmp_path / "truth.csv").open(newline="") as file:
        kind = {row["image_id"]: row["kind"] for row in csv.DictReader(file)}
    compared = scores[scores["similarity"].notna()]
    is_view = np.array([kind[name] == "view" for name in compared["image_id"]])
    kept = compared["similarity"].to_numpy() >= threshold
    assert is_view.sum() > 300
    assert (kept & is_view).sum() / kept.sum() >= 0.9
    assert (kept & is_view).sum() / is_view.sum() >= 0.9
