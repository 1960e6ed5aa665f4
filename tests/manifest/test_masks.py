from __future__ import annotations

import numpy as np
import pytest

from tests.manifest.files import AFFINE, SHAPE, a_mask, a_scan, write_nifti, write_rtstruct, write_seg, write_series
from tips_med.manifest import ManifestError, read_instances, read_mask, stores_instances
from tips_med.readers import read_scan

SIN, COS = np.sin(0.1), np.cos(0.1)
TURN = np.array([[1, 0, 0, 0], [0, COS, 0.75 * SIN, 0], [0, -SIN / 0.75, COS, 0], [0, 0, 0, 1]])
"""About the long axis, by 0.1 radians, in voxels of 1 x 0.75 mm."""


@pytest.fixture
def scan(tmp_path):
    return read_scan(write_nifti(tmp_path / "ct.nii.gz", a_scan()))


@pytest.fixture
def series(tmp_path):
    slices = write_series(tmp_path / "dicom")
    return slices, read_scan(tmp_path / "dicom")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flipped", [0, 1, 2])
def test_a_turned_or_flipped_mask_is_put_right_by_its_affine(tmp_path, scan, order, flipped):
    turned = np.flip(a_mask().transpose(order), flipped)
    affine = AFFINE[:, [*order, 3]].copy()
    affine[:3, 3] += affine[:3, flipped] * (turned.shape[flipped] - 1)
    affine[:3, flipped] *= -1
    path = write_nifti(tmp_path / "mask.nii.gz", turned.astype(np.uint8), affine)
    np.testing.assert_array_equal(read_mask(path, scan), a_mask())


def test_a_mask_of_a_part_of_the_scan_is_put_in_its_place(tmp_path, scan):
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ [1, 2, 0, 1])[:3]
    path = write_nifti(tmp_path / "mask.nii.gz", a_mask()[1:3, 2:].astype(np.uint8), affine)
    np.testing.assert_array_equal(read_mask(path, scan), a_mask())


@pytest.mark.parametrize("off", ["half a voxel", "other spacing", "outside"])
def test_a_mask_on_another_grid_is_refused(tmp_path, scan, off):
    affine = AFFINE.copy()
    if off == "half a voxel":
        affine[0, 3] += 0.375
    elif off == "other spacing":
        affine[0, 2] *= 1.1
    else:
        affine[2, 3] += 3 * 2.5
    path = write_nifti(tmp_path / "mask.nii.gz", a_mask().astype(np.uint8), affine)
    with pytest.raises(ManifestError) as caught:
        read_mask(path, scan)
    assert caught.value.code == "other-grid"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (np.diag([2.0, 2, 2, 1]), r"2 x 5 x 6 voxels of 5 x 2 x 1.5 mm; expected the scan's 4 x 10 x 12 voxels of 2.5"),
        (np.diag([1.0, 0.5, 0.5, 1]), r"voxels of 2.5 x 0.5 x 0.375 mm"),
        (np.array([[1, 0, 0, 0], [0, 1, 0, 0.4], [0, 0, 1, 0], [0, 0, 0, 1]]), "0.4 voxels away"),
        (TURN, "turned by 5.7 degrees"),
    ],
)  # fmt: skip
def test_the_difference_of_grids_is_told(tmp_path, scan, change, told):
    shape = [round(n / c) for n, c in zip(SHAPE, np.abs(np.diag(change)))] if told.startswith("2 x 5") else SHAPE
    mask = np.zeros(shape, np.uint8)
    mask[1, 2:4, 3:5] = 1
    path = write_nifti(tmp_path / "mask.nii.gz", mask, AFFINE @ change)
    with pytest.raises(ManifestError, match=told) as caught:
        read_mask(path, scan)
    assert caught.value.code == "other-grid"
    assert "0 voxels away" not in str(caught.value)


def test_a_stack_without_a_part_names_the_parts(tmp_path, scan):
    import nibabel as nib

    for name, axis in (("first", 0), ("last", 3)):
        stack = np.stack([a_mask().T] * 3, axis=axis).astype(np.uint8)
        nib.save(nib.Nifti1Image(stack, np.eye(4)), tmp_path / f"{name}.nii.gz")
        for part in (None, "1"):
            with pytest.raises(ManifestError, match=f"part to name one finding: {name}:0 to {name}:2$") as caught:
                read_mask(tmp_path / f"{name}.nii.gz", scan, part)
            assert caught.value.code == "several-parts"


@pytest.mark.parametrize("factor", [1, 255, 1000])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_a_mask_of_one_value_is_a_mask_whatever_the_value(tmp_path, scan, factor, kind):
    path = write_nifti(tmp_path / "mask.nii.gz", (a_mask() * factor).astype(kind))
    np.testing.assert_array_equal(read_mask(path, scan), a_mask())
    np.testing.assert_array_equal(read_instances(path, scan), a_mask() * factor)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_instance_labels_stay_through_turns_and_stacks(tmp_path, scan, order):
    import nibabel as nib

    labels = a_mask().astype(np.uint8)
    labels[2] *= 7
    affine = AFFINE[:, [*order, 3]]
    path = write_nifti(tmp_path / "labels.nii.gz", labels.transpose(order), affine)
    np.testing.assert_array_equal(read_instances(path, scan), labels)
    np.testing.assert_array_equal(read_instances(path, scan, "7"), labels == 7)  # a class, not an instance
    assert stores_instances(path) and not stores_instances(path, "1,7")
    nib.save(nib.Nifti1Image(np.stack([labels.T * 0, labels.T]), np.eye(4)), tmp_path / "4d.nii.gz")
    np.testing.assert_array_equal(read_instances(tmp_path / "4d.nii.gz", scan, "first:1"), labels)
    assert stores_instances(tmp_path / "4d.nii.gz", "first:1")
    assert not stores_instances("seg.dcm")


def test_a_label_map_gives_one_or_several_of_its_values(tmp_path, scan):
    labels = a_mask().astype(np.uint8)
    labels[0, 0, 0], labels[3, 3, 3] = 2, 3
    path = write_nifti(tmp_path / "labels.nii.gz", labels)
    np.testing.assert_array_equal(read_mask(path, scan, "1"), a_mask())
    assert read_mask(path, scan, "2,3").sum() == 2
    assert read_mask(path, scan).sum() == a_mask().sum() + 2
    with pytest.raises(ManifestError, match="no part 'tumour'"):
        read_mask(path, scan, "tumour")


@pytest.mark.parametrize("axis", ["first", "last"])
def test_findings_stacked_in_one_file_are_told_apart(tmp_path, scan, axis):
    import nibabel as nib

    both = np.stack([a_mask().T & False, a_mask().T], axis=0 if axis == "first" else 3).astype(np.uint8)
    nib.save(nib.Nifti1Image(both, np.eye(4)), tmp_path / "4d.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "4d.nii.gz", scan, f"{axis}:1"), a_mask())
    assert not read_mask(tmp_path / "4d.nii.gz", scan, f"{axis}:0").any()
    with pytest.raises(ManifestError, match="no part"):
        read_mask(tmp_path / "4d.nii.gz", scan, f"{axis}:2")


def test_a_seg_is_placed_by_its_own_geometry(tmp_path, series):
    slices, scan = series
    other = np.zeros(SHAPE, bool)
    other[3, 9, 11] = True
    path = write_seg(tmp_path / "seg.dcm", slices, {"mass": a_mask(), "other": other})
    np.testing.assert_array_equal(read_mask(path, scan, "mass"), a_mask())
    np.testing.assert_array_equal(read_mask(path, scan, "2"), other)
    with pytest.raises(ManifestError) as caught:
        read_mask(path, scan)
    assert caught.value.code == "several-parts"
    with pytest.raises(ManifestError, match="no segment 'lung'"):
        read_mask(path, scan, "lung")


def square(k, low, high):
    """A contour around the voxel centres low..high (both j and i), in LPS mm."""
    corners = [(k, a, b) for a, b in ((low, low), (low, high), (high, high), (high, low))]
    return np.array([(AFFINE @ [*corner, 1])[:3] for corner in corners])


def test_contours_are_filled_and_inner_ones_are_holes(tmp_path, series):
    _, scan = series
    path = write_rtstruct(tmp_path / "rt.dcm", [square(1, 1.5, 7.5), square(1, 3.5, 5.5), square(2, 1.5, 3.5)])
    expected = np.zeros(SHAPE, bool)
    expected[1, 2:8, 2:8] = True
    expected[1, 4:6, 4:6] = False
    expected[2, 2:4, 2:4] = True
    np.testing.assert_array_equal(read_mask(path, scan, "GTV"), expected)


def test_contours_of_another_patient_or_place_are_refused(tmp_path, series):
    _, scan = series
    path = write_rtstruct(tmp_path / "rt.dcm", [square(1, 1.5, 7.5)], frame="1.2.3")
    with pytest.raises(ManifestError) as caught:
        read_mask(path, scan)
    assert caught.value.code == "other-frame"
    path = write_rtstruct(tmp_path / "rt.dcm", [square(9, 1.5, 7.5)])
    with pytest.raises(ManifestError) as caught:
        read_mask(path, scan)
    assert caught.value.code == "outside"


def test_what_is_no_mask_is_named(tmp_path, scan):
    (tmp_path / "text.dcm").write_text("not DICOM at all")
    with pytest.raises(ManifestError) as caught:
        read_mask(tmp_path / "text.dcm", scan)
    assert caught.value.code == "mask-unreadable"
    write_series(tmp_path / "dicom")
    with pytest.raises(ManifestError, match="modality CT"):
        read_mask(tmp_path / "dicom" / "0.dcm", scan)
