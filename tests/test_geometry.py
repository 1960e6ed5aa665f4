from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from tests.conftest import ORIENTATIONS, axial_affine
from tips_med import geometry
from tips_med.geometry import ras_affine_ijk


@pytest.mark.parametrize(
    ("name", "letters"),
    [("axial", "SPL"), ("oblique", "SPL"), ("mirrored", "SPR"), ("feet first", "IPL"), ("sagittal", "LSP")],
)
def test_axis_letters_name_where_each_array_axis_runs(name, letters):
    assert geometry.axis_letters(ORIENTATIONS[name]) == letters


def test_axis_letters_agree_with_nibabel_on_every_orientation():
    import nibabel as nib

    for affine in ORIENTATIONS.values():
        ours = geometry.axis_letters(affine)
        assert "".join(nib.aff2axcodes(ras_affine_ijk(affine))) == ours[::-1]


def test_two_axes_of_a_45_degree_oblique_do_not_claim_the_same_body_axis():
    letters = geometry.axis_letters(axial_affine((1, 1, 1), turned_deg=45.0))
    assert {frozenset("LR"), frozenset("PA"), frozenset("SI")} == {
        next(pair for pair in (frozenset("LR"), frozenset("PA"), frozenset("SI")) if letter in pair)
        for letter in letters
    }


def test_a_block_of_two_cells_has_its_centre_between_them():
    fine = np.eye(4)
    block = fine @ geometry.index_from_block((1, 2, 4))
    np.testing.assert_allclose(geometry.transform_points(block, np.zeros(3))[0], [0, 0.5, 1.5])
    np.testing.assert_allclose(geometry.transform_points(block, np.array([0, 1, 1]))[0], [0, 2.5, 5.5])


def test_points_land_where_simpleitk_puts_them():
    affine = ORIENTATIONS["oblique"]
    image = sitk.Image(4, 5, 6, sitk.sitkUInt8)
    step = geometry.spacing_mm(affine)
    image.SetSpacing(step[::-1].tolist())
    image.SetDirection(geometry.axis_directions(affine)[:, ::-1].ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    np.testing.assert_allclose(
        geometry.transform_points(affine, np.array([[2, 3, 1]]))[0],
        image.TransformContinuousIndexToPhysicalPoint((1.0, 3.0, 2.0)),
        atol=1e-9,
    )


def test_handedness_tells_a_mirrored_scan():
    assert geometry.is_right_handed(ORIENTATIONS["axial"])
    assert geometry.is_right_handed(ORIENTATIONS["oblique"])
    assert not geometry.is_right_handed(ORIENTATIONS["mirrored"])


def test_corners_are_edges_and_not_centres():
    corners = geometry.grid_corners(np.eye(4), (2, 3, 4))
    np.testing.assert_allclose(corners.min(axis=0), [-0.5] * 3)
    np.testing.assert_allclose(corners.max(axis=0), [1.5, 2.5, 3.5])


def test_grids_differ_by_their_farthest_corner():
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(1e-3), -np.sin(1e-3)], [np.sin(1e-3), np.cos(1e-3)]]
    assert geometry.same_grid(np.eye(4), turned, (4, 4, 4))
    assert not geometry.same_grid(np.eye(4), turned, (400, 400, 4))


def test_volume_of_a_sheared_voxel_is_not_the_product_of_its_spacings():
    sheared = np.eye(4)
    sheared[0, 1] = 1.0
    assert geometry.voxel_volume_mm3(sheared) == pytest.approx(1.0)
    assert np.prod(geometry.spacing_mm(sheared)) > 1.4


def test_grids_that_differ_by_just_the_tolerance_are_the_same():
    moved = geometry.index_from_crop((0, 0, 1))
    assert geometry.same_grid(np.eye(4), moved, (4, 4, 4), tolerance_mm=1.0)
    assert not geometry.same_grid(np.eye(4), moved, (4, 4, 4), tolerance_mm=0.99)
    near = np.eye(4)
    near[0, 3] = 0.02
    assert not geometry.same_grid(np.eye(4), near, (4, 4, 4)), "a hundredth of a millimetre unless told otherwise"


def test_a_crop_begins_at_its_start():
    start = (1, 2, 3)
    crop = ORIENTATIONS["oblique"] @ geometry.index_from_crop(start)
    here = geometry.transform_points(crop, np.zeros(3))
    np.testing.assert_allclose(here, geometry.transform_points(ORIENTATIONS["oblique"], np.array(start)))
    assert here.shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        ("axial", (2.5, 0.8, 1.1)),
        ("oblique", (2.5, 0.8, 1.1)),
        ("mirrored", (2.5, 0.8, 1.1)),
        ("sagittal", (1.1, 2.5, 0.8)),
        ("coronal", (0.8, 2.5, 1.1)),
    ],
)
def test_spacing_and_volume_follow_the_array_axes(name, spacing):
    np.testing.assert_allclose(geometry.spacing_mm(ORIENTATIONS[name]), spacing)
    assert geometry.voxel_volume_mm3(ORIENTATIONS[name]) == pytest.approx(2.5 * 0.8 * 1.1)
    directions = geometry.axis_directions(ORIENTATIONS[name])
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("axial", [(2, 1), (1, 1), (0, 1)]),
        ("mirrored", [(2, 1), (1, 1), (0, -1)]),
        ("feet first", [(2, -1), (1, 1), (0, 1)]),
        ("coronal", [(1, 1), (2, 1), (0, 1)]),
    ],
)
def test_each_array_axis_has_its_nearest_body_axis_and_sign(name, axes):
    assert geometry.nearest_body_axes(ORIENTATIONS[name]) == axes
