import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.abo.similarity import cosines, score, usable_images

VECTORS = {
    "m1": (1, 0),
    "m2": (0, 1),
    "m3": (1, 1),
    "near": (1, 0.1),
    "far": (-1, 0),
    "both": (1, 1),
    "zero": (0, 0),
}


@pytest.fixture
def images(tmp_path):
    """Write a small readable image for each vector, and a broken one."""
    paths = {name: tmp_path / f"{name}.png" for name in [*VECTORS, "broken", "gone"]}
    for name, path in paths.items():
        Image.new("RGB", (4, 4)).save(path)
        if name == "broken":
            path.write_bytes(path.read_bytes()[:40])
    paths.pop("gone")
    return paths


class Embed:
    """Return the vectors above and remember what was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, paths):
        self.asked += [path.stem for path in paths]
        return np.array([VECTORS[path.stem] for path in paths], dtype=np.float32)


def candidates(*rows):
    table = pd.DataFrame(rows, columns=["image_id", "label", "source", "main_image_ids"])
    return table.assign(decision="kept", product="p", path="", reason="")


def scored(table, images, cap, **options):
    embed = Embed()
    result = score(table, images, embed, cap, **options)
    return result.set_index("image_id"), embed


def test_similarity_is_the_cosine_with_the_most_similar_main_image(images):
    table = candidates(
        ("m1", "HAT", "main", ""), ("m2", "HAT", "main", ""), ("near", "HAT", "other", "m1 m2"),
        ("both", "HAT", "other", "m2 m1"), ("far", "HAT", "other", "m1"),
    )  # fmt: skip
    result, _ = scored(table, images, cap=9)
    assert result.loc["near", "similarity"] == pytest.approx(1 / np.sqrt(1.01), abs=1e-6)
    assert result.loc["far", "similarity"] == -1
    assert result.loc["both", ["similarity", "main_image_id"]].tolist() == [
        pytest.approx(0.5**0.5, abs=1e-6),
        "m1",
    ]
    assert np.isnan(result.loc["m1", "similarity"])


def test_a_class_with_enough_main_images_is_not_compared_unless_all_are_asked_for(images):
    table = candidates(
        ("m1", "HAT", "main", ""),
        ("m2", "HAT", "main", ""),
        ("m3", "HAT", "main", ""),
        ("near", "HAT", "other", "m1"),
    )
    result, embed = scored(table, images, cap=2)
    assert list(result.index) == ["m1", "m2"] and embed.asked == []
    result, embed = scored(table, images, cap=2, score_all=True)
    assert list(result.index) == ["m1", "m2", "m3", "near"] and sorted(embed.asked) == ["m1", "near"]


def test_an_unreadable_main_image_is_replaced_by_the_next(images):
    table = candidates(("broken", "HAT", "main", ""), ("m1", "HAT", "main", ""), ("m2", "HAT", "main", ""))
    result, _ = scored(table, images, cap=2)
    assert result.loc["broken", "reason"].startswith("can't be read: ")
    assert result["reason"].tolist()[1:] == ["", ""]


def test_others_whose_main_image_can_not_be_used_say_so(images):
    table = candidates(
        ("broken", "HAT", "main", ""), ("m1", "HAT", "main", ""), ("near", "HAT", "other", "broken"),
        ("far", "HAT", "other", "gone"), ("both", "HAT", "other", "gone m1"),
    )  # fmt: skip
    result, embed = scored(table, images, cap=9)
    assert result.loc[["near", "far"], "reason"].tolist() == ["its main image can't be used"] * 2
    assert result.loc["both", "main_image_id"] == "m1" and sorted(embed.asked) == ["both", "m1"]


def test_the_result_does_not_depend_on_how_many_are_compared_at_once(images, monkeypatch):
    table = candidates(
        ("m1", "A", "main", ""), ("near", "A", "other", "m1"), ("far", "A", "other", "m1"),
        ("m2", "B", "main", ""), ("both", "B", "other", "m2"),
    )  # fmt: skip
    whole, _ = scored(table, images, cap=9)
    monkeypatch.setattr("aisles.data_prep.abo.similarity._TOGETHER", 2)
    parts, _ = scored(table, images, cap=9)
    pd.testing.assert_frame_equal(whole, parts)


def test_dropped_candidates_are_neither_looked_at_nor_compared(images):
    table = candidates(("m1", "HAT", "main", ""), ("near", "HAT", "other", "m1"))
    table.loc[1, "decision"] = "dropped"
    result, embed = scored(table, images, cap=9)
    assert list(result.index) == ["m1"] and embed.asked == []


def test_the_cosine_of_nothing_is_zero():
    left, right = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [1.0, 0.0]])
    assert cosines(left, right) == pytest.approx([24 / 25, 0])


def test_usable_images_are_those_that_can_be_decoded(images):
    assert usable_images(["m1", "broken", "gone"], images) == {"m1"}
