"""Fetching from and sending to a real archive, by DICOMweb and by DIMSE."""

from __future__ import annotations

import socket
from pathlib import Path

import pydicom
import pytest

from tests.exporters.dicom.answers import answer
from tests.readers.awkward.writing import ROOT, make_series, write_series
from tests.serving.conftest import Orthanc
from tests.serving.loopback import free_port
from tips_med.errors import ConfigError, OutputError
from tips_med.exporters.dicom import DicomExporter
from tips_med.readers import read_scan
from tips_med.serving.archive import ArchiveError, MoveDestination, dicom_objects
from tips_med.serving.connect import open_archive
from tips_med.serving.dimse import DimseArchive
from tips_med.serving.fetching import fetch_series

STUDY, SERIES = f"{ROOT}.100", f"{ROOT}.200.1"


@pytest.fixture(scope="module")
def filled(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series that the archive has received by C-STORE."""
    path = write_series(tmp_path_factory.mktemp("sent"), make_series())
    archive = open_archive(orthanc.dimse)
    assert isinstance(archive, DimseArchive)
    archive.echo()
    archive.store(dicom_objects([path]))
    assert len(orthanc.instances()) == 12
    return path


@pytest.mark.parametrize("way", ["DICOMweb", "C-GET", "C-MOVE"])
@pytest.mark.parametrize("series", [None, SERIES])
def test_fetched_series_is_the_one_sent(
    orthanc: Orthanc, filled: Path, tmp_path: Path, way: str, series: str | None
) -> None:
    receive = MoveDestination(orthanc.move_port) if way == "C-MOVE" else None
    archive = open_archive(orthanc.web if way == "DICOMweb" else orthanc.dimse, receive=receive, timeout_s=60)
    assert fetch_series(archive, STUDY, tmp_path / "got", series) == 12
    assert [file.name for file in sorted((tmp_path / "got").iterdir())] == [f"{n:06d}.dcm" for n in range(1, 13)]
    sent, got = read_scan(filled), read_scan(tmp_path / "got", series=SERIES)
    assert (sent.voxels == got.voxels).all()
    assert (sent.lps_from_kji == got.lps_from_kji).all()
    assert sent.provenance.instance_uids == got.provenance.instance_uids


@pytest.mark.parametrize("way", ["DICOMweb", "DIMSE"])
def test_results_are_found_again_in_the_archive(orthanc: Orthanc, filled: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "results").mkdir()
    DicomExporter(filled).export(answer(read_scan(filled)), tmp_path / "results")
    files = dicom_objects([tmp_path / "results"])
    assert [file.name for file in files] == ["seg.dcm", "key_image.dcm", "key_objects.dcm", "sr.dcm"]
    archive = open_archive(orthanc.web if way == "DICOMweb" else orthanc.dimse)
    archive.store(files)
    archive.store(files)  # again: an archive that was answered twice still holds them once
    for file in files:
        made = pydicom.dcmread(file)
        assert archive.instances(STUDY, made.SeriesInstanceUID) == [made.SOPInstanceUID]
        assert fetch_series(archive, STUDY, tmp_path / way / file.stem, made.SeriesInstanceUID) == 1
        got = pydicom.dcmread(tmp_path / way / file.stem / "000001.dcm")
        assert got.SOPClassUID == made.SOPClassUID
        if "PixelData" in made:
            assert got.PixelData == made.PixelData


def test_the_whole_study_with_results_is_retrieved(orthanc: Orthanc, filled: Path, tmp_path: Path) -> None:
    count = len(orthanc.instances())
    for way, receive in (("get", None), ("move", MoveDestination(orthanc.move_port))):
        archive = open_archive(orthanc.dimse, receive=receive)
        assert fetch_series(archive, STUDY, tmp_path / way) == count


def test_what_is_not_there(orthanc: Orthanc, filled: Path, tmp_path: Path) -> None:
    for address in (orthanc.web, orthanc.dimse):
        with pytest.raises(ArchiveError, match="has no study") as refused:
            fetch_series(open_archive(address), "1.2.3.4", tmp_path / "none")
        assert refused.value.code == "no-such-study"
        assert not (tmp_path / "none").exists()
        with pytest.raises(ArchiveError, match="is no UID"):
            fetch_series(open_archive(address), "../1.2", tmp_path / "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(OutputError, match="is not empty"):
        fetch_series(open_archive(orthanc.web), STUDY, tmp_path / "full")
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_a_wrong_title_is_refused_and_named(orthanc: Orthanc, filled: Path) -> None:
    with pytest.raises(ArchiveError, match="rejects TIPS_MED") as refused:
        open_archive(orthanc.dimse.replace("ORTHANC", "OTHER")).instances(STUDY)
    assert refused.value.code == "refused"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom leaves a socket to be freed
def test_an_archive_that_is_down(loopback: None, tmp_path: Path) -> None:
    port = free_port()
    for address in (f"http://127.0.0.1:{port}/dicom-web", f"dicom://GONE@127.0.0.1:{port}"):
        archive = open_archive(address, timeout_s=5)
        with pytest.raises(ArchiveError, match="cannot be reached") as refused:
            archive.instances("1.2.3")
        assert refused.value.code == "unreachable"


def test_an_archive_that_says_nothing(loopback: None) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        archive = open_archive(f"dicom://MUTE@127.0.0.1:{port}", timeout_s=1)
        with pytest.raises(ArchiveError, match="cannot be reached"):
            archive.instances("1.2.3")


def test_addresses_and_credentials(tmp_path: Path) -> None:
    for wrong in ("ftp://host", "dicom://host:104", "dicom://A@host:0", "dicom://A@host:70000", "https://", "host"):
        with pytest.raises(ArchiveError) as refused:
            open_archive(wrong)
        assert refused.value.code == "bad-address"
    with pytest.raises(ArchiveError, match="holds a password") as refused:
        open_archive("https://me:secret@host/dicom-web")
    assert "secret" not in str(refused.value)
    (tmp_path / "login").write_text("just words")
    with pytest.raises(ConfigError, match="holds no credentials"):
        open_archive("https://host/dicom-web", credentials=tmp_path / "login")


def test_command_line(orthanc: Orthanc, filled: Path, tmp_path: Path) -> None:
    from pipelines.fetch import fetch
    from pipelines.send import send

    assert fetch(orthanc.web, STUDY, tmp_path / "got", series=SERIES).startswith("12 images")
    move = {"receive_port": orthanc.move_port, "receive_host": "127.0.0.2", "receive_title": "TIPS_MOVE"}
    told = fetch(orthanc.dimse, STUDY, tmp_path / "moved", series=SERIES, receive_from="OTHER, ORTHANC", **move)
    assert told.startswith("12 images")
    assert send(str(tmp_path / "got"), orthanc.dimse) == f"12 objects sent to {orthanc.dimse}"
    with pytest.raises(OutputError, match="no DICOM results"):
        send(str(tmp_path / "nothing"), orthanc.dimse)
