"""The server: the page in every language, the HTTP interface and the run's report, on this machine and offline."""

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse

from .demo import MEGABYTE, UPLOAD_LIMIT, Demo

logger = logging.getLogger(__name__)
VISITORS = 200
"""Visits that are remembered at once; of more the oldest is forgotten."""
# Nothing may be fetched from elsewhere, whatever a component of the page would like to.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'"


def make_app(demo: Demo) -> FastAPI:
    """Make the application that serves a demonstration.

    Uploads go to a folder of this process alone, from which they are swept after seconds.
    """
    folder = Path(tempfile.mkdtemp(prefix="aisles-demo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(folder), HF_HUB_OFFLINE="1")
    import gradio as gr  # reads these when it is imported

    from .api import api_routes
    from .page import CSS, build_page, theme
    from .texts import languages
    from .uploads import Sweeper

    Sweeper(folder).start()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guarded(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    app.include_router(api_routes(demo))
    _serve_report(app, demo)
    for language in reversed(languages()):  # the first language's path holds all others, so it comes last
        path = "/" if language == languages()[0] else f"/{language}"
        page = build_page(demo, language)
        page.state_session_capacity = VISITORS
        app = gr.mount_gradio_app(
            app, page, path, theme=theme(), css=CSS, footer_links=[], run_history=False, max_file_size=UPLOAD_LIMIT,
            ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, show_error=True,
        )  # fmt: skip
    return app


def _serve_report(app: FastAPI, demo: Demo) -> None:
    """Serve the run's report, and of its folder nothing but that and its plots and tables."""
    report = None if demo.facts is None else demo.facts.report
    if report is None:
        return
    shown = {"report.html": report}
    for name in ("plots", "tables"):
        folder = report.parent / name
        shown |= {f"{name}/{path.name}": path for path in folder.glob("*") if path.is_file()}

    @app.get("/report/{name:path}", response_model=None)
    def served(name: str) -> FileResponse | Any:
        from fastapi import HTTPException

        if name not in shown:
            raise HTTPException(404, "The report has no such file.")
        return FileResponse(shown[name])


def serve(demo: Demo, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve a demonstration until it is interrupted."""
    import uvicorn

    app = make_app(demo)
    logger.info("The page is at http://%s:%d (images of at most %d MB; Ctrl-C ends it).",
                host, port, UPLOAD_LIMIT // MEGABYTE)  # fmt: skip
    uvicorn.run(app, host=host, port=port, log_level="warning")
