import csv
import json
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from aisles.experiments.report.writing import write_report

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "a|b`*_[x](javascript:y)&amp;",
    "=1+1",
)
ELSEWHERE = re.compile(
    r"""(?:src|href|action|poster|data|srcset)\s*=\s*["']?\s*(?:https?:|//|ftp:)|url\(\s*["']?http"""
)


class Outline(HTMLParser):
    """Tags, attributes and texts of a page; void elements aside, every tag must be closed."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(make_run) -> str:
    return write_report(make_run()).html.read_text(encoding="utf-8")


def test_the_report_opens_with_the_verdict_in_one_sentence_and_its_plot(page):
    body = page[page.index("<body>") :]
    verdict = (
        "No difference shown between the two-stage classifier and the flat model: 81.2 % against 62.5 % correct, "
        "+18.8 points."
    )
    evidence = "95 % interval −5.0 to +40.0 points; p = 0.25; 80 % power to detect 40.0 points."
    first = body[: body.index("<h2")]

    assert (
        first.index(f'<p class="verdict">{verdict}</p>')
        < first.index(evidence)
        < first.index("8 test images")
    )
    assert first.index("8 test images") < first.index("<svg") and first.count("<figure") == 1
    assert "soft +18.8 (−5.0 to +40.0), no difference shown" in first
    assert "◂ worse than flat" in first and "better than flat ▸" in first


def test_against_a_stronger_flat_method_the_first_sentence_is_about_that_one(make_run):
    run = json.loads((make_run("first") / "metrics.json").read_text())
    judged = run["comparisons"][0] | {
        "a": "flat-lda", "verdict": "worse", "difference": -0.04, "accuracy_a": 0.782, "accuracy_b": 0.742
    }  # fmt: skip
    page = write_report(make_run(best_flat={"name": "flat-lda", "comparisons": [judged]})).html.read_text(
        "utf-8"
    )

    verdict = "The two-stage classifier is worse: 74.2 % correct against 78.2 % for the best flat model"
    assert f'<p class="verdict">{verdict}, −4.0 points.</p>' in page
    assert "Against flat alone: no difference shown, +18.8 points." in page
    assert page.index("f-difference-from-flat") > page.index('<details open id="methods"')


def test_a_plan_that_was_changed_is_not_called_pre_specified(make_run):
    kept = write_report(make_run("kept")).html.read_text("utf-8")
    changed = write_report(make_run("changed", plan={"earlier": [{"primary": "hard"}]})).html.read_text(
        "utf-8"
    )
    assert "Two-stage: soft, pre-specified." in kept
    assert "Two-stage: soft, not pre-specified: the plan was changed after a run had begun." in changed


def test_every_tag_is_closed_and_every_id_unique(page):
    outline = Outline(page)

    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert outline.open == [] and len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in outline.named("a")}
    assert targets and targets <= set(ids)


def test_no_request_leaves_the_file(page):
    outline = Outline(page)

    assert not ELSEWHERE.search(page) and "@import" not in page
    assert all(a["src"].startswith("data:image/jpeg;base64,") for a in outline.named("img"))
    assert [a["href"] for a in outline.named("link")] == ["data:,"]
    policy = next(a["content"] for a in outline.named("meta") if a.get("http-equiv"))
    assert (
        policy.startswith("default-src 'none'; img-src data:;")
        and "'unsafe-inline'; script-src 'sha256-" in policy
    )


def test_drawings_say_in_words_what_they_show(page):
    drawings = re.findall(
        r"<svg[^>]*aria-labelledby=\"([^\"]+)\"[^>]*><title id=[^>]+>[^<]+</title><desc", page
    )

    assert len(drawings) == page.count("<svg") >= 6


def test_a_class_may_be_called_anything_and_nothing_is_injected(make_run):
    files = write_report(make_run(classes=HOSTILE))
    page = files.html.read_text(encoding="utf-8")
    outline = Outline(page)

    assert outline.open == []
    assert len(outline.named("script")) == 1 and page.count("<script") == 1
    assert all(
        "onerror" not in attributes and attributes["src"].startswith("data:")
        for attributes in outline.named("img")
    )
    assert any("<script>alert(1)</script>" in text for text in outline.texts)
    assert "javascript:y" in "".join(outline.texts)
    for figure in files.metrics:
        names = {element.tag.rpartition("}")[2] for element in ElementTree.parse(figure).iter()}
        assert "script" not in names and "img" not in names


def test_file_names_are_escaped_too(make_run):
    folder = make_run()
    predictions = folder / "predictions.csv"
    predictions.write_text(predictions.read_text().replace("1.png", "<b onclick=x()>1.png"))

    page = write_report(folder).html.read_text(encoding="utf-8")

    assert "<b onclick" not in page and "&lt;b onclick=x()&gt;1.png" in page


def test_control_characters_and_turned_writing_become_a_visible_mark(make_run):
    files = write_report(make_run(classes=("a\x1bb", "c\u202ed", "lime", "moss")))

    page = files.html.read_text(encoding="utf-8")
    assert "\x1b" not in page and "\u202e" not in page and "a\ufffdb" in page
    for figure in files.metrics:
        ElementTree.parse(figure)


def test_tables_for_spreadsheets_hold_no_formula(make_run):
    files = write_report(make_run(classes=HOSTILE))
    classes = next(path for path in files.tables if path.name == "classes.csv")

    with open(classes, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert {row["class"] for row in rows} == {*HOSTILE[:3], "'=1+1"}


def test_classes_stand_worst_first_with_exact_numbers(make_run):
    files = write_report(make_run())
    classes = next(path for path in files.tables if path.name == "classes.csv")

    with open(classes, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert [row["class"] for row in rows] == ["cherry", "lime", "moss", "apple"]
    assert rows[0]["recall, soft"] == "0.75" and rows[0]["change"] == "-0.25" and rows[0]["broken"] == "0.5"
    assert rows[0]["most often answered instead"] == "apple (0.5)"
    assert rows[3]["most often answered instead"] == ""


def test_the_table_of_methods_shows_their_metrics(page):
    row = re.search(r'<tr><th scope="row">soft</th>(.*?)</tr>', page)

    assert row is not None
    shown = re.findall(r"<td[^>]*>([^<]*)</td>", row.group(1))
    assert shown[:7] == ["81.2", "+18.8", "no difference shown", "8.8", "−5.0", "+40.0", "0.25"]


def test_galleries_show_both_systems_probabilities(page):
    corrected = page[page.index("Corrected: only soft is right") : page.index("Broken: only flat is right")]

    assert corrected.count('<li class="card">') == 3 and "in 2 of 2 seeds" in corrected
    assert "<dt>flat</dt><dd>cherry 70\u00a0%, true class 10\u00a0%</dd>" in corrected
    assert "<dt>soft</dt><dd>apple 70\u00a0%</dd>" in corrected
    assert "M1 warm 90\u00a0% (right)" in corrected and "M1 warm 90\u00a0% (wrong)" in corrected


def test_a_photograph_that_is_gone_leaves_an_empty_place(make_run):
    folder = make_run()
    (folder / "images" / "1.png").unlink()

    page = write_report(folder).html.read_text(encoding="utf-8")

    assert page.count("no image") == 1


def test_photographs_inside_a_tar_are_shown_too(make_run):
    folder = make_run()
    with tarfile.open(folder / "images.tar", "w") as tar:
        for image in sorted((folder / "images").iterdir()):
            tar.add(image, image.name)
            image.unlink()
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("images/", "images.tar/"))
    page = write_report(folder).html.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == page.count('<li class="card">') > 0
    assert "photographs were not found" not in page


def test_where_no_image_is_a_file_places_are_empty_and_nothing_is_logged(make_run, caplog):
    folder = make_run()
    for image in (folder / "images").iterdir():
        image.unlink()
    with caplog.at_level("WARNING", logger="aisles"):
        page = write_report(folder).html.read_text(encoding="utf-8")
    assert page.count("no image") > 1 and not caplog.text
    assert "8 photographs were not found when this report was built" in page


def test_what_was_not_run_is_left_out_and_named(page):
    limits = page[page.index('id="limits"') :]

    assert 'id="sweep"' not in page and 'id="controls"' not in page
    assert (
        "Not run, or not kept in the run folder" in limits
        and "other numbers of macros and linkages" in limits
    )
    assert "8 test images, 4 classes" in limits and "1 files could not be read" in limits
    assert "80 % power to detect 40.0 points" in limits


def test_markdown_says_the_same_and_links_its_metrics(make_run):
    files = write_report(make_run(classes=HOSTILE))
    text = files.markdown.read_text(encoding="utf-8")

    assert "No difference shown between the two-stage classifier and the flat model" in text.replace("\\", "")
    for link in re.findall(r"\]\(((?:plots|tables)/[^)]+)\)", text):
        assert (files.markdown.parent / link).is_file()
    assert "<script>" not in text.replace("\\<", "")
    assert not re.search(r"(?<!\\)\]\(javascript", text)


def test_without_a_tree_the_classes_are_listed_macro_by_macro(make_run):
    page = write_report(make_run(drop=("tree.json", "manifest.csv", "settings.toml"))).html.read_text(
        encoding="utf-8"
    )

    assert "Tree of classes" in page and page.count("no image") == 5


def test_the_same_run_gives_the_same_report_byte_for_byte(make_run):
    folder = make_run()

    assert write_report(folder).html.read_bytes() == write_report(folder).html.read_bytes()


def test_a_report_needs_no_keras_and_no_matplotlib(make_run):
    code = (
        "import sys; from aisles.experiments.report.writing import write_report; write_report(sys.argv[1]);"
        "print([m for m in sys.modules if m.split('.')[0] in ('keras', 'tensorflow', 'torch', 'matplotlib')])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(make_run())], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_how_to_do_it_again_names_command_and_settings_and_the_hierarchy_that_was_used(make_run):
    run = make_run()
    brought = '[hierarchy]\nmacros = "auto"\ncolumn = "aisle"\n'
    (run / "settings.toml").write_text(brought, encoding="utf-8")
    known = {"python": "3", "packages": {}, "revision": "", "system": "", "processors": 2}
    typed = json.dumps(known | {"command": "aisles benchmark photos -o run"})
    (run / "environment.json").write_text(typed, encoding="utf-8")
    write_report(run)
    text = (run / "report.md").read_text(encoding="utf-8").replace("\\", "")
    assert "aisles benchmark DATA --config run/settings.toml --output ANOTHER" in text
    assert "It was started by: aisles benchmark photos -o run" in text
    assert "| hierarchy.macros | not used: the macros come from hierarchy.column |" in text
    assert "| hierarchy.column | aisle |" in text
