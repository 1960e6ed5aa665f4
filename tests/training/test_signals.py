"""Cited images in the patient, on grids of every orientation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.manifest.files import write_nifti, write_series
from tips_med.geometry import transform_points
from tips_med.readers import read_scan
from tips_med.scan import Provenance, Scan
from tips_med.training.signals import MIDLINE_MARGIN_MM, cells_in, cells_of_side, place_cited

SHAPE = (7, 5, 6)


def turned(degrees: float, mirrored: bool = False) -> np.ndarray:
    """An oblique, anisotropic grid, of slices that run to the feet when mirrored."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.8, 1.1, 4.0])[:, ::-1]
    if mirrored:
        affine[:3, 0] *= -1
    affine[:3, 3] = (12.0, -30.0, 55.0)
    return affine


def scan_of(affine: np.ndarray, numbers: tuple[int, ...], series: int | None = 3) -> Scan:
    source = Provenance("dicom", series_number=series, instance_numbers=numbers)
    return Scan(np.zeros(SHAPE, np.float32), affine, "CT", "HU", source)


@pytest.mark.parametrize("degrees", [0.0, 25.0, 90.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_cells_of_a_cited_image_are_those_of_its_slice(degrees, mirrored):
    affine = turned(degrees, mirrored)
    scan = scan_of(affine, tuple(range(7, 0, -1)))  # counted from the other end
    slices, why_not = place_cited(scan, 3, (5,))
    assert not why_not
    inside = cells_in(slices, affine, SHAPE, 0.0)
    assert inside[2].all()  # 7, 6, 5
    assert inside.sum() == inside[2].size
    # The same on another grid: a cell is in it when its nearest slice is that one.
    grid = np.eye(4)
    grid[:3, :3] = np.diag([2.0, 2.0, 1.5])[:, ::-1]
    grid[:3, 3] = affine[:3, 3] - 8.1
    shape = (14, 9, 10)
    points = transform_points(grid, np.indices(shape).reshape(3, -1).T)
    nearest = transform_points(np.linalg.inv(affine), points)[:, 0]
    np.testing.assert_array_equal(cells_in(slices, grid, shape, 0.0), (np.abs(nearest - 2) <= 0.5).reshape(shape))
    np.testing.assert_array_equal(cells_in(slices, grid, shape, 4.0), (np.abs(nearest - 2) <= 1.5).reshape(shape))


def test_a_mirrored_slice_lies_where_its_mirror_image_does():
    affine = turned(25.0)
    (one,), _ = place_cited(scan_of(affine, tuple(range(1, 8))), None, (4,))
    middle = 17.0
    points = transform_points(affine, np.array([[3, 1, 4], [3, 0, 0], [2, 2, 2]]))
    points[:, 0] = 2 * middle - points[:, 0]
    along = points @ np.array(one.mirrored(middle)[:3])
    inside = (along >= one.mirrored(middle).low_mm) & (along <= one.mirrored(middle).high_mm)
    assert inside.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("series", "images", "code"),
    [(None, (4,), ""), (3, (4,), ""), (5, (4,), "other-series"), (3, (4, 99), "no-such-image"), (3, (), "")],
)
def test_what_is_not_of_this_series_is_not_placed(series, images, code):
    slices, why_not = place_cited(scan_of(turned(0.0), tuple(range(1, 8))), series, images)
    assert why_not == code
    assert len(slices) == (0 if code == "other-series" else len(set(images) & set(range(1, 8))))


def test_images_of_a_dicom_series_are_known_by_instance_number_and_those_of_a_nifti_are_not(tmp_path):
    write_series(tmp_path / "series")
    scan = read_scan(tmp_path / "series")
    assert scan.provenance.series_number == 1
    (one,), why_not = place_cited(scan, 1, (3,))
    assert not why_not
    assert abs(one.z) == pytest.approx(1)
    assert sorted(abs(edge) for edge in (one.low_mm, one.high_mm)) == pytest.approx([93.75, 96.25])
    path = write_nifti(tmp_path / "ct.nii.gz", np.zeros(SHAPE, np.int16))
    assert place_cited(read_scan(path), None, (3,)) == ((), "no-instance-numbers")


def test_frames_of_a_multi_frame_file_are_known_by_their_number():
    source = Provenance("dicom", frame_numbers=tuple(range(1, 8)), instance_numbers=(1,) * 7)
    scan = Scan(np.zeros(SHAPE, np.float32), turned(0.0), "CT", "HU", source)
    (one,), _ = place_cited(scan, None, (2,))
    assert cells_in([one], turned(0.0), SHAPE, 0.0)[1].all()


def test_a_side_is_its_half_of_the_body_and_a_margin():
    x_mm = np.array([-40.0, -MIDLINE_MARGIN_MM + 1, 0.0, MIDLINE_MARGIN_MM - 1, 40.0])
    assert cells_of_side("left", x_mm).tolist() == [False, True, True, True, True]
    assert cells_of_side("right", x_mm).tolist() == [True, True, True, True, False]
    assert cells_of_side("both", x_mm).all()
    assert cells_of_side(None, x_mm).all()
