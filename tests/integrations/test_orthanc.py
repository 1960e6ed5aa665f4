"""The plugin in a real Orthanc, with a real server: results come back, lie right, and start nothing again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tips_med_orthanc.settings import SettingsError, read_settings

from tests.integrations.lying import NAME, ct_series, seg_points, true_points
from tests.server.browser import CHROMIUM, chromium
from tests.server.running import TOKEN, Running, running
from tests.serving.conftest import loopback as loopback
from tests.serving.loopback import free_port
from tests.serving.orthanc import DICOMWEB, FRESH, PYTHON, orthanc_running

PLUGIN = Path(__file__).parents[2] / "integrations" / "orthanc" / "tips_med_plugin.py"
QUERY, ABSENT = "mass in the left lung", "ground-glass opacity"


@dataclass(frozen=True)
class Archive:
    """An Orthanc with the plugin.

    Attributes:
        http: A client of its REST interface.
        log: What it logs.
    """

    http: httpx.Client
    log: Path

    def send(self, folder: Path) -> str:
        """Sends a series; Orthanc's identifier of it."""
        told: dict[str, Any] = {}
        for file in sorted(folder.iterdir()):
            told = self.http.post("/instances", content=file.read_bytes()).raise_for_status().json()
        return told["ParentSeries"]

    def study_of(self, series: str) -> str:
        """Orthanc's identifier of a series' study."""
        return self.http.get(f"/series/{series}").json()["ParentStudy"]

    def objects(self, series: str, modality: str) -> list[pydicom.Dataset]:
        """The objects of a modality in the study of a series."""
        found = []
        for one in self.http.get(f"/studies/{self.study_of(series)}/series").json():
            if one["MainDicomTags"]["Modality"] == modality:
                for instance in one["Instances"]:
                    content = self.http.get(f"/instances/{instance}/file").content
                    found.append(pydicom.dcmread(io.BytesIO(content)))
        return found

    def stable(self, series: str) -> None:
        """Waits until no image of a series has come for a while."""
        wait_until(lambda: self.http.get(f"/series/{series}").json()["IsStable"])

    def times_stable(self, series: str) -> int:
        """How often the study of a series became stable."""
        changes = self.http.get("/changes?limit=10000").json()["Changes"]
        study = self.study_of(series)
        return sum(one["ChangeType"] == "StableStudy" and one["ID"] == study for one in changes)

    def ask(self, level: str, name: str, query: str) -> dict[str, Any]:
        """Asks by the plugin's own paths, and waits for the answer."""
        asked = self.http.post(f"/tips-med/{level}/{name}/ask", json={"query": query})
        assert asked.status_code == 202, asked.text

        def ended() -> dict[str, Any] | None:
            task = self.http.get(f"/tips-med/tasks/{asked.json()['task']}").json()
            return task if task["state"] in ("done", "failed") else None

        return wait_until(ended)


def wait_until(look: Callable[[], Any]) -> Any:
    """What a look at something gives as soon as it gives anything."""
    for _ in range(600):
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it has not happened within a minute")


@contextlib.contextmanager
def archive_with(
    folder: Path, section: dict[str, Any], *, port: int | None = None, token: str = TOKEN
) -> Iterator[Archive]:
    """Runs Orthanc with the plugin."""
    (folder / "orthanc").mkdir(parents=True)
    (folder / "token").write_text(token)
    port = port or free_port()
    settings = {
        "HttpPort": port,
        "DicomPort": free_port(),
        "StableAge": 1,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "PythonScript": str(PLUGIN),
        "TipsMed": {"TokenFile": str(folder / "token"), **section},
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TIPS_MED"))}
    with (
        orthanc_running(folder / "orthanc", [PYTHON, DICOMWEB], settings, environment),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, limits=FRESH) as client,
    ):
        yield Archive(client, folder / "orthanc" / "log")


@pytest.fixture(scope="module")
def port(loopback: None) -> int:
    """Port of the Orthanc that the server may fetch from."""
    return free_port()


@pytest.fixture(scope="module")
def server(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the model that knows by rule."""
    pytest.importorskip("dicomweb_client", reason="the extra pacs is not installed")
    allowed = {f"http://127.0.0.1:{port}/dicom-web": None}
    with running(tmp_path_factory.mktemp("server"), dicomweb=allowed) as made:
        yield made


@pytest.fixture(scope="module")
def archive(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An Orthanc that asks of each new CT whether there is a mass, or an effusion."""
    section = {"Server": server.url, "Queries": [QUERY, ABSENT, "a dog"]}
    with archive_with(tmp_path_factory.mktemp("asking"), section) as made:
        yield made


@pytest.fixture(scope="module")
def quiet(server: Running, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An Orthanc that asks nothing by itself, and lets the server fetch by DICOMweb."""
    section = {"Server": server.url, "DicomWeb": f"http://127.0.0.1:{port}/dicom-web"}
    with archive_with(tmp_path_factory.mktemp("quiet"), section, port=port) as made:
        yield made


@pytest.mark.parametrize(("name", "patient"), [("axial", 11), ("oblique", 12), ("mirrored", 13)])
def test_a_new_study_is_answered_once_and_the_mask_lies_right(
    name: str, patient: int, archive: Archive, tmp_path: Path
) -> None:
    folder, study_uid, _ = ct_series(tmp_path / "ct", name, patient)
    series = archive.send(folder)
    wait_until(lambda: len(archive.objects(series, "SR")) == 2)
    (seg,) = archive.objects(series, "SEG")
    assert seg.StudyInstanceUID == study_uid and seg.PatientName == NAME
    np.testing.assert_allclose(seg_points(seg), true_points(folder, QUERY), atol=0.02)
    wait_until(lambda: "3 objects stored" in archive.log.read_text().partition(f"series {series}: ")[2])
    wait_until(lambda: archive.times_stable(series) == 2)  # the results have made the study stable once more
    time.sleep(1.0)
    assert len(archive.objects(series, "SR")) == 2 and len(archive.objects(series, "SEG")) == 1
    log = archive.log.read_text()
    assert log.count(f"series {series}: 3 answers, 3 objects stored") == 1
    assert "a configured query was declined" in log and "dog" in log
    assert "DOE" not in log and study_uid not in log


def test_a_series_that_grows_is_asked_again(archive: Archive, tmp_path: Path) -> None:
    folder, _, _ = ct_series(tmp_path / "ct", "axial", 14)
    late = folder / "IM0080.dcm"
    content = late.read_bytes()
    late.unlink()
    series = archive.send(folder)
    wait_until(lambda: len(archive.objects(series, "SR")) == 2)
    archive.http.post("/instances", content=content).raise_for_status()
    wait_until(lambda: len(archive.objects(series, "SR")) == 4)


@pytest.mark.parametrize("level", ["series", "studies"])
def test_a_question_is_answered_by_path(level: str, quiet: Archive, tmp_path: Path) -> None:
    folder, _, _ = ct_series(tmp_path / "ct", "oblique", 21 + len(level))
    series = quiet.send(folder)
    quiet.stable(series)
    name = series if level == "series" else quiet.study_of(series)
    task = quiet.ask(level, name, QUERY)
    (result,) = task["results"]
    (answer,) = result["answers"]
    assert answer["presence"] == "present" and answer["probability"] > 0.5 and "left" in answer["sentence"]
    (seg,) = quiet.objects(series, "SEG")
    assert quiet.http.get(f"/series/{answer['stored'][0]}").json()["MainDicomTags"]["SeriesInstanceUID"] == (
        seg.SeriesInstanceUID
    )
    np.testing.assert_allclose(seg_points(seg), true_points(folder, QUERY), atol=0.02)
    again = quiet.ask(level, name, QUERY)["results"][0]["answers"][0]
    assert again["stored"] == answer["stored"] and len(quiet.objects(series, "SEG")) == 1
    absent = quiet.ask(level, name, ABSENT)["results"][0]["answers"][0]
    assert absent["stored"] == [] and not quiet.objects(series, "SR")
    declined = quiet.ask(level, name, "a dog")["results"][0]["answers"][0]
    assert "dog" in declined["declined"] and declined["stored"] == []
    assert "not a medical device" in task["notice"]


def test_a_series_that_grew_is_fetched_anew(quiet: Archive, tmp_path: Path) -> None:
    folder, _, _ = ct_series(tmp_path / "ct", "axial", 30)
    kept = {file: file.read_bytes() for file in sorted(folder.iterdir())[60:]}
    for file in kept:
        file.unlink()
    series = quiet.send(folder)
    quiet.stable(series)
    quiet.ask("series", series, QUERY)
    for file, content in kept.items():
        file.write_bytes(content)
    quiet.send(folder)
    assert quiet.http.post(f"/tips-med/series/{series}/ask", json={"query": QUERY}).json()["code"] == "still-coming"
    quiet.stable(series)
    quiet.ask("series", series, QUERY)
    wanted = true_points(folder, QUERY)
    assert any(
        np.shape(points := seg_points(one)) == wanted.shape and np.allclose(points, wanted, atol=0.02)
        for one in quiet.objects(series, "SEG")
    )


def test_requests_that_are_refused(quiet: Archive, tmp_path: Path) -> None:
    http, path = quiet.http, f"/tips-med/series/{'-'.join(['0' * 8] * 5)}/ask"
    assert http.post(path, json={"query": QUERY}).status_code == 404
    assert http.post(path, content=b'{"query": "mass"}', headers={"Content-Type": "text/plain"}).status_code == 415
    for wrong in (
        b"",
        b"[]",
        b"[" * 9000,
        json.dumps({"query": " "}).encode(),
        json.dumps({"query": "x" * 301}).encode(),
    ):
        refused = http.post(path, content=wrong, headers={"Content-Type": "application/json"})
        assert refused.status_code == 400 and refused.json()["code"] == "bad-request"
    assert http.get(path).status_code == 405
    assert http.get(f"/tips-med/tasks/{'0' * 32}").status_code == 404
    assert http.post("/tips-med/series/../ask", json={"query": QUERY}).status_code == 404
    assert TOKEN not in http.get("/tips-med").text


@pytest.mark.parametrize("case", ["wrong token", "dead server"])
def test_a_server_that_cannot_be_asked_is_named_and_orthanc_goes_on(case: str, server: Running, tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    section = {"Server": dead if case == "dead server" else server.url, "Queries": [QUERY]}
    wanted = {"wrong token": ("wrong-token", "token is missing or wrong"), "dead server": ("unreachable", dead)}[case]
    folder, study_uid, _ = ct_series(tmp_path / "ct", "axial", 40)
    with archive_with(tmp_path, section, token="another-token-than-its-own") as archive:
        series = archive.send(folder)
        wait_until(lambda: f"series {series} is not answered: {wanted[0]}" in archive.log.read_text())
        error = archive.ask("series", series, QUERY)["results"][0]["error"]
        assert error["code"] == wanted[0] and wanted[1] in error["message"]
        assert len(archive.http.get("/instances").json()) == 80
    log = archive.log.read_text()
    assert "DOE" not in log and study_uid not in log and "another-token" not in log


def test_orthanc_neither_waits_for_a_silent_server_nor_hangs_when_it_ends(loopback: None, tmp_path: Path) -> None:
    folder, _, _ = ct_series(tmp_path / "ct", "axial", 41)
    with contextlib.ExitStack() as held:  # to the end: Orthanc ends while the plugin waits, within its 30 s and with 0
        silent = held.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with archive_with(tmp_path, {"Server": url, "Queries": [QUERY]}) as archive:
            series = archive.send(folder)
            held.enter_context(silent.accept()[0])
            assert archive.send(folder) == series
            assert archive.http.get("/tips-med").json()["queries"] == [QUERY]
            archive.stable(series)
            question = archive.http.post(f"/tips-med/series/{series}/ask", json={"query": QUERY})
            assert question.status_code == 202
            assert archive.http.get(f"/tips-med/tasks/{question.json()['task']}").json()["state"] != "done"


def test_wrong_settings_are_told_and_orthanc_goes_on(loopback: None, tmp_path: Path) -> None:
    with archive_with(tmp_path, {}) as archive:
        assert "TipsMed.Server is missing" in archive.http.get("/tips-med").json()["message"]
        assert "TipsMed.Server is missing" in archive.log.read_text()


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"Server": "http://pacs.example:8431"}, "AllowPlainHttp"),
        ({"Server": "http://me:secret@127.0.0.1"}, "is no address"),
        ({"Server": "file:///etc/passwd"}, "is no address"),
        ({"Server": "http://127.0.0.1:99999"}, "is no address"),
        ({"Queries": ["", "mass"]}, "1 to 300"),
        ({"Question": ["mass"]}, "is unknown"),
        ({"Queries": "mass"}, "another type"),
        ({"TokenFile": "/nowhere/token"}, "TokenFile cannot be read"),
        ({"TimeoutS": 0}, "1 to 86400"),
        ({"CaFile": "/nowhere.pem"}, "names no file"),
    ],
)
def test_settings_that_cannot_be_used(section: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as refused:
        read_settings({"TipsMed": {"Server": "http://127.0.0.1:8431", **section}}, {})
    assert "secret" not in str(refused.value)


def test_the_environment_comes_first() -> None:
    given = {"TIPS_MED_SERVER": "https://tips.example", "TIPS_MED_TOKEN": "from-the-environment"}
    settings = read_settings({"TipsMed": {"Server": "http://127.0.0.1:8431", "Queries": ["mass", "mass"]}}, given)
    assert (settings.server, settings.token, settings.queries) == (
        "https://tips.example",
        given["TIPS_MED_TOKEN"],
        ("mass",),
    )


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_form_in_orthanc_explorer(quiet: Archive, tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="the extra test is not installed")
    folder, _, _ = ct_series(tmp_path / "ct", "axial", 50)
    series = quiet.send(folder)
    quiet.stable(series)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 800})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{quiet.http.base_url}/app/explorer.html#series?uuid={series}")
        form = page.locator("#series form.tips-med")
        form.get_by_label("Where is it?").fill(QUERY)
        form.get_by_role("button", name="Ask").click()
        form.get_by_role("link", name="the stored segmentation").wait_for()
        assert "present" in form.inner_text() and "not a medical device" in form.inner_text()
        page.screenshot(path=tmp_path / "explorer.png")
        form.get_by_label("Where is it?").fill("<img src=x onerror=alert(1)> dog")
        form.get_by_role("button", name="Ask").click()
        form.get_by_text("no word of").wait_for()
        assert form.locator("img").count() == 0
        page.goto(f"{quiet.http.base_url}/app/explorer.html#study?uuid={quiet.study_of(series)}")
        page.locator("#study form.tips-med").get_by_role("button", name="Ask").wait_for()
        assert page.locator("#study form.tips-med").count() == 1
        assert not faults
    assert len(quiet.objects(series, "SEG")) == 1
