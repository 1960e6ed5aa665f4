"""The application: routes, errors, access."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import tips_med
from tips_med.errors import TipsMedError
from tips_med.model import GroundingModel
from tips_med.server.about import NOTICE
from tips_med.server.access import Access
from tips_med.server.page import STATIC, PageFiles, page_routes
from tips_med.server.reference_page import reference_page
from tips_med.server.refusals import error_entry, status_of
from tips_med.server.routes.answers import answer_routes
from tips_med.server.routes.corrections import correction_routes
from tips_med.server.routes.priors import prior_routes
from tips_med.server.routes.studies import study_routes
from tips_med.server.routes.voxtell import voxtell_routes
from tips_med.server.routes.what import what_routes
from tips_med.server.routes.words import word_routes
from tips_med.server.service import Service
from tips_med.server.settings import ServerSettings


def create_app(model: GroundingModel, settings: ServerSettings) -> FastAPI:
    """The server as an ASGI application; its ``state.service`` registers scans of this machine.

    Args:
        model: Model that encodes and answers.
        settings: Places, callers, limits.
    """
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    service = Service(model, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.stop()

    app = FastAPI(
        title="tips_med",
        version=tips_med.__version__,
        description=f"Where is it? {NOTICE}",
        lifespan=life,
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
    )
    app.state.service = service
    for routes in (
        word_routes, study_routes, answer_routes, what_routes, prior_routes, correction_routes, page_routes,
        voxtell_routes,
    ):  # fmt: skip
        app.include_router(routes(service))

    @app.get("/docs", include_in_schema=False)
    async def reference() -> HTMLResponse:
        policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        return HTMLResponse(reference_page(app.openapi()), headers={"Content-Security-Policy": policy})

    app.mount("/", PageFiles(directory=STATIC, html=True))
    _tell_errors(app)
    app.add_middleware(Access, settings=settings)
    if settings.origins:  # outermost, so that these pages can read refusals, too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return app


def run_server(app: FastAPI, host: str, port: int, **options: Any) -> None:
    """Serves until it is stopped by SIGTERM, and then returns; SIGINT raises KeyboardInterrupt.

    Args:
        app: The application.
        host: Address to listen on.
        port: Port to listen on.
        **options: Further ones of ``uvicorn.Config``.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,  # paths and addresses of users
        server_header=False,
        limit_concurrency=256,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        **options,
    )
    with _returning_at_sigterm():
        uvicorn.Server(config).run()


@contextmanager
def _returning_at_sigterm() -> Iterator[None]:
    """Lets the process live on after SIGTERM, which uvicorn sends again once it has ended: to tidy up."""
    if threading.current_thread() is not threading.main_thread():  # no other thread gets signals
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(TipsMedError)
    async def refused(_: Request, error: TipsMedError) -> JSONResponse:
        return JSONResponse(error_entry(error), status_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
        return JSONResponse(
            {"code": "bad-request", "message": f"{place}: {first['msg']}", "expected": None, "remedy": None}, 400
        )

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not-found", 405: "not-allowed"}
        code = codes.get(error.status_code, "bad-request")
        return JSONResponse(
            {"code": code, "message": str(error.detail), "expected": None, "remedy": None}, error.status_code
        )
