import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from aisles.data_prep.abo.photo_checks import (
    FAULTS,
    Measures,
    Ramp,
    audit_images,
    flag_scores,
    measure_pixels,
    score_measures,
)


def product(rng):
    image = Image.new("RGB", (256, 256), (255, 255, 255) if rng.uniform() < 0.7 else (225, 225, 230))
    pen = ImageDraw.Draw(image)
    color = tuple(int(v) for v in rng.integers(20, 200, 3))
    x, y = rng.integers(30, 70, 2)
    pen.rounded_rectangle((x, y, x + 120, y + 90), 15, fill=color)
    pen.ellipse((x + 30, y + 60, x + 150, y + 150), fill=tuple(v // 2 for v in color))
    return image


def swatch(rng):
    color = rng.integers(30, 220, 3)
    weave = 12 * np.sin(np.arange(256) / rng.uniform(1, 3))
    values = color + (weave[:, None] + weave[None])[..., None] + rng.normal(0, 6, (256, 256, 1))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def size_chart(rng):
    image = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(image)
    for row in range(11):
        for column in range(4):
            text = f"{rng.integers(10, 99)}.{rng.integers(0, 9)}"
            pen.text((14 + 60 * column, 10 + 22 * row), text, (20, 20, 20), ImageFont.load_default(13))
        pen.line((8, 28 + 22 * row, 248, 28 + 22 * row), fill=(120, 120, 120))
    return image


def room(rng):
    wall, floor = (tuple(int(v) for v in rng.integers(*limits, 3)) for limits in ((130, 230), (40, 120)))
    image = Image.new("RGB", (256, 256), wall)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 150, 256, 256), fill=floor)
    for _ in range(12):
        x, y = int(rng.integers(-30, 230)), int(rng.integers(30, 220))
        w, h = (int(v) for v in rng.integers(30, 70, 2))
        fill = tuple(int(v) for v in rng.integers(0, 255, 3))
        pen.rectangle((x, y, x + w, y + h), fill=fill, outline=(10, 10, 10))
    return image


DRAWINGS = {"": product, "texture": swatch, "text": size_chart, "room": room}


def measured(images):
    return pd.DataFrame([vars(measure_pixels(np.asarray(image))) for image in images])


@pytest.mark.parametrize("fault", DRAWINGS, ids=lambda name: name or "none")
def test_drawn_images_get_the_flag_of_what_they_are(fault):
    rng = np.random.default_rng(0)
    flags = flag_scores(score_measures(measured([DRAWINGS[fault](rng) for _ in range(25)])))
    for name in FAULTS:
        assert flags[name].mean() >= 0.9 if name == fault else flags[name].mean() <= 0.1


def test_a_single_color_is_a_texture_and_has_no_text():
    for color in ("white", "black", "red"):
        scores = score_measures(measured([Image.new("RGB", (256, 256), color)]))
        assert scores.iloc[0].to_dict() == {"texture": 1.0, "text": 0.0, "room": 0.0}


def test_measures_of_a_square_on_white_are_as_worked_out_by_hand():
    image = Image.new("RGB", (256, 256), "white")
    image.paste((255, 0, 0), (64, 64, 192, 192))
    m = measure_pixels(np.asarray(image))
    assert m.plain_border == 1
    assert m.subject_share == 0.25
    assert m.border_bits == 0
    # 4 of 16 cells are red: their distance from the mean is 3/4 of the color difference, the others' 1/4.
    color_distance = np.hypot(255, 255)
    assert m.cell_difference == pytest.approx(color_distance * np.sqrt(3) / 4)
    # The outline touches the 12 outer cells of the square and the 16 cells beyond it.
    assert m.edge_spread == 28 / 64


def test_marks_in_lines_have_rhythm_and_scattered_ones_have_not():
    rng = np.random.default_rng(0)
    lines, scattered = (Image.new("RGB", (256, 256), "white") for _ in range(2))
    for i in range(200):
        x, y = 10 + i % 20 * 12, 20 + i // 20 * 22
        ImageDraw.Draw(lines).rectangle((x, y, x + 4, y + 5), fill="black")
        x, y = rng.integers(5, 245, 2).tolist()
        ImageDraw.Draw(scattered).rectangle((x, y, x + 3, y + 3), fill="black")
    in_lines, at_random = (measure_pixels(np.asarray(image)) for image in (lines, scattered))
    assert in_lines.text_marks == 200
    assert in_lines.text_rhythm > 10
    assert at_random.text_rhythm < 1.4


def test_a_ramp_rises_or_falls_between_its_ends():
    values = np.array([0, 1, 1.5, 2, 9])
    assert Ramp("x", 1, 2).score(values).tolist() == [0, 0, 0.5, 1, 1]
    assert Ramp("x", 2, 1).score(values).tolist() == [1, 1, 0.5, 0, 0]


def test_another_limit_needs_no_new_measuring():
    scores = pd.DataFrame({"texture": [0.2, 0.6], "text": [0.0, 1.0]})
    assert flag_scores(scores)["texture"].tolist() == [False, True]
    assert flag_scores(scores, {"texture": 0.1})["texture"].tolist() == [True, True]
    assert flag_scores(scores, {"texture": 0.1})["text"].tolist() == [False, True]
    with pytest.raises(ValueError, match=r"known faults \['texture', 'text'\]. Received: \['blur'\]"):
        flag_scores(scores, {"blur": 0.1})


def test_files_are_audited_and_counted_per_class(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i, draw in enumerate([product, swatch, size_chart, room, product, swatch]):
        paths.append(tmp_path / f"{i}.png")
        draw(rng).save(paths[-1])
    audit = audit_images(paths)
    assert list(audit.measures.columns) == list(Measures.__dataclass_fields__)
    counts = audit.per_class(["b", "b", "b", "a", "a", "a"])
    assert counts.loc["a"].to_dict() == {"images": 3, "texture": 1, "text": 0, "room": 1, "any": 2}
    assert counts.loc["b"].to_dict() == {"images": 3, "texture": 1, "text": 1, "room": 0, "any": 2}
    assert audit_images([]).flags.empty


def test_published_photographs_are_flagged_as_a_person_would(shared):
    golden = shared / "abo/golden"
    expected = {
        "OTTOMAN-0.19274572.jpg": "texture",
        "RUG-0.18717194.jpg": "texture",
        "SOFA_OTH_4.jpg": "texture",
        "LEGUME_OTH_1.jpg": "text",
        "RUG_MAIN.jpg": "room",
        "RUG-MAIN-SIM.jpg": "room",
        "SOFA_OTH_2.jpg": "room",
        "RUG_OTH_1.jpg": "room",
        **dict.fromkeys(["SOFA_MAIN.jpg", "SOFA_OTH_1.jpg", "OTTOMAN-MAIN.jpg", "HOME_2.jpg"], ""),
        **dict.fromkeys(["HOME_3.jpg", "LEGUME_MAIN.jpg", "RUG_OTH_3.jpg"], ""),
    }
    flags = audit_images([golden / name for name in expected]).flags
    got = [" ".join(name for name in FAULTS if row[name]) for _, row in flags.iterrows()]
    assert dict(zip(expected, got, strict=True)) == expected
