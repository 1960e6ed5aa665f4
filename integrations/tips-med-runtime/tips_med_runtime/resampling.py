"""Volumes from one grid to another, by numpy and scipy alone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med_runtime.geometry import spacing_mm
from tips_med_runtime.sampling import (
    MIN_SIGMA,
    MIN_SMOOTHED,
    _aligned_axes,
    _resample_along_axes,
    blend_planes,
    smoothing_mm,
)
from tips_med_runtime.shapes import Affine

__all__ = ["blend_planes", "resample", "smoothing_mm"]


def resample(voxels: np.ndarray, lps_from_kji: Affine, lps_from_out: Affine, shape: tuple[int, int, int]) -> np.ndarray:
    """Samples a volume on another grid, linearly, after smoothing where the new grid is coarser.

    Where both grids have the same axes this is what tips_med does; on oblique grids tips_med uses SimpleITK's recursive
    Gaussian and this a sampled one.

    Args:
        voxels: Values with NaN where nothing was measured, [k j i].
        lps_from_kji: Maps (k, j, i, 1) of ``voxels`` to LPS in mm.
        lps_from_out: The same for the new grid. Both may be oblique or mirrored, but not sheared.
        shape: Shape of the new grid.

    Returns:
        Samples, float32; NaN where that grid leaves the volume, or nothing was measured.
    """
    sigmas = smoothing_mm(lps_from_kji, lps_from_out) / spacing_mm(lps_from_kji)
    if (axes := _aligned_axes(lps_from_kji, lps_from_out, shape)) is not None:
        return _resample_along_axes(voxels, axes, sigmas)
    unmeasured = np.isnan(voxels)
    filled = np.asarray(voxels, np.float32)
    if unmeasured.any():
        filled = np.where(unmeasured, np.float32(np.nanmin(voxels) if not unmeasured.all() else 0), filled)
        blend_planes(filled, np.asarray(unmeasured.all(axis=(1, 2))))
    for axis, sigma in enumerate(sigmas):
        if sigma > MIN_SIGMA and voxels.shape[axis] >= MIN_SMOOTHED:
            filled = ndimage.gaussian_filter1d(filled, float(sigma), axis=axis, mode="nearest")
    kji_from_out = np.linalg.inv(lps_from_kji) @ lps_from_out
    out = np.empty(shape, np.float32)
    sizes = np.array(voxels.shape)[:, None]
    rows, columns = np.indices(shape[1:]).reshape(2, -1)
    for plane in range(shape[0]):  # a plane at a time: their places in all planes at once would not fit
        index = kji_from_out[:3, :3] @ [np.full(rows.size, plane), rows, columns] + kji_from_out[:3, 3:]
        inside = ((index >= -0.5) & (index <= sizes - 0.5)).all(axis=0)
        index = np.clip(index, 0, sizes - 1)
        values = ndimage.map_coordinates(filled, index, order=1)
        if unmeasured.any():
            inside &= ~unmeasured[tuple(np.floor(index + 0.5).astype(int))]
        out[plane] = np.where(inside, values, np.float32("nan")).reshape(shape[1:])
    return out
