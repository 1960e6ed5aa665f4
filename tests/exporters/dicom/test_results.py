"""The objects of an answer are valid, refer to each other, and say when nothing was found."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from tests.exporters.dicom.answers import ORIENTATIONS, answer, answered, multiframe, shuffled_series
from tests.exporters.patient import make_scan
from tests.readers.awkward.writing import MR, PT, ROOT, make_series, write_series
from tips_med.errors import OutputError
from tips_med.exporters.dicom import DicomExporter, make_results, read_source
from tips_med.exporters.dicom.codes import PRESENCE
from tips_med.exporters.dicom.key_image import draw, key_slice
from tips_med.grounding import Decision
from tips_med.readers import read_scan
from tips_med.scan import Provenance

needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")


def errors_of(file: Path) -> list[str]:
    """What the judge holds against a file."""
    judged = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, timeout=60)
    said = (judged.stdout + judged.stderr).splitlines()
    assert any(line and not line.startswith(("Error", "Warning")) for line in said), "the judge named no IOD"
    return [line for line in said if line.startswith("Error")]


@needs_dciodvfy
@pytest.mark.parametrize("kind", ["CT", "oblique CT", "MR", "PT", "multi-frame CT", "multi-frame MR", "all frames"])
@pytest.mark.parametrize("found", [0, 1, 2])
def test_dciodvfy_finds_no_errors(tmp_path: Path, kind: str, found: int) -> None:
    if kind.startswith("multi"):
        path = multiframe(tmp_path, kind[-2:])
    else:
        plan = {"MR": {"modality": "MR", "sop_class": MR}, "PT": {"modality": "PT", "sop_class": PT}}.get(kind, {})
        plan |= {"orientation": ORIENTATIONS["oblique"]} if kind == "oblique CT" else {}
        path = shuffled_series(tmp_path / "series", **plan)
    out = tmp_path / "out"
    out.mkdir()
    exporter = DicomExporter(path, omit_empty_frames=kind != "all frames")
    files = exporter.export(answer(read_scan(path), found=found), out)
    assert {file.name for file in files} == (
        {"sr.dcm"} if not found else {"seg.dcm", "sr.dcm", "key_image.dcm", "key_objects.dcm"}
    )
    assert {file.name: errors_of(file) for file in files} == {file.name: [] for file in files}


@pytest.mark.parametrize(("state", "code"), [("absent", "272519000"), ("unsure", "82334004"), ("present", "52101004")])
def test_report_says_whether_it_is_there(tmp_path: Path, state: str, code: str) -> None:
    path, grounding = answered(tmp_path, found=2 if state == "present" else 0)
    grounding = replace(grounding, presence=Decision(state, 0.2, 0.31))  # type: ignore[arg-type]
    made = make_results(grounding, read_source(path, grounding.scan))
    assert (made.segmentation is None) == (state != "present")
    report = hd.sr.Comprehensive3DSR.from_dataset(made.report)
    group = report.content.get_image_measurement_groups()[0]
    assert group.get_measurements(name=pydicom.sr.codedict.codes.DCM.Probability)[0].value == 0.31
    assert [item.value.value for item in group.get_qualitative_evaluations(name=PRESENCE)] == [code]
    text = [item.TextValue for item in group[0].ContentSequence if "TextValue" in item]
    assert any("research use only" in line and "The answer in words." in line for line in text)


def test_report_measures_each_instance_and_points_to_its_segment(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    made = make_results(grounding, read_source(path, grounding.scan))
    seg = made.segmentation
    assert seg is not None
    groups = hd.sr.Comprehensive3DSR.from_dataset(made.report).content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == [item.TrackingUID for item in seg.SegmentSequence]
    for group, instance in zip(groups, grounding.instances, strict=True):
        values = {item.name.meaning: item.value for item in group.get_measurements()}
        assert values["Volume"] == instance.volume_ml
        assert values["Long axis"] == instance.long_axis_mm
        assert values["Probability of the region by itself"] == instance.score
        assert values["Attenuation Coefficient"] == pytest.approx(-512.3)
        sources = group[0].ContentSequence
        uids = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in sources if item.ValueType == "IMAGE"]
        assert uids[0] == seg.SOPInstanceUID
        assert tuple(uids[1:]) == instance.instance_uids


def test_an_absent_finding_names_all_images_as_evidence(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path, found=0)
    report = make_results(grounding, read_source(path, grounding.scan)).report
    evidence = {
        item.ReferencedSOPInstanceUID
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in report.get(keyword, [])
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert evidence == set(grounding.scan.provenance.instance_uids)


def test_key_image_is_marked_and_selected_with_its_slice(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    made = make_results(grounding, read_source(path, grounding.scan))
    picture, selection = made.key_image, made.key_objects
    assert picture is not None and selection is not None
    k = key_slice(grounding)
    slice_uid = grounding.scan.provenance.instance_uids[k]
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == slice_uid
    selected = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in selection.ContentSequence
        if item.ValueType == "IMAGE"
    ]
    assert selected == [slice_uid, picture.SOPInstanceUID]
    assert "research use only" in picture.ImageComments
    drawn = draw(grounding, k, "image 3")
    assert (drawn[:-60] == (255, 176, 0)).all(axis=-1).any(), "no contour"
    assert (drawn[-40:] == 255).all(axis=-1).sum() > 500, "no words in the banner"


def test_answers_about_one_scan_share_their_series(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    exporter = DicomExporter(path)
    made = []
    for n in range(2):
        (tmp_path / str(n)).mkdir()
        exporter.export(grounding, tmp_path / str(n))
        made.append(pydicom.dcmread(tmp_path / str(n) / "seg.dcm"))
    assert made[0].SeriesInstanceUID == made[1].SeriesInstanceUID != grounding.scan.provenance.series_uid
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID
    assert [seg.InstanceNumber for seg in made] == [1, 2]


def test_patient_and_study_are_the_sources(tmp_path: Path) -> None:
    slices = make_series()
    for item in slices:
        item.set(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", StudyDate="20200229", StudyID="S7")
    path = write_series(tmp_path / "series", slices)
    grounding = answer(read_scan(path))
    for made in make_results(grounding, read_source(path, grounding.scan)).named.values():
        assert (str(made.PatientName), made.PatientID) == ("Müller^Jörg", "P1")
        assert (str(made.StudyDate), made.StudyID) == ("20200229", "S7")
        assert made.SpecificCharacterSet == "ISO_IR 192"


def test_a_scan_that_is_not_dicom_is_refused(tmp_path: Path) -> None:
    scan = replace(make_scan(), provenance=Provenance("nifti"))
    with pytest.raises(OutputError, match="need a DICOM source, and this scan is from nifti") as refused:
        read_source(tmp_path, scan)
    assert refused.value.code == "not-dicom"


def test_images_that_are_gone_or_shared_are_refused(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    for file in sorted(path.iterdir())[:2]:
        file.unlink()
    with pytest.raises(OutputError, match="2 of the 12 images") as refused:
        read_source(path, grounding.scan)
    assert refused.value.code == "source-missing"
    with pytest.raises(OutputError, match="12 of the 12 images"):
        read_source(tmp_path / "nowhere", grounding.scan)
    slices = make_series(series=2)
    for item in slices:
        item.set(SOPInstanceUID="1.2.3.4")
    shared = write_series(tmp_path / "shared", slices)
    with pytest.raises(OutputError, match="share one SOP Instance UID"):
        read_source(shared, read_scan(shared))


def test_a_damaged_optional_header_does_no_harm(tmp_path: Path) -> None:
    slices = make_series()
    path = write_series(tmp_path / "series", slices)
    for file in path.iterdir():
        raw = file.read_bytes()
        file.write_bytes(raw.replace(b"Phantom^Test", b"Ph\xff\xfetom=T=st"))
    grounding = answer(read_scan(path))
    made = make_results(grounding, read_source(path, grounding.scan))
    assert made.segmentation is not None
    assert made.segmentation.PatientID == "P1"


def test_key_slice_is_where_the_largest_is_largest(tmp_path: Path) -> None:
    _, grounding = answered(tmp_path)
    areas = (grounding.labels == 1).sum(axis=(1, 2))
    assert areas[key_slice(grounding)] == areas.max() > 0
    assert np.isfinite(draw(grounding, 0, "")).all()


def test_no_object_is_placed_in_images_that_share_no_frame_of_reference(tmp_path: Path) -> None:
    slices = make_series()
    for number, one in enumerate(slices):
        one.set(FrameOfReferenceUID=f"{ROOT}.900.{number}")
    path = write_series(tmp_path / "ct", slices)
    with pytest.raises(OutputError) as caught:
        read_source(path, read_scan(path))
    assert caught.value.code == "source-unfit"
    assert "NIfTI" in caught.value.remedy
