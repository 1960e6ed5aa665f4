"""Planes along the patient's axes through a scan of any orientation, as a radiologist looks at them.

Radiological convention: the patient's right is on the left of the picture; axial seen from the feet, coronal from the
front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage
from skimage import measure

from tips_med.geometry import grid_corners, index_from_crop, nearest_body_axes, spacing_mm, transform_points
from tips_med.grounding import Grounding
from tips_med.resampling import resample
from tips_med.scan import Scan
from tips_med.shapes import Affine

_MAX_PIXELS = 512
_BODY_HU = -400.0
_MARGIN_MM = 12.0
_AXIAL_COSINE = 0.9999


@dataclass(frozen=True, eq=False)
class Box:
    """A part of the patient: opposite corners in LPS, mm, both of shape [3]."""

    low: np.ndarray
    high: np.ndarray

    def around(self, points: np.ndarray, margin_mm: float = 0.0) -> Box:
        """The smallest box that holds this one and more points [n 3], with a margin about them."""
        low = np.vstack([self.low[None], points - margin_mm]).min(axis=0)
        return Box(low, np.vstack([self.high[None], points + margin_mm]).max(axis=0))

    def within(self, other: Box) -> Box:
        """The part that both have in common."""
        return Box(np.maximum(self.low, other.low), np.minimum(self.high, other.high))


@dataclass(frozen=True, eq=False)
class Plane:
    """A picture's place: square pixels, rows downwards and columns to the patient's left.

    Attributes:
        view: ``axial`` (rows run to the back) or ``coronal`` (rows run to the feet).
        at_mm: z (axial) or y (coronal) of the plane, LPS in mm.
        lps_from_pixel: Maps (0, row, column, 1) to LPS in mm.
        shape: Shape of the picture: 1, rows, columns.
        extent_mm: Left, right, bottom and top edge in mm, in the patient's x, and y (axial) or z (coronal): the
            ``extent`` of matplotlib's ``imshow``.
    """

    view: Literal["axial", "coronal"]
    at_mm: float
    lps_from_pixel: Affine
    shape: tuple[int, int, int]
    extent_mm: tuple[float, float, float, float]

    @property
    def pixel_centres(self) -> tuple[np.ndarray, np.ndarray]:
        """The coordinates of columns (x) and of rows (y or z) in LPS, mm."""
        _, rows, columns = self.shape
        affine, down = self.lps_from_pixel, 1 if self.view == "axial" else 2
        return affine[0, 3] + affine[0, 2] * np.arange(columns), affine[down, 3] + affine[down, 1] * np.arange(rows)

    def sample(self, array: np.ndarray, lps_from_index: Affine, *, linear: bool = True) -> np.ndarray:
        """What a volume shows here, [row column]; NaN (0 for labels) where it does not reach."""
        index_from_lps = np.linalg.inv(lps_from_index)
        corners = transform_points(index_from_lps @ self.lps_from_pixel, grid_corners(np.eye(4), self.shape))
        # Only the part about the plane is handed on: a whole scan would be copied for every picture.
        low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, array.shape)
        high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 3, 0, array.shape)
        if (low >= high).any():
            return np.full(self.shape[1:], np.nan if linear else 0, np.float32 if linear else array.dtype)
        start = (int(low[0]), int(low[1]), int(low[2]))
        part = array[start[0] : high[0], start[1] : high[1], start[2] : high[2]]
        lps_from_part = lps_from_index @ index_from_crop(start)
        return resample(np.ascontiguousarray(part), lps_from_part, self.lps_from_pixel, self.shape, linear=linear)[0]


def axial_plane(z_mm: float, box: Box, scan: Scan) -> Plane:
    """The axial plane at a height, across a box; rows run from front to back."""
    pixel = _pixel_mm(box, scan, (0, 1))
    rows, columns = _count(box, 1, pixel), _count(box, 0, pixel)
    left, top = float(box.low[0]), float(box.low[1])
    affine = np.eye(4)
    affine[:3] = [
        [0, 0, pixel, left + pixel / 2],
        [0, pixel, 0, top + pixel / 2],
        [_size_mm(scan, 2), 0, 0, z_mm],
    ]
    return Plane("axial", z_mm, affine, (1, rows, columns), (left, left + columns * pixel, top + rows * pixel, top))


def coronal_plane(y_mm: float, box: Box, scan: Scan) -> Plane:
    """The coronal plane at a depth, across a box; rows run from head to feet."""
    pixel = _pixel_mm(box, scan, (0, 2))
    rows, columns = _count(box, 2, pixel), _count(box, 0, pixel)
    left, top = float(box.low[0]), float(box.high[2])
    affine = np.eye(4)
    affine[:3] = [
        [0, 0, pixel, left + pixel / 2],
        [_size_mm(scan, 1), 0, 0, y_mm],
        [0, -pixel, 0, top - pixel / 2],
    ]
    return Plane("coronal", y_mm, affine, (1, rows, columns), (left, left + columns * pixel, top - rows * pixel, top))


def scan_box(scan: Scan) -> Box:
    """All that the scan covers."""
    corners = grid_corners(scan.lps_from_kji, scan.shape)
    return Box(corners.min(axis=0), corners.max(axis=0))


def body_box(scan: Scan) -> Box:
    """The patient without the air and the table about them, for CT; all of the scan otherwise."""
    whole = scan_box(scan)
    if scan.modality != "CT":
        return whole
    steps = [max(1, round(4.0 / s)) for s in scan.spacing_mm]
    coarse = scan.voxels[:: steps[0], :: steps[1], :: steps[2]] > _BODY_HU
    components = np.asarray(measure.label(ndimage.binary_opening(coarse, iterations=2), connectivity=1))
    if not components.any():
        return whole
    largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    points = transform_points(scan.lps_from_kji, np.argwhere(components == largest) * steps)
    low, high = points.min(axis=0), points.max(axis=0)
    return Box(low - _MARGIN_MM, high + _MARGIN_MM).within(whole)


def marked_corners(marked_kji: np.ndarray, lps_from_kji: Affine) -> np.ndarray:
    """The corners, in LPS and of shape [8 3], of the box about all that is marked; none, [0 3], when nothing is."""
    marked = [np.flatnonzero(marked_kji.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not marked[0].size:
        return np.empty((0, 3))
    k, j, i = (int(m[-1] - m[0] + 1) for m in marked)
    start = (int(marked[0][0]), int(marked[1][0]), int(marked[2][0]))
    return grid_corners(lps_from_kji @ index_from_crop(start), (k, j, i))


def slice_index(scan: Scan, z_mm: float) -> int | None:
    """The slice k at a height; None when slices are not axial, or when there is none."""
    step = scan.lps_from_kji[:3, 0]
    if abs(step[2]) < _AXIAL_COSINE * float(np.linalg.norm(step)):
        return None
    k = round((z_mm - scan.lps_from_kji[2, 3]) / step[2])
    return k if 0 <= k < scan.shape[0] else None


def height_step_mm(scan: Scan) -> float:
    """The distance between heights worth telling apart: between slices when they are axial, else about a voxel."""
    return max(_size_mm(scan, 2), 0.5)


def key_heights_mm(grounding: Grounding, count: int = 3) -> list[float]:
    """The heights (z) of the axial slices to show, the most telling first.

    That is where the largest instance is widest, then the other instances by volume, then further up and down the
    largest; the height of the peak when nothing is marked; the middle of the scan when nothing was measured.
    """
    scan, step = grounding.scan, height_step_mm(grounding.scan)
    middle = (grid_corners(scan.lps_from_kji, scan.shape)[:, 2]).mean()
    origin = float(scan.lps_from_kji[2, 3])
    # Heights are multiples of the step from the first slice, so that they fall on slices when these are axial.
    index = np.argwhere(grounding.labels)
    if not len(index):
        peak = grounding.peak_lps[2]
        height = peak if np.isfinite(peak) else middle
        return [origin + round((height - origin) / step) * step]
    label = grounding.labels[tuple(index.T)]
    level = np.rint((transform_points(scan.lps_from_kji, index)[:, 2] - origin) / step).astype(int)
    chosen: list[int] = []
    by_volume = np.argsort(-np.bincount(label)[1:], kind="stable") + 1
    for one in by_volume:
        levels, areas = np.unique(level[label == one], return_counts=True)
        if not len(levels):
            continue
        best = int(levels[np.argmax(areas)])
        if all(abs(best - other) > 1 for other in chosen):
            chosen.append(best)
    largest = level[label == by_volume[0]]
    low, high = int(largest.min()), int(largest.max())
    for part in (0.25, 0.75, 0.0, 1.0):
        further = round(low + part * (high - low))
        if all(abs(further - other) > max(1, (high - low) // 8) for other in chosen):
            chosen.append(further)
    return [origin + one * step for one in chosen[:count]]


def _size_mm(scan: Scan, body_axis: int) -> float:
    """The voxels' size along a body axis: of the array axis that runs nearest to it."""
    axis = [nearest for nearest, _ in nearest_body_axes(scan.lps_from_kji)].index(body_axis)
    step = scan.lps_from_kji[:3, axis]
    if abs(step[body_axis]) >= _AXIAL_COSINE * float(np.linalg.norm(step)):
        return float(abs(step[body_axis]))
    return float(spacing_mm(scan.lps_from_kji)[axis])


def _pixel_mm(box: Box, scan: Scan, body_axes: tuple[int, int]) -> float:
    finest = min(_size_mm(scan, axis) for axis in body_axes)
    return max(finest, float((box.high - box.low)[list(body_axes)].max()) / _MAX_PIXELS)


def _count(box: Box, body_axis: int, pixel_mm: float) -> int:
    return max(1, round(float(box.high[body_axis] - box.low[body_axis]) / pixel_mm))
