# Copied from tips_med/slabs.py by copies.py: change it there.
"""2.5D slabs: a scan on the working grid of an encoder, each slab with its neighbours and windows as channels.

The working grid is axial, along the patient's own axes, whatever the scan's orientation: sagittal, coronal, oblique
and mirrored scans all arrive at the same slabs, and ``lps_from_pixel`` places them. Nothing is undone later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tips_med_runtime.errors import ReadError
from tips_med_runtime.geometry import grid_corners
from tips_med_runtime.resampling import blend_planes
from tips_med_runtime.scan import Scan
from tips_med_runtime.shapes import Affine

MAX_CELLS = 400_000_000
"""Cells of the working grid beyond which a scan is refused: no body is that large."""

MAX_BRIDGE_MM = 15.0
"""The longest way from one measured slab to the next over which a network is shown what may lie between."""

BODY_MARGIN = 8
"""Pixels of air around the body that a tower is shown."""


@dataclass(frozen=True)
class SlabSpec:
    """How slabs are cut.

    Attributes:
        spacing_mm: Spacing of the working grid in mm: between slabs, rows and columns.
        windows_hu: Intensity windows (low, high), each scaled to [0, 1]; one group of channels each.
        neighbours: Number of slabs on either side that are channels beside the slab itself (1 gives three).
        patch: Pixels along an edge of a patch; the grid is padded to a multiple of it.
    """

    spacing_mm: tuple[float, float, float] = (2.5, 2.0, 2.0)
    windows_hu: tuple[tuple[float, float], ...] = ((-1050.0, -150.0), (-200.0, 300.0))
    neighbours: int = 1
    patch: int = 8

    @property
    def channels(self) -> int:
        """Channels of a slab: every window of every neighbour."""
        return len(self.windows_hu) * (2 * self.neighbours + 1)


def working_grid(scan: Scan, spec: SlabSpec) -> tuple[Affine, tuple[int, int, int]]:
    """The axial grid along the patient's axes that covers a scan: its affine and its shape (slab, y, x).

    The grid is centred on the scan, and y and x are rounded up to whole patches.
    """
    corners = grid_corners(scan.lps_from_kji, scan.shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent_zyx = (high - low)[::-1]
    cells = np.maximum(1, np.floor(extent_zyx / spec.spacing_mm + 0.25)).astype(int)
    cells[1:] = -(-cells[1:] // spec.patch) * spec.patch
    if cells.prod() > MAX_CELLS:
        raise ReadError(
            f"the scan spans {' x '.join(f'{e:.0f}' for e in extent_zyx[::-1])} mm",
            expected="a part of a human body",
            remedy="check the spacing in its header",
            code="extent",
        )
    centre_zyx = ((low + high) / 2)[::-1]
    first_zyx = centre_zyx - (cells - 1) / 2 * np.asarray(spec.spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spec.spacing_mm)[::-1]
    affine[:3, 3] = first_zyx[::-1]
    slabs, rows, columns = (int(n) for n in cells)
    return affine, (slabs, rows, columns)


def bridge_gaps(volume: np.ndarray, step_mm: float) -> np.ndarray:
    """Fills what was not measured: short gaps between slabs by interpolation, the rest with air.

    A network takes a slab of air in the middle of a mass for the end of it. What is filled stays unseen all the same.

    Args:
        volume: Values, [slab y x], NaN where nothing was measured.
        step_mm: Distance between slabs in mm.

    Returns:
        A copy without NaN.
    """
    missing = np.isnan(volume)
    filled = np.where(missing, np.float32(-1024.0), volume)
    blend_planes(filled, np.asarray(missing.all(axis=(1, 2))), int(MAX_BRIDGE_MM / step_mm))
    return filled


def body_crop(inside: np.ndarray, patch: int, margin: int = BODY_MARGIN) -> tuple[slice, slice] | None:
    """Rows and columns around the body, in whole patches; None where there is no body.

    They are kept from the first to the last that holds a two-thousandth of the body.

    Args:
        inside: Mask of the body, bool [slab y x].
        patch: Pixels along an edge of a patch.
        margin: Number of pixels to keep around it, 0 or more.
    """
    cut = []
    for axis in (1, 2):
        count = inside.sum(axis=(0, 3 - axis))
        holds = np.flatnonzero(count > 0.0005 * count.sum())
        if not len(holds):
            return None
        first = max(0, int(holds[0]) - margin) // patch * patch
        last = min(len(count), -(-(int(holds[-1]) + 1 + margin) // patch) * patch)
        cut.append(slice(first, last))
    rows, columns = cut
    return rows, columns
