import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.abo.similarity_threshold import (
    GRID,
    calibrate,
    draw_curves,
    propose_threshold,
    shares_kept,
)
from aisles.data_prep.io.errors import DataError


def test_the_threshold_lies_where_the_curves_are_farthest_apart():
    same, other = np.array([0.8, 0.7, 0.6, 0.1]), np.array([0.3, 0.2, 0.1, 0.65])
    # Above 0.30: three of four same, one of four other.
    assert propose_threshold(same, other) == (0.31, 0.5)
    assert propose_threshold(np.array([0.9]), np.array([0.1])) == (0.11, 1.0)


def test_junk_among_the_same_product_pairs_does_not_move_the_threshold():
    rng = np.random.default_rng(0)
    views, junk, other = rng.normal(0.7, 0.1, 3000), rng.normal(0.25, 0.1, 3000), rng.normal(0.25, 0.1, 6000)
    clean, _ = propose_threshold(views, other)
    mixed, _ = propose_threshold(np.concatenate([views, junk]), other)
    assert abs(clean - mixed) <= 0.05 and 0.4 < mixed < 0.55


def test_the_share_kept_counts_values_equal_to_the_threshold():
    values = np.array([0.25, 0.5, 0.5, 1.0])
    brute = [(values >= point).mean() for point in GRID]
    assert shares_kept(values) == pytest.approx(brute)


@pytest.fixture
def shop(tmp_path):
    """Return candidates of two classes, thirty products each: a view near the main image, every third a chart."""
    rows, path_of = [], {}
    for label in ("HAT", "RUG"):
        for k in range(30):
            main, other = f"{label}{k}m", f"{label}{k}o"
            rows += [(main, label, "main", ""), (other, label, "other", main)]
            for name in (main, other):
                path_of[name] = tmp_path / f"{name}.png"
                Image.new("RGB", (4, 4)).save(path_of[name])
    table = pd.DataFrame(rows, columns=["image_id", "label", "source", "main_image_ids"])
    return table.assign(decision="kept"), path_of


def embed(paths):
    vectors = []
    for path in paths:
        name, rng = path.stem, np.random.default_rng(sum(path.stem.encode()))
        center = np.eye(3)[
            2 if name.endswith("o") and int(name[3:-1]) % 3 == 0 else int(name.startswith("RUG"))
        ]
        vectors.append(center + rng.normal(0, 0.1, 3))
    return np.array(vectors, dtype=np.float32)


def test_a_threshold_is_proposed_that_keeps_views_and_drops_charts(shop):
    found = calibrate(*shop, embed, "vectors")
    assert 0.3 < found.threshold < 0.95 and found.separation == pytest.approx(2 / 3, abs=0.05)
    assert found.classes["label"].tolist() == ["HAT", "RUG"]
    assert found.classes["kept"].tolist() == pytest.approx([2 / 3, 2 / 3], abs=0.01)


def test_the_same_seed_proposes_the_same(shop):
    first, second = (calibrate(*shop, embed, "vectors", n_pairs=30, seed=4) for _ in range(2))
    assert (first.same == second.same).all() and (first.other == second.other).all()
    assert len(first.same) == 30


def test_too_few_pairs_are_refused(shop):
    candidates, path_of = shop
    with pytest.raises(DataError, match="at least 20 readable pairs.*There are 10, in 1"):
        calibrate(candidates.head(20), path_of, embed, "vectors")


def test_the_curves_are_drawn(shop, tmp_path):
    draw_curves(calibrate(*shop, embed, "vectors"), tmp_path / "curves.png", 0.5)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 500
