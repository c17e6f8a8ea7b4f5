"""The HTTP interface as strangers use it, and what the server gives away."""

import io
import json
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.manifest import read_manifest
from aisles.demo.texts import languages

pytestmark = pytest.mark.keras


def ask(address: str, data: bytes, query: str = "") -> dict:
    with urlopen(Request(f"{address}/api/classify{query}", data)) as response:
        return json.load(response)


def refused(address: str, data: bytes, query: str = "") -> tuple[int, str]:
    with pytest.raises(HTTPError) as caught:
        ask(address, data, query)
    with caught.value as error:
        return error.code, error.read().decode()


def encoded(mode: str, form: str, size=(24, 24), **more) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, more.pop("color", 0)).save(buffer, form, **more)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def picture(run) -> bytes:
    manifest = read_manifest(run / "manifest.csv")
    return manifest.paths[int(np.flatnonzero(manifest.splits == "test")[0])].read_bytes()


def test_the_answer_by_http_is_the_classifiers(address, demo, picture):
    answer = ask(address, picture, "?level=0.5&top=2")
    probs = demo.networks.classifier.predict_proba([picture])[0]
    assert answer["class"] == demo.networks.hierarchy.classes[int(probs.argmax())]
    assert answer["probability"] == pytest.approx(probs.max(), abs=1e-5)
    assert len(answer["top"]) == 2 and answer["passes"] == 1


def test_rule_and_restriction_go_by_http_too(address, demo, picture):
    label = demo.networks.hierarchy.classes[0]
    answer = ask(address, picture, f"?rule=hard&only=class:{quote(label)}")
    assert answer["class"] == label and answer["probability"] == 1.0 and answer["rule"] == "hard"


def test_info_tells_what_is_known(address, demo):
    with urlopen(f"{address}/api/info") as response:
        info = json.load(response)
    assert list(info["macros"]) == list(demo.networks.hierarchy.macros)
    assert info["rules"] == list(demo.networks.rules)


@pytest.mark.parametrize(
    ("data", "query", "status", "said"),
    [
        (b"", "", 400, "is empty"),
        (b"hello, I am no image", "", 400, "is text"),
        (b"\x89PNG\r\n\x1a\n", "", 400, "cut off"),
        (bytes(33 * 2**20), "", 413, "32 MB"),
        (encoded("RGB", "PNG"), "?rule=climb", 422, "rule must be one of"),
        (encoded("RGB", "PNG"), "?level=2", 422, "level must be between"),
        (encoded("RGB", "PNG"), "?only=tapir", 422, "tapir"),
        (encoded("RGB", "PNG"), "?top=-1", 422, "top"),
    ],
    ids=["empty", "text", "cut off", "too large", "rule", "level", "class", "top"],
)
def test_what_can_not_be_answered_is_refused_with_the_reason(address, data, query, status, said):
    code, text = refused(address, data, query)
    assert code == status and said in text


@pytest.mark.parametrize(
    "data",
    [
        encoded("CMYK", "JPEG"), encoded("L", "PNG", (1, 1)), encoded("RGBA", "PNG"), encoded("P", "GIF"),
        encoded("RGB", "GIF", save_all=True, append_images=[Image.new("RGB", (24, 24), 255)]),
        encoded("I;16", "PNG"), encoded("RGB", "WEBP", (3, 900)),
    ],
    ids=["CMYK", "1x1", "alpha", "palette", "animated", "16 bit", "thin"],
)  # fmt: skip
def test_odd_images_are_answered(address, data):
    assert ask(address, data)["answered"] in ("class", "macro", "none")


def test_both_examples_on_the_page_work_as_printed(address, demo, picture, tmp_path):
    from aisles.demo.api import api_html
    from aisles.demo.texts import texts_in

    (tmp_path / "photo.jpg").write_bytes(picture)
    codes = re.findall("<code>(.*?)</code>", api_html(demo, texts_in("en")), re.DOTALL)
    curl, python = (unescape(code).replace("http://127.0.0.1:7860", address) for code in codes[:2])
    expected = ask(address, picture, "?level=0.95")
    found = subprocess.run(
        [sys.executable, "-c", python], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == [expected["answered"], expected["class"], str(expected["probability"])]
    found = subprocess.run(curl, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["class"] == expected["class"]
    shown = json.loads(unescape(codes[2]))
    assert set(shown) == set(expected)


@pytest.mark.parametrize("language", languages())
def test_the_page_comes_in_every_language_and_asks_nobody_else(address, language):
    path = "/" if language == "en" else f"/{language}/"
    with urlopen(address + path) as response:
        html, headers = response.read().decode(), response.headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    fetched = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"'](https?://[^\"']+)", html)
    assert not [url for url in fetched if not url.startswith(address)]
    config = json.loads(urlopen(f"{address}{path}config").read())
    assert config["analytics_enabled"] is False
    assert not [d["api_name"] for d in config["dependencies"] if d.get("api_visibility") == "public"]


def test_of_the_run_only_the_report_is_served(address, run):
    with urlopen(f"{address}/report/report.html") as response:
        assert response.read() == (run / "report.html").read_bytes()
    for name in (
        "manifest.csv",
        "../run/manifest.csv",
        "%2e%2e/run/manifest.csv",
        "bundles/flat/bundle.json",
    ):
        with pytest.raises(HTTPError) as caught:
            urlopen(f"{address}/report/{name}")
        assert caught.value.code == 404
        caught.value.close()


def test_uploads_are_refused_when_large_and_swept_when_old(address, tmp_path):
    import httpx

    from aisles.demo.uploads import Sweeper

    answer = httpx.post(f"{address}/gradio_api/upload", files={"files": bytes(33 * 2**20)}, timeout=60)
    assert answer.status_code == 413
    old, new = tmp_path / "a" / "old.png", tmp_path / "b" / "new.png"
    for path in (old, new):
        path.parent.mkdir()
        path.write_bytes(b"x")
    sweeper = Sweeper(tmp_path, kept=0.3)
    sweeper.sweep()
    assert old.exists() and new.exists()
    time.sleep(0.4)
    new.write_bytes(b"y")
    sweeper.sweep()
    assert not old.exists() and new.exists()


def test_many_at_once_are_answered_alike(address, picture):
    expected = ask(address, picture)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(address, picture), range(64)))
    for answer in answers:
        assert {**answer, "milliseconds": 0} == {**expected, "milliseconds": 0}


def event(address: str, named: str, data: list, visit: str = "test") -> dict:
    """Do what a page does when something happens on it: start the event, and wait for what comes of it."""
    import httpx

    config = httpx.get(f"{address}/config").json()
    number = next(d["id"] for d in config["dependencies"] if d["api_name"] == named)
    asked = {"fn_index": number, "data": data, "session_hash": visit, "event_data": None}
    assert httpx.post(f"{address}/gradio_api/queue/join", json=asked).status_code == 200
    with httpx.stream("GET", f"{address}/gradio_api/queue/data?session_hash={visit}", timeout=60) as lines:
        for line in lines.iter_lines():
            told = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if told.get("msg") == "process_completed":
                return told
    raise AssertionError("the event did not end")


def uploaded(address: str, data: bytes, name: str) -> dict:
    import httpx

    answer = httpx.post(f"{address}/gradio_api/upload", files={"files": (name, data)}, timeout=60)
    return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def test_an_upload_is_answered_and_gone_from_the_disk_after_it_is_swept(address, picture):
    import os

    from aisles.demo.uploads import Sweeper

    file = uploaded(address, picture, "mine.png")
    assert Path(file["path"]).read_bytes() == picture
    answered = event(address, "_uploaded", [file, None, 95, "soft", []])
    assert "mine.png" in answered["output"]["data"][1]
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    time.sleep(0.1)
    Sweeper(folder, kept=0.05).sweep()
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_twenty_visitors_at_once_get_their_own_answers(address, picture):
    def visit(number: int) -> str:
        file = uploaded(address, picture, f"of-{number}.png")
        told = event(address, "_uploaded", [file, None, 95, "soft", []], f"visit{number}")
        return told["output"]["data"][1]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(visit, range(20)))
    for number, answer in enumerate(answers):
        assert re.findall(r"of-(\d+)\.png", answer) == [str(number)]


@pytest.mark.parametrize("size_told", [True, False], ids=["size told", "in pieces of unknown number"])
def test_200_megabytes_are_refused_with_the_reason_and_not_kept(address, size_told):
    host, port = address.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=100)
    headers = {"Content-Length": str(200 * 2**20)} if size_told else {"Transfer-Encoding": "chunked"}
    pieces = (bytes(2**20) for _ in range(200))
    tracemalloc.start()
    try:
        connection.request("POST", "/api/classify", pieces, headers, encode_chunked=not size_told)
        response = connection.getresponse()
        assert response.status == 413 and b"32 MB" in response.read()
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()
        connection.close()


def test_an_address_in_place_of_a_file_is_not_fetched(address):
    asked = []

    class Listening(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Listening) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        path = f"http://127.0.0.1:{elsewhere.server_port}/image.png"
        file = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
        refused_ = event(address, "_uploaded", [file, None, 95, "soft", []])
        elsewhere.shutdown()
    assert not refused_["success"] and "not fetched from an address" in refused_["output"]["error"]
    assert not asked


def test_no_part_of_the_page_is_a_class_of_its_own_beside_which_gradio_would_write_a_stub(address):
    from gradio.blocks import Block

    def below(kind: type) -> list[type]:
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))]

    assert not [kind for kind in below(Block) if kind.__module__.startswith("aisles")]
