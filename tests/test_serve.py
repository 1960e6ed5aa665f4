"""The command ``serve``: what it prints, and what it refuses before it listens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from pipelines.serve import read_token
from tests.serving.loopback import free_port
from tips_med import cli
from tips_med.errors import ConfigError


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped_and_leaves_nothing(tmp_path: Path, stop: signal.Signals) -> None:
    import httpx

    port = free_port()
    command = [sys.executable, "-m", "tips_med.cli", "serve", "--port", str(port), "--quiet"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        token = re.fullmatch(r"Token: (\S{40,})\n", process.stdout.readline())
        told = process.stdout.readline()
        assert token and f"http://127.0.0.1:{port}" in told and "not a medical device" in told
        headers = {"Authorization": f"Bearer {token[1]}"}
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, headers=headers) as http:
            assert http.get("/v1/capabilities").json()["model"]["name"]
    finally:
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err and token[1] not in err
    assert not list(tmp_path.glob("tips-med-serve-*"))


def test_an_open_server_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--host", "0.0.0.0", "--no-token"]) == 2
    assert "could read every study" in capsys.readouterr().err


def test_tokens_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a-token-that-is-long-enough\n")
    assert read_token(file) == "a-token-that-is-long-enough"
    assert read_token(None) != read_token(None)
    for bad in ("short", "a token with spaces in it", "tökentökentökentöken"):
        file.write_text(bad)
        with pytest.raises(ConfigError):
            read_token(file)
    with pytest.raises(ConfigError):
        read_token(tmp_path / "nothing")
