import re

import numpy as np
from PIL import Image

from aisles.data_prep.abo.contact_page import sheet_names, write_contact_sheets
from aisles.data_prep.abo.contact_sheet import (
    DROPPED,
    FLAGGED,
    KEPT,
    SUREST,
    SUSPECTED,
    SheetImage,
    draw_contact_sheet,
    sorted_images,
    spaced,
)

CURATION = (KEPT, DROPPED, FLAGGED)


def images(folder, n=20):
    rng = np.random.default_rng(0)
    made = []
    for i in range(n):
        path = folder / f"{i}.png"
        Image.new("RGB", (30 + i, 40), tuple(int(v) for v in rng.integers(0, 255, 3))).save(path)
        made.append(
            SheetImage(path, i / n, KEPT if i >= n // 3 else DROPPED, f"image number {i} with a long caption")
        )
    return made


def test_kept_and_dropped_images_have_frames_in_their_colors(tmp_path):
    sheet = np.asarray(draw_contact_sheet("CHAIR", images(tmp_path), CURATION))
    blue, orange = (np.flatnonzero((sheet == part.color).all(axis=-1).any(axis=1)) for part in CURATION[:2])
    assert len(blue)
    assert blue.max() < orange.min()


def test_a_sheet_grows_with_its_rows_and_no_further_than_the_most(tmp_path):
    made = images(tmp_path)
    heights = [draw_contact_sheet("A", made, CURATION, most=most).height for most in (1, 8, 9, 100)]
    assert heights[0] == heights[1] < heights[2] == heights[3]
    assert draw_contact_sheet("A", [], CURATION).height < heights[0]


def test_flagged_images_stand_below_in_a_part_of_their_own(tmp_path):
    made = images(tmp_path)
    flagged = [SheetImage(p.path, p.score, FLAGGED, "text") for p in made]
    plain = draw_contact_sheet("CHAIR", made, CURATION)
    sheet = np.asarray(draw_contact_sheet("CHAIR", [*made, *flagged], CURATION, most=8))
    gray, orange = (np.flatnonzero((sheet[:, 16] == part.color).all(axis=-1)) for part in (FLAGGED, DROPPED))
    assert orange.max() < gray.min() and not (np.asarray(plain)[:, 16] == FLAGGED.color).all(axis=-1).any()
    page = write_contact_sheets(
        {"CHAIR": [*made, *flagged[:3]]}, tmp_path / "sheets", "x", CURATION
    ).read_text()
    assert "<td>14</td><td>6</td><td>3</td>" in page and "<th>flagged</th>" in page


def test_an_unreadable_image_does_not_stop_a_sheet(tmp_path):
    (tmp_path / "x.jpg").write_text("no image")
    draw_contact_sheet("A", [SheetImage(tmp_path / "x.jpg", float("nan"), KEPT)], CURATION)


def test_the_highest_score_comes_first_and_main_images_before():
    made = [
        SheetImage(name, score, KEPT) for name, score in zip("abcd", [0.1, 0.9, np.nan, 0.9], strict=True)
    ]
    assert [str(p.path) for p in sorted_images(made)] == ["c", "b", "d", "a"]


def test_chosen_images_are_evenly_spaced_with_both_ends():
    made = [SheetImage(str(i), 0, KEPT) for i in range(101)]
    assert [str(p.path) for p in spaced(made, 5)] == ["0", "25", "50", "75", "100"]


def test_class_names_become_safe_and_different_file_names():
    names = sheet_names(["../../etc", "a/b", "a_b", "A_B", "index", "été", "日本", "x" * 300])
    assert len({name.lower() for name in names.values()}) == 8
    assert all("/" not in name and ".." not in name and len(name) < 100 for name in names.values())
    assert names["index"] == "index-2.jpg"


def test_a_page_shows_every_class_and_escapes_names(tmp_path):
    made = images(tmp_path)
    page = write_contact_sheets(
        {"CHAIR": made, "<b>RUG": made[:3]}, tmp_path / "sheets", "Similarity & more", CURATION
    )
    text = page.read_text()
    assert "&lt;b&gt;RUG" in text
    assert "<b>RUG" not in text
    assert "Similarity &amp; more" in text
    assert "<h3>kept: 14</h3>" in text and "<h3>dropped: 6</h3>" in text
    for name in ("CHAIR.jpg", "b_RUG.jpg"):
        assert f'src="{name}"' in text
        with Image.open(tmp_path / "sheets" / name) as sheet:
            assert sheet.size[0] > 1000


def test_a_part_without_images_is_named_nowhere(tmp_path):
    made = [
        SheetImage(image.path, image.score, SUSPECTED if i < 2 else SUREST)
        for i, image in enumerate(images(tmp_path))
    ]

    page = write_contact_sheets({"CHAIR": made}, tmp_path / "audit", "x", (SUSPECTED, SUREST)).read_text()
    kept = write_contact_sheets(
        {"CHAIR": [image for image in images(tmp_path) if image.part == KEPT]},
        tmp_path / "kept",
        "x",
        CURATION,
    ).read_text()

    assert "<th>suspected</th><th>surest of this label</th>" in page and "<td>2</td><td>18</td>" in page
    assert "kept" not in page and "dropped" not in page
    assert "<th>kept</th>" in kept and "dropped" not in kept and "flagged" not in kept


def test_the_page_follows_a_dark_screen(tmp_path):
    page = write_contact_sheets({"CHAIR": images(tmp_path)}, tmp_path / "sheets", "x", CURATION).read_text()

    assert '<meta name="color-scheme" content="light dark">' in page and "prefers-color-scheme: dark" in page


def test_a_thumbnail_of_the_page_is_the_window_on_the_sheet_that_holds_its_image(tmp_path):
    colors = [(200, 30, 30), (30, 160, 60), (40, 60, 200)]
    made = []
    for i, color in enumerate(colors * 5):
        Image.new("RGB", (40, 40), color).save(tmp_path / f"{i}.png")
        made.append(SheetImage(tmp_path / f"{i}.png", float(-i), KEPT if i < 11 else DROPPED, f"number {i}"))
    page = write_contact_sheets({"A": made}, tmp_path / "sheets", "x", CURATION).read_text()
    windows = re.findall(r'alt="A: number (\d+)" style="object-position:-(\d+)px -(\d+)px"', page)
    assert [int(number) for number, *_ in windows] == list(range(15))
    with Image.open(tmp_path / "sheets" / "A.jpg") as sheet:
        for number, left, top in windows:
            seen = np.asarray(sheet.crop((int(left), int(top), int(left) + 126, int(top) + 126)), int)
            inside = seen[8:-8, 8:-8]  # JPEG lets colors run a few pixels over an edge
            assert np.abs(inside - colors[int(number) % 3]).max() < 25
            assert np.abs(seen - colors[int(number) % 3]).mean() < 12
