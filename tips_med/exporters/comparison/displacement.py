"""A registration as a field of displacements, for viewers that follow a place from one scan to the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tips_med.exporters.nifti import write_volume
from tips_med.followup import Registration
from tips_med.geometry import grid_corners
from tips_med.scan import Scan

CELL_MM = 8.0
"""Spacing of the grid in mm; the B-splines between have control points 40 mm apart."""


def write_displacement(registration: Registration, current: Scan, path: Path) -> Path:
    """Writes where each place of the current scan lies in the prior one.

    NIfTI with the intent *displacement vector*: float32, three values a place, in mm along R, A and S as NIfTI has
    them. A place of the current scan plus its displacement is the place in the prior scan. The grid runs along the
    patient's axes and covers the current scan.

    Args:
        registration: Registration of the two scans.
        current: Current scan.
        path: A ``.nii.gz`` file.

    Raises:
        OutputError: It cannot be written there.
    """
    corners = grid_corners(current.lps_from_kji, current.shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    k, j, i = (int(n) + 1 for n in np.ceil((high - low) / CELL_MM)[::-1])
    affine = np.eye(4)
    affine[:3, :3] = np.diag([CELL_MM] * 3)[:, ::-1]
    affine[:3, 3] = low
    field = registration.displacement(affine, (k, j, i)) * np.array([-1, -1, 1], np.float32)[:, None, None, None]
    return write_volume(field[:, None], affine, path, "tips_med displacement", intent="displacement vector")
