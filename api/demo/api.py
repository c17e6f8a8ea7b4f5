"""The HTTP interface: image bytes in, JSON out; and its description on the page."""

import json
from dataclasses import asdict
from html import escape
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query, Request
from starlette.requests import ClientDisconnect

from aisles.data_prep.io.errors import UnreadableImage

from .demo import MEGABYTE, UPLOAD_LIMIT, Demo, TooLarge
from .judging import possible
from .levels import HIGHEST, LOWEST
from .texts import Texts

WAITING = 32
"""Images that may wait for the networks at once; more are sent away."""
MOST_FORGOTTEN = 1024 * MEGABYTE
"""Bytes of a body after which it is not even read to its end."""
CURL = "curl --data-binary @photo.jpg 'http://127.0.0.1:7860/api/classify?level=0.95'"
PYTHON = """import json
from urllib.request import Request, urlopen

with open("photo.jpg", "rb") as file:
    request = Request("http://127.0.0.1:7860/api/classify?level=0.95", file.read())
with urlopen(request) as response:
    answer = json.load(response)
print(answer["answered"], answer["class"], answer["probability"])"""


def classified(
    demo: Demo, data: bytes, name: str, rule: str | None, level: float | None, only: tuple[str, ...], top: int
) -> dict[str, Any]:
    """Answer for one image, as the HTTP interface gives it.

    Raises
    ------
    UnreadableImage
        If the image is too large or can't be decoded.
    ValueError
        If the rule or the level is not to be had.
    """
    rule = demo.networks.rules[0] if rule is None else rule
    possible(only, demo.networks.hierarchy)  # before the networks run, if it is refused
    level = demo.levels.start if level is None else level
    demo.checked(rule, level)
    look = demo.look(data, name)
    judged = demo.judge(look, rule, level, only)
    answer, hierarchy = judged.answer, demo.networks.hierarchy
    order = (-judged.probs).argsort(kind="stable")[:top]
    return {
        "answered": answer.level,
        "class": answer.label,
        "probability": answer.probability,
        "macro": answer.macro,
        "macro_probability": answer.macro_probability,
        "top": [[hierarchy.classes[i], float(judged.probs[i])] for i in order],
        "rule": rule,
        "only": only,
        "guarantee": asdict(judged.guarantee),
        "passes": judged.costs[rule].passes,
        "milliseconds": round(judged.costs[rule].milliseconds, 2),
    }


def api_routes(demo: Demo) -> APIRouter:
    """Return the routes of the HTTP interface."""
    router, waiting = APIRouter(prefix="/api"), anyio.Semaphore(WAITING)

    @router.get("/info")
    def info() -> dict[str, Any]:
        hierarchy = demo.networks.hierarchy
        return {
            "macros": dict(zip(hierarchy.macros, hierarchy.members, strict=True)),
            "rules": demo.networks.rules,
            "levels": [LOWEST, HIGHEST],
            "guarantee": asdict(demo.levels.at(demo.levels.start, demo.networks.rules[0])),
            "most_bytes": UPLOAD_LIMIT,
        }

    @router.post("/classify")
    async def classify(
        request: Request,
        rule: str | None = None,
        level: float | None = None,
        only: Annotated[tuple[str, ...], Query()] = (),
        top: Annotated[int, Query(ge=0)] = 5,
    ) -> dict[str, Any]:
        try:
            waiting.acquire_nowait()
        except anyio.WouldBlock:
            raise HTTPException(503, "Too many images at once. Try again in a moment.") from None
        try:
            data = await _body(request)
            return await anyio.to_thread.run_sync(
                classified, demo, data, "image", rule, level, tuple(only), top
            )
        except TooLarge as error:
            raise HTTPException(413, f"The image {error}.") from error
        except UnreadableImage as error:
            raise HTTPException(400, f"The image {error}. Send a photograph as JPEG, PNG or WebP.") from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        except ClientDisconnect:
            raise HTTPException(400, "The request ended before the image did.") from None
        finally:
            waiting.release()

    return router


async def _body(request: Request) -> bytes:
    """Read the body; of one that is too large the rest is read and forgotten: a reply before the end gets lost."""
    data, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= UPLOAD_LIMIT:
            data += chunk
        elif size > MOST_FORGOTTEN:
            break
    if size > UPLOAD_LIMIT:
        raise TooLarge(f"has more than {UPLOAD_LIMIT // MEGABYTE} MB, the limit")
    return bytes(data)


def api_html(demo: Demo, texts: Texts) -> str:
    """Describe the HTTP interface, with examples that can be copied and an answer as it comes."""
    example = demo.examples[0]
    answer = classified(demo, example.data, example.name, None, None, (), 3)
    parts = [(texts("api_curl"), CURL), (texts("api_python"), PYTHON)]
    parts.append((texts("api_result"), json.dumps(answer, indent=1, ensure_ascii=False)))
    shown = "".join(
        f"<h3>{escape(title)}</h3><pre tabindex=0><code>{escape(code)}</code></pre>" for title, code in parts
    )
    text = escape(texts("api_text", limit=UPLOAD_LIMIT // MEGABYTE))
    return f"<h2>{escape(texts('api_title'))}</h2><p>{text}</p>{shown}"
