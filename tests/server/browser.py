"""A browser without a screen, and a server of the page in a thread."""

from __future__ import annotations

import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from tips_med.model import GroundingModel
from tips_med.server import ServerSettings, create_app
from tips_med.server.opening import Page

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-gpu-sandbox")
"""WebGL by software, so that no graphics card is needed."""


@dataclass
class Served:
    """A server that is running.

    Attributes:
        url: Its address, without a path.
        token: Its token.
        app: Its application.
        server: Its uvicorn server.
        asked: Addresses that pages asked for.
    """

    url: str
    token: str
    app: Any
    server: uvicorn.Server
    asked: list[str] = field(default_factory=list)

    def link(self, path: Path | None = None, prior: Path | None = None, **reading: Any) -> str:
        """A link that works once, and opens a scan, and another one as its prior scan."""
        service, ticket = self.app.state.service, secrets.token_urlsafe(16)
        local, local_prior = (None if one is None else service.register(one, **reading) for one in (path, prior))
        service.page = Page(self.token, ticket, local, local_prior)
        return f"{self.url}/#ticket={ticket}"


@contextmanager
def serving(model: GroundingModel, folder: Path, **settings: Any) -> Iterator[Served]:
    """Serves the page on a free port of loopback."""
    token = secrets.token_urlsafe(16)
    app = create_app(model, ServerSettings(folder, token, **settings))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", token, app, server)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(browser: Any, served: Served, link: str, *, ready: bool = True, **options: Any) -> Iterator[Any]:
    """A page in a profile of its own; a fault of a script fails the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 700}, **options)
    context.set_default_timeout(30_000)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: served.asked.append(request.url))
    try:
        page.goto(link)
        if ready:
            page.wait_for_selector("body[data-ready]")
        yield page
        assert not faults
    finally:
        context.close()


def ask(page: Any, text: str) -> None:
    """Types a query, and waits for the answer, or for the refusal."""
    page.fill("#query", text)
    page.press("#query", "Enter")
    page.wait_for_selector('#answers[aria-busy="false"]', state="attached")
    settle(page)


def settle(page: Any) -> None:
    """Waits until what was changed is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def until(page: Any, condition: str) -> None:
    """Waits until an expression is true; the page's policy does not let Playwright's wait_for_function look twice."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


def drawn(page: Any, colour: str, plane: str, alpha: int = 250, pane: str = "pane") -> list[list[float]]:
    """Places, LPS in mm, of the pixels over a plane that have a colour and are at least as opaque (0 to 255).

    ``pane`` is that of the page, or ``prior.pane``; the places are of the scan that it shows.
    """
    settle(page)
    return page.evaluate(
        """([colour, plane, alpha, pane]) => {
          const want = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
          const { over, view } = pane.split(".").reduce((found, name) => found[name], tipsMed);
          const { data, width, height } = over.getContext("2d").getImageData(0, 0, over.width, over.height);
          const tile = view.tiles.find((one) => one.name === plane);
          const found = [];
          for (let y = 0; y < height; y += 1) {
            for (let x = 0; x < width; x += 1) {
              const at = 4 * (x + width * y);
              if (!tile.holds(x, y) || data[at + 3] < alpha) continue;
              if (want.some((value, n) => Math.abs(value - data[at + n]) > 24)) continue;
              const [r, a, s] = tile.placeOf(x + 0.5, y + 0.5);
              found.push([-r, -a, s]);
            }
          }
          return found;
        }""",
        [colour, plane, alpha, pane],
    )


def pixels_of(page: Any, plane: str, places: Any, pane: str = "pane") -> list[list[float]]:
    """The pixels of the window, (x, y), where a plane shows places, LPS in mm."""
    return page.evaluate(
        """([plane, places, pane]) => {
          const { over, view } = pane.split(".").reduce((found, name) => found[name], tipsMed);
          const tile = view.tiles.find((one) => one.name === plane);
          const box = over.getBoundingClientRect();
          return places.map(([l, p, s]) => {
            const [x, y] = tile.pixelOf([-l, -p, s]);
            return [box.left + (x * box.width) / over.width, box.top + (y * box.height) / over.height];
          });
        }""",
        [plane, [[float(v) for v in place] for place in places], pane],
    )


def cross_of(page: Any, pane: str = "pane") -> tuple[float, float, float]:
    """The place of the cross, LPS in mm."""
    settle(page)
    right, anterior, superior = page.evaluate(f"tipsMed.{pane}.view.mm")
    return -right, -anterior, superior


def at_place(page: Any, plane: str, lps: tuple[float, float, float], pane: str = "pane") -> dict[str, float]:
    """The pixel of the window where a plane shows a place."""
    settle(page)
    ((x, y),) = pixels_of(page, plane, [lps], pane)
    return {"x": x, "y": y}


FAINT = """() => {
  const linear = (v) => (v <= 10.3 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const faint = [];
  for (const one of document.body.querySelectorAll("*")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility() || one.closest(".drawn") || one.disabled) continue;
    let behind = one;
    while (behind && (numbers(getComputedStyle(behind).backgroundColor)[3] ?? 1) < 1) behind = behind.parentElement;
    const colours = [getComputedStyle(one).color, getComputedStyle(behind ?? document.body).backgroundColor];
    const pair = colours.map(numbers).map(light);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) faint.push([one.textContent.slice(0, 40), ratio]);
  }
  return faint;
}"""
"""Texts whose contrast is below 4.5 : 1 (WCAG 2.2, success criterion 1.4.3)."""

UNNAMED = """() => {
  const named = (one) => one.innerText?.trim() || one.getAttribute("aria-label") || one.labels?.length;
  const all = [...document.querySelectorAll("button, input, canvas[tabindex]")];
  return all.filter((one) => one.checkVisibility() && !named(one)).map((one) => one.outerHTML);
}"""
"""Controls that nobody can tell apart without seeing them."""
