"""The room around lungs that are given: the rib cage, the diaphragm, and where the average adult's places lie there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from skimage.draw import polygon

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.phantom.shapes import STEP_MM, LungShape
from tips_med.synthesis.phantom.trunk import APEX_MM, DEPTH_MM, WIDTH_MM

CARINA_MM = 100.0
"""The average adult's fork of the trachea, above the top of the diaphragm."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Where the average adult's places lie in a shape, in mm of the shape.

    Attributes:
        z_mm: The top of the diaphragm, the fork of the trachea, the top of the lungs.
        y_mm: The foremost and the rearmost of the lungs at half of their height.
        x_mm: The outermost of the right lung, the middle, the outermost of the left lung.
        middle: Coefficients of a polynomial of z (in m above the top of the diaphragm): how far the middle between both
            lungs lies aside of ``x_mm[1]``, in mm.
    """

    z_mm: tuple[float, float, float]
    y_mm: tuple[float, float]
    x_mm: tuple[float, float, float]
    middle: np.ndarray

    @property
    def origin_mm(self) -> np.ndarray:
        """The top of the diaphragm, and the middle of the lungs, [3] along z, y, x."""
        return np.array([self.z_mm[0], sum(self.y_mm) / 2, self.x_mm[1]])

    def aside_mm(self, z_mm: np.ndarray) -> np.ndarray:
        """How far the middle lies aside at a height of the shape."""
        return np.polyval(self.middle, (z_mm - self.z_mm[0]) / 1000)


def find_landmarks(shape: LungShape) -> Landmarks:
    """Finds the places by which an average trunk is fitted to a shape."""
    right, left = shape.sides == RIGHT, shape.sides == LEFT
    both = right | left
    slabs = np.flatnonzero(both.any(axis=(1, 2)))
    base = np.where(right.any(axis=0), right.argmax(axis=0), -1)
    columns = np.flatnonzero((base >= 0).any(axis=0))
    outer = base[:, columns[0] : columns[len(columns) // 2] + 1]  # beside the heart, nothing lies over a dome
    dome = float(np.percentile(outer[outer >= 0], 97))
    top = float(slabs[-1])
    fork = _fork(shape, dome, top)
    middles, heights = [], []
    for k in range(int(dome) + 5, int(top) - 8):
        ends = np.flatnonzero(both[k].any(axis=1))
        if not (right[k].any() and left[k].any()):
            continue
        back = slice(int(ends[0] + 0.72 * np.ptp(ends)), int(ends[0] + 0.9 * np.ptp(ends)) + 1)  # beside the spine
        inner = np.where(right[k, back], np.arange(both.shape[2]), -1).max(axis=1)
        other = np.where(left[k, back], np.arange(both.shape[2]), 10**6).min(axis=1)
        seen = (inner >= 0) & (other < 10**6)
        if seen.any():
            middles.append(float((inner[seen] + other[seen]).mean() / 2))
            heights.append((k - dome) * STEP_MM / 1000)
    at = float(np.median(middles)) if middles else float(np.argwhere(both)[:, 2].mean())
    curve = np.zeros(1)
    if len(middles) > 10:
        curve = np.polyfit(heights, (np.array(middles) - at) * STEP_MM, 2)
    half = both[int((dome + top) / 2) - 3 : int((dome + top) / 2) + 4].any(axis=0)
    rows = np.flatnonzero(half.any(axis=1))
    columns = np.flatnonzero(both.any(axis=(0, 1)))
    ends = (columns[0] * STEP_MM, at * STEP_MM, columns[-1] * STEP_MM)
    heights_mm = (dome * STEP_MM, fork * STEP_MM, top * STEP_MM)
    return Landmarks(heights_mm, (rows[0] * STEP_MM, rows[-1] * STEP_MM), ends, curve)


def _fork(shape: LungShape, dome: float, top: float) -> float:
    """The slab where the trachea forks: where the lumen between both lungs first lies in two pieces, from above."""
    usual = dome + (top - dome) * CARINA_MM / APEX_MM
    cells = np.rint(shape.airways.all_mm / STEP_MM).astype(int)
    lumen = np.zeros(shape.sides.shape, bool)
    lumen[tuple(cells[((cells >= 0) & (cells < lumen.shape)).all(axis=1)].T)] = True
    lumen &= shape.sides == 0
    lowest = dome + 0.2 * (top - dome)
    for k in range(int(top) - 2, int(lowest), -1):
        labels, count = ndimage.label(lumen[k])  # pyright: ignore[reportGeneralTypeIssues]
        sizes = np.bincount(labels.ravel())[1:] * STEP_MM**2
        if count >= 2 and (sizes > 50).sum() >= 2 and k < usual + 0.25 * (top - dome):
            return float(k)
    return usual


def adult_axis(mm: np.ndarray, own: tuple[float, ...], adult: tuple[float, ...]) -> np.ndarray:
    """The average adult's places of a body's own ones: straight between landmarks, and on beside the ends."""
    found = np.interp(mm, own, adult)
    low = (adult[-1] - adult[0]) / (own[-1] - own[0])
    found = np.where(mm < own[0], adult[0] + (mm - own[0]) * low, found)
    return np.where(mm > own[-1], adult[-1] + (mm - own[-1]) * low, found).astype(np.float32)


ADULT_Z = (0.0, CARINA_MM, APEX_MM - 3.0)
ADULT_Y = (-DEPTH_MM + 3.0, DEPTH_MM - 2.0)
ADULT_X = (-WIDTH_MM + 2.0, 0.0, WIDTH_MM - 2.0)


def cage_around(lungs: np.ndarray, z_mm: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """How deep inside a rib cage around lungs each voxel lies, in mm, float32 [slab y x].

    In each slab the cage is the convex hull of the lungs; downwards it narrows slowly where these end.

    Args:
        lungs: Mask of the lungs, [slab y x], on the grid of the body.
        z_mm: Height of each slab in mm, rising.
        spacing_mm: Spacing of the grid.
    """
    level = np.full(lungs.shape, -60.0, np.float32)
    above = None
    for k in range(len(lungs) - 1, -1, -1):
        own = _depth(_hull(lungs[k]), spacing_mm[1:]) if lungs[k].sum() > 8 else None
        if above is not None:
            # Beside the recesses it stands; below them it is the belly's wall.
            held = above - (0.35 if own is not None else 0.02) * spacing_mm[0]
            own = held if own is None else np.maximum(own, held)
        if own is not None:
            level[k] = own
            above = own
    level = ndimage.gaussian_filter(level, [4.0 / step for step in spacing_mm])
    top = float(z_mm[np.flatnonzero(lungs.any(axis=(1, 2)))[-1]]) + 2.0
    return np.minimum(level + 2.0, 0.8 * (top - z_mm)[:, None, None]).astype(np.float32)


def _hull(plane: np.ndarray) -> np.ndarray:
    filled = plane.copy()
    try:
        points = np.argwhere(plane)
        corners = points[ConvexHull(points).vertices]
        filled[polygon(corners[:, 0], corners[:, 1], plane.shape)] = True
    except QhullError:  # all in one line
        pass
    return filled


def _depth(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """How deep inside a mask each pixel lies, in mm, and how far outside, negative."""
    inside = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return (np.asarray(inside) - np.asarray(outside)).astype(np.float32)


def diaphragm_under(lungs: np.ndarray, z_mm: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The height of the diaphragm over each place, float32 [1 y x]: the lungs' bases, and smoothly on beside them.

    Args:
        lungs: Mask of the lungs, [slab y x].
        z_mm: The average adult's height of each slab: 0 at the top of the diaphragm.
        spacing_mm: Spacing of the grid.
    """
    base = z_mm[lungs.argmax(axis=0)]
    known = lungs.any(axis=0) & (base < 6)  # what begins higher lies over the heart
    made = ndimage.distance_transform_edt(~known, sampling=spacing_mm[1:], return_indices=True)
    away, (row, column) = cast("tuple[np.ndarray, np.ndarray]", made)
    sigma = [12.0 / step for step in spacing_mm[1:]]
    weight = ndimage.gaussian_filter(known.astype(np.float32), sigma)
    smooth = ndimage.gaussian_filter(np.where(known, base, 0).astype(np.float32), sigma) / np.maximum(weight, 1e-6)
    near = base[row, column] - 1.0 * away
    blend = np.clip(away / 25, 0, 1)
    beside = np.where(weight > 0.02, (1 - blend) * np.minimum(smooth, 0) + blend * near, near)
    height = np.where(known, base, np.maximum(beside, -150))
    return ndimage.gaussian_filter(height, [2.5 / step for step in spacing_mm[1:]])[None].astype(np.float32)
