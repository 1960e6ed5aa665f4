"""Volumes on other grids, against SimpleITK: permuted, mirrored, thicker and finer."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from tips_med.geometry import index_from_crop
from tips_med.resampling import resample, sitk_image

RNG = np.random.default_rng(0)
OWN_MM, OUT_MM = (1.25, 0.7, 0.8), (2.5, 2.0, 2.0)


def volume(shape: tuple[int, int, int] = (20, 40, 36)) -> np.ndarray:
    return ndimage.gaussian_filter(RNG.normal(size=shape), 1.5).astype(np.float32) * 1000


def oriented(order: tuple[int, ...], signs: tuple[int, ...], step: tuple[float, ...]) -> np.ndarray:
    """An affine whose axes run along those of the patient, in some order and direction."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(order)] * np.asarray(signs) * np.asarray(step)
    return affine


def grid_over(lps_from_kji: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """An axial grid around the middle of a volume, larger than it."""
    middle = lps_from_kji @ [*((np.asarray(shape) - 1) / 2), 1]
    out = (24, 22, 26)
    affine = oriented((2, 1, 0), (1, 1, 1), OUT_MM)
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((np.asarray(out) - 1) / 2 + [0.3, -0.2, 0.1])
    return affine, out


def by_itk(voxels: np.ndarray, lps_from_kji: np.ndarray, lps_from_out: np.ndarray, shape: tuple[int, int, int]):
    """Gaussian smoothing of every axis and linear interpolation, by SimpleITK."""
    image = sitk_image(voxels, lps_from_kji)
    out_mm = {int(np.abs(c[:3]).argmax()): np.abs(c[:3]).max() for c in lps_from_out[:, :3].T}
    for axis, column in enumerate(lps_from_kji[:, :3].T):
        step, apart = np.abs(column).max(), out_mm[int(np.abs(column[:3]).argmax())]
        if apart > step:
            sigma = (apart**2 - step**2) ** 0.5 / 2.355
            image = sitk.RecursiveGaussian(image, sigma, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, 2 - axis)
    like = sitk_image(np.zeros(shape, np.float32), lps_from_out)
    return sitk.GetArrayFromImage(sitk.Resample(image, like, sitk.Transform(), sitk.sitkLinear, float("nan")))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_and_direction_of_axes_is_as_by_simpleitk(order):
    voxels = volume()
    for signs in product((1, -1), repeat=3):
        affine = oriented(order, signs, OWN_MM)
        grid, shape = grid_over(affine, voxels.shape)
        ours, theirs = resample(voxels, affine, grid, shape), by_itk(voxels, affine, grid, shape)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        assert np.isnan(ours).any()
        assert np.nanmax(np.abs(ours - theirs)) < 0.03 * voxels.std()


def test_a_finer_grid_interpolates_linearly():
    voxels = volume((8, 9, 10))
    affine = oriented((2, 1, 0), (1, -1, 1), (2.5, 2.0, 2.0))
    fine = affine @ np.diag([1 / 3, 1 / 2, 1 / 2, 1]) @ index_from_crop((-2.3, -2.2, -2.4))
    ours, theirs = resample(voxels, affine, fine, (30, 25, 26)), by_itk(voxels, affine, fine, (30, 25, 26))
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("tilt", [0.0, 0.2])
def test_holes_stay_holes_and_darken_nothing(tilt):
    """Aligned and oblique grids take different ways to the same answer."""
    voxels = np.full((16, 32, 32), 50, np.float32)
    voxels[:, 2:6, 2:6] = -1000
    affine = oriented((2, 1, 0), (1, 1, 1), OWN_MM)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    affine = turn @ affine
    holes = voxels.copy()
    holes[6:9] = np.nan
    holes[:, 20:, 20:] = np.nan
    grid, shape = grid_over(affine, voxels.shape)
    full, out = resample(voxels, affine, grid, shape), resample(holes, affine, grid, shape)
    lost = np.isnan(out) & ~np.isnan(full)
    assert lost.mean() > 0.02
    # Far from the corner that nobody measured, the missing slices leave no trace.
    beside = np.isfinite(out) & (np.arange(shape[2]) < 11)
    np.testing.assert_allclose(out[beside], full[beside], atol=2)


def test_a_scan_without_any_value_gives_none():
    grid, shape = grid_over(oriented((2, 1, 0), (1, 1, 1), OWN_MM), (6, 8, 8))
    empty = np.full((6, 8, 8), np.nan, np.float32)
    assert np.isnan(resample(empty, oriented((2, 1, 0), (1, 1, 1), OWN_MM), grid, shape)).all()


def test_labels_keep_their_values():
    labels = (volume() > 0).astype(np.uint8) * 3
    affine = oriented((1, 2, 0), (1, -1, 1), OWN_MM)
    grid, shape = grid_over(affine, labels.shape)
    assert set(np.unique(resample(labels, affine, grid, shape, linear=False))) == {0, 3}
