"""The command ``view``: what it prints, that it shows the scans, and that it leaves nothing when it is stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx

import tips_med.server  # noqa: F401 (jaxtyping's import hook fails on it deep within a test)
from tips_med import cli
from tips_med.exporters.nifti import write_volume


@contextmanager
def viewing(folder: Path, *arguments: str | Path, stop: signal.Signals = signal.SIGINT) -> Iterator[tuple[str, str]]:
    """Runs the command until the block ends, then stops it; address and ticket of its link. It must end cleanly."""
    command = [sys.executable, "-m", "tips_med.cli", "view", *map(str, arguments), "--no-browser", "--quiet"]
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        link = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+)/#ticket=(\S{40,})\n", process.stdout.readline())
        assert link, process.communicate(timeout=60)
        assert "not a medical device" in process.stdout.readline()
        yield link[1], link[2]
    finally:
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
    assert process.returncode == (130 if stop == signal.SIGINT else 0), err
    assert "stopped" in out + err
    assert "Traceback" not in err and link[2] not in err
    assert not list(folder.glob("tips-med-view-*")), "no scan is left in the temporary folder"


@contextmanager
def entered(url: str, ticket: str) -> Iterator[httpx.Client]:
    """A client with the token of the page."""
    with httpx.Client(base_url=url, transport=httpx.HTTPTransport(retries=8), timeout=60) as client:
        token = client.post("/page/token", json={"ticket": ticket}).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def opened(client: httpx.Client, local: str) -> dict[str, Any]:
    """A scan that was named on the command line, as the page opens it."""
    study = client.post("/v1/studies", json={"local": local}).json()
    for _ in range(1200):
        study = client.get(study["url"]).json()
        if study["state"] in ("ready", "failed"):
            return study
        time.sleep(0.1)
    raise AssertionError("not encoded in 120 s")


@pytest.mark.shipped
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_shows_the_scan_until_it_is_stopped_and_leaves_nothing(tmp_path: Path, stop: signal.Signals) -> None:
    with viewing(tmp_path, "sample", stop=stop) as (url, ticket), entered(url, ticket) as client:
        assert "tips_med" in client.get("/").text
        start = client.get("/v1/page/start").json()
        assert start["prior"] is None
        study = opened(client, start["local"])
        assert study["state"] == "ready" and study["shape_kji"][0] > 50
        (answer,) = client.post(f"{study['url']}/answers", json={"query": "mass in the left lung"}).json()["answers"]
        assert answer["presence"] == "present"


@pytest.mark.shipped
def test_a_prior_scan_is_opened_with_it(tmp_path: Path) -> None:
    flat = write_volume(np.full((20, 30, 40), 7, np.int16), np.eye(4), tmp_path / "flat.nii.gz")
    with viewing(tmp_path, flat, "--prior", "sample") as (url, ticket), entered(url, ticket) as client:
        start = client.get("/v1/page/start").json()
        assert opened(client, start["local"])["error"]["code"] == "modality", "the page tells it"
        assert opened(client, start["prior"])["state"] == "ready"


def test_without_a_scan_the_page_asks_for_one(tmp_path: Path) -> None:
    with viewing(tmp_path, stop=signal.SIGTERM) as (url, ticket), entered(url, ticket) as client:
        start = client.get("/v1/page/start").json()
        assert start["local"] is None and start["prior"] is None
        assert client.post("/page/token", json={"ticket": ticket}).status_code == 403, "the link works once"


def test_what_cannot_be_shown_is_told_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_volume(np.zeros((3, 4, 5), np.int16), np.eye(4), tmp_path / "scan.nii.gz")
    gone = tmp_path / "gone.nii.gz"
    for arguments, said in (
        ([gone], f"{gone}: no such file or folder"),
        ([scan, "--prior", gone], f"{gone}: no such file or folder"),
        ([scan, "--prior", scan], "is given as the current and as the prior scan"),
        (["--prior", scan], "a prior scan is given, but no current one"),
    ):
        assert cli.main(["view", *map(str, arguments), "--no-browser"]) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main(["view", "--port", port, "--no-browser"]) == 2
        assert f"port {port} cannot be used" in capsys.readouterr().err
