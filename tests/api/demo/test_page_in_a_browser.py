"""The page as visitors use it, in Debian's Chromium: every step by what a person sees and types."""

import base64
import csv
import io
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.manifest import read_manifest
from aisles.demo.texts import texts_in

pytestmark = [pytest.mark.keras, pytest.mark.slow]
WAIT = 30_000
EN = texts_in("en")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium here")
    with api.sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *camera])
        yield opened
        opened.close()


class Visitor:
    """A page of its own, and all that went wrong on it or left the machine."""

    def __init__(self, browser, address, width=1280, scheme="light", path="/"):
        self.address = address
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address + path)
        self.page.wait_for_selector("#answer", timeout=WAIT)
        self.page.wait_for_selector("#upload input[type=file]", state="attached", timeout=WAIT)

    def upload(self, data: bytes, name: str = "photo.png", selector: str = "#upload"):
        file = {"name": name, "mimeType": "image/png", "buffer": data}
        self.page.set_input_files(f"{selector} input[type=file]", file)

    def answer(self, level: str | None = None):
        mark = f'#answer .answer[data-level="{level}"]' if level else "#answer .answer"
        return self.page.wait_for_selector(mark, timeout=WAIT)

    def leave(self):
        """Close the page; nothing may have gone wrong, and nobody else may have been asked for anything."""
        outside = [u for u in self.asked if not u.startswith((self.address, "data:", "blob:"))]
        self.context.close()
        assert not outside
        assert not self.errors


@pytest.fixture
def visit(browser, address):
    """Return the function that opens a page; all pages are closed and looked through in the end."""
    opened = []

    def start(**more):
        opened.append(Visitor(browser, address, **more))
        return opened[-1]

    yield start
    for visitor in opened:
        visitor.leave()


@pytest.fixture(scope="module")
def pictures(run) -> list[bytes]:
    manifest = read_manifest(run / "manifest.csv")
    rows = np.flatnonzero(manifest.splits == "test")[:4]
    return [manifest.paths[row].read_bytes() for row in rows]


def test_an_upload_is_answered_and_explained(visit, pictures):
    visitor = visit()
    visitor.upload(pictures[0])
    visitor.answer()
    assert visitor.page.locator("#tree .lit").count() == 1
    assert visitor.page.locator("#sides .box").count() == 4
    visitor.page.wait_for_selector("#why figure", timeout=WAIT)
    assert "photo.png" in visitor.page.locator("#answer img").get_attribute("alt")


PASTE = """async (base64) => {
  const blob = await (await fetch("data:image/png;base64," + base64)).blob();
  await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
}"""


def test_a_pasted_image_is_answered(visit, pictures):
    visitor = visit()
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.page.evaluate(PASTE, base64.b64encode(pictures[0]).decode())
    visitor.page.locator("#upload").get_by_label("Paste from clipboard").click()
    visitor.answer()


def test_what_the_camera_sees_is_answered(visit):
    visitor = visit()
    visitor.context.grant_permissions(["camera"])
    visitor.page.locator("#upload").get_by_label("Capture from camera").click()
    visitor.page.locator("#upload").get_by_title("grant webcam access").click()
    # Before there is a picture to see, the button takes none.
    ready = "() => document.querySelector('#upload video')?.videoWidth > 0"
    visitor.page.wait_for_function(ready, timeout=WAIT)
    visitor.page.locator("#upload").get_by_label("capture photo").click()
    visitor.answer()


def test_the_slider_moves_the_answer_by_keyboard_without_another_pass(visit, demo, pictures, monkeypatch):
    visitor = visit()
    visitor.upload(pictures[0])
    visitor.answer()
    visitor.page.wait_for_selector("#why figure", timeout=WAIT)
    monkeypatch.setattr(demo.networks, "look", None)  # whoever asked the networks again would fail
    slider = visitor.page.get_by_label("range slider").first
    slider.focus()
    levels = []
    for key in ("End", "Home"):
        slider.press(key)
        expected = "99 %" if key == "End" else "50 %"
        visitor.page.wait_for_function(
            "text => document.querySelector('#answer .answer').innerText.includes(text)",
            arg=expected,
            timeout=WAIT,
        )
        levels.append(visitor.page.locator("#answer .answer").get_attribute("data-level"))
    depth = ["none", "macro", "class"]
    assert depth.index(levels[0]) <= depth.index(levels[1])


def test_an_example_is_tried_by_keyboard(visit):
    visitor = visit()
    visitor.page.locator("#examples button").last.focus()
    visitor.page.keyboard.press("Enter")
    visitor.answer()
    assert "bicycle.png" in visitor.page.locator("#answer img").get_attribute("alt")


def test_a_restriction_leaves_only_what_is_possible(visit, demo, pictures):
    visitor = visit()
    visitor.upload(pictures[0])
    first = visitor.answer().get_attribute("data-label")
    other = next(name for name in demo.networks.hierarchy.classes if name != first)
    field = visitor.page.get_by_label(EN("only")).first
    field.click()
    field.fill(other)
    visitor.page.get_by_role("option", name=other, exact=True).first.click()
    visitor.page.wait_for_selector(f'#answer .answer[data-label="{other}"]', timeout=WAIT)


def test_an_example_is_not_corrected_since_it_may_be_a_test_image(visit):
    visitor = visit()
    visitor.page.locator("#examples button").first.click()
    visitor.answer()
    visitor.page.locator("#tree button[data-label]:visible").first.click()
    visitor.page.wait_for_selector("#corrections [role=alert]", timeout=WAIT)
    assert EN("correct_example") in visitor.page.locator("#corrections").inner_text()


def test_a_click_on_the_right_class_is_kept_and_downloaded_as_a_manifest(visit, pictures, tmp_path):
    visitor = visit()
    visitor.upload(pictures[0], "a,b.png")
    visitor.answer()
    button = visitor.page.locator("#tree button[data-label]:visible").nth(1)
    label = button.get_attribute("data-label")
    button.focus()
    button.press("Enter")
    link = visitor.page.wait_for_selector("#corrections a[download]", timeout=WAIT)
    with visitor.page.expect_download() as download:
        link.click()
    path = tmp_path / "metadata.csv"
    download.value.save_as(path)
    (tmp_path / "a,b.png").write_bytes(pictures[0])
    manifest = read_manifest(path, min_classes=1)
    assert list(manifest.labels) == [label] and download.value.suggested_filename == "metadata.csv"


def test_several_images_are_a_table_that_sorts_and_downloads(visit, pictures):
    visitor = visit()
    visitor.page.get_by_role("tab", name=EN("tab_several")).click()
    files = [{"name": f"{i}.png", "mimeType": "image/png", "buffer": data} for i, data in enumerate(pictures)]
    files.append({"name": "no.png", "mimeType": "image/png", "buffer": b"no image"})
    visitor.page.set_input_files("#files input[type=file]", files)
    visitor.page.wait_for_selector("#table tbody tr", timeout=WAIT)
    rows = visitor.page.locator("#table tbody tr")
    assert rows.count() == 5
    assert "no.png" in rows.nth(4).inner_text() and "can't be read" in rows.nth(4).inner_text()
    sort = visitor.page.get_by_role("button", name=EN("column_probability"), exact=True)
    sort.focus()
    sort.press("Enter")
    values = [
        float(v) for v in rows.locator("td:nth-child(5)").evaluate_all("c => c.map(e => e.dataset.value)")
    ]
    assert values == sorted(values) and len(values) == 4
    link = visitor.page.locator("#table a[download]").get_attribute("href")
    table = list(csv.DictReader(io.StringIO(base64.b64decode(link.partition("base64,")[2]).decode())))
    assert [row["file_name"] for row in table] == ["0.png", "1.png", "2.png", "3.png", "no.png"]


def test_the_http_interface_is_described_under_the_address_of_the_page(visit, address):
    visitor = visit(width=390)
    visitor.page.get_by_role("tab", name=EN("tab_api")).click()
    first = visitor.page.locator("#api code").first
    visitor.page.wait_for_function(
        "address => document.querySelector('#api code').textContent.includes(address)",
        arg=address,
        timeout=WAIT,
    )
    assert first.inner_text().startswith("curl ")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_is_no_image_is_said_so_and_the_page_goes_on(visit, pictures):
    visitor = visit()
    visitor.upload(b"I am text, not an image", "letter.png")
    visitor.page.wait_for_selector("#answer [role=alert]", timeout=WAIT)
    assert "letter.png can't be read" in visitor.page.locator("#answer").inner_text()
    visitor.page.reload()
    visitor.page.wait_for_selector("#upload input[type=file]", state="attached", timeout=WAIT)
    visitor.upload(pictures[0])
    visitor.answer()
    visitor.errors = [error for error in visitor.errors if "Failed to load resource" not in error]


def test_an_image_of_200_megabytes_is_refused_before_it_is_sent(visit, tmp_path):
    visitor = visit()
    large = tmp_path / "large.jpg"
    with open(large, "wb") as file:
        file.truncate(200 * 2**20)
    visitor.page.set_input_files("#upload input[type=file]", large)
    toast = visitor.page.wait_for_selector("[data-testid=toast-body]", timeout=WAIT)
    assert "32" in toast.inner_text()
    assert EN("answer_waiting") in visitor.page.locator("#answer").inner_text()


def test_one_visitor_sees_nothing_of_another(visit, pictures):
    one, two = visit(), visit()
    one.upload(pictures[0], "secret.png")
    one.answer()
    one.page.locator("#tree button[data-label]:visible").first.click()
    one.page.wait_for_selector("#corrections table", timeout=WAIT)
    two.upload(pictures[1], "mine.png")
    two.answer()
    assert "secret.png" not in two.page.content()
    two.page.locator("#tree button[data-label]:visible").first.click()
    two.page.wait_for_selector("#corrections table", timeout=WAIT)
    assert "mine.png" in two.page.locator("#corrections").inner_text()
    assert "secret.png" not in two.page.content()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(("language", "path"), [("en", "/"), ("es", "/es/")])
def test_the_page_fits_its_width_and_names_its_language(visit, pictures, width, language, path):
    visitor = visit(width=width, path=path, scheme="dark")
    texts = texts_in(language)
    assert visitor.page.locator("h1").inner_text() == texts("title")
    visitor.upload(pictures[0])
    visitor.answer()
    assert visitor.page.evaluate("document.documentElement.lang") == language
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    small = visitor.page.evaluate(
        "[...document.querySelectorAll('#tree button')].filter(b => b.offsetHeight && b.offsetHeight < 24).length"
    )
    assert small == 0
    unnamed = visitor.page.evaluate(
        "[...document.querySelectorAll('button, a[href], input')].filter(e => e.offsetParent && "
        "!(e.innerText || e.getAttribute('aria-label') || e.title || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert not unnamed


def test_the_verdict_leads_to_the_report_which_shows_all_of_itself(visit):
    visitor = visit()
    with visitor.context.expect_page() as opened:
        visitor.page.get_by_role("link", name=EN("run_report")).click()
    report = opened.value
    report.on("console", lambda m: visitor.errors.append(m.text) if m.type == "error" else None)
    report.on("request", lambda request: visitor.asked.append(request.url))
    report.reload()
    assert report.url.endswith("/report/report.html") and report.locator("h1").count()
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src.slice(0, 80))"
    assert not report.evaluate(broken)


def test_light_and_dark_are_switched_by_a_button(visit):
    visitor = visit(scheme="light")
    color = "getComputedStyle(document.querySelector('h1')).color"
    before = visitor.page.evaluate(color)
    visitor.page.get_by_role("button", name=EN("theme_switch")).click()
    visitor.page.wait_for_function(f"before => {color} !== before", arg=before, timeout=WAIT)


def test_a_large_photograph_is_answered_soon(visit):
    visitor = visit()
    noise = np.random.default_rng(0).integers(0, 255, (3000, 4000, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((2000, 1500)).save(buffer, "JPEG")
    began = time.monotonic()
    visitor.upload(buffer.getvalue(), "large.jpg")
    visitor.answer()
    assert time.monotonic() - began < 20
    assert "2000 x 1500" in visitor.page.locator("#answer").inner_text()
