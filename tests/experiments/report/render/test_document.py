import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisles.data_prep.io.escaping import markdown_escaped, spreadsheet_safe, visible
from aisles.experiments.report.plots.drawing import Drawing, Scale, cut
from aisles.experiments.report.plots.trust import Curve, chart, reliability, thinned
from aisles.experiments.report.render.document import Column, Document, Section, Table, Text, shown, signed
from aisles.experiments.report.render.html import html_page


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.68812, "share", "68.8"),
        (-0.0091, "points", "−0.9"),
        (0.0091, "points", "+0.9"),
        (-0.0001, "points", "0.0"),
        (0.0131, "spread", "1.3"),
        (0.00003, "p", "< 0.0001"),
        (0.0469, "p", "0.047"),
        (3.0, "count", "3"),
        (135.667, "count", "135.7"),
        (5_000_000.0, "number", "5,000,000"),
        (1234.5, "number", "1,234"),
        (0.12345, "number", "0.123"),
        (None, "share", "–"),
        (float("nan"), "number", "–"),
        ("baseline", "word", "baseline"),
    ],
)
def test_values_are_shown_as_their_column_says(value, kind, text):
    assert shown(value, kind) == text


def test_what_rounds_to_zero_has_no_sign():
    assert (signed(-0.04), signed(0.04), signed(-0.06)) == ("0.0", "0.0", "−0.1")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-2.2, 1.7, [-2, -1, 0, 1]),
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.35, 0.6, [0.35, 0.4, 0.45, 0.5, 0.55, 0.6]),
    ],
)
def test_ticks_are_round_and_inside(low, high, ticks):
    assert Scale(low, high, 0, 1).ticks() == pytest.approx(ticks)


def test_a_scale_without_width_is_widened():
    scale = Scale(5, 5, 0, 100)

    assert scale(5) == 50 and scale.ticks()


def test_long_names_keep_their_beginning_and_their_end():
    assert cut("God-Morgon-Orange-Red-Grapefruit-Juice", 20) == "God-Morgon-Or…-Juice"
    assert cut("Kiwi", 20) == "Kiwi"


class Texts(HTMLParser):
    """All texts of a page."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data):
        self.found.append(data)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_comes_back_from_html_and_svg_as_text(text):
    table = Table("t", text, (Column(text), Column(text)), ((text, text),))
    page = html_page(Document(text, text, (text,), (), (Section("s", text, (Text(text), table)),)))
    drawing = Drawing(10, 10, text, text)
    drawing.text(0, 0, text)
    drawing.rect(0, 0, 1, 1, "flat", text)

    assert page.count("<script") == 1 and page.count("<table") == 1 and page.count("<td") == 1
    parser = Texts()
    parser.feed(page)
    assert parser.found.count(visible(text)) >= (5 if text else 0)
    root = ElementTree.fromstring(drawing.file())
    assert len(list(root)) == 5 and not list(root[3])
    assert (root[3].text or "") == visible(text).replace("\r\n", "\n").replace("\r", "\n")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_a_table_cell_of_markdown_stays_one_cell(text):
    line = markdown_escaped(text)

    assert "\n" not in line and "\r" not in line
    assert line.replace("\\\\", "").replace("\\|", "").count("|") == 0


@pytest.mark.parametrize("text", ["=SUM(A1)", "+1+2", "-1-x", "@x", "\tx"])
def test_a_spreadsheet_computes_nothing(text):
    assert spreadsheet_safe(text) == f"'{text}"
    assert spreadsheet_safe("a=1") == "a=1"


@pytest.mark.parametrize("number", ["+1", "-1", "-0.5e3"])
def test_a_number_stays_a_number_in_a_spreadsheet(number):
    assert spreadsheet_safe(number) == number


def test_bins_of_confidence_hold_their_upper_edge():
    found = reliability(np.array([0.1, 0.2, 0.3, 1.0]), np.array([True, False, True, True]), bins=5)

    assert found.images.tolist() == [2, 1, 1]
    np.testing.assert_allclose(found.confidence, [0.15, 0.3, 1.0])
    np.testing.assert_allclose(found.accuracy, [0.5, 1.0, 1.0])


def test_a_chart_leaves_out_what_is_no_number():
    drawing = chart(
        [Curve("c", [0, 1, 2], [1.0, float("nan"), 3.0], "two")], "T", "D", x_name="x", y_name="y"
    )

    assert "nan" not in drawing.file() and drawing.file().count("<circle") == 2


def test_a_thinned_curve_keeps_both_ends():
    x, y = thinned(np.arange(1000.0), np.arange(1000.0) ** 2, most=50)

    assert len(x) <= 50 and (x[0], x[-1], y[-1]) == (0, 999, 999**2)
