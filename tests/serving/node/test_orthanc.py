"""End to end: storescu pushes a study to Orthanc, Orthanc forwards it to the node, the answer is found in Orthanc."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import highdicom as hd
import pydicom
import pytest

from tests.exporters.dicom.answers import answer, in_ball, points_of
from tests.exporters.dicom.test_results import errors_of
from tests.readers.awkward.writing import ROOT, make_series, write_series
from tests.serving.conftest import Orthanc
from tests.serving.node.pieces import until
from tips_med.exporters.dicom import DicomExporter
from tips_med.readers import read_scan
from tips_med.serving.archive import MoveDestination, SeriesFound
from tips_med.serving.connect import open_archive
from tips_med.serving.fetching import fetch_series
from tips_med.serving.node import Node, NodeSettings, PollSettings, Rule

STORESCU = Path("/usr/bin/storescu")  # dcmtk's, not the tool of the same name that pynetdicom brings
STUDY = f"{ROOT}.100"
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
RTSTRUCT, CAPTURE = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.7"


def ground_perfectly(
    images: Path, series_uid: str, queries: Sequence[str], out: Path, everything: bool = False
) -> None:
    """As the pipeline does, with a model that is always right."""
    scan = read_scan(images, series=series_uid)
    exporter = DicomExporter(images, structure_set=everything, captures=everything)
    for n, text in enumerate(queries):
        (out / str(n)).mkdir()
        exporter.export(answer(scan, text), out / str(n))


@pytest.mark.skipif(not STORESCU.exists(), reason="storescu (dcmtk) is not installed")
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_a_study_pushed_to_the_archive_is_answered_there(orthanc: Orthanc, tmp_path: Path) -> None:
    settings = NodeSettings(
        callers=["ORTHANC"], port=orthanc.node_port, status_port=0, quiet_s=1.0, min_free_mb=1, pause_s=0.5
    )
    rules = [Rule(["ground glass opacity in the left lung"], modality="CT", min_images=4)]
    archive = open_archive(orthanc.dimse, calling="TIPS_MED")
    node = Node(tmp_path / "node", archive, rules, partial(ground_perfectly, everything=True), settings)
    thread = threading.Thread(target=node.run)
    thread.start()
    try:
        series = write_series(tmp_path / "series", make_series())
        port = str(orthanc.port)
        command = [str(STORESCU), "-aet", "STORESCU", "-aec", "ORTHANC", "+sd", "127.0.0.1", port, str(series)]
        subprocess.run(command, check=True, timeout=120)
        web = open_archive(orthanc.web)
        end = time.monotonic() + 240
        while node.ledger.counts()["done"] < 1:
            assert time.monotonic() < end, "no answer came"
            time.sleep(0.2)
        # 12 images and as many captures, segmentation, report, key image, its selection and structure set.
        assert len(web.instances(STUDY)) == 29
        for way, receive in (("get", None), ("move", MoveDestination(orthanc.move_port))):
            back = open_archive(orthanc.dimse, receive=receive)
            assert fetch_series(back, STUDY, tmp_path / way) == 29
        made = {}
        for file in (tmp_path / "get").iterdir():
            header = pydicom.dcmread(file)
            if header.Modality != "CT":
                made[str(header.SOPClassUID)] = file
                assert errors_of(file) == []
        assert {RTSTRUCT, CAPTURE} < set(made)
        assert pydicom.dcmread(made[RTSTRUCT]).ROIContourSequence[0].ContourSequence
        volume = hd.seg.segread(made[SEG]).get_volume()
        points = points_of(volume.affine, volume.array.shape[:3])
        assert (volume.array[..., 0] == in_ball(points, 0)).all()
        report = pydicom.dcmread(made[SR])
        referred = [
            item.ReferencedSOPInstanceUID
            for study in report.CurrentRequestedProcedureEvidenceSequence
            for one in study.ReferencedSeriesSequence
            for item in one.ReferencedSOPSequence
        ]
        assert pydicom.dcmread(made[SEG]).SOPInstanceUID in referred
    finally:
        node.stop()
        thread.join(60)


@pytest.mark.parametrize("way", ["DICOMweb", "C-GET", "C-MOVE"])
def test_studies_are_found_fetched_and_answered_by_one_way_alone(orthanc: Orthanc, tmp_path: Path, way: str) -> None:
    number = {"DICOMweb": 770, "C-GET": 771, "C-MOVE": 772}[way]
    today, study_uid, series_uid = date.today(), f"{ROOT}.{number}", f"{ROOT}.{number}.1"
    slices = make_series()
    for n, item in enumerate(slices):
        item.set(StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, SOPInstanceUID=f"{series_uid}.{n}")
        item.set(StudyDate=f"{today:%Y%m%d}", SeriesDescription="thin")
    web = open_archive(orthanc.web)
    receive = MoveDestination(orthanc.move_port, "127.0.0.2", title="TIPS_MOVE") if way == "C-MOVE" else None
    archive = web if way == "DICOMweb" else open_archive(orthanc.dimse, receive=receive)
    archive.store(sorted(write_series(tmp_path / "series", slices).iterdir()))
    for one in (web, open_archive(orthanc.dimse)):
        assert {study.uid: study.instances for study in one.studies("CT", today, 10)}[study_uid] == 12
        assert one.studies("CT", today + timedelta(days=1), 10) == one.studies("MR", today, 10) == []
        assert one.series(study_uid) == [SeriesFound(series_uid, "CT", "thin", 12)]
        assert one.series("1.2.3.4.5") == []
    rules = [Rule(["ground glass opacity in the left lung"], modality="CT", min_images=4)]
    settings = NodeSettings(
        status_port=0, quiet_s=0.5, min_free_mb=1, pause_s=0.5, poll=PollSettings(every_s=0.5, window_days=1)
    )
    folder = tmp_path / "node"
    for lost in (False, True):
        if lost:
            for file in folder.glob("ledger.sqlite*"):
                file.unlink()
        node = Node(folder, archive, rules, ground_perfectly, settings)
        thread = threading.Thread(target=node.run)
        thread.start()
        try:
            audit = folder / "audit.jsonl"
            until(audit.exists)
            done = f'"event": "{"answered-before" if lost else "sent"}", "study": "{node.audit.hashed(study_uid)}"'
            until(lambda audit=audit, done=done: done in audit.read_text())
            until(lambda node=node: node.poller.last_look)
            looked = node.poller.last_look if node.poller is not None else None
            assert looked is not None
            until(lambda node=node, looked=looked: node.poller.last_look > looked + 1)
        finally:
            node.stop()
            thread.join(60)
        kinds = Counter(series.modality for series in archive.series(study_uid))
        assert kinds == {"CT": 1, "SEG": 1, "SR": 1, "OT": 1, "KO": 1}
        assert len(archive.instances(study_uid)) == 16
