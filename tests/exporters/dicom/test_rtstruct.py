"""Structure sets, read back by plastimatch and by a plain reader of contours, hold the mask where it was."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from skimage.draw import polygon2mask

from tests.exporters.dicom.answers import BALLS_MM, ORIENTATIONS, answer, answered, multiframe, points_of
from tests.exporters.dicom.test_results import errors_of, needs_dciodvfy
from tests.readers.awkward.writing import make_series, write_series
from tips_med.exporters.dicom import DicomExporter, make_results, read_source
from tips_med.exporters.dicom.exporter import write_object
from tips_med.grounding import Decision, Grounding
from tips_med.readers import read_scan

PLANS = {name: {"orientation": orientation} for name, orientation in ORIENTATIONS.items()} | {
    "anisotropic": {"spacing_mm": (0.8, 2.4), "rows": 36, "columns": 12},
    "fine and oblique": {
        "orientation": ORIENTATIONS["oblique"],
        "spacing_mm": (0.6, 0.7),
        "rows": 50,
        "columns": 44,
    },
}


def hollow(grounding: Grounding) -> Grounding:
    """The same answer, the first ball empty in its middle."""
    points = points_of(grounding.scan.lps_from_kji, grounding.scan.shape)
    labels = grounding.labels.copy()
    labels[np.linalg.norm(points - BALLS_MM[0][0], axis=-1) < 2] = 0
    assert labels.astype(bool).sum() < grounding.mask.sum()
    return replace(grounding, labels=labels)


def structure_set(path: Path, grounding: Grounding, out: Path) -> Path:
    made = make_results(grounding, read_source(path, grounding.scan), structure_set=True).structure_set
    assert made is not None
    return write_object(made, out)


def contours_of(file: Path) -> list[pydicom.Dataset]:
    return list(pydicom.dcmread(file).ROIContourSequence[0].ContourSequence)


def drawn_on_images(file: Path, series: Path, grounding: Grounding) -> np.ndarray:
    """The mask as the contours and the headers of the images they name have it, each pixel by its centre."""
    images = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, series.iterdir())}
    made = np.zeros(grounding.scan.shape, bool)
    for contour in contours_of(file):
        uid = str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
        image = images[uid]
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
        assert contour.NumberOfContourPoints == len(points) >= 3
        from_first = points - np.array(image.ImagePositionPatient, float)
        row, column = np.reshape(np.array(image.ImageOrientationPatient, float), (2, 3))
        assert np.abs(from_first @ np.cross(row, column)).max() < 1e-3, "on the plane of its image"
        row_mm, column_mm = (float(mm) for mm in image.PixelSpacing)
        index = np.column_stack([from_first @ column / row_mm, from_first @ row / column_mm])
        k = grounding.scan.provenance.instance_uids.index(uid)
        made[k] ^= polygon2mask(made.shape[1:], index)
    return made


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("plan", PLANS)
def test_contours_on_their_images_give_the_mask(tmp_path: Path, plan: str) -> None:
    path, grounding = answered(tmp_path, **PLANS[plan])
    grounding = hollow(grounding)
    file = structure_set(path, grounding, tmp_path / "rtstruct.dcm")
    # Pixels lie as they are stored: whatever the reader of the scan flips, voxels and images are the same here.
    np.testing.assert_array_equal(drawn_on_images(file, path, grounding), grounding.mask)


@pytest.mark.parametrize("plan", PLANS)
def test_plastimatch_reads_the_mask_in_place(tmp_path: Path, plan: str) -> None:
    tool = pytest.importorskip("plastimatch", reason="plastimatch is not installed")
    path, grounding = answered(tmp_path, **PLANS[plan])
    grounding = hollow(grounding)
    file = structure_set(path, grounding, tmp_path / "rtstruct.dcm")
    command = [tool._lookup("plastimatch"), "convert", "--input", file, "--referenced-ct", path]
    masks = tmp_path / "masks"
    subprocess.run(
        [*command, "--output-prefix", masks, "--prefix-format", "nrrd"], check=True, capture_output=True, timeout=60
    )
    (found,) = masks.glob("*.nrrd")
    image = sitk.ReadImage(str(found))
    inside = sitk.GetArrayFromImage(image).astype(bool)
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    points = points_of(affine, inside.shape).reshape(-1, 3)
    index = (np.c_[points, np.ones(len(points))] @ np.linalg.inv(grounding.scan.lps_from_kji).T)[:, :3]
    assert np.abs(index - index.round()).max() < 1e-2, "the grid is that of the images"
    k, j, i = index.round().astype(int).T
    assert inside.size == grounding.mask.size
    assert dice(inside.ravel(), grounding.mask[k, j, i]) >= 0.98


@needs_dciodvfy
@pytest.mark.parametrize("kind", ["CT", "oblique", "MR, multi-frame", "CT, multi-frame"])
def test_dciodvfy_finds_no_errors(tmp_path: Path, kind: str) -> None:
    if "multi" in kind:
        path = multiframe(tmp_path, kind[:2])
        grounding = answer(read_scan(path))
    else:
        path, grounding = answered(tmp_path, orientation=ORIENTATIONS["oblique" if kind == "oblique" else "axial"])
    assert errors_of(structure_set(path, grounding, tmp_path / "rtstruct.dcm")) == []


def test_frames_of_a_multiframe_source_are_named(tmp_path: Path) -> None:
    path = multiframe(tmp_path)
    grounding = answer(read_scan(path))
    file = structure_set(path, grounding, tmp_path / "rtstruct.dcm")
    source = pydicom.dcmread(path)
    for contour in contours_of(file):
        (image,) = contour.ContourImageSequence
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        frame = source.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        assert contour.ContourData[2] == pytest.approx(frame.PlanePositionSequence[0].ImagePositionPatient[2], abs=1e-3)


def test_says_what_where_and_that_it_is_not_for_clinical_use(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    made = pydicom.dcmread(structure_set(path, grounding, tmp_path / "rtstruct.dcm"))
    (region,), (observation,) = made.StructureSetROISequence, made.RTROIObservationsSequence
    assert region.ROIName == "ground-glass opacity in the left lung"
    assert "The answer in words." in region.ROIDescription
    for text in (region.ROIDescription, observation.ROIObservationDescription, made.StructureSetDescription):
        assert "not for clinical use" in text and "not a medical device" in text
    assert float(region.ROIVolume) == pytest.approx(sum(one.volume_ml for one in grounding.instances))
    assert observation.RTROIIdentificationCodeSequence[0].CodeValue == "112120"
    assert observation.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    (lung,) = observation.AnatomicRegionSequence
    assert (lung.CodeValue, lung.AnatomicRegionModifierSequence[0].CodeMeaning) == ("39607008", "Left")
    assert observation.RTROIInterpretedType == "", "no target volume, and no organ at risk"
    assert (made.ApprovalStatus, made.Modality) == ("UNAPPROVED", "RTSTRUCT")
    assert made.FrameOfReferenceUID == region.ReferencedFrameOfReferenceUID
    assert len(made.ROIContourSequence[0].ROIDisplayColor) == 3
    (study,) = made.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    named = {str(item.ReferencedSOPInstanceUID) for item in series.ContourImageSequence}
    assert series.SeriesInstanceUID == grounding.scan.provenance.series_uid
    assert named == set(grounding.scan.provenance.instance_uids)


def test_what_is_unsure_is_named_so_and_what_is_absent_has_no_structure_set(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    unsure = replace(grounding, presence=Decision("unsure", 0.4, 0.5))
    made = pydicom.dcmread(structure_set(path, unsure, tmp_path / "rtstruct.dcm"))
    assert made.StructureSetROISequence[0].ROIName.endswith(" (unsure)")
    assert made.RTROIObservationsSequence[0].ROIObservationDescription.startswith("unsure")
    nothing = answer(grounding.scan, found=0)
    assert make_results(nothing, read_source(path, nothing.scan), structure_set=True).structure_set is None


def test_a_structure_is_an_organ_with_its_own_side(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    lung = answer(grounding.scan, "left lung", found=1)
    (observation,) = pydicom.dcmread(structure_set(path, lung, tmp_path / "lung.dcm")).RTROIObservationsSequence
    (kind,) = observation.RTROIIdentificationCodeSequence
    assert (kind.CodeMeaning, kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) == ("Lung", "Left")
    assert observation.RTROIInterpretedType == "ORGAN" and "AnatomicRegionSequence" not in observation


def test_a_contour_of_thousands_of_points_is_read_back_whole(tmp_path: Path) -> None:
    """Longer than the 64 KiB that an element of decimal strings may have in explicit VR."""
    slices = make_series(rows=140, columns=140, spacing_mm=(0.2, 0.2), slices=3)
    path = write_series(tmp_path / "series", slices)
    grounding = answer(read_scan(path), found=1)
    labels = np.zeros(grounding.scan.shape, np.uint8)
    labels[1, 2:-2, 2:-2] = 1
    labels[1, 4:-4:4, 4:-4] = 0  # slots
    grounding = replace(grounding, labels=labels)
    checkered = labels.copy()
    checkered[1, 2:-2:2, 5:-5:3] = 0
    for one in (grounding, replace(grounding, labels=checkered)):
        file = structure_set(path, one, tmp_path / "rtstruct.dcm")
        np.testing.assert_array_equal(drawn_on_images(file, path, one), one.mask)
    assert max(len("\\".join(map(str, one.ContourData))) for one in contours_of(file)) > 1 << 16
    assert pydicom.dcmread(file)["ROIContourSequence"][0]["ContourSequence"][0]["ContourData"].VR == "DS"


def test_it_is_written_when_asked_for(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    for asked in (False, True):
        out = tmp_path / str(asked)
        out.mkdir()
        files = DicomExporter(path, structure_set=asked).export(grounding, out)
        assert ("rtstruct.dcm" in {file.name for file in files}) == asked
