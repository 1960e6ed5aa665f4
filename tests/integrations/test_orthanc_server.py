"""What the plugin for Orthanc makes of servers that are none of ours."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tips_med_orthanc.server import Server, ServerError
from tips_med_orthanc.settings import Settings

TOKEN = "a-token-of-these-tests"


@contextmanager
def stranger(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server that gives everybody the same answer; its address, and the lines that it was asked with."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(self.requestline)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def client(url: str) -> Server:
    return Server(Settings(url, TOKEN, timeout_s=10), threading.Event())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>log in</html>"),
        (200, b"[]"),
        (200, b'{"id": "../../etc"}'),
        (200, b"[" * 100_000),
        (403, b"<html>"),
        (500, b'{"code": 7}'),
        (404, b""),
    ],
)
def test_an_answer_of_another_kind_is_named(status: int, body: bytes) -> None:
    with stranger(status, body) as (url, _), pytest.raises(ServerError, match="is the address right") as refused:
        client(url).upload(io.BytesIO(b"PK"), 2)
    assert refused.value.code == "not-tips-med" and not refused.value.again


def test_the_token_does_not_follow_a_redirect() -> None:
    with (
        stranger(200, b"{}") as (elsewhere, asked),
        stranger(307, b"", Location=elsewhere) as (url, _),
        pytest.raises(ServerError, match="is the address right"),
    ):
        client(url).ask("0" * 32, "mass")
    assert not asked


def test_an_answer_that_names_other_paths_is_not_followed() -> None:
    with stranger(200, b"{}") as (url, asked):
        for path in ("http://elsewhere/seg.dcm", "//elsewhere/v1/seg.dcm", "/v1/../secret", "/v1/a?b", "/metrics"):
            with pytest.raises(ServerError, match="is the address right"):
                client(url).dicom(path)
    assert not asked


def test_what_is_no_dicom_is_not_stored() -> None:
    with stranger(200, b"<html>" * 100) as (url, _), pytest.raises(ServerError, match="no DICOM object"):
        client(url).dicom("/v1/studies/0/answers/0/seg.dcm")


def test_a_busy_server_is_asked_again_and_one_that_refuses_is_not() -> None:
    for status, again in ((503, True), (413, False)):
        body = b'{"code": "busy", "message": "too many", "remedy": "try again"}'
        with stranger(status, body) as (url, _), pytest.raises(ServerError, match="too many; try again") as refused:
            client(url).refer("1.2", "1.3")
        assert refused.value.again is again and refused.value.code == "busy"
