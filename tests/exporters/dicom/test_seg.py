"""Whatever reads a segmentation finds it where the answer is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.color import CIELabColor

from tests.exporters.dicom.answers import ORIENTATIONS, answer, answered, in_ball, multiframe, points_of
from tests.readers.awkward.writing import make_series, write_series
from tips_med.exporters.dicom import make_results, read_source
from tips_med.exporters.dicom.exporter import write_object
from tips_med.exporters.label_colours import colour_of
from tips_med.grounding import Grounding
from tips_med.readers import read_scan


def segmentation(path: Path, grounding: Grounding, out: Path, **options: bool) -> Path:
    made = make_results(grounding, read_source(path, grounding.scan), key_image=False, **options)
    assert made.segmentation is not None
    return write_object(made.segmentation, out)


def assert_in_place(found: np.ndarray, points: np.ndarray, ball: int) -> None:
    """Every voxel of a segment lies in the ball, and as many as the ball holds."""
    assert found.any()
    np.testing.assert_array_equal(found, in_ball(points, ball))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("omit_empty_frames", [True, False])
def test_highdicom_finds_it_in_place(tmp_path: Path, orientation: str, omit_empty_frames: bool) -> None:
    path, grounding = answered(tmp_path, orientation=ORIENTATIONS[orientation])
    file = segmentation(path, grounding, tmp_path / "seg.dcm", omit_empty_frames=omit_empty_frames)
    volume = hd.seg.segread(file).get_volume()
    points = points_of(volume.affine, volume.array.shape[:3])
    for ball in range(2):
        assert_in_place(volume.array[..., ball] > 0, points, ball)
    if not omit_empty_frames:
        assert sorted(volume.array.shape[:3]) == sorted(grounding.scan.shape)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_simpleitk_finds_it_in_place(tmp_path: Path, orientation: str) -> None:
    path, grounding = answered(tmp_path, found=1, orientation=ORIENTATIONS[orientation])
    image = sitk.ReadImage(str(segmentation(path, grounding, tmp_path / "seg.dcm")))
    array = sitk.GetArrayFromImage(image)
    lps_from_kji = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps_from_kji[:3, :3], lps_from_kji[:3, 3] = direction[:, ::-1], image.GetOrigin()
    assert_in_place(array > 0, points_of(lps_from_kji, array.shape), 0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_read_one_by_one_lie_in_place(tmp_path: Path, orientation: str) -> None:
    """As readers do that trust only each frame's own position and segment number."""
    path, grounding = answered(tmp_path, orientation=ORIENTATIONS[orientation])
    seg = pydicom.dcmread(segmentation(path, grounding, tmp_path / "seg.dcm"))
    shared = seg.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    row_mm, column_mm = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    count = [0, 0]
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        ball = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1
        affine = np.eye(4)
        affine[:3, 1], affine[:3, 2] = column * row_mm, row * column_mm
        affine[:3, 3] = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        assert_in_place(frame[None] > 0, points_of(affine, (1, *frame.shape)), ball)
        count[ball] += int(frame.sum())
    assert count == [int((grounding.labels == n).sum()) for n in (1, 2)]


def test_frames_refer_to_the_slices_they_lie_on(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    seg = pydicom.dcmread(segmentation(path, grounding, tmp_path / "seg.dcm"))
    position_of = {
        str(image.SOPInstanceUID): image.ImagePositionPatient
        for image in (pydicom.dcmread(file) for file in path.iterdir())
    }
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(
            np.array(position_of[source], float),
            np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float),
            atol=1e-4,
        )


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_multiframe_source(tmp_path: Path, modality: str) -> None:
    path = multiframe(tmp_path, modality)
    grounding = answer(read_scan(path))
    assert grounding.scan.provenance.frame_numbers
    file = segmentation(path, grounding, tmp_path / "seg" / "seg.dcm") if (tmp_path / "seg").mkdir() is None else None
    assert file is not None
    volume = hd.seg.segread(file).get_volume()
    points = points_of(volume.affine, volume.array.shape[:3])
    for ball in range(2):
        assert_in_place(volume.array[..., ball] > 0, points, ball)
    source = pydicom.dcmread(path)
    for groups in pydicom.dcmread(file).PerFrameFunctionalGroupsSequence:
        item = groups.DerivationImageSequence[0].SourceImageSequence[0]
        frame = source.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1]
        np.testing.assert_allclose(
            np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float),
            np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float),
            atol=1e-4,
        )


def test_filled_gap_and_straightened_tilt(tmp_path: Path) -> None:
    slices = make_series()
    path = write_series(tmp_path / "gap", [item for n, item in enumerate(slices) if n != 5])
    grounding = answer(read_scan(path, fill_gaps=True))
    volume = hd.seg.segread(segmentation(path, grounding, tmp_path / "gap.dcm")).get_volume()
    assert_in_place(volume.array[..., 0] > 0, points_of(volume.affine, volume.array.shape[:3]), 0)

    tilted = make_series(orientation=(1, 0, 0, 0, np.cos(0.3), -np.sin(0.3)), step=(0, 0, 2.5))
    path = write_series(tmp_path / "tilt", tilted)
    grounding = answer(read_scan(path, untilt=True))
    volume = hd.seg.segread(segmentation(path, grounding, tmp_path / "tilt.dcm")).get_volume()
    assert_in_place(volume.array[..., 0] > 0, points_of(volume.affine, volume.array.shape[:3]), 0)


def test_says_what_who_and_which_side(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    made = make_results(grounding, read_source(path, grounding.scan), weights_sha256="ab" * 32)
    seg = made.segmentation
    assert seg is not None
    assert seg.SegmentationType == "BINARY"
    assert seg.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in seg.SegmentSequence] == ["112120"] * 2
    sides = [
        item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning for item in seg.SegmentSequence
    ]
    assert sides == ["Left", "Right"]
    assert "ab" * 32 in seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert "research use only" in seg.ContentDescription
    assert len({item.TrackingUID for item in seg.SegmentSequence}) == 2
    shown = [CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb() for item in seg.SegmentSequence]
    np.testing.assert_allclose(shown, [colour_of(1), colour_of(2)], atol=1)
    assert seg.StudyInstanceUID == grounding.scan.provenance.study_uid
    assert seg.FrameOfReferenceUID == grounding.scan.provenance.frame_of_reference_uid


def test_a_term_without_a_standard_code_gets_a_private_one(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    named = answer(grounding.scan, "emphysema in the left lung")
    made = make_results(named, read_source(path, grounding.scan), key_image=False).segmentation
    assert made is not None
    kind = made.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("emphysema", "99TIPSMED")
    assert made.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99TIPSMED"


def test_a_structure_is_an_anatomical_structure_with_its_own_side(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    made = make_results(answer(grounding.scan, "left lung", found=1), read_source(path, grounding.scan)).segmentation
    assert made is not None
    segment = made.SegmentSequence[0]
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert kind.CodeMeaning == "Lung"
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"


def test_labels_need_not_be_in_the_order_of_the_instances(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    turned = replace(grounding, instances=grounding.instances[::-1])
    volume = hd.seg.segread(segmentation(path, turned, tmp_path / "seg.dcm")).get_volume()
    points = points_of(volume.affine, volume.array.shape[:3])
    for ball in range(2):
        assert_in_place(volume.array[..., ball] > 0, points, ball)
