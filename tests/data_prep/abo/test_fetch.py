import hashlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from aisles.data_prep.abo import fetch
from aisles.data_prep.abo.fetch import fetch_archives
from aisles.data_prep.io.errors import DataError

CONTENT = np.random.default_rng(0).bytes(300_000)
SIZE = len(CONTENT)


class Server(ThreadingHTTPServer):
    """Serve CONTENT under every name, and cut, refuse or forget what it is told to."""

    daemon_threads = False  # so that closing the server waits for them

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut_after = []  # for each request in turn: bytes before the connection is cut
        self.ranges = True
        self.status = None
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/archives/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server: Server = self.server  # pyright: ignore[reportAssignmentType]
        asked = self.headers.get("Range")
        server.seen.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if asked and server.ranges else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        cut = server.cut_after.pop(0) if server.cut_after else len(CONTENT)
        self.wfile.write(CONTENT[start : start + cut])
        self.wfile.flush()
        if start + cut < len(CONTENT):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def get(server, folder, size=SIZE, **options):
    (archive,) = fetch_archives(folder, base_url=server.url, sizes={"x.tar": size}, timeout=5, **options)
    return archive


def test_an_archive_is_fetched_checked_and_recorded(server, tmp_path):
    archive = get(server, tmp_path)
    assert archive.path.read_bytes() == CONTENT and not archive.reused
    assert archive.sha256 == hashlib.sha256(CONTENT).hexdigest()
    (entry,) = json.loads((tmp_path / "fetched.json").read_text())
    assert entry == {
        "path": "x.tar", "url": server.url + "x.tar", "n_bytes": len(CONTENT), "sha256": archive.sha256,
    }  # fmt: skip
    assert "CC BY 4.0" in (tmp_path / "ATTRIBUTION.txt").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"x.tar", "fetched.json", "ATTRIBUTION.txt"}


def test_fetching_one_archive_keeps_the_record_of_the_other(server, tmp_path):
    for name in ("x.tar", "y.tar", "x.tar"):
        fetch_archives(tmp_path, base_url=server.url, sizes={name: SIZE}, timeout=5)
    record = json.loads((tmp_path / "fetched.json").read_text())
    assert {entry["path"]: entry["sha256"] for entry in record} == dict.fromkeys(
        ("x.tar", "y.tar"), hashlib.sha256(CONTENT).hexdigest()
    )


def test_an_archive_that_has_changed_since_it_was_fetched_is_refused(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / "x.tar").write_bytes(CONTENT[::-1])
    with pytest.raises(DataError, match="not the file that was fetched.*Delete it"):
        get(server, tmp_path)
    (tmp_path / "x.tar").unlink()
    assert get(server, tmp_path).path.read_bytes() == CONTENT


def test_an_archive_that_has_changed_is_found_before_the_next_one_is_asked_for(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / "x.tar").write_bytes(CONTENT[::-1])
    server.seen.clear()
    with pytest.raises(DataError, match="not the file that was fetched"):
        fetch_archives(tmp_path, base_url=server.url, sizes={"x.tar": None, "y.tar": None})
    assert not server.seen


@pytest.mark.parametrize("damaged", ["[1]", "{", '[{"a": 1}]', "5"])
def test_a_damaged_record_is_written_anew(server, tmp_path, damaged):
    (tmp_path / "fetched.json").write_text(damaged)
    get(server, tmp_path)
    assert [entry["path"] for entry in json.loads((tmp_path / "fetched.json").read_text())] == ["x.tar"]


def test_a_connection_that_is_cut_is_continued_where_it_broke(server, tmp_path):
    server.cut_after = [100_000, 50_000, 70_000]
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert server.seen == [None, "bytes=100000-", "bytes=150000-", "bytes=220000-"]


def test_an_earlier_part_is_continued(server, tmp_path):
    (tmp_path / "x.tar.part").write_bytes(CONTENT[:123_456])
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert server.seen == ["bytes=123456-"]


def test_a_part_that_is_complete_already_is_taken(server, tmp_path):
    (tmp_path / "x.tar.part").write_bytes(CONTENT)
    assert get(server, tmp_path).path.read_bytes() == CONTENT


def test_a_part_longer_than_the_archive_is_started_again(server, tmp_path):
    (tmp_path / "x.tar.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path).path.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_from_the_beginning(server, tmp_path):
    server.ranges, server.cut_after = False, [100_000]
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert server.seen == [None, "bytes=100000-"]


def test_a_finished_archive_is_not_fetched_again(server, tmp_path):
    get(server, tmp_path)
    again = get(server, tmp_path)
    assert again.reused and len(server.seen) == 1
    assert again.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_another_size_than_announced_is_refused(server, tmp_path):
    with pytest.raises(DataError, match="has 300,000 bytes and must have 299,999"):
        get(server, tmp_path, size=299_999)
    assert not (tmp_path / "x.tar").exists()
    assert get(server, tmp_path / "any", size=None).n_bytes == 300_000


def test_a_download_that_never_moves_is_given_up_and_keeps_its_part(server, tmp_path):
    server.cut_after = [1000, *[0] * 20]
    with pytest.raises(OSError, match="broke 3 times in a row after 1,000 bytes.*Run the command again"):
        get(server, tmp_path, attempts=3)
    assert (tmp_path / "x.tar.part").stat().st_size == 1000
    server.cut_after = []
    assert get(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "error"), [(404, DataError), (403, DataError), (503, OSError)])
def test_a_refusal_is_told_and_only_a_busy_server_is_asked_again(server, tmp_path, status, error):
    server.status = status
    with pytest.raises(error, match=str(status)):
        get(server, tmp_path, attempts=3)
    assert len(server.seen) == (3 if status == 503 else 1)


def test_addresses_that_are_no_web_addresses_are_refused(tmp_path):
    with pytest.raises(DataError, match="http:// or https://. Received: 'file:///etc/'"):
        fetch_archives(tmp_path, base_url="file:///etc/", sizes={"passwd": None})
