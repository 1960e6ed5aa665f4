"""Captures show every slice in its place, the contour where the answer is, and words that say what it is."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from PIL import Image
from scipy import ndimage

from tests.exporters.dicom.answers import ORIENTATIONS, answer, answered, multiframe, points_of
from tests.exporters.dicom.test_results import errors_of, needs_dciodvfy
from tests.readers.awkward.writing import MR, make_series, write_series
from tips_med.exporters.dicom import DicomExporter
from tips_med.exporters.dicom.picture import CONTOUR_RGB, SlicePainter
from tips_med.exporters.display_windows import window_for
from tips_med.geometry import transform_points
from tips_med.grounding import Grounding
from tips_med.readers import read_scan

PLANS = {name: {"orientation": orientation} for name, orientation in ORIENTATIONS.items()} | {
    "anisotropic": {"spacing_mm": (0.8, 2.4), "rows": 36, "columns": 12},
    "wide": {"rows": 30, "columns": 520, "spacing_mm": (0.5, 0.5)},
}


def captures(path: Path, grounding: Grounding, folder: Path) -> list[Path]:
    folder.mkdir()
    files = DicomExporter(path, captures=True).export(grounding, folder)
    found = [file for file in files if file.parent.name == "captures"]
    assert found == sorted(found)
    return found


def is_contour(rgb: np.ndarray) -> np.ndarray:
    return (rgb == CONTOUR_RGB).all(axis=-1)


@pytest.mark.parametrize("plan", PLANS)
def test_simpleitk_finds_the_contour_about_the_mask_in_the_patient(tmp_path: Path, plan: str) -> None:
    path, grounding = answered(tmp_path, **PLANS[plan])
    scan = grounding.scan
    files = captures(path, grounding, tmp_path / "out")
    image = sitk.ReadImage([str(file) for file in files])
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    marked = np.argwhere(is_contour(sitk.GetArrayFromImage(image)))
    index = transform_points(np.linalg.inv(scan.lps_from_kji) @ affine, marked)
    np.testing.assert_allclose(index[:, 0], index[:, 0].round(), atol=1e-2)
    # Between the two levels a pixel of the scan is half in: the contour runs within a pixel of where the mask ends.
    near = ndimage.grey_dilation(grounding.mask, (1, 3, 3)) & ~ndimage.binary_erosion(
        grounding.mask, np.ones((1, 3, 3)), border_value=True
    )
    k, j, i = np.clip(index.round().astype(int), 0, np.array(scan.shape) - 1).T
    assert near[k, j, i].all()
    assert set(k) == set(np.flatnonzero(grounding.mask.any(axis=(1, 2))))


@pytest.mark.parametrize("plan", ["axial", "oblique", "anisotropic"])
def test_grey_values_are_those_of_the_slice_in_the_findings_window(tmp_path: Path, plan: str) -> None:
    path, grounding = answered(tmp_path, **PLANS[plan])
    scan = grounding.scan
    low, high = window_for(grounding.query, scan).limits
    wanted = np.clip((scan.voxels - low) / (high - low), 0, 1) * 255
    painter = SlicePainter(grounding)
    for k, file in enumerate(captures(path, grounding, tmp_path / "out")):
        shown = pydicom.dcmread(file).pixel_array
        centres = transform_points(
            np.linalg.inv(painter.lps_from_picture),
            points_of(scan.lps_from_kji, scan.shape)[k].reshape(-1, 3),
        )
        j, i = centres.round().astype(int)[:, 1:].T
        grey = ~is_contour(shown[j, i])
        assert np.abs(shown[j, i, 0][grey] - wanted[k].ravel()[grey]).max() <= 12, "pixels' centres, half a pixel off"
        assert grey.mean() > 0.9


@pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="dcm2pnm (dcmtk) is not installed")
def test_dcmtk_shows_the_same_colours(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    file = captures(path, grounding, tmp_path / "out")[6]
    subprocess.run(["dcm2pnm", str(file), str(tmp_path / "shown.ppm")], check=True, timeout=60)
    shown = np.asarray(Image.open(tmp_path / "shown.ppm"))
    np.testing.assert_array_equal(shown, pydicom.dcmread(file).pixel_array)
    assert is_contour(shown).sum() > 100


def test_headers_name_place_source_and_what_is_burnt_in(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    source = [pydicom.dcmread(file) for file in path.iterdir()]
    by_uid = {str(one.SOPInstanceUID): one for one in source}
    made = [pydicom.dcmread(file) for file in captures(path, grounding, tmp_path / "out")]
    assert len(made) == len(source)
    assert {str(one.SOPClassUID) for one in made} == {"1.2.840.10008.5.1.4.1.1.7"}
    assert len({one.SeriesInstanceUID for one in made}) == 1
    assert made[0].SeriesInstanceUID != grounding.scan.provenance.series_uid
    for number, one in enumerate(made, 1):
        of = by_uid[str(one.SourceImageSequence[0].ReferencedSOPInstanceUID)]
        assert (one.InstanceNumber, of.InstanceNumber) == (number, number), "scrolls as the source does"
        assert one.StudyInstanceUID == of.StudyInstanceUID and one.PatientID == of.PatientID
        assert one.FrameOfReferenceUID == of.FrameOfReferenceUID
        assert [float(x) for x in one.ImageOrientationPatient] == [float(x) for x in of.ImageOrientationPatient]
        normal = np.cross(*np.reshape(np.array(of.ImageOrientationPatient, float), (2, 3)))
        apart = np.array(one.ImagePositionPatient, float) - np.array(of.ImagePositionPatient, float)
        assert abs(normal @ apart) < 1e-3
        assert one.BurnedInAnnotation == "YES"
        assert "research use only" in one.ImageComments and "ground-glass" in one.SeriesDescription


def test_slices_scroll_as_the_source_counts_them(tmp_path: Path) -> None:
    slices = make_series()
    for item in slices:
        item.set(InstanceNumber=len(slices) + 1 - item.dataset.InstanceNumber)
    path = write_series(tmp_path / "series", slices)
    number = {str(item.dataset.SOPInstanceUID): item.dataset.InstanceNumber for item in slices}
    for file in captures(path, answer(read_scan(path)), tmp_path / "out"):
        made = pydicom.dcmread(file)
        assert made.InstanceNumber == number[str(made.SourceImageSequence[0].ReferencedSOPInstanceUID)]


def test_words_are_wrapped_and_never_cut(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    short = pydicom.dcmread(captures(path, grounding, tmp_path / "short")[0])
    sentence = " ".join(f"word{n}" for n in range(60))
    painter = SlicePainter(grounding)
    lines = painter.wrapped(sentence)
    assert " ".join(lines) == sentence and len(lines) > 4
    long = pydicom.dcmread(captures(path, replace(grounding, sentence=sentence), tmp_path / "long")[0])
    assert long.Rows - short.Rows == 21 * (len(lines) - 1)
    below = long.pixel_array[painter.shape[0] :]
    assert (below.max(axis=(0, 2))[-4:] == 0).all(), "nothing reaches the edge"
    assert (below[-24:] > 200).any(), "the notice is the last line"


def test_a_series_of_its_own_for_each_answer(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    exporter = DicomExporter(path, captures=True)
    series = []
    for n in range(2):
        (tmp_path / str(n)).mkdir()
        exporter.export(grounding, tmp_path / str(n))
        made = pydicom.dcmread(tmp_path / str(n) / "captures" / "0001.dcm")
        series.append((made.SeriesInstanceUID, int(made.SeriesNumber)))
    assert len(set(series)) == 2 and series[1][1] == series[0][1] + 1


def test_nothing_found_has_no_captures_and_a_gap_none_of_its_own(tmp_path: Path) -> None:
    slices = make_series()
    path = write_series(tmp_path / "gap", [item for n, item in enumerate(slices) if n != 5])
    scan = read_scan(path, fill_gaps=True)
    assert len(captures(path, answer(scan), tmp_path / "found")) == len(slices) - 1
    assert captures(path, answer(scan, found=0), tmp_path / "absent") == []


def test_captures_beside_the_images_do_not_change_what_is_read(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    for file in captures(path, grounding, tmp_path / "out"):
        shutil.copy(file, path / f"capture{file.name}")
    np.testing.assert_array_equal(read_scan(path).voxels, grounding.scan.voxels)


@needs_dciodvfy
@pytest.mark.parametrize("kind", ["CT", "MR", "CT, multi-frame"])
def test_dciodvfy_finds_no_errors(tmp_path: Path, kind: str) -> None:
    if "multi" in kind:
        path = multiframe(tmp_path)
        grounding = answer(read_scan(path))
    else:
        path, grounding = answered(tmp_path, **({"modality": "MR", "sop_class": MR} if kind == "MR" else {}))
    files = captures(path, grounding, tmp_path / "out")
    assert len(files) == grounding.scan.shape[0]
    assert errors_of(files[0]) == errors_of(files[6]) == []
