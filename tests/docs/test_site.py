"""The site builds without a warning, without the network, and its pages load nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.snippets import DOCS, ROOT

pytest.importorskip("furo", reason="needs tips-med[docs]")
pytest.importorskip("myst_parser", reason="needs tips-med[docs]")

_BUILD = """
import socket, sys

def refused(*arguments, **named):
    raise AssertionError(f"the build asks for {arguments}")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""
_LOADS = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
    "form": ("action",),
}
"""Attributes that make a browser load something, by element."""

_ELSEWHERE = re.compile(r"^\s*(?:[a-z]+:)?//", re.IGNORECASE)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    out = tmp_path_factory.mktemp("site")
    arguments = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(out / "doctrees"), str(DOCS), str(out / "html")]
    command = [sys.executable, "-c", _BUILD, *arguments]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert built.returncode == 0, built.stderr[-4000:]
    return out / "html"


class Loads(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [given.get(name) or "" for name in _LOADS.get(tag, ())]
        self.found += _in_css(given.get("style") or "")


def _in_css(text: str) -> list[str]:
    urls = re.findall(r"url\(\s*['\"]?([^'\")]+)", text)
    return urls + re.findall(r"@import\s+['\"]([^'\"]+)", text)


def test_no_page_loads_anything_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text("utf-8")
        styles = [url for style in re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL) for url in _in_css(style)]
        elsewhere = [url for url in [*Loads(text).found, *styles] if _ELSEWHERE.match(url)]
        assert not elsewhere, f"{page.name} loads {elsewhere}"
    for style in site.rglob("*.css"):
        elsewhere = [url for url in _in_css(style.read_text("utf-8")) if _ELSEWHERE.match(url)]
        assert not elsewhere, f"{style.name} loads {elsewhere}"


def test_the_check_sees_what_a_page_loads():
    page = '<script src="//a.b/c.js"></script><p style="background: url(https://d.e/f.png)"><a href="https://g.h">g</a>'
    assert [url for url in Loads(page).found if _ELSEWHERE.match(url)] == ["//a.b/c.js", "https://d.e/f.png"]


def test_formulas_are_drawn_by_the_browser(site):
    metrics = (site / "metrics.html").read_text("utf-8")
    assert metrics.count("<math ") > 20
    assert not [url for url in Loads(metrics).found if "mathjax" in url.lower()]


def test_the_tables_of_the_query_language_are_made(site):
    page = (site / "query-language.html").read_text("utf-8")
    assert "ground-glass opacity" in page
    assert "contradiction" in page


def test_every_metric_is_explained():
    import tips_med.metrics as metrics

    page = (DOCS / "metrics.md").read_text("utf-8")
    others = ("CaseMetric", "GroundingMetric", "Interval", "MetricInputError", "Outlines", "Spheres")
    names = [name for name in metrics.__all__ if isinstance(getattr(metrics, name), type)]
    missing = [name for name in names if f"### {name}" not in page and name not in others]
    assert not missing


def test_every_reason_is_explained():
    from typing import get_args

    from tips_med.grounding.answer import Reason

    page = (DOCS / "architecture.md").read_text("utf-8")
    given = set(get_args(Reason)) - {"size-of-all"}  # no answer gives it
    assert not [reason for reason in given if f"`{reason}`" not in page]
