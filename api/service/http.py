"""The service's HTTP interface, by the standard library: `GET /health`, `GET /info`, `POST /predict`.

A body is one image's bytes, or multipart/form-data with several files. Whatever goes wrong is answered as
`{"error": "..."}`; one image that can't be read doesn't spoil the answers of the others.
"""

import json
import logging
import socket
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .answering import Service

logger = logging.getLogger(__name__)
CHUNK = 1 << 16
QUIET_SECONDS = 30
"""Seconds without a byte after which a connection is closed."""
LINGERS = 2.0
"""Seconds for which the rest of a refused body is taken and forgotten."""
KNOWN = ("rule", "only", "top")


class Refused(Exception):
    """A request that can't be answered: HTTP's status and what to say."""

    def __init__(self, status: int, said: str):
        super().__init__(said)
        self.status, self.said = status, said


class Server(ThreadingHTTPServer):
    """Serves a `Service`, a thread per connection.

    Parameters
    ----------
    service : Service
    host : str
    port : int
        0 for any that is free; `url` tells which.
    """

    daemon_threads = True

    def __init__(self, service: Service, host: str = "127.0.0.1", port: int = 8000):
        super().__init__((host, port), _Handler)
        self.service = service
        self.room = threading.BoundedSemaphore(service.limits.waiting)

    @property
    def url(self) -> str:
        """Where it is reached."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection; clients that go away are no error of ours."""
        logger.debug("A connection from %s ended early.", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    unread = False
    protocol_version = "HTTP/1.1"
    timeout = QUIET_SECONDS
    server_version, sys_version = "aisles", ""

    def do_GET(self) -> None:
        """Answer /health and /info."""
        path = urlsplit(self.path).path
        if path == "/health":
            self._send(200, {"status": "ok"})
        elif path == "/info":
            self._send(200, self.server.service.info())
        else:
            self._refuse(_misplaced(path))

    def do_POST(self) -> None:
        """Answer /predict."""
        self.unread = True
        if not self.server.room.acquire(blocking=False):
            self._refuse(Refused(503, "Too many requests at once. Try again in a moment."))
            return
        try:
            self._send(200, self._predicted())
        except Refused as error:
            self._refuse(error)
        except ValueError as error:
            self._refuse(Refused(422, str(error)))
        except OSError:
            self.close_connection = True  # whoever asked has gone
        except Exception:
            logger.exception("A request failed.")
            self._refuse(Refused(500, "The service failed on this request; its log says why."))
        finally:
            self.server.room.release()

    def handle_expect_100(self) -> bool:
        """Refuse too large a body before it is sent."""
        try:
            self._length()
        except Refused as error:
            self._refuse(error)
            return False
        return super().handle_expect_100()

    def _predicted(self) -> dict[str, Any]:
        address = urlsplit(self.path)
        if address.path != "/predict":
            raise _misplaced(address.path)
        asked = _asked(address.query)
        body, kind = self._body(), self.headers.get("Content-Type", "")
        if not kind.lower().startswith("multipart/form-data"):
            (answer,) = self.server.service.answers([("image", body)], **asked)
            if "error" in answer:
                raise Refused(400, answer["error"])
            return answer
        files = read_multipart(body, kind)
        most = self.server.service.limits.images
        if not 0 < len(files) <= most:
            raise Refused(413 if files else 400, f"A request has 1 to {most} images. Received: {len(files)}.")
        return {"answers": self.server.service.answers(files, **asked)}

    def _length(self) -> int:
        given, most = self.headers.get("Content-Length"), self.server.service.limits.request_bytes
        if given is None or not given.isascii() or not given.isdigit():
            raise Refused(411, "Send the body with its Content-Length.")
        if int(given) > most:
            raise Refused(413, f"The request has {given} bytes; the limit is {most}.")
        return int(given)

    def _body(self) -> bytes:
        left, parts = self._length(), []
        until = time.monotonic() + self.server.service.limits.seconds
        while left:
            part = self.rfile.read1(min(left, CHUNK))  # type: ignore[attr-defined]
            if not part or time.monotonic() > until:
                raise Refused(408, "The request ended, or took too long, before its body was whole.")
            parts.append(part)
            left -= len(part)
        self.unread = False
        return b"".join(parts)

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if status >= 400:
            self.send_header("Connection", "close")
            if status == 503:
                self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, error: Refused) -> None:
        """Answer with an error, and close the connection."""
        self.close_connection = True
        self._send(error.status, {"error": error.said})
        if self.unread:
            self._forget_the_rest()

    def _forget_the_rest(self) -> None:
        """Take what is still on its way, for a while: a connection closed at once would lose the answer, too."""
        until = time.monotonic() + LINGERS
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGERS)
            while time.monotonic() < until and self.connection.recv(CHUNK):
                continue
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:
        """Log requests for those who look for them."""
        logger.debug(format, *args)


def _misplaced(path: str) -> Refused:
    known = {"/predict": "POST", "/info": "GET", "/health": "GET"}
    if path in known:
        return Refused(405, f"{path} takes {known[path]}.")
    return Refused(404, "There are GET /health, GET /info and POST /predict.")


def _asked(query: str) -> dict[str, Any]:
    given = parse_qs(query, keep_blank_values=True)
    unknown = sorted(set(given) - set(KNOWN))
    if unknown:
        raise Refused(422, f"Parameters are {', '.join(KNOWN)}. Received: {unknown[0]!r}.")
    top = given.get("top", ["5"])[-1]
    if not top.isascii() or not top.isdigit():
        raise Refused(422, f"top must be a whole number, 0 or more. Received: {top!r}.")
    return {"rule": given.get("rule", [None])[-1], "only": given.get("only", []), "top": int(top)}


def read_multipart(body: bytes, content_type: str) -> list[tuple[str, bytes]]:
    """Return the name and the bytes of each part of a multipart/form-data body (RFC 7578).

    Raises
    ------
    Refused
        If it has no boundary, or is cut short.
    """
    boundary = _header("Content-Type", content_type).get_boundary()
    if not boundary:
        raise Refused(400, "A multipart body needs a boundary in its Content-Type.")
    line = b"\r\n--" + boundary.encode("latin-1", "replace")
    first, *parts = (b"\r\n" + body).split(line)
    if not parts or not parts[-1].startswith(b"--"):
        raise Refused(400, "The multipart body is cut short: its last boundary is missing.")
    found = []
    for part in parts[:-1]:
        head, gap, data = part.partition(b"\r\n\r\n")
        lines = [text for text in head.decode("utf-8", "replace").split("\r\n") if text]
        named = next((text for text in lines if text.lower().startswith("content-disposition:")), None)
        if not gap or named is None:
            raise Refused(400, "Each part of a multipart body needs a Content-Disposition.")
        told = _header("Content-Disposition", named.partition(":")[2].strip())
        name = told.get_param("filename", header="Content-Disposition") or told.get_param(
            "name", "image", header="Content-Disposition"
        )
        found.append((name if isinstance(name, str) else name[2], data))
    return found


def _header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value.replace("\r", " ").replace("\n", " ")
    return message
