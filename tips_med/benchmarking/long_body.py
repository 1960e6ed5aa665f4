"""A body of any length, for measuring how cost grows with it."""

from __future__ import annotations

import numpy as np

from tips_med.resampling import resample
from tips_med.scan import Scan

MATRIX = 64
"""Rows and columns of the long body: few, so that thousands of slices of it are quickly made."""

STEP_MM = 2.5
"""Distance between its slices: that of the slabs of the shipped model, so that slices are slabs."""


def long_body(scan: Scan, slices: int) -> Scan:
    """A scan on a coarse matrix, mirrored at its ends as often as it takes.

    Args:
        scan: Scan whose slices are stacked along its first axis.
        slices: Number of slices of the result, 1 or more.

    Returns:
        A scan of [slices 64 64], with slices every 2.5 mm and the in-plane extent of the given one.
    """
    directions = scan.lps_from_kji[:3, :3]
    extent_mm = np.linalg.norm(directions, axis=0) * scan.shape
    own = max(2, int(extent_mm[0] / STEP_MM))
    shape = np.array([own, MATRIX, MATRIX])
    step_mm = np.array([STEP_MM, extent_mm[1] / MATRIX, extent_mm[2] / MATRIX])
    affine = scan.lps_from_kji.copy()
    affine[:3, :3] = directions / np.linalg.norm(directions, axis=0) * step_mm
    middle = scan.lps_from_kji @ [*((np.array(scan.shape) - 1) / 2), 1.0]
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((shape - 1) / 2)
    voxels = resample(scan.voxels, scan.lps_from_kji, affine, (own, MATRIX, MATRIX))
    there_and_back = np.concatenate([np.arange(own), np.arange(own)[::-1]])
    order = np.resize(there_and_back, slices)
    return Scan(np.ascontiguousarray(voxels[order]), affine, scan.modality, scan.unit)
