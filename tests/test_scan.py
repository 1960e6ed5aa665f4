from __future__ import annotations

import numpy as np
import pytest

from tips_med.scan import Provenance, Scan

VOXELS = np.zeros((2, 3, 4), np.float32)


def test_a_finished_scan_tells_its_shape_spacing_and_orientation(any_scan):
    assert any_scan.shape == any_scan.voxels.shape
    assert any_scan.spacing_mm == pytest.approx(np.linalg.norm(any_scan.lps_from_kji[:3, :3], axis=0))
    assert len(any_scan.orientation) == 3


@pytest.mark.parametrize(
    "affine",
    [np.diag([1.0, 1, 0, 1]), np.full((4, 4), np.nan)],
    ids=["flat", "not finite"],
)
def test_a_scan_without_a_place_cannot_be_made(affine):
    with pytest.raises(ValueError, match="lps_from_kji"):
        Scan(VOXELS, affine, "CT", "HU")


def test_there_is_one_instance_for_every_slice():
    with pytest.raises(ValueError, match="1 instance UIDs for 2 slices"):
        Scan(VOXELS, np.eye(4), "CT", "HU", Provenance("dicom", instance_uids=("1.2",)))


def test_notes_are_added_to_and_never_lost():
    noted = Provenance("nifti", notes=("first",)).noting("second")
    assert noted.notes == ("first", "second")
