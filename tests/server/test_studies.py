"""Studies come in once, are refused with a reason, are cancelled, and survive a server that is killed."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.phantom import body, rule_model
from tests.server.running import MASS, TOKEN, Running, running, write_scan
from tests.serving.loopback import free_port
from tips_med.encoders.base import ImageFeatures, Progress
from tips_med.exporters.nifti import write_volume
from tips_med.slabs import SlabStack


def test_the_same_upload_is_the_same_study(server: Running, scan_path: Path) -> None:
    first, again = server.upload(scan_path), server.upload(scan_path)
    assert first["id"] == again["id"]
    assert server.upload(scan_path, modality="CT")["id"] != first["id"]  # read in another way
    listed = [one["id"] for one in server.http.get("/v1/studies").json()["studies"]]
    assert listed.count(first["id"]) == 1


def test_events_tell_of_the_study_until_it_is_ready(server: Running, tmp_path: Path) -> None:
    study = server.upload(write_scan(body([*MASS, ((-60.0, 0, 0), 9.0, 45.0)]), tmp_path / "scan.nii.gz"))["id"]
    with server.http.stream("GET", f"/v1/studies/{study}/events") as events:
        told = [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")]
    assert told[-1]["state"] == "ready" and told[-1]["done"] == told[-1]["total"] > 0
    assert told[-1]["coverage"]["left"]["assessed_fraction"] > 0.9
    assert told[-1]["shape_kji"] == [80, 100, 100]


def _nifti(shape: tuple[int, ...]) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    return bytes(header)


def _bomb() -> bytes:
    return gzip.compress(_nifti((2000, 2000, 2000)) + bytes(1 << 20))


def _zip_bomb(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(4):
            archive.writestr(f"{n}.dcm", bytes(64 << 20))
    return path.read_bytes()


@pytest.mark.parametrize("name", ["text", "nothing", "bomb", "zip bomb", "cut zip"])
def test_what_is_no_scan_is_refused_at_once(name: str, server: Running, tmp_path: Path) -> None:
    content = {
        "text": lambda: b"not a scan" * 100,
        "nothing": lambda: b"",
        "bomb": _bomb,
        "zip bomb": lambda: _zip_bomb(tmp_path / "bomb.zip"),
        "cut zip": lambda: b"PK\x03\x04" + bytes(2000),
    }[name]()
    refused = server.http.post("/v1/studies", files={"file": content})
    assert refused.status_code in (413, 422), refused.text
    assert refused.json()["code"] in ("not-a-scan", "too-large", "damaged-archive")
    assert str(server.service.settings.folder) not in refused.text
    assert not [one for one in server.service.studies.root.iterdir() if one.name.startswith(".")]


def test_what_cannot_be_read_rightly_fails_with_the_reader_s_reason(
    server: Running, scan_path: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(scan_path.read_bytes()[:-2000])
    noise = np.random.default_rng(0).integers(0, 200, (20, 30, 30)).astype(np.int16)
    other = write_volume(noise, np.diag([3.0, 1, 1, 1])[:, [2, 1, 0, 3]], tmp_path / "other.nii.gz")
    for path, code in ((cut, ("truncated-file", "damaged-file")), (other, ("modality",))):
        ended = server.ended(server.upload(path)["id"])
        assert ended["state"] == "failed" and ended["error"]["code"] in code
        assert str(tmp_path) not in str(ended) and str(server.service.settings.folder) not in str(ended)
    question = server.http.post(f"/v1/studies/{ended['id']}/answers", json={"query": "mass"})
    assert question.status_code == 409 and question.json()["code"] == "not-ready"


@pytest.mark.parametrize("form", [{"series": "../x"}, {"phase": "0"}, {"modality": "XX"}, {"fill_gaps": "maybe"}])
def test_options_that_make_no_sense_are_refused(form: dict[str, str], server: Running, scan_path: Path) -> None:
    refused = server.http.post("/v1/studies", files={"file": scan_path.read_bytes()}, data=form)
    assert refused.status_code == 400 and refused.json()["code"] == "bad-request"


def test_only_archives_that_the_operator_named_are_asked(tmp_path: Path) -> None:
    with running(tmp_path, dicomweb={"https://pacs.example/dicom-web": None}) as server:
        given = {"url": "http://169.254.169.254/", "study": "1.2", "series": "1.3"}
        refused = server.http.post("/v1/studies", json={"dicomweb": given})
        assert refused.status_code == 403 and refused.json()["code"] == "not-allowed"
        given = {"url": "https://pacs.example/dicom-web/", "study": "1.2/../x", "series": "1.3"}
        assert server.http.post("/v1/studies", json={"dicomweb": given}).status_code == 400
        assert server.http.post("/v1/studies", json={"local": "/etc/passwd"}).status_code == 404
        for bad in (b"[1]", b"{", b"[" * 100_000):
            sent = server.http.post("/v1/studies", content=bad, headers={"Content-Type": "application/json"})
            assert sent.status_code == 400


class _Gate:
    """A model whose encoding waits to be let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = rule_model()
        self.entered, self.go = threading.Event(), threading.Event()
        encode = self.model.image.encode

        def slow(slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
            self.entered.set()
            assert progress is not None
            progress(0, 9)
            while not self.go.wait(0.02):
                progress(1, 9)
            return encode(slabs, progress)

        monkeypatch.setattr(self.model.image, "encode", slow)


def test_the_queue_is_bounded_and_a_study_can_be_cancelled(
    tmp_path: Path, scan_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = _Gate(monkeypatch)
    other = write_scan(body(), tmp_path / "other.nii.gz")
    third = write_scan(body(shape=(60, 100, 100)), tmp_path / "third.nii.gz")
    with running(tmp_path / "server", gate.model, max_queued=2) as server:
        study = server.upload(scan_path)["id"]
        assert gate.entered.wait(20)
        waiting = server.upload(other)["id"]
        full = server.http.post("/v1/studies", files={"file": third.read_bytes()})
        assert full.status_code == 503 and full.json()["code"] == "busy"
        events = server.http.stream("GET", f"/v1/studies/{study}/events")
        with events as stream:
            lines = stream.iter_lines()
            next(lines)  # and the client goes away: encoding goes on
        assert server.http.get(f"/v1/studies/{study}").json()["state"] == "encoding"
        assert server.http.delete(f"/v1/studies/{study}").status_code == 200
        assert server.http.get(f"/v1/studies/{study}").status_code == 404
        gate.go.set()
        assert server.ended(waiting)["state"] == "ready"
        assert [one.name for one in server.service.studies.root.iterdir()] == [waiting]


def test_encoding_that_takes_too_long_ends(tmp_path: Path, scan_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path / "server", _Gate(monkeypatch).model, encoding_s=0.3) as server:
        ended = server.ended(server.upload(scan_path)["id"])
        assert ended["state"] == "failed" and ended["error"]["code"] == "too-slow"


def test_a_server_that_starts_again_goes_on(tmp_path: Path, scan_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = _Gate(monkeypatch)
    with running(tmp_path / "server", gate.model) as server:
        study = server.upload(scan_path)["id"]
        assert gate.entered.wait(20)
    with running(tmp_path / "server") as server:
        assert server.ended(study)["state"] == "ready"


_SERVER = """
import sys
from pathlib import Path
from tests.phantom import rule_model
from tips_med.server import ServerSettings, create_app, run_server
app = create_app(rule_model(), ServerSettings(Path(sys.argv[1]), token=sys.argv[3], min_free_mb=1))
run_server(app, "127.0.0.1", int(sys.argv[2]))
"""


def test_a_server_that_is_killed_leaves_whole_files(tmp_path: Path, scan_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    process = subprocess.Popen([sys.executable, "-c", _SERVER, str(tmp_path / "server"), str(port), TOKEN])
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http:
            for _ in range(600):
                try:
                    http.get("/healthz")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            study = http.post("/v1/studies", files={"file": scan_path.read_bytes()}).json()["id"]
            while http.get(f"/v1/studies/{study}").json()["state"] != "ready":
                time.sleep(0.05)
            ask = {"query": "mass left lung"}
            entry = http.post(f"/v1/studies/{study}/answers", json=ask).json()["answers"][0]
            mask = http.get(entry["urls"]["mask"]).content
        asking = threading.Thread(
            target=lambda: _quietly(url + f"/v1/studies/{study}/answers", {"query": "ground glass right lung"}, headers)
        )
        asking.start()
        time.sleep(0.03)  # in mid-question
        os.kill(process.pid, signal.SIGKILL)
        asking.join(30)
    finally:
        process.kill()
        process.wait(30)
    with running(tmp_path / "server") as server:
        assert server.http.get(f"/v1/studies/{study}").json()["state"] == "ready"
        assert not list((tmp_path / "server").glob(".made-*"))
        assert server.http.get(entry["urls"]["mask"]).content == mask


def _quietly(url: str, body: dict[str, str], headers: dict[str, str]) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.post(url, json=body, headers=headers, timeout=30, trust_env=False)


def test_the_least_recently_used_study_is_forgotten(tmp_path: Path, scan_path: Path) -> None:
    with running(tmp_path / "server", max_studies=1) as server:
        first = server.ready(scan_path)
        second = server.ready(write_scan(body(), tmp_path / "other.nii.gz"))
        assert server.http.get(f"/v1/studies/{first}").status_code == 404
        assert [one.name for one in server.service.studies.root.iterdir()] == [second]
