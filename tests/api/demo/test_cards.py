"""Sentence, tree, tables and corrections as a visitor reads them."""

import csv
import io
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.manifest import read_manifest
from aisles.demo.cards import answers_csv, corrections_html, guarantee_text, sentence, sides_html, table_html
from aisles.demo.judging import Answer, Stages
from aisles.demo.levels import Guarantee
from aisles.demo.networks import Cost, Look
from aisles.demo.session import MOST_CORRECTIONS, Row, Visit
from aisles.demo.texts import texts_in
from aisles.demo.tree import SHOWN, tree_html
from aisles.hierarchy.hierarchy import Hierarchy

EN, ES = texts_in("en"), texts_in("es")
GOODS = Hierarchy(("SEAT", "LIGHT"), (("CHAIR", "SOFA"), ("LAMP",)))
PROBS, MACRO = np.array([0.18, 0.1, 0.72]), np.array([0.9, 0.1])
STAGES = Stages(np.array([[0.9, 0.1]]), np.array([[0.2, 0.8, 1.0]]), np.array([[0.3, 0.5, 0.2]]))
CHECKED = Guarantee(0.95, 0.7, "checked", 400, 300, 290)
PLAIN = Guarantee(0.95, 0.95, "unchecked")


def answer(level: str) -> Answer:
    return Answer(level, "SOFA", "SEAT", 0.72, 0.9)


def look(name: str = "sofa.jpg") -> Look:
    return Look(name, Image.new("RGB", (8, 6)), (6, 8), STAGES, 1.0, {})


class Pieces(HTMLParser):
    """Elements of some HTML with their attributes, refusing what isn't closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.found if name == tag]


@pytest.mark.parametrize(
    ("level", "guarantee", "said"),
    [
        ("class", CHECKED, "Sure that this is SOFA, in SEAT (95 % of such answers are right)."),
        (
            "macro",
            CHECKED,
            "Sure that this is SEAT (95 % of such answers are right); most probably SOFA (72 %).",
        ),
        ("none", CHECKED, "Not sure at this level. Most probably SOFA (72 %), in SEAT (90 %)."),
        (
            "macro",
            PLAIN,
            "This is SEAT: its probability of 90 % reaches the level of 95 %; most probably SOFA (72 %).",
        ),
    ],
)
def test_the_answer_is_one_sentence_at_the_level_it_is_sure_of(level, guarantee, said):
    assert sentence(answer(level), guarantee, EN) == said


def test_spanish_says_the_same():
    said = "Seguro que es SEAT (el 95 % de estas respuestas son correctas); lo más probable es SOFA (72 %)."
    assert sentence(answer("macro"), CHECKED, ES) == said


@pytest.mark.parametrize("kind", ["few", "unchecked"])
def test_right_is_never_guaranteed_where_nothing_was_checked(kind):
    guarantee = Guarantee(0.95, 0.95, kind, n_images=20, n_needed=77)
    for level in ("class", "macro", "none"):
        assert "such answers are right" not in sentence(answer(level), guarantee, EN)
    assert guarantee_text(guarantee, EN).startswith("Nothing is guaranteed")


def test_the_guarantee_tells_its_counts_and_its_confidence():
    said = guarantee_text(CHECKED, EN)
    for part in ("90 % confidence", "at least 95 %", "400 test images", "290 of 300"):
        assert part in said


def lit_in(level: str, threshold: float = 0.7) -> tuple[list[str], Pieces]:
    drawn = tree_html(PROBS, MACRO, GOODS, answer(level), threshold, EN)
    names = re.findall(r'class="(?:node leaf |node |root )lit"[^>]*>(?:<span class="name">)?([^<]+)<', drawn)
    return names, Pieces(drawn)


@pytest.mark.parametrize(("level", "name"), [("class", "SOFA"), ("macro", "SEAT"), ("none", "Any product")])
def test_one_node_of_the_tree_is_lit_the_answer(level, name):
    assert lit_in(level)[0] == [name]


def test_every_class_is_a_button_in_the_tree_with_its_bar():
    _, pieces = lit_in("class")
    assert {button["data-label"] for button in pieces.of("button")} == {"CHAIR", "SOFA", "LAMP"}
    widths = [span["style"] for span in pieces.of("span") if "style" in span]
    assert widths == ["width:90.0%", "width:72.0%", "width:18.0%", "width:10.0%", "width:10.0%"]


def test_nodes_below_the_threshold_are_gray():
    _, pieces = lit_in("none", threshold=0.8)
    states = {b["data-label"]: b["class"].split()[-1] for b in pieces.of("button")}
    assert states == {"SOFA": "unsure", "CHAIR": "unsure", "LAMP": "unsure"}
    assert [s["class"] for s in pieces.of("summary")] == ["node sure", "node unsure"]


def test_the_most_probable_come_first_and_many_classes_are_folded():
    many = Hierarchy(("A",), (tuple(f"c{i:02d}" for i in range(12)),))
    probs = np.linspace(0.01, 0.155, 12)
    drawn = tree_html(probs, np.ones(1), many, Answer("class", "c11", "A", 0.155, 1.0), 0.1, EN)
    order = [button["data-label"] for button in Pieces(drawn).of("button")]
    assert order == [f"c{i:02d}" for i in range(11, -1, -1)]
    assert f"{12 - SHOWN} more" in drawn


def test_names_are_text_wherever_they_come_from():
    evil = '<img src=x onerror="alert(1)">'
    hierarchy = Hierarchy((evil,), ((evil + "1", evil + "2"),))
    said = Answer("class", evil + "1", evil, 0.9, 1.0)
    stages = Stages(np.ones((1, 1)), np.array([[0.9, 0.1]]), np.array([[0.9, 0.1]]))
    shown = Look(evil, Image.new("RGB", (4, 4)), (4, 4), stages, 1.0, {})
    costs = {"soft": Cost(1, 1.0), "flat": Cost(1, 1.0)}
    parts = [
        tree_html(np.array([0.9, 0.1]), np.ones(1), hierarchy, said, 0.5, EN),
        corrections_html({evil: evil}, EN),
        sides_html(shown, hierarchy, "soft", (), costs, evil, EN),
        table_html([Row(evil, shown), Row(evil, None, evil)], [said, None], CHECKED, EN),
    ]
    for part in parts:
        assert not [image for image in Pieces(part).of("img") if "onerror" in image]


def test_disagreement_of_the_two_systems_is_said():
    costs = {"soft": Cost(3, 40.0), "flat": Cost(1, 20.0)}
    drawn = sides_html(look(), GOODS, "soft", (), costs, "SEAT", EN)
    assert "two-stage says SOFA, flat says LAMP" in drawn
    assert "3 passes, 40 ms" in drawn and "1 pass, 20 ms" in drawn
    assert "Sub-model of SEAT" in drawn


def seen(name: str, color: int) -> Look:
    return replace(look(name), image=Image.new("RGB", (4, 4), (color, 0, 0)))


def test_corrections_are_kept_once_per_image_and_download_as_a_manifest(tmp_path):
    visit = Visit()
    images = (("a,b.png", 1, "SOFA"), ("ü.png", 2, "LAMP"), ("a,b.png", 1, "CHAIR"), ("a,b.png", 3, "LAMP"))
    for name, color, label in images:
        visit.look = seen(name, color)
        visit.correct(label)
    for name in visit.corrections:
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    drawn = Pieces(corrections_html(visit.corrections, EN))
    (link,) = drawn.of("a")
    assert link["download"] == "metadata.csv"
    (tmp_path / "metadata.csv").write_bytes(b64decode(link["href"].partition("base64,")[2]))
    manifest = read_manifest(tmp_path)
    assert dict(zip(manifest.table["file_name"], manifest.labels, strict=True)) == {
        "a,b.png": "CHAIR",
        "ü.png": "LAMP",
        "a,b-2.png": "LAMP",
    }


@pytest.mark.parametrize(
    ("visit", "refusal"),
    [
        (Visit(), "correct_no_image"),
        (Visit(look("example.png"), is_example=True), "correct_example"),
        (
            Visit(look("one more.png"), corrections={f"{i}": "SOFA" for i in range(MOST_CORRECTIONS)}),
            "correct_too_many",
        ),
    ],
)
def test_what_can_not_be_corrected_is_refused_with_a_text_of_the_page(visit, refusal):
    assert visit.refusal == refusal and EN(refusal)
    with pytest.raises(ValueError, match=refusal):
        visit.correct("SOFA")


def test_several_images_are_a_table_that_downloads_with_what_could_not_be_read():
    rows = [Row("a.png", look("a.png")), Row("b.txt", None, "b.txt can't be read")]
    found = [answer("macro"), None]
    table = list(csv.DictReader(io.StringIO(answers_csv(rows, found, CHECKED))))
    assert [row["file_name"] for row in table] == ["a.png", "b.txt"]
    assert table[0]["answered"] == "macro" and table[0]["class"] == "SOFA" and table[0]["macro"] == "SEAT"
    assert float(table[0]["threshold"]) == 0.7 and table[0]["guarantee"] == "checked"
    assert table[1]["error"] == "b.txt can't be read" and table[1]["class"] == ""
    drawn = Pieces(table_html(rows, found, CHECKED, EN))
    assert len(drawn.of("tr")) == 3
    assert len([th for th in drawn.of("th") if th.get("aria-sort") == "none"]) == 6
