import gzip
import io
import json
import re
import tarfile

import pytest
from PIL import Image

from aisles.data_prep.images.decoding import decode_image, read_image_bytes
from aisles.data_prep.io.errors import UnreadableImage
from aisles.data_prep.synthetic.catalogue import write_sample
from aisles.data_prep.synthetic.plan import plan_catalogue

TRAPS = {
    "alpha", "boilerplate", "cmyk", "gray", "item_of_two_types", "missing_main", "missing_other", "no_file",
    "no_row", "numeric_id", "several_domains", "shared_main", "shared_other", "truncated", "two_labels",
    "unusable_main",
}  # fmt: skip


def members(path):
    with tarfile.open(path, "r:") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}


def raw(synthetic, row):
    return read_image_bytes(synthetic.directory / "abo-images-small.tar" / "images" / "small" / row["path"])


def trapped(truth, trap):
    return [row for row in truth.values() if trap in row["trap"].split()]


def test_the_same_seed_gives_the_same_bytes(synthetic, tmp_path):
    again = write_sample(tmp_path, products_per_type=8)
    for name in ("abo-listings.tar", "abo-images-small.tar", "truth.csv"):
        assert (tmp_path / name).read_bytes() == (synthetic.directory / name).read_bytes(), name
    assert again.n_images == synthetic.n_images


def test_the_listings_are_written_as_amazon_writes_them(synthetic):
    files = members(synthetic.directory / "abo-listings.tar")
    names = [f"listings/metadata/listings_{digit}.json.gz" for digit in "0123456789abcdef"]
    assert set(files) == {*names, "listings/README.md", "LICENSE-CC0.txt"}
    forms, n_lines = set(), 0
    for name in names:
        for number, line in enumerate(gzip.decompress(files[name]).splitlines(), start=1):
            if (name, number) in synthetic.malformed:
                continue
            listing = json.loads(line)
            assert line.isascii() and all(listing.values())
            forms.add(type(listing["product_type"]))
            n_lines += 1
    assert forms == {str, list} and n_lines == synthetic.n_listings


def test_the_images_are_stored_as_amazon_stores_them(synthetic, truth):
    files = members(synthetic.directory / "abo-images-small.tar")
    table = gzip.decompress(files.pop("images/metadata/images.csv.gz")).decode().splitlines()
    assert table[0] == "image_id,height,width,path"
    files.pop("LICENSE-CC0.txt")
    assert len(files) == synthetic.n_images
    for name in files:
        match = re.fullmatch(r"images/small/([0-9a-f]{2})/([0-9a-f]{8})\.(jpg|png)", name)
        assert match and match[2].startswith(match[1])
    assert len(table) - 1 == len(truth) - len(trapped(truth, "no_row"))
    assert any("+" in name or "-" in name for name in truth)


def test_every_trap_is_laid_whatever_the_seed():
    for seed in range(5):
        plan = plan_catalogue(8, seed)
        assert {trap for image in plan.images for trap in image.traps} == TRAPS


def test_the_truth_tells_what_each_image_is(synthetic, truth):
    assert {row["kind"] for row in truth.values()} == {
        "main", "view", "scene", "swatch", "chart", "text", "boilerplate",
    }  # fmt: skip
    assert {row["keep"] for row in truth.values() if row["kind"] in ("scene", "swatch", "chart", "text")} == {
        "no"
    }
    (notice,) = trapped(truth, "boilerplate")
    assert len(notice["item_id"].split()) > 50 and notice["keep"] == "no"
    assert {row["product_type"] for row in trapped(truth, "two_labels")} == {"CHAIR STOOL_SEATING"}
    assert {row["product_type"] for row in trapped(truth, "item_of_two_types")} == {"DESK TABLE"}
    assert {"00123456789", "51234567890", "71000000e11"} <= set(truth)


def test_images_in_unusual_forms_are_really_in_them(synthetic, truth):
    for trap, mode in (("cmyk", "CMYK"), ("gray", "L"), ("alpha", "RGBA")):
        for row in trapped(truth, trap):
            assert Image.open(io.BytesIO(raw(synthetic, row))).mode == mode
            assert decode_image(raw(synthetic, row)).mode == "RGB"
    for row in trapped(truth, "truncated"):
        with pytest.raises(UnreadableImage):
            decode_image(raw(synthetic, row))
    for row in trapped(truth, "no_file"):
        with pytest.raises(UnreadableImage, match="no member"):
            raw(synthetic, row)


def test_too_few_products_for_all_traps_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 8. Received: 3"):
        write_sample(tmp_path, products_per_type=3)
