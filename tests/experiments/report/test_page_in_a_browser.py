"""The report in a browser: a phone's columns, folding, contents, and names in full on a tap."""

import pytest

from aisles.experiments.report.writing import write_report

LONG = "GOD-MORGON-ORANGE-RED-GRAPEFRUIT-JUICE-OF-A-LONG-NAME-THAT-IS-CUT-ON-PHONES"


@pytest.fixture
def opened(browser, make_run):
    """Return a function that opens the report at a width."""
    address = write_report(make_run(classes=(LONG, "cherry", "lime", "moss"))).html.as_uri()
    pages = []

    def at(width: int):
        page = browser.new_page(viewport={"width": width, "height": 844})
        pages.append(page)
        page.goto(address)
        return page

    yield at
    for page in pages:
        page.close()


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_no_table_cuts_its_accuracy_column_and_the_page_never_scrolls_sideways(opened, width):
    page = opened(width)

    cut = page.evaluate(
        """() => [...document.querySelectorAll('table')].flatMap(table => {
          const edge = table.closest('.scroll').getBoundingClientRect().right;
          return [...table.tHead.rows[0].cells].filter(cell => cell.textContent.startsWith('accuracy'))
            .map(cell => cell.getBoundingClientRect().right - edge);
        })"""
    )
    assert len(cut) >= 2 and max(cut) <= 0
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_screen_is_used_to_its_full_width_and_the_first_plot_stands_on_it(opened):
    page = opened(1280)

    box = page.locator("main > figure svg.wide").first.bounding_box()
    assert box["x"] + box["width"] > 1280 - 40 and box["width"] > 1000
    assert box["y"] + box["height"] < 844
    assert not page.locator("main > figure svg.narrow").first.is_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_contents_stay_and_open_a_section_that_was_folded(opened, width):
    page = opened(width)
    page.locator("nav button").click()
    assert page.locator("#limits > ul, #limits > p").first.is_hidden()
    page.locator("nav button", has_text="Unfold all").wait_for()

    page.locator('nav a[href="#limits"]').click()
    page.wait_for_timeout(100)

    assert page.locator("#limits").get_attribute("open") is not None
    bar = page.locator("nav").bounding_box()
    assert abs(bar["y"]) < 1 and page.locator('nav a[href="#verdict"]').is_visible()
    assert page.locator("#methods").get_attribute("open") is None


def test_a_tap_on_a_cut_name_shows_it_in_full_and_another_tap_takes_it_away(opened):
    page = opened(390)
    name = page.locator("#tree svg.narrow text", has_text="…").first
    name.scroll_into_view_if_needed()

    name.click()
    assert page.locator("output").text_content() == LONG

    page.locator("h1").click()
    assert page.locator("output").text_content() == ""
