import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.abo.recipe import Selecting
from aisles.data_prep.abo.stats import count_examples, draw_examples, write_statistics
from aisles.data_prep.io.errors import DataError

LISTINGS = pd.DataFrame(
    [
        ("1", "HAT", "a", "b c"), ("1", "HAT", "a", "b"), ("2", "HAT", "", "c"), ("3", "BOOT", "d", ""),
        ("4", "", "e", ""),
    ],
    columns=["item_id", "product_type", "main_image_id", "other_image_id"],
)  # fmt: skip


def test_examples_are_counted_by_listing_item_and_image():
    assert count_examples(LISTINGS).to_dict("split")["data"] == [
        ["HAT", 3, 2, 1, 2],
        ["", 1, 1, 1, 0],
        ["BOOT", 1, 1, 1, 0],
    ]


def test_table_and_charts_before_and_after_selection_are_written(tmp_path):
    written = write_statistics(LISTINGS, Selecting(minimum=2, cap=2), tmp_path)
    assert [path.name for path in written.files] == ["examples.csv", "before.png", "after.png"]
    assert pd.read_csv(tmp_path / "examples.csv", keep_default_na=False)["n_listings"].tolist() == [3, 1, 1]
    assert written.summary == "1 of them have at least 2 listings."
    for path in written.files[1:]:
        with Image.open(path) as image:
            assert image.height > 300


def test_a_folder_that_no_curation_wrote_is_named_with_the_next_step(tmp_path):
    with pytest.raises(DataError, match="nowhere/steps.* is not there. Make it with `aisles data curate"):
        write_statistics(LISTINGS, Selecting(minimum=2, cap=2), tmp_path, tmp_path / "nowhere")


def test_hundreds_of_types_are_drawn_as_a_curve(tmp_path):
    draw_examples({f"T{k}": k + 1 for k in range(300)}, tmp_path / "many.svg", title="many", minimum=150)
    assert (tmp_path / "many.svg").read_text().lstrip().startswith("<?xml")
