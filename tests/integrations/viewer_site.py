"""OHIF, an archive and a server behind one address, as a reverse proxy has them in a hospital."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

VERSION = "3.13.2"
EXTENSION = Path(__file__).parents[2] / "integrations" / "ohif"
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"}


def ohif_app() -> Path:
    """The folder of OHIF's built app: from npm, once, into a cache outside the repository (50 MB).

    The test is skipped where it cannot be had.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tips_med_tests" / f"ohif-{VERSION}"
    if not (cache / "index.html").is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed, so OHIF's app cannot be had")
        draft = cache.with_name(f"{cache.name}-{os.getpid()}")
        draft.mkdir(parents=True)
        command = [npm, "pack", "--silent", f"@ohif/app@{VERSION}"]
        packed = subprocess.run(command, cwd=draft, capture_output=True, timeout=300)
        if packed.returncode:
            shutil.rmtree(draft)
            pytest.skip(f"OHIF's app {VERSION} cannot be had from npm")
        (archive,) = draft.glob("*.tgz")
        with tarfile.open(archive) as opened:
            opened.extractall(draft, filter="data")
        if not cache.exists():
            (draft / "package" / "dist").rename(cache)
        shutil.rmtree(draft)
    return cache


@contextmanager
def site(app: Path, config: str, dicomweb: str, server: str, token: str, port: int) -> Iterator[str]:
    """Serves the viewer; its address.

    Args:
        app: OHIF's built app.
        config: Text of its ``app-config.js``.
        dicomweb: Root of the archive's DICOMweb, for ``/dicom-web``.
        server: Address of ``tips-med serve``, for ``/tips-med``.
        token: Token that the proxy adds for it.
        port: Port to listen on.
    """
    client = httpx.AsyncClient(timeout=120, trust_env=False)

    def proxy(target: str, extra: dict[str, str]) -> Route:
        async def forward(request: Request) -> Response:
            headers = {name: value for name, value in request.headers.items() if name not in _HOP} | extra
            url = httpx.URL(f"{target}/{request.path_params['path']}", query=request.url.query.encode())
            answer = await client.request(request.method, url, headers=headers, content=await request.body())
            kept = {name: value for name, value in answer.headers.items() if name not in _HOP}
            return Response(answer.content, answer.status_code, kept)

        return forward  # type: ignore[return-value]

    async def page(_: Request) -> Response:
        return FileResponse(app / "index.html")

    async def configuration(_: Request) -> Response:
        return Response(config, media_type="text/javascript")

    routes = [
        Route("/app-config.js", configuration),
        Route("/dicom-web/{path:path}", proxy(dicomweb, {}), methods=["GET", "POST"]),
        Route("/tips-med/{path:path}", proxy(server, {"Authorization": f"Bearer {token}"}), methods=["GET", "POST"]),
        Mount("/tips-med-ohif", StaticFiles(directory=EXTENSION)),
        *[Route(path, page) for path in ("/", "/viewer")],
        Mount("/", StaticFiles(directory=app)),
    ]

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    viewer = Starlette(routes=routes, lifespan=life)
    running = uvicorn.Server(uvicorn.Config(viewer, "127.0.0.1", port, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        thread.join(30)


@contextmanager
def opened(browser: Any, url: str, study: str) -> Iterator[tuple[Any, Any]]:
    """The viewer with a study, and the panel in front; a fault of a script fails the test."""
    page = browser.new_page(viewport={"width": 1300, "height": 800})
    page.set_default_timeout(60_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    try:
        page.goto(f"{url}/viewer?StudyInstanceUIDs={study}")
        page.get_by_text("Skip all").click()  # the viewer's tour
        page.get_by_text("Confirm and hide").click()
        page.locator("[data-cy=ask-btn]").click()
        yield page, page.locator("[data-tips-med=panel]")
        assert not faults
    finally:
        page.close()


def ask(panel: Any, query: str) -> str:
    """Types a query and waits until the panel has done all that follows; what it says then."""
    panel.get_by_label("Where is it?").fill(query)
    panel.get_by_role("button", name="Ask").click()
    panel.and_(panel.page.locator(":not([aria-busy])")).wait_for()
    return panel.get_by_role("status").inner_text()
