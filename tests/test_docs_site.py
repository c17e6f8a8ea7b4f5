"""The documentation site builds without network and without warnings, and a page needs nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
for needed in ("myst_parser", "furo", "sphinx_design", "latex2mathml"):
    pytest.importorskip(needed)

ROOT = Path(__file__).parents[1]
NO_PROXY = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", folder / "doctrees",
         ROOT / "docs", folder / "html"],
        env=os.environ | NO_PROXY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "html"


def pages(site):
    return {
        path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")
    }


def test_the_site_loads_nothing_from_elsewhere(site):
    for page, html in pages(site).items():
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)\"", html)
        loaded += re.findall(r"<link\b[^>]*rel=\"(?:stylesheet|preload|icon)\"[^>]*href=\"([^\"]+)\"", html)
        assert loaded
        assert not [url for url in loaded if re.match(r"(https?:)?//", url)], page
    for style in site.rglob("*.css"):
        assert not re.search(
            r"url\(['\"]?https?:|@import\s+['\"]?(url\()?https?:", style.read_text("utf-8")
        ), style


def test_links_inside_the_site_lead_somewhere(site):
    found = pages(site)
    anchors = {page: set(re.findall(r"\bid=\"([^\"]+)\"", html)) for page, html in found.items()}
    for page, html in found.items():
        for href in re.findall(r"<a\b[^>]*\bhref=\"([^\"]+)\"", html):
            if re.match(r"[a-z]+:", href):
                continue
            path, _, anchor = href.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            assert (site / target).exists(), f"{page} links {href}"
            if anchor and target in anchors:
                assert anchor in anchors[target], f"{page} links {href}"


def test_what_people_look_for_is_in_the_index_of_the_search(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    for word in ("equival", "embed", "regist", "guarante"):  # stems
        assert word in index


def test_formulas_are_drawn_by_the_browser(site):
    html = (site / "method" / "statistics.html").read_text(encoding="utf-8")
    assert html.count("<math") >= 10
    assert not re.search(r"<script[^>]*mathjax", html, re.I)


def test_the_reference_holds_every_command_setting_and_public_name(site):
    import aisles
    from aisles.cli.main import main
    from aisles.experiments.settings.benchmark import BenchmarkSettings
    from aisles.experiments.settings.listing import list_settings

    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert not [name for name in main.commands if f"aisles {name}" not in commands]
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    assert not [setting.name for setting in list_settings(BenchmarkSettings) if setting.name not in settings]
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert not [name for name in aisles.__all__ if f"aisles.{name}" not in python]
