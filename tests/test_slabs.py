from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.conftest import ORIENTATIONS, placed_scan, value_at
from tips_med.errors import ReadError
from tips_med.geometry import spacing_mm, transform_points
from tips_med.resampling import resample
from tips_med.scan import Scan
from tips_med.slabs import SlabSpec, make_slabs, stack_channels, working_grid

WIDE = SlabSpec(spacing_mm=(2.0, 1.0, 1.0), windows_hu=((-1000.0, 1000.0),), neighbours=0, patch=4)


def test_every_orientation_arrives_at_the_same_axial_slabs(any_scan):
    slabs = make_slabs(any_scan, WIDE)
    hu = slabs.pixels[:, 0].numpy() * 2000 - 1000
    seen = slabs.seen.numpy()
    points = transform_points(slabs.lps_from_pixel, np.argwhere(seen))
    # The smoothing that keeps thin slices from being skipped is not exact at the edge of a scan.
    np.testing.assert_allclose(np.median(np.abs(hu[seen] - value_at(points))), 0, atol=0.5)
    np.testing.assert_allclose(slabs.lps_from_pixel[:3, :3], np.diag([2.0, 1.0, 1.0])[::-1])
    assert seen.mean() > 0.3


def test_slabs_run_to_the_head_rows_to_the_back_and_columns_to_the_left(any_scan):
    hu = make_slabs(any_scan, WIDE).pixels[:, 0].numpy() * 2000 - 1000
    seen = make_slabs(any_scan, WIDE).seen.numpy()
    inner = np.where(seen, hu, np.nan)
    with np.errstate(invalid="ignore"):
        assert np.nanmedian(np.diff(inner, axis=2)) == pytest.approx(3.0, abs=0.05)
        assert np.nanmedian(np.diff(inner, axis=1)) == pytest.approx(-2.0, abs=0.05)
        assert np.nanmedian(np.diff(inner, axis=0)) == pytest.approx(2.0, abs=0.1)


def test_area_that_was_never_seen_is_not_seen_afterwards():
    scan = placed_scan(ORIENTATIONS["oblique"])
    holed = Scan(np.where(scan.voxels > np.median(scan.voxels), np.nan, scan.voxels), scan.lps_from_kji, "CT", "HU")
    full, part = make_slabs(scan, WIDE), make_slabs(holed, WIDE)
    assert 0.3 < part.seen.sum() / full.seen.sum() < 0.7
    assert (full.seen | ~part.seen).all()


def test_a_hole_does_not_leak_into_what_was_seen():
    voxels = np.full((9, 40, 40), 50, np.float32)
    voxels[:, 15:25, 15:25] = np.nan
    affine = np.diag([1.0, 1, 1, 1])[[2, 1, 0, 3]]
    out = resample(voxels, affine, affine, voxels.shape)
    assert np.isnan(out[:, 15:25, 15:25]).all()
    np.testing.assert_allclose(out[~np.isnan(out)], 50, atol=1e-3)


def test_labels_are_resampled_as_simpleitk_would():
    source, target = ORIENTATIONS["oblique"], ORIENTATIONS["axial"]
    labels = np.random.default_rng(1).integers(0, 4, (7, 9, 11)).astype(np.uint8)
    ours = resample(labels, source, target, (7, 9, 11), linear=False)
    image = sitk.GetImageFromArray(labels)
    like = sitk.GetImageFromArray(labels)
    for picture, affine in ((image, source), (like, target)):
        picture.SetSpacing(spacing_mm(affine)[::-1].tolist())
        picture.SetDirection((affine[:3, :3] / spacing_mm(affine))[:, ::-1].ravel().tolist())
    theirs = sitk.Resample(image, like, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    np.testing.assert_array_equal(ours, sitk.GetArrayFromImage(theirs))


def test_thin_slices_are_averaged_and_not_skipped():
    voxels = np.zeros((40, 8, 8), np.float32)
    voxels[::2] = 100  # every second thin slice is bright
    thin = np.diag([1.0, 1.0, 0.5, 1])[:, [2, 1, 0, 3]]
    thick = np.diag([1.0, 1.0, 2.0, 1])[:, [2, 1, 0, 3]]
    out = resample(voxels, thin, thick, (8, 8, 8))
    np.testing.assert_allclose(out[1:-1], 50, atol=12)


def test_first_and_last_slab_stand_in_for_their_missing_neighbours():
    spec = SlabSpec(windows_hu=((0.0, 10.0),), neighbours=1)
    volume = torch.arange(3.0)[:, None, None].expand(3, 2, 2) * 5
    channels = stack_channels(volume, spec)
    assert channels[:, :, 0, 0].tolist() == [[0.0, 0.0, 0.5], [0.0, 0.5, 1.0], [0.5, 1.0, 1.0]]


@pytest.mark.parametrize("neighbours", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_some_slabs_at_a_time_are_the_same_as_all_at_once(size, neighbours):
    spec = SlabSpec(spacing_mm=(2.0, 4.0, 4.0), neighbours=neighbours)
    voxels = np.random.default_rng(0).uniform(-1100, 400, (11, 32, 40)).astype(np.float32)
    slabs = make_slabs(Scan(voxels, np.diag([4.0, 4, 2, 1])[:, [2, 1, 0, 3]], "CT", "HU"), spec)
    made_before = replace(slabs, values=slabs.pixels)
    torch.testing.assert_close(torch.cat(list(slabs.parts(size))), slabs.pixels, rtol=0, atol=0)
    torch.testing.assert_close(torch.cat(list(made_before.parts(size))), slabs.pixels, rtol=0, atol=0)


def test_cropping_moves_the_affine_by_whole_patches():
    voxels = np.full((6, 96, 96), -1000, np.float32)
    voxels[:, 40:60, 50:70] = 40
    scan = Scan(voxels, np.diag([1.0, 1, 2, 1])[:, [2, 1, 0, 3]], "CT", "HU")
    spec = SlabSpec(spacing_mm=(2.0, 1.0, 1.0))
    whole = make_slabs(scan, spec)
    cut = make_slabs(scan, spec, margin=3)
    assert cut.pixels.shape[-1] < whole.pixels.shape[-1]
    moved = np.linalg.inv(whole.lps_from_pixel) @ cut.lps_from_pixel
    y, x = int(moved[1, 3]), int(moved[2, 3])
    assert y % spec.patch == x % spec.patch == 0
    rows, columns = cut.pixels.shape[-2:]
    torch.testing.assert_close(cut.pixels, whole.pixels[..., y : y + rows, x : x + columns])


def test_a_scan_larger_than_any_body_is_refused():
    scan = Scan(np.zeros((4, 4, 4), np.float32), np.diag([5e3, 5e3, 5e3, 1.0]), "CT", "HU")
    with pytest.raises(ReadError, match="a part of a human body"):
        working_grid(scan, SlabSpec())
