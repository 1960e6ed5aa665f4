"""Who may ask: token, Host, Origin, size and pace; and what logs and errors tell."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.server.running import TOKEN, Running, running
from tips_med.errors import ConfigError
from tips_med.server import ServerSettings, access

GUARDED = ["/v1/capabilities", "/v1/studies", "/v1/studies/x/events", "/voxtell/capabilities", "/v1"]


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ünï"])
def test_a_token_is_needed(path: str, given: str | None, server: Running) -> None:
    headers = {} if given is None else {"Authorization": given.encode("utf-8")}
    refused = httpx.get(server.url + path, headers=headers, trust_env=False)
    assert refused.status_code == 401 and refused.json()["code"] == "wrong-token"
    assert TOKEN not in refused.text


def test_health_and_the_reference_need_none(server: Running) -> None:
    for path in ("/healthz", "/openapi.json", "/docs"):
        got = httpx.get(server.url + path, trust_env=False)
        assert got.status_code == 200
        assert (
            got.headers["X-Content-Type-Options"] == "nosniff"
            and "default-src 'none'" in got.headers["Content-Security-Policy"]
        )
    page = httpx.get(server.url + "/docs", trust_env=False).text
    assert "/v1/studies/{study}/answers" in page and "http" not in page.replace("HTTP interface", "")  # no other host


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8431", "", "127.0.0.1.evil.example", "[::2]", "a b"])
def test_a_name_that_only_resolves_to_this_machine_is_refused(host: str, server: Running) -> None:
    refused = server.http.get("/v1/capabilities", headers={"Host": host})
    assert refused.status_code == 421 and refused.json()["code"] == "wrong-host"


def test_pages_of_other_origins_are_refused(server: Running) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "file://"):
        refused = server.http.get("/v1/capabilities", headers={"Origin": origin})
        assert refused.status_code == 403 and refused.json()["code"] == "foreign-origin"
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        asked = httpx.options(server.url + "/v1/studies", headers=preflight, trust_env=False)
        assert "access-control-allow-origin" not in asked.headers
    assert server.http.get("/v1/capabilities", headers={"Origin": server.url}).status_code == 200


def test_an_origin_that_the_operator_named_may_ask(tmp_path: Path) -> None:
    viewer = "https://viewer.example"
    with running(tmp_path, origins=(viewer,)) as server:
        preflight = {
            "Origin": viewer, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"
        }  # fmt: skip
        asked = httpx.options(server.url + "/v1/studies", headers=preflight, trust_env=False)
        assert asked.status_code == 200 and asked.headers["access-control-allow-origin"] == viewer
        assert (
            server.http.get("/v1/capabilities", headers={"Origin": viewer}).headers["access-control-allow-origin"]
            == viewer
        )
        refused = httpx.get(server.url + "/v1/capabilities", headers={"Origin": viewer}, trust_env=False)
        assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == viewer


def test_too_much_is_refused_whether_or_not_it_is_announced(tmp_path: Path) -> None:
    with running(tmp_path, max_upload_mb=1, max_body_mb=1) as server:
        large = bytes(3 << 20)
        announced = server.http.post("/v1/studies", files={"file": large})
        assert announced.status_code == 413 and announced.json()["code"] == "too-large"

        def parts():  # noqa: ANN202
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            yield from (large[: 1 << 20] for _ in range(3))
            yield b"\r\n--x--\r\n"

        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        for path, headers in (("/v1/studies", kind), ("/voxtell/images", {})):
            refused = server.http.post(path, content=parts(), headers=headers)
            assert refused.status_code == 413 and refused.json()["code"] == "too-large"
        long = {"Content-Type": "application/json"}
        assert server.http.post("/v1/studies/x/answers", content=parts(), headers=long).status_code in (400, 413)


def test_a_client_that_listens_only_when_all_is_sent_is_told_why_it_is_refused(server: Running) -> None:
    address = server.url.partition("//")[2]
    for _ in range(5):
        link = http.client.HTTPConnection(address, timeout=20)
        with contextlib.closing(link):
            link.request("POST", "/v1/studies", bytes(8 << 20), {"Connection": "close"})  # as urllib does
            refused = link.getresponse()
            assert refused.status == 401 and json.load(refused)["code"] == "wrong-token"


def test_a_refused_client_that_never_ends_is_let_go(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "LINGER_S", 0.5)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20) as link:
        link.sendall(b"POST /v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000000000\r\n\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(2_000):
                link.sendall(bytes(1 << 16))
                time.sleep(0.001)


def test_a_client_that_falls_silent_is_let_go(tmp_path: Path) -> None:
    with running(tmp_path, idle_s=0.3) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20) as link:
            head = f"POST /voxtell/images HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
            link.sendall(f"{head}Content-Length: 1000\r\n\r\nabc".encode())
            assert b" 408 " in link.recv(4096)
        assert server.http.get("/healthz").status_code == 200


def test_a_fault_tells_nothing(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("the name is DOE^JOHN")

    monkeypatch.setattr(server.service.studies, "entries", fail)
    with caplog.at_level(logging.DEBUG):
        told = server.http.get("/v1/studies")
    assert told.status_code == 500 and told.json()["code"] == "internal"
    assert "DOE" not in told.text + caplog.text and "RuntimeError at test_access.py" in caplog.text


def test_words(server: Running) -> None:
    told = server.http.get("/v1/capabilities").json()
    assert "not a medical device" in told["notice"] and "mass" in [one["id"] for one in told["findings"]]
    assert len(told["model"]["weights_sha256"]) == 64 and told["limits"]["upload_mb"] > 0
    suggested = server.http.get("/v1/suggestions", params={"text": "no pleural eff"}).json()
    assert suggested["completions"][0] == "no pleural effusion"
    assert (
        server.http.get("/v1/suggestions", params={"text": "mass in the left lu"}).json()["completions"][0]
        == "mass in the left lung"
    )
    mended = server.http.get("/v1/suggestions", params={"text": "plueral effusion"}).json()
    assert {"typed": "plueral effusion", "suggestions": ["pleural effusion"]} in mended["corrections"]


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="guess"):
        ServerSettings(tmp_path, token="short")
    with pytest.raises(ConfigError, match="max_queued"):
        ServerSettings(tmp_path, max_queued=0)
