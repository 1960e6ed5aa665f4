"""Volumes land at the same patient point, with the same value, in two independent readers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.exporters.patient import DIRECTIONS, NODULE_LPS, make_grounding, make_scan
from tips_med.errors import OutputError
from tips_med.exporters.nifti import NiftiExporter, write_heat, write_mask
from tips_med.geometry import transform_points
from tips_med.scan import Scan

TOLERANCE_MM = 0.01


def nibabel_samples(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Where nibabel puts every voxel (LPS) and its value, in the order of the file."""
    image = nib.Nifti1Image.from_filename(path)
    values = np.asanyarray(image.dataobj)
    index = np.indices(values.shape).reshape(3, -1).T
    return transform_points(np.asarray(image.affine), index) * [-1, -1, 1], values.ravel()


def simpleitk_samples(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Likewise for SimpleITK."""
    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    index = np.indices(values.shape).reshape(3, -1).T
    return index @ direction.T + image.GetOrigin(), values.ravel()


@pytest.mark.parametrize("samples", [nibabel_samples, simpleitk_samples])
def test_every_voxel_keeps_its_place_and_value(any_scan: Scan, tmp_path: Path, samples) -> None:
    grounding = make_grounding(any_scan)
    oblique_heat = any_scan.lps_from_kji @ np.diag([1.5, 1.25, 2.0, 1.0])
    shape = grounding.heat.shape
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    values[1, 2, 3] = np.nan
    grounding = replace(grounding, heat=values, lps_from_heat=oblique_heat)
    for path, array, affine in [
        (write_heat(grounding, tmp_path / "heat.nii.gz"), values, oblique_heat),
        (write_mask(grounding, tmp_path / "mask.nii.gz"), grounding.mask, any_scan.lps_from_kji),
    ]:
        points, read = samples(path)
        expected = transform_points(affine, np.indices(array.shape).reshape(3, -1).T)
        order = np.arange(array.size).reshape(array.shape).transpose(2, 1, 0).ravel()
        assert np.abs(points - expected[order]).max() < TOLERANCE_MM
        # ITK's reader turns NaN into 0 (nifti1_io.c, nifti_read_buffer), whoever wrote the file.
        written = array if samples is nibabel_samples else np.nan_to_num(array)
        np.testing.assert_array_equal(read, written.ravel()[order])


def test_mask_lies_on_the_finding(any_scan: Scan, tmp_path: Path) -> None:
    points, values = simpleitk_samples(write_mask(make_grounding(any_scan), tmp_path / "mask.nii.gz"))
    assert np.linalg.norm(points[values > 0].mean(axis=0) - NODULE_LPS) < 1.0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_both_placements_say_the_same(direction: str, tmp_path: Path) -> None:
    image = nib.Nifti1Image.from_filename(write_mask(make_grounding(make_scan(direction)), tmp_path / "mask.nii.gz"))
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 1
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=TOLERANCE_MM)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.uint8


def test_sheared_grid_has_no_quaternion(tmp_path: Path) -> None:
    shear = np.eye(4)
    shear[1, 0] = 0.2
    scan = make_scan()
    scan = replace(scan, lps_from_kji=scan.lps_from_kji @ shear)
    image = nib.Nifti1Image.from_filename(write_mask(make_grounding(scan), tmp_path / "mask.nii.gz"))
    assert int(image.header["qform_code"]) == 0
    assert int(image.header["sform_code"]) == 1


def test_not_seen_stays_nan(tmp_path: Path) -> None:
    image = nib.Nifti1Image.from_filename(write_heat(make_grounding(), tmp_path / "heat.nii.gz"))
    values = np.asanyarray(image.dataobj)
    assert values.dtype == np.float32
    assert np.isnan(values[0, 0, 0])
    assert np.isnan(values).sum() == 1


def test_labels_only_for_several_instances(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    names = [p.name for p in NiftiExporter().export(make_grounding(), one)]
    assert names == ["heat.nii.gz", "mask.nii.gz"]
    names = [p.name for p in NiftiExporter().export(make_grounding(second=True), two)]
    assert names == ["heat.nii.gz", "mask.nii.gz", "labels.nii.gz"]
    assert set(np.unique(np.asanyarray(nib.Nifti1Image.from_filename(two / "labels.nii.gz").dataobj))) == {0, 1, 2}
    assert set(np.unique(np.asanyarray(nib.Nifti1Image.from_filename(two / "mask.nii.gz").dataobj))) == {0, 1}


def test_same_answer_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.nii.gz", tmp_path / "second.nii.gz"
    write_heat(make_grounding(), first)
    write_heat(make_grounding(), second)
    assert first.read_bytes() == second.read_bytes()


def test_a_place_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_mask(make_grounding(), tmp_path / "missing" / "mask.nii.gz")
