"""Series of an archive: fetched by DICOMweb from a real Orthanc, encoded, and answered as the files are."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from tips_med_client import Client, ServerError

from tests.server.running import TOKEN, Running, running, zipped_series
from tests.serving.conftest import Orthanc
from tests.serving.loopback import free_port
from tips_med.exporters.nifti import write_volume
from tips_med.readers import read_scan
from tips_med.serving.archive import dicom_objects
from tips_med.serving.connect import open_archive

QUERIES = ("mass in the left lung", "no ground-glass opacity")


@dataclass(frozen=True)
class Filled:
    """An archive that holds one series of a patient with a mass in the left lung.

    Attributes:
        web: Its DICOMweb root.
        study: Study Instance UID.
        series: Series Instance UID.
        folder: Folder of the same files.
        archive: The same files as a zip archive.
    """

    web: str
    study: str
    series: str
    folder: Path
    archive: Path

    def reference(self, **changes: str) -> dict[str, Any]:
        return {"dicomweb": {"url": self.web, "study": self.study, "series": self.series} | changes}


@pytest.fixture(scope="module")
def filled(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    folder = tmp_path_factory.mktemp("series")
    archive = zipped_series(folder)
    files = dicom_objects([folder / "series"])
    with open_archive(orthanc.web) as web:
        web.store(files)
    assert len(orthanc.instances()) == len(files)
    first = pydicom.dcmread(files[0])
    return Filled(orthanc.web, first.StudyInstanceUID, first.SeriesInstanceUID, folder / "series", archive)


@pytest.fixture(scope="module")
def served(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server"), dicomweb={filled.web: None}) as found:
        yield found


def fetched(server: Running, filled: Filled, **changes: str) -> dict[str, Any]:
    """A series of the archive, waited for."""
    added = server.http.post("/v1/studies", json=filled.reference(**changes))
    assert added.status_code == 202, added.text
    return server.ended(added.json()["id"])


def answered(server: Running, study: str, query: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A report without what names the study on the server, and the URLs of its answer."""
    report = server.http.post(f"/v1/studies/{study}/answers", json={"query": query}).json()
    (entry,) = report["answers"]
    return report, entry.pop("urls")


def test_the_answers_are_those_of_the_files(served: Running, filled: Filled) -> None:
    entry = fetched(served, filled)
    assert entry["state"] == "ready", entry
    assert entry["dicom"]
    assert entry["shape_kji"] == [80, 100, 100]
    sent = served.ready(filled.archive)
    assert sent != entry["id"]
    for query in QUERIES:
        (ours, urls), (files, of_files) = (answered(served, study, query) for study in (entry["id"], sent))
        assert ours == files
        for kind in ("mask", "heat", "labels"):
            assert served.http.get(urls[kind]).content == served.http.get(of_files[kind]).content, kind
    assert ours["answers"][0]["presence"] == "absent"


def test_the_mask_is_where_the_mass_is(served: Running, filled: Filled) -> None:
    study = fetched(served, filled)["id"]
    with Client(served.url, token=TOKEN) as client:
        assert client.fetch(filled.web, filled.study, filled.series) == study
        client.wait(study)
        (answer,) = client.ask(study, QUERIES[0])
        assert answer.presence == "present"
        mask = client.mask(answer)
        scan = read_scan(filled.folder)
        assert mask.voxels.shape == scan.shape
        assert scan.voxels[mask.voxels > 0].mean() > -100
        seg = pydicom.dcmread(io.BytesIO(client.file(answer.url("seg"))))
    referred = {str(one.ReferencedSOPInstanceUID) for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == filled.series
    assert referred <= set(scan.provenance.instance_uids) and referred


def test_the_same_series_is_one_study(served: Running, filled: Filled) -> None:
    first = fetched(served, filled)
    assert fetched(served, filled)["id"] == first["id"]
    assert fetched(served, filled, url=filled.web + "/")["id"] == first["id"]


@pytest.mark.parametrize("name", ["study", "series"])
def test_what_the_archive_does_not_hold_is_told(served: Running, filled: Filled, name: str) -> None:
    entry = fetched(served, filled, **{name: "1.2.3.4.5"})
    assert entry["state"] == "failed"
    assert entry["error"]["code"] == "no-such-study", entry["error"]
    told = json.dumps(entry)
    assert str(served.service.settings.folder) not in told
    with Client(served.url, token=TOKEN) as client, pytest.raises(ServerError):
        client.wait(entry["id"])


def test_an_archive_that_is_away_is_told_and_asked_again_later(
    filled: Filled, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    away = f"http://127.0.0.1:{free_port()}/dicom-web"
    with running(tmp_path / "server", dicomweb={away: None, filled.web: None}) as server:
        entry = fetched(server, filled, url=away)
        assert entry["state"] == "failed" and entry["error"]["code"] == "unreachable", entry
        assert "failed (unreachable)" in caplog.text
        assert filled.study not in caplog.text and away not in caplog.text, "the log names no study"
        assert not (server.service.studies.root / entry["id"] / "source").exists(), "no half of a series is kept"
        again = server.http.post("/v1/studies", json=filled.reference(url=away)).json()
        assert again["state"] != "ready", "it is tried again"
        assert fetched(server, filled)["state"] == "ready"


def test_a_fetched_series_is_the_prior_scan_of_an_upload(served: Running, filled: Filled, tmp_path: Path) -> None:
    """Both sources name the patient: it is checked, and not named."""
    prior = fetched(served, filled)["id"]
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        for n, file in enumerate(sorted(filled.folder.iterdir())):
            image = pydicom.dcmread(file)
            image.PatientID = "another patient"
            image.SeriesInstanceUID += ".9"
            packed = io.BytesIO()
            image.save_as(packed)
            archive.writestr(f"{n}.dcm", packed.getvalue())
    for path, code in ((filled.archive, None), (other, "different-patients")):
        url = served.http.post(f"/v1/studies/{served.ready(path)}/priors", json={"prior": prior}).json()["url"]
        with served.http.stream("GET", f"{url}/events") as events:
            last = [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")][-1]
        assert (last["error"] or {}).get("code") == code, last
        if code is None:
            assert last["state"] == "ready" and "patient" not in json.dumps(last["notes"])


def test_a_nifti_file_of_the_same_scan_has_the_same_places(served: Running, filled: Filled, tmp_path: Path) -> None:
    scan = read_scan(filled.folder)
    sent = served.ready(write_volume(scan.voxels, scan.lps_from_kji, tmp_path / "scan.nii.gz"), modality="CT")
    study = fetched(served, filled)["id"]
    ours, others = (answered(served, one, QUERIES[0])[0]["answers"][0]["instances"] for one in (study, sent))
    assert [one["peak_lps"] for one in ours] == [pytest.approx(one["peak_lps"]) for one in others]
