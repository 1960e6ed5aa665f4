"""A tilted stack on an orthogonal grid: every slice moved within its own plane."""

from __future__ import annotations

import numpy as np

from tips_med.shapes import Affine, Float32, Voxels


def straighten(voxels: Voxels, lps_from_kji: Affine) -> tuple[Float32[np.ndarray, "k row column"], Affine]:
    """Moves every slice so that the stack runs along its normal.

    The planes stay where they are, so nothing is interpolated between slices; within a slice the shift is bilinear.
    The grid grows so that no voxel is lost; what no slice covers is NaN.

    Args:
        voxels: Values [k j i].
        lps_from_kji: A sheared affine: its first column leans against the normal of the slices.

    Returns:
        Values on the orthogonal grid, and its affine.
    """
    step, along_j, along_i = lps_from_kji[:3, 0], lps_from_kji[:3, 1], lps_from_kji[:3, 2]
    drift = np.array([step @ along_j / (along_j @ along_j), step @ along_i / (along_i @ along_i)])
    slices, rows, columns = voxels.shape
    shifts = drift * np.arange(slices)[:, None]
    low = np.floor(shifts.min(axis=0)).astype(int)
    high = np.ceil(shifts.max(axis=0)).astype(int)
    out = np.full((slices, rows + high[0] - low[0], columns + high[1] - low[1]), np.nan, np.float32)
    for k in range(slices):
        shifted = voxels[k]
        corner = []
        for axis in (0, 1):
            whole = int(np.floor(shifts[k, axis] + 1e-6))
            shifted = _shift(shifted, float(shifts[k, axis]) - whole, axis)
            corner.append(whole - low[axis])
        j, i = corner
        height, width = min(shifted.shape[0], out.shape[1] - j), min(shifted.shape[1], out.shape[2] - i)
        out[k, j : j + height, i : i + width] = shifted[:height, :width]
    affine = lps_from_kji.copy()
    affine[:3, 0] = step - drift[0] * along_j - drift[1] * along_i
    affine[:3, 3] += low[0] * along_j + low[1] * along_i
    return out, affine


def _shift(plane: np.ndarray, fraction: float, axis: int) -> np.ndarray:
    """The plane moved by a fraction of a pixel towards higher indices, one pixel longer at the end."""
    if abs(fraction) < 1e-6:
        return plane
    pad = [(0, 0), (0, 0)]
    pad[axis] = (1, 1)
    padded = np.pad(plane, pad, constant_values=np.nan)
    before = np.take(padded, range(padded.shape[axis] - 1), axis)
    after = np.take(padded, range(1, padded.shape[axis]), axis)
    return (before * np.float32(fraction) + after * np.float32(1 - fraction)).astype(np.float32)
