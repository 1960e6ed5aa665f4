"""The heat map is written when it is asked for, lies where it belongs, and is a valid object."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name

from tests.exporters.dicom.answers import BALLS_MM, ORIENTATIONS, answer, answered, multiframe, points_of
from tests.exporters.dicom.test_results import errors_of, needs_dciodvfy
from tips_med.exporters.dicom import DicomExporter, make_results, read_source
from tips_med.exporters.dicom.exporter import write_object
from tips_med.exporters.dicom.heat import NOT_SEEN
from tips_med.geometry import index_from_block
from tips_med.grounding import Grounding
from tips_med.readers import read_scan


def with_heat(grounding: Grounding) -> Grounding:
    """Heat around the first ball, on a coarser grid, with a corner that was not seen."""
    affine = grounding.scan.lps_from_kji @ index_from_block((2, 3, 2))
    shape = tuple(int(np.ceil(n / by)) for n, by in zip(grounding.scan.shape, (2, 3, 2), strict=True))
    points = points_of(affine, shape)
    heat = np.exp(-((np.linalg.norm(points - BALLS_MM[0][0], axis=-1) / 10) ** 2)).astype(np.float32)
    heat[0, 0, 0] = np.nan
    return replace(grounding, heat=heat, lps_from_heat=affine)


def expected(points: np.ndarray) -> np.ndarray:
    return np.exp(-((np.linalg.norm(points - BALLS_MM[0][0], axis=-1) / 10) ** 2))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["parametric", "fractional"])
def test_heat_read_back_lies_in_place(tmp_path: Path, orientation: str, kind: str) -> None:
    path, grounding = answered(tmp_path, orientation=ORIENTATIONS[orientation])
    grounding = with_heat(grounding)
    made = make_results(grounding, read_source(path, grounding.scan), heat=kind).heat  # type: ignore[arg-type]
    assert made is not None
    file = write_object(made, tmp_path / "heat.dcm")
    if kind == "parametric":
        volume = hd.imread(file).get_volume(apply_real_world_transform=False)
        array, unseen = volume.array, NOT_SEEN
        assert pydicom.dcmread(file).FloatPixelPaddingValue == NOT_SEEN
    else:
        volume = hd.seg.segread(file).get_volume(rescale_fractional=True)
        array, unseen = volume.array[..., 0], 0.0
    assert sorted(array.shape) == sorted(grounding.heat.shape)
    there = expected(points_of(volume.affine, array.shape))
    different = np.abs(array - there) > (1e-5 if kind == "parametric" else 1 / 255)
    assert np.count_nonzero(different) <= 1, "all but the corner that was not seen"
    assert array.ravel()[np.argmin(np.abs(array - unseen))] == unseen


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcmqi_reads_the_parametric_map_in_place(tmp_path: Path, orientation: str) -> None:
    """The reader of 3D Slicer; it knows one order of frames, and needs to be told the anatomy."""
    tool = pytest.importorskip("dcmqi", reason="dcmqi is not installed")
    path, grounding = answered(tmp_path, orientation=ORIENTATIONS[orientation])
    grounding = with_heat(grounding)
    made = make_results(grounding, read_source(path, grounding.scan), heat="parametric").heat
    assert made is not None
    file = write_object(made, tmp_path / "heat.dcm")
    (tmp_path / "read").mkdir()
    command = [tool._lookup("paramap2itkimage"), "--inputDICOM", file, "--outputDirectory", tmp_path / "read"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    image = sitk.ReadImage(str(tmp_path / "read" / "pmap.nrrd"))
    array = sitk.GetArrayFromImage(image)
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    different = np.abs(array - expected(points_of(affine, array.shape))) > 1e-5
    assert np.count_nonzero(different) == 1 and array[different] == NOT_SEEN, "all but the corner that was not seen"
    said = json.loads((tmp_path / "read" / "meta.json").read_text())
    assert said["AnatomicRegionSequence"]["CodeValue"] == "39607008" and said["FrameLaterality"] == "L"
    assert said["MeasurementUnitsCode"]["CodeValue"] == "1"


@needs_dciodvfy
@pytest.mark.parametrize("kind", ["parametric", "fractional"])
@pytest.mark.parametrize("found", [0, 2])
@pytest.mark.parametrize("source", ["CT", "multi-frame CT", "multi-frame MR"])
def test_heat_is_valid_and_only_written_when_asked_for(tmp_path: Path, kind: str, found: int, source: str) -> None:
    if source == "CT":
        path, grounding = answered(tmp_path, found=found)
    else:
        path = multiframe(tmp_path, source[-2:])
        grounding = answer(read_scan(path), found=found)
    grounding = with_heat(grounding)
    for asked in (None, kind):
        out = tmp_path / str(asked)
        out.mkdir()
        files = DicomExporter(path, heat=asked).export(grounding, out)  # type: ignore[arg-type]
        assert ("heat.dcm" in {file.name for file in files}) == (asked is not None)
    assert errors_of(out / "heat.dcm") == []
    made = pydicom.dcmread(out / "heat.dcm")
    assert "research use only" in made.ContentDescription
    assert made.SeriesInstanceUID not in {pydicom.dcmread(file).SeriesInstanceUID for file in files[:-1]}
    assert made.FrameOfReferenceUID == grounding.scan.provenance.frame_of_reference_uid
